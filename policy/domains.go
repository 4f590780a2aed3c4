package policy

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gatefold/gatefold/keys"
)

// TrustedDomain is a publisher domain whose signatures a vendor trusts: by pinned
// keys or by a key set, exactly one of the two.
type TrustedDomain struct {
	// Domain is in normal form: see keys.NormalDomain.
	Domain        string
	SigningKeyPEM string
	JWKSURI       string
	// AllowedResourceIDs lists what the domain may speak for; empty: all.
	AllowedResourceIDs []string
	// Sum is the SHA-256 of the record as it is stored, by which a later reading
	// sees that it is still the same.
	Sum [sha256.Size]byte
}

// Domains is whom a vendor trusts. What it points to is never changed.
type Domains struct {
	Trusted []*TrustedDomain
	// DeniedKeys are the ids of keys that do not count, whoever publishes them.
	DeniedKeys []string
}

// domainTable holds the publishers of every vendor, as sites holds the rules:
// requests read a pointer. What was read under other versions than today's is
// read again, so that a change by another node counts as soon as it is heard of.
//
// A vendor may trust thousands of domains. So of what is read again only records
// that are others now are made anew, and pinned keys are parsed when a token first
// asks for them.
type domainTable struct {
	sets *keys.Sets // nil where publishers' key sets cannot be fetched

	mu      sync.Mutex // one load at a time, so that the last one to read wins
	vendors sync.Map   // vendor -> *atomic.Pointer[publishers]

	countsMu sync.Mutex
	counts   map[publisherKey]*verifications
}

type publisherKey struct{ vendor, domain string }

// publishers are those of one vendor at one moment, or why they are not known.
type publishers struct {
	domains  *Domains // as they were read
	denied   map[string]bool
	byDomain map[string]*trusted
	stamp    uint64
	err      error
}

// trusted is a domain in the table.
type trusted struct {
	record *TrustedDomain
	denied map[string]bool
	remote *keys.Remote // nil with pinned keys, and where it cannot be watched
	counts *verifications
	made   atomic.Pointer[publisher] // at first use
}

// publisher is a trusted domain with what is counted of it; without a Publisher if
// its record cannot be used.
type publisher struct {
	*keys.Publisher
	counts *verifications
}

// publishers returns whom a vendor trusts. The first call for a vendor reads
// it; later ones cost a lookup.
func (p *Policy) publishers(ctx context.Context, vendor string) (*publishers, error) {
	if loaded := p.domains.current(vendor, p.versions.Domains()); loaded != nil {
		return loaded, nil
	}
	return p.refreshDomains(ctx, vendor, false)
}

// current returns a vendor's publishers as they were read under these versions,
// or nil.
func (t *domainTable) current(vendor string, stamp uint64) *publishers {
	if slot, ok := t.vendors.Load(vendor); ok {
		if loaded := slot.(*atomic.Pointer[publishers]).Load(); loaded != nil && loaded.err == nil && loaded.stamp == stamp {
			return loaded
		}
	}
	return nil
}

// RefreshDomains reads a vendor's trusted domains and denied keys again, and
// lets every later request be decided by them. Whoever writes them calls it
// after the commit and before the acknowledgement. Key sets that are watched from now on
// are fetched in the background. When the domains cannot be read, links that
// publishers signed are answered store_unavailable until a later refresh
// succeeds. A domain whose record cannot be used is left out, and told of once that
// was found out: of a few new records at once, of many when they are used.
func (p *Policy) RefreshDomains(ctx context.Context, vendor string) error {
	loaded, err := p.refreshDomains(ctx, vendor, true)
	if err != nil {
		return err
	}
	var broken []error
	for domain, entry := range loaded.byDomain {
		if made := entry.made.Load(); made != nil && made.Publisher == nil {
			broken = append(broken, fmt.Errorf("domain %s: its record cannot be used", domain))
		}
	}
	return errors.Join(broken...)
}

func (p *Policy) refreshDomains(ctx context.Context, vendor string, again bool) (*publishers, error) {
	t := p.domains
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp := p.versions.Domains() // before it is read
	if loaded := t.current(vendor, stamp); loaded != nil && !again {
		return loaded, nil // somebody else has read it meanwhile
	}
	slot, _ := t.vendors.LoadOrStore(vendor, new(atomic.Pointer[publishers]))
	current := slot.(*atomic.Pointer[publishers])
	before := current.Load()
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
	current.Store(loaded)
	// What the new ones watch too stays in memory.
	before.release(loaded)
	return loaded, loaded.err
}

// maxChecked bounds how many new records are looked at when they are read; of more
// the others are when they are used.
const maxChecked = 64

// compile makes the table, of what is in the one before as far as it is the same.
func (p *publishers) compile(t *domainTable, vendor string, domains *Domains, before *publishers) {
	p.domains = domains
	p.denied = make(map[string]bool, len(domains.DeniedKeys))
	for _, kid := range domains.DeniedKeys {
		p.denied[kid] = true
	}
	if before.denied != nil && maps.Equal(p.denied, before.denied) {
		p.denied = before.denied
	}
	p.byDomain = make(map[string]*trusted, len(domains.Trusted))
	checked := 0
	for _, record := range domains.Trusted {
		entry := before.byDomain[record.Domain]
		if entry == nil || entry.record != record || !sameMap(entry.denied, p.denied) {
			entry = t.trusted(vendor, record, p.denied)
			if checked++; checked <= maxChecked {
				entry.open()
			}
		}
		p.byDomain[record.Domain] = entry
	}
}

