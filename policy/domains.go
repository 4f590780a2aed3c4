package policy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/gatefold/gatefold/keys"
)

// TrustedDomain is a publisher domain whose signatures a vendor trusts, by pinned
// keys or by a key set: exactly one of the two.
type TrustedDomain struct {
	// Domain is in normal form, see keys.NormalDomain.
	Domain        string
	SigningKeyPEM string
	JWKSURI       string
	// AllowedResourceIDs lists the resources that the domain may speak for. If it is
	// empty, the domain may speak for all.
	AllowedResourceIDs []string
	// Sum is the SHA-256 of the stored record, by which Records.Domains recognizes a
	// record that did not change.
	Sum [sha256.Size]byte
}

// Domains are the publisher domains that a vendor trusts. What it points to is
// immutable.
type Domains struct {
	Trusted []*TrustedDomain
	// DeniedKeys are the ids of keys that no publisher may sign with.
	DeniedKeys []string
}

// domainTable holds the publishers of every vendor. Requests load a pointer. A table
// of other versions than the current ones is read again, so that a change by another
// node applies as soon as its event arrives.
//
// A vendor may trust thousands of domains: a refresh keeps the entries of unchanged
// records, and pinned keys are parsed when a token first needs them.
type domainTable struct {
	sets *keys.Sets // nil if key sets cannot be fetched

	mu      sync.Mutex // serializes loads, so that the last one to read wins
	vendors sync.Map   // vendor -> *publishers

	countsMu sync.Mutex
	counts   map[publisherKey]*verifications
}

type publisherKey struct{ vendor, domain string }

// publishers are the publishers of one vendor as of a stamp, or the error of reading
// them.
type publishers struct {
	domains  *Domains
	denied   map[string]bool
	byDomain map[string]*trusted
	stamp    uint64
	err      error
}

// trusted is a domain in the table.
type trusted struct {
	record *TrustedDomain
	denied map[string]bool
	remote *keys.Remote // nil with pinned keys, or if the key set cannot be watched
	counts *verifications
	opened atomic.Pointer[publisher]
}

// publishers returns the publishers that a vendor trusts. It reads the store if their
// records may have changed.
func (p *Policy) publishers(ctx context.Context, vendor string) (*publishers, error) {
	if loaded := p.domains.current(vendor, p.versions.Domains()); loaded != nil {
		return loaded, nil
	}
	return p.refreshDomains(ctx, vendor, false)
}

// current returns a vendor's publishers if they were read under a stamp, or nil.
func (t *domainTable) current(vendor string, stamp uint64) *publishers {
	if loaded := t.load(vendor); loaded != nil && loaded.err == nil && loaded.stamp == stamp {
		return loaded
	}
	return nil
}

func (t *domainTable) load(vendor string) *publishers {
	value, _ := t.vendors.Load(vendor)
	loaded, _ := value.(*publishers)
	return loaded
}

// RefreshDomains reads a vendor's trusted domains and denied keys again. Every later
// request is decided by them. A writer of these records calls it after the commit and
// before the acknowledgement. New key sets are fetched in the background.
//
// If the domains cannot be read, links of publishers are answered store_unavailable
// until a later refresh succeeds. A domain with an invalid record is not trusted, and
// the error names it if the record was checked: the first few new records are checked
// at once, others at their first use.
func (p *Policy) RefreshDomains(ctx context.Context, vendor string) error {
	loaded, err := p.refreshDomains(ctx, vendor, true)
	if err != nil {
		return err
	}
	var broken []error
	for domain, entry := range loaded.byDomain {
		if opened := entry.opened.Load(); opened != nil && opened.Publisher == nil {
			broken = append(broken, fmt.Errorf("domain %s: the record has neither a valid key nor a usable key set", domain))
		}
	}
	return errors.Join(broken...)
}

