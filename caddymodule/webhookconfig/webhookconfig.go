// Package webhookconfig configures where the events of webhooks may be sent. It imports
// nothing of Caddy.
package webhookconfig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys/dialguard"
	"github.com/gatefold/gatefold/policy/webhook"
)

// Config configures where events may be sent. Without it, they are sent by https to public
// addresses only.
type Config struct {
	// Allow are further addresses: an address, a network such as 10.1.0.0/16, or an address
	// with a port. Those of this machine need a port, and may be sent to by http.
	Allow []string `json:"allow,omitempty"`
	// CA is a PEM file of certificate authorities that receivers' certificates may have,
	// besides those of the system.
	CA string `json:"ca,omitempty"`
}

var errAddress = &webhook.AddressError{Problem: "it leads to an address that is not public, and that `webhooks { allow … }` does not list"}

// Settings returns the settings of deliveries, without the webhooks themselves. A nil Config
// is an empty one.
func (c *Config) Settings() (webhook.Settings, error) {
	if c == nil {
		c = new(Config)
	}
	guard, err := dialguard.Allow(c.Allow)
	if err != nil {
		return webhook.Settings{}, setting.In("allow", err)
	}
	settings := webhook.Settings{Allowed: allowed, Control: guard.Control(errAddress)}
	if c.CA == "" {
		return settings, nil
	}
	authorities, err := x509.SystemCertPool()
	if err != nil {
		authorities = x509.NewCertPool()
	}
	if err := setting.AddAuthorities(authorities, c.CA); err != nil {
		return settings, setting.In("ca", fmt.Errorf("ca: %w", err))
	}
	settings.TLS = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	return settings, nil
}

// allowed returns an error for a URL to which nothing may be sent, whatever it resolves to.
func allowed(address *url.URL) error {
	if address.Scheme == "https" {
		return nil
	}
	host, err := netip.ParseAddr(address.Hostname())
	if address.Scheme == "http" && err == nil && host.IsLoopback() {
		return nil // Control checks that it is listed
	}
	return errors.New("must be https, or http with a loopback address that `webhooks { allow … }` lists")
}

// Check refuses a URL to which the settings let nothing be sent. It passes a host name that
// does not resolve: the address is checked again at each connection.
func Check(ctx context.Context, settings *webhook.Settings, resolver *net.Resolver, address *url.URL) error {
	if err := settings.Allowed(address); err != nil {
		return err
	}
	addresses, err := dialguard.Resolve(ctx, resolver, address)
	if err != nil {
		return err
	}
	for _, at := range addresses {
		if err := settings.Control("tcp", at.String(), nil); err != nil {
			return err
		}
	}
	return nil
}
