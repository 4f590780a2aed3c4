package caddymodule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/caddymodule/meter"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/memory"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/supportcode"
	"github.com/gatefold/gatefold/policy/usage"
)

// siteRuntime is what the handler needs to decide for its site, over an open store.
type siteRuntime struct {
	policy  *policy.Policy
	site    *policy.Site
	sources []credentialSource
	keys    map[string]*keySource // by the prefix of keys; nil while the store cannot be opened
	cookies *cookieSealer
	// redirected has the browsers that were sent to a clean URL with a link cookie lately.
	redirected *memory.Recent[time.Time]
	// sessions supply the reader assertion for the origin; recorder records visits.
	sessions *store.Sessions
	recorder *store.Recorder
	// watch records refusals of links, and the networks from which they are opened, each
	// hashed by networkHash. It is nil while the store cannot be opened.
	watch *linkwatch.Watch
	// usage counts the use of contracts. It is nil while the store cannot be opened.
	usage *usage.Recorder
	// codes gives refusals their support codes. It is nil while the store cannot be opened.
	codes       *supportcode.Recorder
	networkHash func([]byte) uint64
	// meters seals the cookies of meters. It is nil while the store cannot be opened.
	meters *meter.Sealer
}

// recentRedirects is the number of redirected browsers that are remembered for a site.
const recentRedirects = 4096

// openRuntime returns the site's runtime, and opens the store if it is not open.
func (h *Handler) openRuntime() (*siteRuntime, error) {
	rt, err := h.app.runtime.get()
	if err != nil {
		return nil, err
	}
	key, err := rt.Sealer.Derive(keys.PurposeLinkCookie)
	if err != nil {
		return nil, err
	}
	readers, err := rt.Sealer.Derive(keys.PurposeLinkReader)
	if err != nil {
		return nil, err
	}
	own := rt.Keyring.Source(h.Vendor)
	site := &siteRuntime{
		policy:     rt.Policy,
		site:       policy.NewSite(h.Vendor, h.Site, h.rules, h.Paths.options(), own),
		cookies:    newCookieSealer(key, h.Vendor, h.Site),
		redirected: memory.NewRecent[time.Time](recentRedirects),
		sessions:   rt.Sessions,
		recorder:   rt.Recorder,
		watch:      h.app.shared.Watch,
		usage:      h.app.shared.Usage,
		codes:      h.app.shared.Codes,
	}
	if site.networkHash, err = networkHash(rt.Sealer); err != nil {
		return nil, err
	}
	site.site.StoreLoss = h.storeLoss
	if site.meters, err = meter.NewSealer(rt.Sealer, h.Vendor, h.Site); err != nil {
		return nil, err
	}
	site.site.Zone = h.zone
	if site.site.Crawlers, err = h.openCrawlers(); err != nil {
		return nil, err
	}
	site.site.ShareDomains, site.site.DeviceWindow, site.site.ReaderKey = h.ShareDomains, h.LinkDeviceWindow.V, readers
	if site.keys, err = h.newKeySources(rt); err != nil {
		return nil, err
	}
	for _, identity := range h.Identify {
		if identity.Source == sourceAddress {
			continue // no credential of the request
		}
		source, err := identity.credentialSource(own, &h.keySets)
		if err == nil && identity.Login != nil {
			source.login, err = h.newLogin(rt, identity, source.verifier.Keys)
		}
		if err != nil {
			return nil, err
		}
		site.sources = append(site.sources, source)
	}
	return site, nil
}

// networkHash returns a keyed hash, which is the same on all nodes with one secret.
func networkHash(sealer *keys.Sealer) (func([]byte) uint64, error) {
	key, err := sealer.Derive(keys.PurposeLinkNetwork)
	return func(network []byte) uint64 {
		mac := hmac.New(sha256.New, key[:])
		_, _ = mac.Write(network) // never fails, see hash.Hash
		return binary.BigEndian.Uint64(mac.Sum(nil))
	}, err
}

// site returns the site's runtime. While the store cannot be opened, it returns one
// whose records fail, so that both are decided by the same function.
func (h *Handler) site() *siteRuntime {
	site, err := h.runtime.get()
	if err != nil {
		if errors.Is(err, engine.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", policy.ErrUnavailable, err)
		}
		closed := policy.NewSite(h.Vendor, h.Site, h.rules, h.Paths.options(), policy.UnreachableKeys(err))
		closed.StoreLoss = h.storeLoss
		return &siteRuntime{policy: policy.Unreachable(policy.StandardOperators(), now, err), site: closed}
	}
	return site
}