func (p *Policy) refreshDomains(ctx context.Context, vendor string, force bool) (*publishers, error) {
	t := p.domains
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp := p.versions.Domains() // before reading
	if loaded := t.current(vendor, stamp); loaded != nil && !force {
		return loaded, nil // read while this call waited
	}
	before := t.load(vendor)
	if before == nil {
		before = new(publishers)
	}
	loaded := &publishers{stamp: stamp}
	domains, err := p.records.Domains(ctx, vendor, before.domains)
	if err == nil {
		loaded.compile(t, vendor, &domains, before)
	} else {
		loaded.err = unavailable(fmt.Errorf("domains of vendor %s: %w", vendor, err))
	}
	t.vendors.Store(vendor, loaded)
	// Release last: a key set that both tables watch stays in memory.
	before.release(loaded)
	return loaded, loaded.err
}

// maxChecked bounds the new records that are checked when they are read. Others are
// checked at their first use.
const maxChecked = 64

// compile fills in the table, with the entries of the one before whose records and
// denied keys are the same.
func (p *publishers) compile(t *domainTable, vendor string, domains *Domains, before *publishers) {
	p.domains = domains
	p.denied = make(map[string]bool, len(domains.DeniedKeys))
	for _, kid := range domains.DeniedKeys {
		p.denied[kid] = true
	}
	sameDenied := maps.Equal(p.denied, before.denied)
	p.byDomain = make(map[string]*trusted, len(domains.Trusted))
	checked := 0
	for _, record := range domains.Trusted {
		entry := before.byDomain[record.Domain]
		if entry == nil || entry.record != record || !sameDenied {
			entry = t.trusted(vendor, record, p.denied)
			if checked++; checked <= maxChecked {
				entry.open()
			}
		}
		p.byDomain[record.Domain] = entry
	}
}

// trusted returns a new entry of the table. Its key set is watched whether or not the
// domain is used: the first token must not wait for a fetch.
func (t *domainTable) trusted(vendor string, record *TrustedDomain, denied map[string]bool) *trusted {
	entry := &trusted{record: record, denied: denied, counts: t.countsOf(vendor, record.Domain)}
	if record.JWKSURI != "" && t.sets != nil {
		// Without a key set the domain has no keys, see open.
		entry.remote, _ = t.sets.Watch(keys.KeySetLocation{URL: record.JWKSURI})
	}
	return entry
}

// open returns the publisher, whose record is checked at the first call.
func (e *trusted) open() *publisher {
	if opened := e.opened.Load(); opened != nil {
		return opened
	}
	opened := &publisher{counts: e.counts}
	options := keys.PublisherOptions{Domain: e.record.Domain, Allowed: e.record.AllowedResourceIDs, Denied: e.denied, Remote: e.remote}
	var err error
	if e.record.JWKSURI == "" {
		options.Pinned, err = keys.ParsePinnedKeys(e.record.SigningKeyPEM)
	}
	if err == nil && (e.record.JWKSURI == "" || e.remote != nil) {
		opened.Publisher = keys.NewPublisher(options)
	}
	if !e.opened.CompareAndSwap(nil, opened) {
		return e.opened.Load()
	}
	return opened
}

// release stops watching the key sets of entries that the next table does not have.
func (p *publishers) release(next *publishers) {
	for domain, entry := range p.byDomain {
		if entry.remote != nil && next.byDomain[domain] != entry {
			entry.remote.Release()
		}
	}
}

// maxCounted bounds the domains that are counted one by one. Others are counted
// together, as otherDomains.
const (
	maxCounted   = 256
	otherDomains = "other"
)

// countsOf returns the counts of a domain, which outlive its record.
func (t *domainTable) countsOf(vendor, domain string) *verifications {
	t.countsMu.Lock()
	defer t.countsMu.Unlock()
	if t.counts == nil {
		t.counts = make(map[publisherKey]*verifications)
	}
	key := publisherKey{vendor, domain}
	if t.counts[key] == nil && len(t.counts) >= maxCounted {
		key = publisherKey{"", otherDomains}
	}
	if t.counts[key] == nil {
		t.counts[key] = new(verifications)
	}
	return t.counts[key]
}
