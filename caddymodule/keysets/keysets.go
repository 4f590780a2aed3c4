// Package keysets has the settings of fetched key sets, and keeps those that a handler watches.
package keysets

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/dialguard"
)

// Config configures how the key sets of publisher domains and of issuers are
// fetched.
type Config struct {
	// Allow lists addresses and networks that are not public and from which key
	// sets of publisher domains may be fetched. Default: none.
	Allow []string `json:"allow,omitempty"`

	// CA is a PEM file of certificate authorities to trust besides the system's.
	CA string `json:"ca,omitempty"`

	// StaleIfError is how long stale keys are used while they cannot be fetched,
	// at most 720 hours. Default: 24 hours.
	StaleIfError setting.Duration `json:"stale_if_error,omitzero"`

	// Cooldown is the minimum time between two fetches that tokens with an unknown
	// key cause, from 1 second to 1 hour. Default: 30 seconds.
	Cooldown setting.Duration `json:"cooldown,omitzero"`
}

const maxStaleIfError = 30 * 24 * time.Hour

// Settings checks the configuration. A nil configuration gives the defaults.
func (c *Config) Settings() (keys.Settings, error) {
	var settings keys.Settings
	if c == nil {
		return settings, nil
	}
	for _, text := range c.Allow {
		prefix, err := dialguard.ParsePrefix(text)
		if err != nil {
			return settings, setting.In("allow", fmt.Errorf("jwks: allow: %q %w", text, err))
		}
		settings.Addresses = append(settings.Addresses, prefix)
	}
	if c.StaleIfError.V < 0 || c.StaleIfError.V > maxStaleIfError {
		return settings, setting.In("stale_if_error", fmt.Errorf("jwks: stale_if_error: must be at most %v", maxStaleIfError))
	}
	if c.Cooldown.V != 0 && (c.Cooldown.V < time.Second || c.Cooldown.V > time.Hour) {
		return settings, setting.In("cooldown", errors.New("jwks: cooldown: must be from 1s to 1h"))
	}
	settings.StaleIfError, settings.Cooldown = c.StaleIfError.V, c.Cooldown.V
	if c.CA == "" {
		return settings, nil
	}
	var err error
	if settings.Roots, err = x509.SystemCertPool(); err != nil {
		settings.Roots = x509.NewCertPool()
	}
	if err := setting.AddAuthorities(settings.Roots, c.CA); err != nil {
		return settings, setting.In("ca", fmt.Errorf("jwks: ca: %w", err))
	}
	return settings, nil
}

// UnmarshalCaddyfile reads the block `jwks` of the global option.
func (c *Config) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return block.Parse(d, "jwks",
		block.List("allow", &c.Allow, func(text string) error {
			_, err := dialguard.ParsePrefix(text)
			return err
		}),
		block.Text("ca", &c.CA),
		block.Duration("stale_if_error", &c.StaleIfError, time.Second, maxStaleIfError),
		block.Duration("cooldown", &c.Cooldown, time.Second, time.Hour),
	)
}

// Watched holds the key sets that a handler watches until its Cleanup.
type Watched struct {
	Sets *keys.Sets

	mu       sync.Mutex
	remotes  []*keys.Remote
	released bool
}

// Watch watches a key set until Release.
func (w *Watched) Watch(location keys.KeySetLocation) (*keys.Remote, error) {
	remote, err := w.Sets.Watch(location)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		remote.Release() // the request outlived its configuration
		return remote, nil
	}
	w.remotes = append(w.remotes, remote)
	return remote, nil
}

// Release ends the watching of all of them.
func (w *Watched) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.released = true
	for _, remote := range w.remotes {
		remote.Release()
	}
	w.remotes = nil
}
