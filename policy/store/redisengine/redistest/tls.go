package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StartTLS starts a server that speaks TLS, with a certificate for 127.0.0.1 that
// an authority of its own signed. It returns the authority's certificate as a PEM
// file; clients need none of their own.
func StartTLS(t testing.TB, settings ...string) (s *Server, authorityFile string) {
	t.Helper()
	s = New(t, settings...)
	authorityKey, authority := certificate(t, nil, nil)
	key, leaf := certificate(t, authority, authorityKey)
	encoded, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	authorityFile = s.WriteFile("authority.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}))
	s.args = append(s.args,
		"--tls-ca-cert-file", authorityFile,
		"--tls-cert-file", s.WriteFile("server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
		"--tls-key-file", s.WriteFile("server.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})),
		"--tls-auth-clients", "no")
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	s.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	s.Start()
	return s, authorityFile
}

func certificate(t testing.TB, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "redistest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return key, parsed
}
