package upstreamtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys/keystest"
)

// document returns a document of the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// walkBlocks returns the commands of a document that are to be run.
func walkBlocks(text string) []string {
	var blocks []string
	for _, match := range regexp.MustCompile("(?s)<!-- walk -->\n```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// issuer is an identity provider: OpenID discovery, a key set, and a token endpoint.
type issuer struct {
	*keystest.KeyHost
	signer jose.Signer
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "walk"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "walk", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{keystest.NewKeyHost(t, nil), signer}
	i.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case keystest.ConfigurationPath:
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
		case "/keys":
			_, _ = w.Write(public)
		case "/oauth/token":
			if user, password, _ := r.BasicAuth(); user != "walker" || password != "secret" {
				http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
				return
			}
			token, err := i.token("reader-1001", r.FormValue("audience"))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"}`, token)
		default:
			http.NotFound(w, r)
		}
	})
	return i
}

// token returns a token of a reader.
func (i *issuer) token(sub, audience string) (string, error) {
	payload, err := json.Marshal(map[string]any{"iss": i.URL, "sub": sub, "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		return "", err
	}
	signed, err := i.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func (i *issuer) mustToken(t *testing.T, sub, audience string) string {
	t.Helper()
	token, err := i.token(sub, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// An operator who knows Caddy follows docs/getting-started.md from an empty folder to a
// gated site with subscribers and alerts. Ports, the provider's address and where npm
// finds its packages differ from what is written; each comment must be true.
func TestWalkOfGettingStarted(t *testing.T) {
	text := document(t, "docs/getting-started.md")
	blocks := walkBlocks(text)
	if len(blocks) != 7 {
		t.Fatalf("docs/getting-started.md has %d blocks of commands", len(blocks))
	}
	provider, ports, dir := startIssuer(t), keystest.FreePorts(t, 3), folder(t)
	admin := "127.0.0.1:" + ports[0]
	substitute := strings.NewReplacer(
		"npm install express", "ln -s "+filepath.Join(unpacked(t), "node", "node_modules")+" node_modules",
		"https://id.example.com", provider.URL, "localhost:2019", admin, "localhost:8080", "localhost:"+ports[1],
		"localhost:3000", "localhost:"+ports[2], "listen(3000", "listen("+ports[2])
	write(t, dir, "alerts.yml", document(t, "docs/alerts.yml"))
	if err := os.Symlink(binary, filepath.Join(dir, "gatefold")); err != nil {
		t.Fatal(err)
	}
	roots := provider.WriteRoots(t)
	begun := time.Now()
	outputs := walk(t, dir, substitute, blocks, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CADDY_ADMIN="+admin,
		"SSL_CERT_FILE="+roots, "CURL_CA_BUNDLE="+roots, "ID_CLIENT=walker", "ID_SECRET=secret", "PATH="+dir+":"+os.Getenv("PATH")))
	t.Logf("the commands of docs/getting-started.md took %s", time.Since(begun).Round(100*time.Millisecond))

	for i, wants := range [][]string{
		{"The Daily Example"},
		{"pass a gate, 0 pass none."},
		{"HTTP/1.1 200", "The Daily Example", "HTTP/1.1 401", `"code":"login_required"`},
		{"HTTP/1.1 403", `"code":"not_entitled"`, "reader-1001"},
		{"would create 2 grants", "created 2 grants", "HTTP/1.1 200", "The whole article hello", "left 2 unchanged"},
		{"HTTP/1.1 200", "The whole article hello", "HTTP/1.1 403", `"code":"link_used_up"`},
		{`decision="allow"`, `reason="entitled"`, "SUCCESS", "rules found"},
	} {
		rest := outputs[i]
		for _, want := range wants {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s\nprints no %q, or not in this order:\n%s", blocks[i], want, outputs[i])
				break
			}
			rest = after
		}
	}
	config, err := os.ReadFile(filepath.Join(dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```text\n(\t\t# Rules.*?)```").FindStringSubmatch(text)
	if shown == nil || !strings.Contains(string(config), substitute.Replace(shown[1])) {
		t.Errorf("docs/getting-started.md shows other lines than gatefold init writes:\n%s", config)
	}
}

// walk runs blocks of commands in one shell, and returns the output of each. What they
// leave running ends with the shell.
func walk(t *testing.T, dir string, substitute *strings.Replacer, blocks, environment []string) []string {
	t.Helper()
	const end = "\x1e"
	script := "set -e\ntrap 'jobs -p | xargs -r kill' EXIT\n"
	for _, block := range blocks {
		script += substitute.Replace(block) + "\nprintf '" + end + "'\n"
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script)
	shell.Dir, shell.Env = dir, environment
	shell.WaitDelay = deadline
	output, err := shell.Output()
	if err != nil {
		var said []byte
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			said = ended.Stderr
		}
		log, _ := os.ReadFile(filepath.Join(dir, "gatefold.log"))
		t.Fatalf("the commands ended: %v\n%s\n%s\n%s", err, output, said, log)
	}
	outputs := strings.Split(string(output), end)
	return outputs[:len(outputs)-1]
}
