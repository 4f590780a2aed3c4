package caddymodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/webhook"
)

// WebhookConfig configures where events may be sent. Without it, they are sent by https to
// public addresses only.
type WebhookConfig struct {
	// Allow are further addresses: an address, a network such as 10.1.0.0/16, or an address
	// with a port. Those of this machine need a port, and may be sent to by http.
	Allow []string `json:"allow,omitempty"`
	// CA is a PEM file of certificate authorities that receivers' certificates may have,
	// besides those of the system.
	CA string `json:"ca,omitempty"`

	guard *addressGuard
}

var errWebhookAddress = errors.New("it leads to an address that is not public, and that `webhooks { allow … }` does not list")

// settings returns the settings of deliveries, without the webhooks themselves.
func (c *WebhookConfig) settings() (webhook.Settings, error) {
	if c == nil {
		c = new(WebhookConfig)
	}
	guard, err := newAddressGuard(c.Allow)
	if err != nil {
		return webhook.Settings{}, setting.In("allow", err)
	}
	c.guard = guard
	settings := webhook.Settings{Allowed: c.allowed, Control: c.control}
	if c.CA == "" {
		return settings, nil
	}
	authorities, err := x509.SystemCertPool()
	if err != nil {
		authorities = x509.NewCertPool()
	}
	if err := addAuthorities(authorities, c.CA); err != nil {
		return settings, setting.In("ca", fmt.Errorf("ca: %w", err))
	}
	settings.TLS = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	return settings, nil
}

// allowed returns an error for a URL to which nothing may be sent, whatever it resolves to.
func (c *WebhookConfig) allowed(address *url.URL) error {
	if address.Scheme == "https" {
		return nil
	}
	host, err := netip.ParseAddr(address.Hostname())
	if address.Scheme == "http" && err == nil && host.IsLoopback() {
		return nil // Control checks that it is listed
	}
	return errors.New("must be https, or http with a loopback address that `webhooks { allow … }` lists")
}

// control implements net.Dialer.Control. It checks the resolved address, which defeats DNS
// rebinding.
func (c *WebhookConfig) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !c.guard.admits(at.Addr(), at.Port()) {
		return &webhook.AddressError{Problem: errWebhookAddress.Error()}
	}
	return nil
}

// checkWebhook refuses a URL to which nothing may be sent. It passes a host name that does
// not resolve: the address is checked again at each connection.
func (a *App) checkWebhook(ctx context.Context, address *url.URL) error {
	if err := a.webhooks.Allowed(address); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addresses, err := resolver.LookupNetIP(ctx, "ip", address.Hostname())
	if err != nil {
		return nil //nolint:nilerr // checked again at each connection
	}
	port, err := portOf(address)
	if err != nil {
		return err
	}
	for _, at := range addresses {
		if a.webhooks.Control("tcp", netip.AddrPortFrom(at, port).String(), nil) != nil {
			return errWebhookAddress
		}
	}
	return nil
}

// startWebhooks delivers events by the settings of this configuration from now on.
func (a *App) startWebhooks() {
	rt, err := a.runtime.get()
	if err != nil {
		go a.startWebhooksLater()
		return
	}
	settings := a.webhooks
	settings.Webhooks = store.NewWebhooks(rt.keyring)
	a.shared.webhooks.Configure(settings)
}

// startWebhooksLater waits for a store that does not answer yet.
func (a *App) startWebhooksLater() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := a.runtime.get(); err == nil {
			a.startWebhooks()
			return
		}
	}
}
