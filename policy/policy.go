package policy

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// Records is what the policy reads from the store, and the one thing that it
// writes. All methods are safe for concurrent use.
type Records interface {
	// Grants returns the grants that match any identifier of a reader.
	Grants(ctx context.Context, vendor string, reader Reader) ([]Grant, error)
	// Containers returns the skus of the collections that a sku is in, at any
	// depth, each once and never more than a few hundred: whoever has one of them
	// has the sku.
	Containers(ctx context.Context, vendor, sku string) ([]string, error)
	// Link returns a signed link, or ErrNotFound.
	Link(ctx context.Context, vendor, issuer, id string) (Link, error)
	// Redeem counts one use of a link in one atomic step, and returns
	// ErrLinkUsedUp, ErrLinkRevoked, ErrLinkReused or ErrNotFound when it must
	// not be used.
	Redeem(ctx context.Context, vendor string, redemption Redemption) error
	// Rules returns the rules that the store has for a site.
	Rules(ctx context.Context, vendor, site string) ([]Rule, error)
	// Domains returns whom a vendor trusts to sign links. Where before is not nil it
	// is what an earlier call returned, from which records are taken over that are
	// still the same: what points to them tells so.
	Domains(ctx context.Context, vendor string, before *Domains) (Domains, error)
}

// Redemption is one use of a link.
type Redemption struct {
	Issuer, LinkID string
	// ID makes the redemption idempotent: the same one twice counts once.
	ID string
	// MaxUses is the most that the link may be used; zero means that its uses
	// are not counted.
	MaxUses int64
	// Link is the link itself, where a publisher signed it: its record is
	// written with its first use. Nil for the vendor's own, which has one.
	Link *Link
	// At is when it happens; ExpiresAt is when the link ends.
	At, ExpiresAt time.Time
}

// KeySource gives the keys that may have signed a token: now, and with the
// retired ones gone.
type KeySource interface {
	KeySet(ctx context.Context) (keys.KeySet, error)
}

// Policy decides, from records in the store and what it keeps of them in
// memory. It is safe for concurrent use, and is made once for a store: several
// configurations may share it, one after the other or at once.
type Policy struct {
	records   Records
	versions  *Versions
	operators *Operators
	now       func() time.Time
	fresh     func(vendor string, at time.Time) error // nil: always

	sites        sites
	domains      *domainTable
	readers      *memory.RecordCache // by token, or else by what grants match
	fingerprints *memory.Fingerprinter
	containers   *memory.Cache[skuKey, []string]
	links        *memory.Cache[linkKey, linkState]
	linkTokens   *memory.Cache[tokenKey, linkToken]
	sessions     *memory.Cache[sessionKey, string]

	checks     selfChecks
	checkEvery uint64 // selfCheckEvery, but in tests
	counts     struct {
		readerTokens, entitlements hitCounter
		decisions                  memory.Counter
	}

	readerVerifications, linkVerifications verifications
}

// Options are what New needs.
type Options struct {
	Records   Records
	Versions  *Versions
	Operators *Operators
	// KeySets fetches the key sets of publishers. Nil: none can be had.
	KeySets *keys.Sets
	// CacheBytes bounds the memory of all caches together.
	CacheBytes int64
	// Now is the clock; time.Now in production.
	Now func() time.Time
	// SelfCheckEvery: one decision of so many is made again from the store and
	// compared, see Policy.SelfChecks. Default: 10,000.
	SelfCheckEvery uint64
	// Fresh returns an error when what is in memory of a vendor is too old at a
	// moment to decide from. Nil: it never is.
	Fresh func(vendor string, at time.Time) error
}

// MinCacheBytes is the least memory that the caches work with.
const MinCacheBytes = 1 << 20

// share is how the memory of the caches is divided, in parts of 32. Readers
// are many and each of them has a token; links are few beside them.
const (
	shareReaders    = 19
	shareLinkTokens = 3
	shareLinks      = 3
	shareContainers = 2
	shareSessions   = 5
	shares          = 32
)

// New returns a policy, or an error when the caches cannot be made. Close
// releases its memory.
func New(options Options) (*Policy, error) {
	if options.CacheBytes < MinCacheBytes {
		return nil, errors.New("the cache is smaller than 1 MiB")
	}
	p := &Policy{
		records:    options.Records,
		versions:   options.Versions,
		operators:  options.Operators,
		now:        options.Now,
		checkEvery: cmp.Or(options.SelfCheckEvery, selfCheckEvery),
		domains:    &domainTable{sets: options.KeySets},
	}
	var errs [5]error
	part := options.CacheBytes / shares
	p.readers = memory.NewRecordCache(shareReaders * part)
	p.linkTokens, errs[0] = memory.NewCache[tokenKey, linkToken](shareLinkTokens*part, 640)
	p.links, errs[1] = memory.NewCache[linkKey, linkState](shareLinks*part, 640)
	p.containers, errs[2] = memory.NewCache[skuKey, []string](shareContainers*part, 256)
	p.sessions, errs[3] = memory.NewCache[sessionKey, string](shareSessions*part, 1024)
	p.fingerprints, errs[4] = memory.NewFingerprinter()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return p, nil
}

// Resize changes how much memory the caches may take together, in bytes; less
// than MinCacheBytes counts as that.
func (p *Policy) Resize(cacheBytes int64) {
	part := max(cacheBytes, MinCacheBytes) / shares
	p.readers.Resize(shareReaders * part)
	p.linkTokens.Resize(shareLinkTokens * part)
	p.links.Resize(shareLinks * part)
	p.containers.Resize(shareContainers * part)
	p.sessions.Resize(shareSessions * part)
}

// Close releases the memory of the caches. The policy must not be used
// afterwards.
func (p *Policy) Close() {
	p.readers.Close()
	p.linkTokens.Close()
	p.links.Close()
	p.containers.Close()
	p.sessions.Close()
}

// Fresh returns an error when what is in memory of a vendor is too old at a moment
// to decide from.
func (p *Policy) Fresh(vendor string, at time.Time) error {
	if p.fresh == nil {
		return nil
	}
	return p.fresh(vendor, at)
}

// Now returns the policy's time.
func (p *Policy) Now() time.Time { return p.now() }

// Operators returns the operators that rules may name.
func (p *Policy) Operators() *Operators { return p.operators }
