package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// These tests check one property: a cached decision equals the uncached one.

// history is a sequence of writes, waits and decisions that a byte string encodes.
type history struct {
	env    *testEnv
	tokens []string
	fresh  int // number of grants
	first  [4]Reader
	// decided and differed count the compared decisions.
	decided, differed int
}

// identities overlap: two readers share an address, and some identifiers are equal when
// they are concatenated.
var identities = []Reader{
	{UserID: "a", PublisherUserID: "bc", Email: "x@example.org"},
	{UserID: "ab", PublisherUserID: "c", Email: "x@example.org"},
	{UserID: "abc"},
	{UserID: "a", Email: "x@example.org"},
	{},
}

var historyLinks = sync.OnceValue(func() (links []keys.LinkClaims) {
	for i, claims := range []keys.LinkClaims{
		{PublisherContentID: "a1"},
		{SKU: "premium", ExpiresAt: start + 20},
		{URL: "https://news.example/articles/a2", MaxUses: 2},
		{PublisherContentID: "a1", PerReader: true, MaxDevices: 2, IPPrefix: "203.0.113.0/24", NotBefore: start + 5},
	} {
		claims.ID = fmt.Sprint("link_", i)
		links = append(links, withDefaults(claims))
	}
	return links
})

var historyTokens = sync.OnceValues(func() (tokens []string, err error) {
	for _, claims := range historyLinks() {
		token, err := keys.SignLink(testRing(), claims)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
})

// identityTokens are tokens of the identities that are not anonymous.
var identityTokens = sync.OnceValues(func() (tokens []string, err error) {
	for _, reader := range identities[:4] {
		token, err := keys.SignReader(testRing(), "acme", "news", keys.ReaderClaims{
			UserID: reader.UserID, PublisherUserID: reader.PublisherUserID,
			Email: reader.Email, EmailVerified: reader.Email != "", ExpiresAt: start + 100*24*3600,
		}, time.Unix(start, 0))
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
})

// readerByToken returns the reader of an identity's token: the current one or, with
// first, the one of its first verification.
func (h *history) readerByToken(who int, first bool) Reader {
	h.env.t.Helper()
	if first && !h.first[who].Anonymous() {
		return h.first[who]
	}
	tokens, err := identityTokens()
	must(h.env.t, err)
	reader, err := h.env.policy.Reader(context.Background(), h.env.verifier(), tokens[who], h.env.now())
	must(h.env.t, err)
	if !sameReader(reader, identities[who]) {
		h.env.t.Fatalf("the token of %+v identifies %+v", identities[who], reader)
	}
	if h.first[who].Anonymous() {
		h.first[who] = reader
	}
	return reader
}

// historyShares are a publisher's tokens: for a1, for a2, and with an untrusted key.
var historyShares = sync.OnceValue(func() []string {
	return []string{
		editor.share(map[string]any{"exp": start + 90}),
		editor.share(map[string]any{"jti": "share_2", "resourceId": "a2", "maxUses": 2}),
		successor.share(map[string]any{"jti": "share_3"}),
	}
})

// changeTrust changes the trusted domains, or the record of a publisher's link.
func (h *history) changeTrust(y int) {
	editors := TrustedDomain{Domain: newsDomain, SigningKeyPEM: editor.pem()}
	switch y % 6 {
	case 0:
		h.env.setDomains(Domains{})
	case 1:
		h.env.setDomains(Domains{Trusted: []*TrustedDomain{&editors}, DeniedKeys: []string{editor.kid}})
	case 2:
		editors.AllowedResourceIDs = []string{"a2"}
		h.env.setDomains(Domains{Trusted: []*TrustedDomain{&editors}})
	case 3:
		claims := keys.LinkClaims{
			Issuer: newsDomain, ID: "share_1", IssuedAt: start, ExpiresAt: start + 90, PublisherContentID: "a1", ContentNames: []string{"bodytext"},
		}
		h.env.records.putLink("acme", Link{Claims: claims, KeyID: editor.kid, Revoked: y&64 != 0})
	default:
		h.env.setDomains(Domains{Trusted: []*TrustedDomain{&editors}})
	}
}

// play runs a history of three bytes for each step.
func play(t testing.TB, steps []byte, silent bool) *history {
	t.Helper()
	h := &history{env: newTestEnv(t)}
	var err error
	h.tokens, err = historyTokens()
	must(t, err)
	for _, claims := range historyLinks() {
		h.env.records.putLink("acme", Link{Claims: claims})
	}
	h.env.records.unannounced = silent
	for len(steps) >= 3 {
		h.step(steps[0], int(steps[1]), int(steps[2]))
		steps = steps[3:]
	}
	return h
}

func (h *history) step(what byte, x, y int) {
	records := h.env.records
	switch what % 8 {
	case 0:
		h.fresh++
		who := identities[x%4]
		g := fakeGrant{Grant: Grant{ID: fmt.Sprint("g", h.fresh), SKU: []string{"premium", "a1", "a2", "gold"}[y%4]}}
		switch x / 4 % 3 {
		case 0:
			g.userID = who.UserID
		case 1:
			g.publisherUserID = who.PublisherUserID
		case 2:
			g.email = who.Email
		}
		if y&4 != 0 {
			g.StartsAt = h.env.now().UnixMilli() + int64(x%16)*1000
		}
		if y&8 != 0 {
			g.EndsAt = h.env.now().UnixMilli() + int64(y/16)*1000
		}
		records.grant(g)
	case 1:
		records.revoke(fmt.Sprint("g", 1+x%(h.fresh+1)))
	case 2:
		h.env.advance(time.Duration(x) * 100 * time.Millisecond)
	case 3:
		if x%8 == 1 {
			// A change of a collection concerns all readers.
			records.setContainers([]string{"a1", "a2", "gold"}[y%3], [][]string{nil, {"premium"}, {"premium", "gold"}, {"gold"}}[y/4%4]...)
			return
		}
		if x%8 == 2 {
			h.changeTrust(y)
			return
		}
		if x%4 == 0 {
			records.revokeLink(fmt.Sprint("link_", y%4))
		} else {
			records.putLink("acme", Link{Claims: historyLinks()[y%4]})
		}
	default:
		h.compare(x, y)
	}
}

// compare makes one decision from memory and from the store.
func (h *history) compare(x, y int) {
	v := testRequest{reader: identities[x%5], path: []string{"/articles/a1", "/articles/a2", "/gold", "/account"}[x/8%4]}
	if who := x % 5; y&16 != 0 && who < 4 {
		v.reader = h.readerByToken(who, y&32 != 0)
	}
	if y&1 != 0 {
		v.link = linkEvidence(h.tokens[y/8%4])
	}
	if y&1 != 0 && x&64 != 0 {
		v.link = shareEvidence(historyShares()[y/8%3])
	}
	if y&2 != 0 && x&128 != 0 {
		v.link.Redeemed = append(v.link.Redeemed, redeemedPublisherLink("share_1"))
	}
	if y&2 != 0 {
		v.link.Redeemed = append(v.link.Redeemed, redeemedLink(fmt.Sprint("link_", y/32%4)))
	}
	if x&32 != 0 {
		v.client = FixedAddress(netip.MustParseAddr("203.0.113.9"))
	}
	v.link.Spendable = y&4 != 0
	p := h.env.policy
	request := func() *Request { return h.env.request(v) }
	remembered, read := p.Decide(context.Background(), request()), p.uncached().Decide(context.Background(), request())
	h.decided++
	if !sameAnswer(&remembered, &read) {
		h.differed++
	}
	h.env.waitForCaches()
}

func FuzzCachedEqualsUncached(f *testing.F) {
	f.Add([]byte{0, 0, 0, 4, 0, 0, 4, 0, 0, 1, 0, 0, 4, 0, 0})
	f.Add([]byte{0, 0, 3, 4, 0, 0, 3, 1, 12, 4, 0, 0, 3, 1, 0, 4, 0, 0})
	f.Add([]byte{4, 0, 1, 3, 0, 0, 4, 0, 1, 2, 255, 0, 4, 0, 2, 4, 16, 25})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if h := play(t, steps[:min(len(steps), 600)], false); h.differed > 0 {
			t.Errorf("%d of %d decisions from memory differ from the store", h.differed, h.decided)
		}
	})
}

