package caddymodule

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
)

// KeySetConfig says how other people's keys are fetched: those of trusted
// publisher domains, and of readers' issuers.
type KeySetConfig struct {
	// Allow lists addresses and networks at which publishers' key sets may be
	// although they are not public. Default: none.
	Allow []string `json:"allow,omitempty"`

	// CA is a file of PEM certificates of authorities that are trusted besides
	// the system's.
	CA string `json:"ca,omitempty"`

	// StaleIfError is how long keys count after they went stale, while they
	// cannot be fetched. Default: 24 hours.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	// Cooldown is how long, after a token with an unknown key caused a fetch, no
	// other one does. Default: 30 seconds.
	Cooldown caddy.Duration `json:"cooldown,omitempty"`
}

// keySetOptions are those of every process's key sets; tests change them.
var keySetOptions keys.SetsOptions

const maxStaleIfError = 30 * 24 * time.Hour

// settings reads the configuration. Nil stands for the defaults.
func (c *KeySetConfig) settings() (keys.Settings, error) {
	var settings keys.Settings
	if c == nil {
		return settings, nil
	}
	for _, text := range c.Allow {
		prefix, err := parsePrefix(text)
		if err != nil {
			return settings, fmt.Errorf("jwks: allow: %q %w", text, err)
		}
		settings.Addresses = append(settings.Addresses, prefix)
	}
	if c.StaleIfError < 0 || c.StaleIfError > caddy.Duration(maxStaleIfError) {
		return settings, fmt.Errorf("jwks: stale_if_error: must be at most %v", maxStaleIfError)
	}
	if c.Cooldown != 0 && (c.Cooldown < caddy.Duration(time.Second) || c.Cooldown > caddy.Duration(time.Hour)) {
		return settings, errors.New("jwks: cooldown: must be from 1s to 1h")
	}
	settings.StaleIfError, settings.Cooldown = time.Duration(c.StaleIfError), time.Duration(c.Cooldown)
	if c.CA == "" {
		return settings, nil
	}
	certificates, err := os.ReadFile(c.CA)
	if err != nil {
		return settings, fmt.Errorf("jwks: ca: %w", err)
	}
	if settings.Roots, err = x509.SystemCertPool(); err != nil {
		settings.Roots = x509.NewCertPool()
	}
	if !settings.Roots.AppendCertsFromPEM(certificates) {
		return settings, fmt.Errorf("jwks: ca: %s holds no PEM certificate", c.CA)
	}
	return settings, nil
}

// parsePrefix parses a network, or an address as a network of its own.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Prefix(address.BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, errors.New("is neither an address nor a network such as 10.0.0.0/8")
	}
	return prefix.Masked(), nil
}

// watchedKeySets are the key sets that one handler watches, until it is cleaned
// up.
type watchedKeySets struct {
	sets *keys.Sets

	mu       sync.Mutex
	remotes  []*keys.Remote
	released bool
}

func (w *watchedKeySets) watch(source keys.KeySetLocation) (*keys.Remote, error) {
	remote, err := w.sets.Watch(source)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		remote.Release() // a request that outlives its configuration
		return remote, nil
	}
	w.remotes = append(w.remotes, remote)
	return remote, nil
}

func (w *watchedKeySets) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.released = true
	for _, remote := range w.remotes {
		remote.Release()
	}
	w.remotes = nil
}
