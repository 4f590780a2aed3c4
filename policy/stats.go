package policy

import (
	"errors"
	"sync/atomic"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// Stats holds the counters of a policy since it was created.
type Stats struct {
	Caches []CacheStats
	// Verifications counts verified tokens by kind and result: `ok`, or the first
	// check that failed. A cached token is not verified again.
	Verifications []VerificationStats
	// Publishers counts the verifications of trusted domains' tokens by domain. Beyond
	// 256 domains, others are counted together under the vendor "" and the domain
	// `other`.
	Publishers []PublisherStats
	// SelfChecks and SelfCheckFailures are those of Policy.SelfChecks.
	SelfChecks, SelfCheckFailures uint64
}

// CacheStats counts the lookups of one cache.
type CacheStats struct {
	Name         string
	Hits, Misses uint64
	// Bytes is the memory in use. Entitlements are cached with reader tokens, and
	// counted there.
	Bytes int64
}

// VerificationStats counts verifications of one kind with one result.
type VerificationStats struct {
	Kind, Result string
	Count        uint64
}

// PublisherStats counts verifications of one domain's tokens.
type PublisherStats struct {
	Vendor, Domain string
	Verifications  []VerificationStats
}

// verificationResults are the results of a verification, by the error.
var verificationResults = [...]struct {
	name string
	err  error
}{
	{"ok", nil},
	{"malformed", keys.ErrMalformed},
	{"type", keys.ErrType},
	{"algorithm", keys.ErrAlgorithm},
	{"signature", keys.ErrSignature}, // may be an ErrUnknownKey as well
	{"unknown_key", keys.ErrUnknownKey},
	{"expired", keys.ErrExpired},
	{"not_yet_valid", keys.ErrNotYetValid},
	{"too_long", keys.ErrTooLong},
	{"issuer", keys.ErrIssuer},
	{"audience", keys.ErrAudience},
	{"untrusted", keys.ErrUntrusted},
	{"domain", keys.ErrDomain},
	{"denied_key", keys.ErrDeniedKey},
	{"share_type", keys.ErrShareType},
	{"contents", keys.ErrContents},
	{"busy", keys.ErrBusy},
	{"no_keys", keys.ErrKeysUnavailable},
	{"claims", keys.ErrClaims},
}

// verifications counts verifications of one kind of token by result.
type verifications [len(verificationResults)]atomic.Uint64

func (v *verifications) count(err error) {
	for i := range verificationResults {
		if errors.Is(err, verificationResults[i].err) {
			v[i].Add(1)
			return
		}
	}
}

func (v *verifications) stats(kind string) []VerificationStats {
	stats := make([]VerificationStats, len(v))
	for i := range v {
		stats[i] = VerificationStats{Kind: kind, Result: verificationResults[i].name, Count: v[i].Load()}
	}
	return stats
}

// Stats returns the counters. It is safe for concurrent use.
func (p *Policy) Stats() Stats {
	checked, failed := p.SelfChecks()
	return Stats{
		Caches: []CacheStats{
			p.counts.entitlements.stats("entitlements", 0), cacheStats("containers", p.containers), cacheStats("links", p.links),
			p.counts.readerTokens.stats("reader_tokens", p.readers.Bytes()), cacheStats("link_tokens", p.linkTokens), cacheStats("sessions", p.sessions),
		},
		Verifications: append(p.readerVerifications.stats("reader"), p.linkVerifications.stats("link")...),
		Publishers:    p.domains.stats(),
		SelfChecks:    checked, SelfCheckFailures: failed,
	}
}

func (t *domainTable) stats() []PublisherStats {
	t.countsMu.Lock()
	defer t.countsMu.Unlock()
	stats := make([]PublisherStats, 0, len(t.counts))
	for key, counts := range t.counts {
		stats = append(stats, PublisherStats{Vendor: key.vendor, Domain: key.domain, Verifications: counts.stats("publisher")})
	}
	return stats
}

// hitCounter counts the hits and misses of one kind of record.
type hitCounter struct{ hits, misses memory.Counter }

func (c *hitCounter) stats(name string, bytes int64) CacheStats {
	return CacheStats{Name: name, Hits: c.hits.Load(), Misses: c.misses.Load(), Bytes: bytes}
}

func cacheStats[K comparable, V any](name string, cache *memory.Cache[K, V]) CacheStats {
	hits, misses, bytes := cache.Stats()
	return CacheStats{Name: name, Hits: hits, Misses: misses, Bytes: bytes}
}
