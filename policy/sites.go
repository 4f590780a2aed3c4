package policy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// sites holds the compiled rules of every site whose rules are in the store.
//
// Requests read a pointer and never wait: while new rules are compiled they go
// on under the old ones, which is right, because a change counts from its
// acknowledgement, and that comes after the pointer was swapped.
type sites struct {
	mu    sync.Mutex // one load at a time, so that the last one to read wins
	rules sync.Map   // siteKey -> *atomic.Pointer[loadedRules]
}

type siteKey struct{ vendor, site string }

// loadedRules are compiled rules, or why there are none.
type loadedRules struct {
	set *Ruleset
	err error
}

// Ruleset returns the compiled rules that the store has for a site. The first
// call for a site reads them; later ones cost a lookup. The error is the
// store's, or a *RuleError for rules that cannot be compiled.
func (p *Policy) Ruleset(ctx context.Context, vendor, site string) (*Ruleset, error) {
	if slot, ok := p.sites.rules.Load(siteKey{vendor, site}); ok {
		loaded := slot.(*atomic.Pointer[loadedRules]).Load()
		if loaded.err == nil {
			return loaded.set, nil
		}
	}
	return p.RefreshRules(ctx, vendor, site)
}

// RefreshRules reads and compiles a site's rules again, and lets every later
// request be decided by them. Whoever writes rules calls it after the commit
// and before the acknowledgement. When the rules cannot be read or compiled,
// the site answers store_unavailable until a later refresh succeeds: the old
// rules are no longer what was acknowledged.
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
	slot, _ := p.sites.rules.LoadOrStore(siteKey{vendor, site}, new(atomic.Pointer[loadedRules]))
	slot.(*atomic.Pointer[loadedRules]).Store(loaded)
	return loaded.set, loaded.err
}

// RefreshVendor reads and compiles again the rules of every site of a vendor that
// were read before; "" stands for all vendors. A node that hears that another one
// changed something calls it.
func (p *Policy) RefreshVendor(ctx context.Context, vendor string) {
	p.sites.rules.Range(func(key, _ any) bool {
		if site := key.(siteKey); vendor == "" || site.vendor == vendor {
			// What went wrong is kept in the place of the rules.
			_, _ = p.RefreshRules(ctx, site.vendor, site.site)
		}
		return true
	})
}
