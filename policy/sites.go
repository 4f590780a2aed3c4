package policy

import (
	"context"
	"fmt"
	"sync"
)

// sites holds the compiled rules of every site whose rules are in the store.
//
// Requests load a pointer and never wait. While new rules are compiled, requests are
// decided by the old ones: a change applies from its acknowledgement on, which comes
// after the new rules are stored here.
type sites struct {
	mu    sync.Mutex // serializes loads, so that the last one to read wins
	rules sync.Map   // siteKey -> *loadedRules
}

type siteKey struct{ vendor, site string }

// loadedRules are compiled rules, or the error of reading or compiling them.
type loadedRules struct {
	set *Ruleset
	err error
}

// Ruleset returns the compiled rules that the store has for a site. It reads them in
// the first call for a site. The error is the store's, or a *RuleError for rules that
// cannot be compiled.
func (p *Policy) Ruleset(ctx context.Context, vendor, site string) (*Ruleset, error) {
	value, _ := p.sites.rules.Load(siteKey{vendor, site})
	if loaded, ok := value.(*loadedRules); ok && loaded.err == nil {
		return loaded.set, nil
	}
	return p.RefreshRules(ctx, vendor, site)
}

// RefreshRules reads and compiles a site's rules again. Every later request is
// decided by them. A writer of rules calls it after the commit and before the
// acknowledgement. If the rules cannot be read or compiled, the site answers
// store_unavailable until a later refresh succeeds: the old rules are no longer the
// acknowledged ones.
func (p *Policy) RefreshRules(ctx context.Context, vendor, site string) (*Ruleset, error) {
	p.sites.mu.Lock()
	defer p.sites.mu.Unlock()
	loaded := &loadedRules{}
	rules, err := p.records.Rules(ctx, vendor, site)
	if err == nil {
		loaded.set, err = CompileRules(rules, p.operators)
	}
	if err != nil {
		loaded.err = fmt.Errorf("rules of site %s: %w", site, err)
	}
	p.sites.rules.Store(siteKey{vendor, site}, loaded)
	return loaded.set, loaded.err
}

// RefreshVendor refreshes the rules of every site of a vendor that were read before,
// or of all vendors if vendor is empty. A node calls it when another node changed
// rules.
func (p *Policy) RefreshVendor(ctx context.Context, vendor string) {
	p.sites.rules.Range(func(key, _ any) bool {
		if site := key.(siteKey); vendor == "" || site.vendor == vendor {
			_, _ = p.RefreshRules(ctx, site.vendor, site.site) // the error is stored in place of the rules
		}
		return true
	})
}
