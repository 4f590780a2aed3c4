package upstreamtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gatefold/gatefold/keys/keystest"
)

// openIDProvider is oidc-provider, a certified OpenID provider, with a login page that takes
// every name.
type openIDProvider struct {
	issuer, roots string
	process       *process
}

// startOpenIDProvider starts the provider. It has no client until serves names the site.
func startOpenIDProvider(t *testing.T) *openIDProvider {
	t.Helper()
	dir, port := folder(t), keystest.FreePort(t)
	certificate, key := newCertificate(t)
	script, err := os.ReadFile("testdata/node/provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(unpacked(t), "node", "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	p := &openIDProvider{issuer: "https://localhost:" + port, roots: write(t, dir, "certificate.pem", certificate)}
	// It calls the site, whose certificate is of Caddy's own authority.
	environment := append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0")
	p.process = run(t, dir, environment, "node", write(t, dir, "provider.mjs", string(script)), port, p.roots, write(t, dir, "key.pem", key))
	p.process.waitForPort(t, "tcp", "localhost:"+port)
	return p
}

// serves names the site to the provider.
func (p *openIDProvider) serves(t *testing.T, site string) {
	t.Helper()
	p.ask(t, "/site?address="+url.QueryEscape(site))
}

// ask returns what the provider answers at a path.
func (p *openIDProvider) ask(t *testing.T, path string) []byte {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // the test's own
	response, err := client.Get(p.issuer + path)                                                               //nolint:noctx // as above
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// newCertificate returns a certificate for localhost and its key, in PEM.
func newCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

// at waits until the tab is at a URL that begins with one, at a page with some text, and
// returns the text of the page. A page that is left meanwhile is asked again.
func (b *browser) at(begin, part string) string {
	b.t.Helper()
	const script = `document.readyState === "complete" ? location.href + "\n" + document.body.innerText : ""`
	var seen string
	for end := time.Now().Add(deadline / 2); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		found, err := chromedp.Run(b.tab, chromedp.Evaluate[string](script))
		if err != nil {
			continue
		}
		seen = found
		if address, text, _ := strings.Cut(found, "\n"); strings.HasPrefix(address, begin) && strings.Contains(text, part) {
			return text
		}
	}
	b.t.Fatalf("waiting for %q at %s: the page is %s", part, begin, seen)
	return ""
}

func (b *browser) evaluate(script string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.tab, chromedp.Evaluate[string](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return text
}

// submit fills the form of the page by script, as a reader does by hand, and sends it.
func (b *browser) submit(fields string) {
	b.t.Helper()
	b.evaluate(`(() => { const form = document.querySelector("form"); for (const [name, value] of Object.entries(` + fields + `)) form.elements[name].value = value;
		setTimeout(() => form.requestSubmit(), 0); return "sent" })()`)
}

// A reader opens an article in Chromium, logs in at a certified provider, and reads it. Opening it
// again leads to no other login. No script sees a cookie, and no URL a
// token. They log out at the provider, which tells the site: the next request is anonymous.
func TestLoginInChromium(t *testing.T) {
	provider, origin := startOpenIDProvider(t), startMagazine(t)
	r := startSection(t, document(t, "docs/login.md"), "https", []string{"OIDC_SECRET=secret", "SSL_CERT_FILE=" + provider.roots},
		"https://id.example.com", provider.issuer, "localhost:3000", origin.address)
	provider.serves(t, r.address)
	r.must("grant", "add", "--user", "ann", "--sku", "premium")
	reader := startBrowser(t)
	article := r.address + "/articles/hello?from=mail&x=%2F"

	reader.open(article)
	reader.at(provider.issuer+"/interaction/", "Sign-in")
	reader.submit(`{login: "ann", password: "x"}`)
	reader.at(provider.issuer+"/interaction/", "Authorize")
	if origin.asked() != nil {
		t.Error("the origin was asked before the login")
	}
	reader.submit(`{}`)
	reader.at(article, secretHello)
	if seen := reader.evaluate("document.cookie + location.href + document.referrer"); strings.Contains(seen, "gatefold") || strings.Contains(seen, "code=") || strings.Contains(seen, "eyJ") {
		t.Errorf("a script sees %s", seen)
	}
	for range 2 {
		if status, text := reader.open(article); status != http.StatusOK || !strings.Contains(text, secretHello) {
			t.Errorf("the article again is %d %s", status, text)
		}
	}
	// The session of another reader's browser is their own.
	other := reader.another()
	other.open(article)
	other.at(provider.issuer+"/interaction/", "Sign-in")

	// At the site's own logout the provider asks, and says so to the site.
	sessions := func() int {
		var found []struct{ ID string }
		if err := json.Unmarshal([]byte(r.must("session", "list", "ann", "--json")), &found); err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := sessions(); n != 1 {
		t.Fatalf("there are %d sessions", n)
	}
	reader.open(provider.issuer + "/session/end")
	reader.evaluate(`(() => { const form = document.querySelector("form"); const yes = document.createElement("input"); yes.type = "hidden"; yes.name = "logout"; yes.value = "yes"; form.append(yes);
		setTimeout(() => form.submit(), 0); return "sent" })()`)
	reader.at(provider.issuer+"/session/end/success", "")
	r.process.waitFor(t, "the session ends", func() error {
		if sessions() > 0 {
			return errors.New("a session is left; the provider logs " + provider.process.log.String())
		}
		return nil
	})
	origin.asked()
	reader.open(article)
	reader.at(provider.issuer+"/interaction/", "Sign-in")
	if asked := origin.asked(); asked != nil {
		t.Errorf("the origin was asked for %q after the logout", asked)
	}
	for _, request := range origin.received() {
		if strings.Contains(request, "gatefold-session") || strings.Contains(request, "eyJ") && !strings.Contains(request, "Gatefold-Session") {
			t.Errorf("the origin got\n%s", request)
		}
	}
	if log := r.process.log.String(); strings.Contains(log, "code=") && strings.Contains(log, "eyJ") {
		t.Error("the log has a token")
	}
}
