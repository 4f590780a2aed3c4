package policy

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// Records is the part of the store that a policy uses. All methods are safe for
// concurrent use.
type Records interface {
	// ReaderRecords returns the grants that match any identifier of the reader, and the
	// roles, subscriptions and signatures of the user UserID; none of a user who is not
	// active.
	ReaderRecords(ctx context.Context, vendor string, reader Reader) (ReaderRecords, error)
	// Profile, Plan and Agreement return what decides about one record. Of a missing
	// record, and of a profile that is not active, Exists is false.
	Profile(ctx context.Context, vendor, profile string) (Profile, error)
	Plan(ctx context.Context, vendor, plan string) (Plan, error)
	Agreement(ctx context.Context, vendor, agreement string) (Agreement, error)
	// Containers returns the skus of the collections that contain a sku at any depth,
	// each once, and at most a few hundred. A grant of one of them includes the sku.
	Containers(ctx context.Context, vendor, sku string) ([]string, error)
	// Link returns a signed link, or ErrNotFound.
	Link(ctx context.Context, vendor, issuer, id string) (Link, error)
	// Uses returns the uses of a link, when those with the given ids were counted, and
	// whether the link is revoked. Unless device is empty, it returns the same of the
	// link's devices.
	Uses(ctx context.Context, vendor, issuer, id string, uses []string, device string) (Uses, error)
	// Redeem counts one use of a link and its device in one atomic step. It returns
	// ErrLinkUsedUp, ErrLinkDeviceLimit, ErrLinkRevoked, ErrLinkReused or ErrNotFound if the
	// link must not be used.
	Redeem(ctx context.Context, vendor string, redemption Redemption) error
	// Refund takes back the use and the device that a redemption counted, if it counted
	// them.
	Refund(ctx context.Context, vendor string, redemption Redemption) error
	// MeterViews returns what a reader opened by a meter, in no order; also what is of an earlier
	// period.
	MeterViews(ctx context.Context, vendor string, reader MeterReader) ([]MeterView, error)
	// CountView counts a view in one atomic step, unless its content is counted in the period
	// already. It returns ErrMeterUsedUp if no view is left.
	CountView(ctx context.Context, vendor string, spend MeterSpend) error
	// DefaultSpace returns the content space of links that name a content id without a
	// space; empty if the vendor declared none.
	DefaultSpace(ctx context.Context, vendor string) (string, error)
	// Rules returns the stored rules of a site.
	Rules(ctx context.Context, vendor, site string) ([]Rule, error)
	// Domains returns the domains that a vendor trusts to sign links. If before is not
	// nil, it is the result of an earlier call: records that did not change since are
	// returned as the same pointers.
	Domains(ctx context.Context, vendor string, before *Domains) (Domains, error)
	// SiteLicences returns the site licences of a vendor that are in effect or will be.
	SiteLicences(ctx context.Context, vendor string) ([]SiteLicence, error)
}

// KeySource supplies the keys that currently verify a token.
type KeySource interface {
	KeySet(ctx context.Context) (keys.KeySet, error)
}

// Policy decides requests by the records of a store, which it caches. It is safe for
// concurrent use. There is one Policy for each store, which successive or concurrent
// configurations share.
type Policy struct {
	records   Records
	versions  *Versions
	operators *Operators
	now       func() time.Time
	fresh     func(vendor string, at time.Time) error // nil: always fresh
	silence   func(vendor string, at time.Time) time.Duration
	overrides *Overrides // nil: none

	sites        sites
	domains      *domainTable
	licences     *licenceTables
	readers      *memory.RecordCache // by token, or by the reader's identifiers
	fingerprints *memory.Fingerprinter
	containers   *memory.Cache[skuKey, []string]
	links        *memory.Cache[linkKey, linkState]
	spaces       *defaultSpaces
	linkTokens   *memory.Cache[tokenKey, linkToken]
	sessions     *memory.Cache[sessionKey, string]

	checks     selfChecks
	checkEvery uint64
	counts     struct {
		readerTokens, entitlements hitCounter
		decisions                  memory.Counter
	}

	readerVerifications, linkVerifications verifications
	clocks                                 issuerClocks
}

// Options configure a Policy.
type Options struct {
	Records   Records
	Versions  *Versions
	Operators *Operators
	// KeySets fetches the key sets of publishers. If it is nil, none can be fetched.
	KeySets *keys.Sets
	// CacheBytes bounds the memory of all caches together.
	CacheBytes int64
	// Now returns the time.
	Now func() time.Time
	// SelfCheckEvery is the number of decisions of which one is compared with the
	// store, see Policy.SelfChecks. The default is 10,000.
	SelfCheckEvery uint64
	// Fresh returns an error if the cached records of a vendor are too old at a moment
	// to decide by. If it is nil, they never are.
	Fresh func(vendor string, at time.Time) error
	// Silence returns for how long a node has not heard of changes of a vendor's records at a
	// moment, for the rule option on_store_loss. If it is nil, always all are known.
	Silence func(vendor string, at time.Time) time.Duration
}

// MinCacheBytes is the smallest memory of the caches.
const MinCacheBytes = 1 << 20

// The caches divide their memory into 32 shares. Most are for readers and their
// tokens, because links are few.
const (
	shareReaders    = 19
	shareLinkTokens = 3
	shareLinks      = 3
	shareContainers = 2
	shareSessions   = 5
	shares          = 32
)

// New returns a policy. It returns an error if CacheBytes is less than MinCacheBytes.
// Close releases the caches.
func New(options Options) (*Policy, error) {
	if options.CacheBytes < MinCacheBytes {
		return nil, errors.New("the cache must have at least 1 MiB")
	}
	p := &Policy{
		records:    options.Records,
		versions:   options.Versions,
		operators:  options.Operators,
		now:        options.Now,
		fresh:      options.Fresh,
		silence:    options.Silence,
		checkEvery: cmp.Or(options.SelfCheckEvery, selfCheckEvery),
		domains:    &domainTable{sets: options.KeySets},
		spaces:     new(defaultSpaces),
		licences:   new(licenceTables),
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

// Resize changes the memory that the caches may use together, in bytes, but to no less
// than MinCacheBytes.
func (p *Policy) Resize(cacheBytes int64) {
	part := max(cacheBytes, MinCacheBytes) / shares
	p.readers.Resize(shareReaders * part)
	p.linkTokens.Resize(shareLinkTokens * part)
	p.links.Resize(shareLinks * part)
	p.containers.Resize(shareContainers * part)
	p.sessions.Resize(shareSessions * part)
}

// Close releases the memory of the caches. The policy must not be used afterwards.
func (p *Policy) Close() {
	p.readers.Close()
	p.linkTokens.Close()
	p.links.Close()
	p.containers.Close()
	p.sessions.Close()
}

// Fresh returns an error if the cached records of a vendor are too old at a moment to
// decide by.
func (p *Policy) Fresh(vendor string, at time.Time) error {
	if p.fresh == nil {
		return nil
	}
	return p.fresh(vendor, at)
}

// Now returns the time of the policy's clock.
func (p *Policy) Now() time.Time { return p.now() }

// Operators returns the operators that rules may name.
func (p *Policy) Operators() *Operators { return p.operators }
