package keystest

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// ConfigurationPath is the path of an issuer's OpenID configuration (OpenID
// Connect Discovery 1.0, section 4).
const ConfigurationPath = "/.well-known/openid-configuration"

// KeyHost is a TLS server that publishes a JWK Set (RFC 7517, section 5) and an
// OpenID configuration. Its certificate is valid for example.com, for every
// direct subdomain of example.com, and for the loopback addresses.
type KeyHost struct{ *Server }

// NewKeyHost starts a KeyHost that serves the given key set and is closed when
// the test ends. Set must marshal to a JWK Set.
func NewKeyHost(t testing.TB, set any) *KeyHost {
	t.Helper()
	h := &KeyHost{newServer(nil)}
	h.Serve(set)
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// Serve makes the host serve the given key set, which must marshal to a JWK
// Set, and an OpenID configuration that points at it. The configuration names
// the host under which it was requested as the issuer. Every path other than
// ConfigurationPath serves the key set.
func (h *KeyHost) Serve(set any) {
	body, err := json.Marshal(set)
	if err != nil {
		panic(fmt.Sprintf("marshaling the key set: %v", err))
	}
	h.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == ConfigurationPath {
			issuer := "https://" + r.Host
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, issuer+"/jwks.json") //nolint:gosec // JSON for tests, not HTML
			return
		}
		_, _ = w.Write(body)
	})
}

// Addresses maps "name:443" to the listener's address for every given name, as
// keys.SetsOptions.Hosts takes it.
func (h *KeyHost) Addresses(names ...string) map[string]string {
	addresses := make(map[string]string, len(names))
	for _, name := range names {
		addresses[name+":443"] = h.Listener.Addr().String()
	}
	return addresses
}

// Roots returns a pool with the host's certificate as its only member.
func (h *KeyHost) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	return roots
}

// WriteRoots writes the host's certificate in PEM to a file in the test's
// temporary directory, and returns the file's name.
func (h *KeyHost) WriteRoots(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "roots.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(name, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
