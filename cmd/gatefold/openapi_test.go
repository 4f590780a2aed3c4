package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// node is a folder with what the npm registry has for a client of the API.
type node struct {
	t   *testing.T
	dir string
}

// newNode installs the packages that a folder of testdata names, as they are in its lock
// file, and none of their scripts.
func newNode(t *testing.T, folder string) *node {
	t.Helper()
	n := &node{t, t.TempDir()}
	folder = filepath.Join("testdata", folder)
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		n.write(file.Name(), data)
	}
	n.run(nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	return n
}

func (n *node) write(name string, data []byte) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), data, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// run runs a command in the folder, and returns what it prints.
func (n *node) run(environment []string, name string, args ...string) string {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), name, args...)
	cmd.Dir, cmd.Env = n.dir, append(os.Environ(), environment...)
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errors.String())
	}
	return string(out)
}

// bin is a program of one of the packages.
func (n *node) bin(name string, args ...string) string {
	n.t.Helper()
	return n.run(nil, filepath.Join("node_modules", ".bin", name), args...)
}

// A TypeScript client generated from /openapi.json, which passes a validator, makes a
// link, a domain and a grant that take effect at the gate.
func TestGeneratedClient(t *testing.T) {
	t.Parallel()
	s, api := startAPI(t)
	document := s.get(api + "/openapi.json")
	document.expect(t, http.StatusOK, "")
	n := newNode(t, "typescript")
	n.write("openapi.json", []byte(document.body))
	if says := n.bin("validate-api", "openapi.json"); !regexp.MustCompile(`"valid":\s*true`).MatchString(says) {
		t.Fatalf("the document is not valid OpenAPI: %s", says)
	}
	// The validator reports an invalid document.
	n.write("broken.json", []byte(strings.Replace(document.body, `"in":"path"`, `"in":"nowhere"`, 1)))
	broken := exec.CommandContext(t.Context(), filepath.Join("node_modules", ".bin", "validate-api"), "broken.json")
	broken.Dir = n.dir
	if out, err := broken.CombinedOutput(); err == nil && strings.Contains(string(out), `true`) {
		t.Errorf("a broken document is valid: %s", out)
	}

	// A field that has a default may be left out.
	n.bin("openapi-typescript", "openapi.json", "--default-non-nullable", "false", "-o", "schema.d.ts")
	n.bin("tsc", "-p", "tsconfig.json")
	id, secret := s.client("--scope", "links:* grants:* domains:* entitlements:read")
	token := s.must("token", "reader", "--user", "reader-of-typescript")
	page := s.site + "/articles/hello"
	s.get(page, "Authorization", "Bearer "+token).expect(t, http.StatusForbidden, "not_entitled")
	said := n.run([]string{"API=" + api, "CLIENT_ID=" + id, "CLIENT_SECRET=" + secret, "PAGE=" + page, "PUBLIC_KEY=" + publicKey(t)}, "node", "built/client.js")
	var made struct {
		SignedURL, Status, GrantID, ListID string
		Uses, DomainKeys                   int
		Domain                             string
		HasAccess                          []bool
	}
	if err := json.Unmarshal([]byte(said), &made); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if made.Status != "active" || made.Uses != 0 || made.GrantID == "" || len(made.HasAccess) != 1 || !made.HasAccess[0] {
		t.Errorf("the client says %+v", made)
	}
	if made.Domain != "publisher.example.com" || made.DomainKeys != 1 || !strings.Contains(s.must("domain", "list"), made.Domain) {
		t.Errorf("the domain is not trusted: %+v", made)
	}
	s.get(made.SignedURL).expect(t, http.StatusOK, "")
	s.get(made.SignedURL).expect(t, http.StatusForbidden, "link_used_up")
	s.get(page, "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")
}

// publicKey is a publisher's key, in PEM.
func publicKey(t *testing.T) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// No file of the project names a package registry: users have their own.
func TestLockFileNamesNoRegistry(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"typescript", "linters"} {
		checkLockFile(t, filepath.Join("testdata", folder, "package-lock.json"))
	}
}

func checkLockFile(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	if err := json.Unmarshal(data, &lock); err != nil || len(lock.Packages) < 10 {
		t.Fatalf("%d packages, %v", len(lock.Packages), err)
	}
	for name, pkg := range lock.Packages {
		if pkg.Resolved != "" || name != "" && pkg.Integrity == "" {
			t.Errorf("%s: %s: resolved %q, integrity %q", file, name, pkg.Resolved, pkg.Integrity)
		}
	}
	if found := regexp.MustCompile(`https?://[^"]*regist[^"]*`).FindString(string(data)); found != "" {
		t.Errorf("%s names %s", file, found)
	}
}
