package setting

import (
	"crypto/x509"
	"fmt"
	"os"
)

// AddAuthorities adds the certificates of a PEM file to a pool.
func AddAuthorities(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file) //nolint:gosec // the configuration names the file
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return nil
}