func randomHistory(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 0))
	steps := make([]byte, 1500)
	for i := range steps {
		steps[i] = byte(random.Uint32())
	}
	return steps
}

func TestCachedEqualsUncached(t *testing.T) {
	var hits [5]uint64
	for seed := range uint64(20) {
		h := play(t, randomHistory(seed), false)
		if h.differed > 0 {
			t.Errorf("history %d: %d of %d decisions from memory differ from the store", seed, h.differed, h.decided)
		}
		entitlements := h.env.policy.counts.entitlements.hits.Load()
		hits[0] += entitlements
		hits[1] += hitsOf(h.env.policy.links)
		hits[2] += hitsOf(h.env.policy.linkTokens)
		hits[3] += hitsOf(h.env.policy.containers)
		tokens := h.env.policy.counts.readerTokens.hits.Load()
		hits[4] += tokens
	}
	if slices.Min(hits[:]) < 100 {
		t.Errorf("too few cache hits: %v", hits)
	}
}

// If writes do not bump the versions, the property fails: the test can detect a fault.
func TestHistoryDetectsUnannouncedWrites(t *testing.T) {
	if h := play(t, randomHistory(1), true); h.differed == 0 {
		t.Errorf("none of %d decisions from memory differs from the store", h.decided)
	}
}

// A writer sees the effect of its acknowledged writes while others read and write.
func TestPolicyIsConcurrent(t *testing.T) {
	env := newTestEnv(t)
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	var group sync.WaitGroup
	for worker := range 4 {
		reader := Reader{UserID: fmt.Sprint("worker", worker), Email: "all@example.org"}
		id := fmt.Sprint("grant", worker)
		group.Go(func() {
			for range 100 {
				env.records.grant(fakeGrant{Grant: Grant{ID: id, SKU: "premium"}, userID: reader.UserID})
				if decision := env.decide(testRequest{reader: reader}); decision.Reason != ReasonEntitled {
					t.Errorf("after a grant: %s", decision.Reason)
				}
				env.records.revoke(id)
				if decision := env.decide(testRequest{reader: reader}); decision.Reason != ReasonNotEntitled {
					t.Errorf("after the revocation: %s", decision.Reason)
				}
				env.decide(testRequest{reader: ann})
				env.decide(testRequest{link: link})
				env.policy.SelfChecks()
			}
		})
	}
	group.Wait()
}

func hitsOf[K comparable, V any](cache *memory.Cache[K, V]) uint64 {
	hits, _, _ := cache.Stats()
	return hits
}