// sameMap says whether two maps are one.
func sameMap(a, b map[string]bool) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// trusted makes an entry of the table. Key sets are watched from now on, whether
// the domain is used or not: the first token must not wait for the network.
func (t *domainTable) trusted(vendor string, record *TrustedDomain, denied map[string]bool) *trusted {
	entry := &trusted{record: record, denied: denied, counts: t.countsOf(vendor, record.Domain)}
	if record.JWKSURI != "" && t.sets != nil {
		// One that cannot be watched leaves the record without keys.
		entry.remote, _ = t.sets.Watch(keys.KeySetLocation{URL: record.JWKSURI})
	}
	return entry
}

// open returns the publisher.
func (e *trusted) open() *publisher {
	if made := e.made.Load(); made != nil {
		return made
	}
	made := &publisher{counts: e.counts}
	options := keys.PublisherOptions{Domain: e.record.Domain, Allowed: e.record.AllowedResourceIDs, Denied: e.denied, Remote: e.remote}
	var err error
	if e.record.JWKSURI == "" {
		options.Pinned, err = keys.ParsePinnedKeys(e.record.SigningKeyPEM)
	}
	// Without keys it is trusted by nobody, until its record is mended.
	if err == nil && (e.record.JWKSURI == "" || e.remote != nil) {
		made.Publisher = keys.NewPublisher(options)
	}
	if !e.made.CompareAndSwap(nil, made) {
		return e.made.Load()
	}
	return made
}

// release ends the watching of the publishers' key sets, but for those that the
// next table took over.
func (p *publishers) release(next *publishers) {
	for domain, entry := range p.byDomain {
		if entry.remote != nil && next.byDomain[domain] != entry {
			entry.remote.Release()
		}
	}
}

// maxCounted bounds the domains that are counted one by one; the others are
// counted together, as otherDomains.
const (
	maxCounted   = 256
	otherDomains = "other"
)

// countsOf returns the counts of a domain. They outlive its record.
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

// find returns the publisher of a domain. The error is keys.ErrUntrusted when
// the vendor does not trust it.
func (p *publishers) find(domain string) (*publisher, error) {
	entry := p.byDomain[domain]
	if entry == nil {
		return nil, keys.ErrUntrusted
	}
	found := entry.open()
	if found.Publisher == nil {
		return nil, keys.ErrUntrusted
	}
	return found, nil
}

// publisher returns a publisher whom the vendor trusts. The error is
// keys.ErrUntrusted, or ErrUnavailable.
func (p *Policy) publisher(ctx context.Context, vendor, domain string) (*publisher, error) {
	trusted, err := p.publishers(ctx, vendor)
	if err != nil {
		return nil, err
	}
	return trusted.find(domain)
}

// hears says whether a domain may speak for the host of a request: its own, or
// any host of a site that names it.
func (s *Site) hears(domain, host string) bool {
	if slices.Contains(s.ShareDomains, domain) {
		return true
	}
	name, err := NormalHost(host)
	if err != nil {
		return false
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	return name == domain
}

// misspeaks says why a publisher may not open a page with a link, whatever the
// link itself says; ReasonSignedLink when he may.
func (p *publisher) scopeError(r *Request, content string) (Reason, error) {
	switch {
	case !r.Site.hears(p.Domain(), r.Host):
		return ReasonLinkOtherSite, errOtherSite
	case !p.Allows(content):
		return ReasonLinkNotAllowed, errNotAllowed
	default:
		return ReasonSignedLink, nil
	}
}

var (
	errOtherSite  = errors.New("the publisher's domain is neither this host nor a share_domain of the site")
	errNotAllowed = errors.New("the publisher's domain may not speak for this resource: see its allowedResourceIds")
	errReused     = errors.New("the jti belongs to another link of this publisher, which was used before")
)

// stillOpens says whether a link that a publisher signed, and a browser redeemed,
// still counts: whoever is no longer trusted opens nothing by a cookie either.
func (p *Policy) stillOpens(ctx context.Context, r *Request, pass *RedeemedLink, state *linkState) (bool, error) {
	publisher, err := p.publisher(ctx, r.Site.Vendor, pass.Issuer)
	if errors.Is(err, keys.ErrUntrusted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if reason, _ := publisher.scopeError(r, state.target.content); !reason.Allows() {
		return false, nil
	}
	err = orUnavailable(publisher.Trusts(ctx, state.keyID))
	if errors.Is(err, ErrUnavailable) {
		return false, err
	}
	return err == nil, nil
}

// fingerprint tells a link from another with the same issuer and id.
func fingerprint(claims *keys.LinkClaims) ([sha256.Size]byte, error) {
	text, err := json.Marshal(claims)
	return sha256.Sum256(text), err
}
