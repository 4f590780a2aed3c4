package store_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// publisherPEM is a publisher's public key.
var publisherPEM = sync.OnceValue(func() string {
	key, err := keys.GenerateSigningKey()
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
})

func TestDomainsAreKept(t *testing.T) {
	b := newFixture(t)
	shared := b.versions.Shared()
	made, err := b.as("ann").PutDomain(t.Context(), vendor, store.Domain{
		Domain: "News.Example.", SigningKeyPEM: publisherPEM(), AllowedResourceIDs: []string{"a"},
	})
	b.ok(err)
	if made.Domain != "news.example" || made.UpdatedBy != "ann" || !made.CreatedAt.Equal(b.clock) || !made.UpdatedAt.Equal(b.clock) || b.versions.Shared() == shared {
		t.Errorf("made is %+v", made)
	}
	// At the same moment, and a minute later: each write advances it.
	again, err := b.PutDomain(t.Context(), vendor, store.Domain{Domain: "news.example", JWKSURI: "https://news.example/jwks"})
	b.ok(err)
	if !again.UpdatedAt.After(made.UpdatedAt) || !again.CreatedAt.Equal(made.CreatedAt) || again.SigningKeyPEM != "" || again.AllowedResourceIDs != nil {
		t.Errorf("replaced by %+v", again)
	}
	b.clock = b.clock.Add(time.Minute)
	same, err := b.as("bob").PutDomain(t.Context(), vendor, again)
	b.ok(err)
	if !same.UpdatedAt.Equal(again.UpdatedAt) || same.UpdatedBy != again.UpdatedBy {
		t.Errorf("a domain that is not changed is %+v", same)
	}
	again.AllowedResourceIDs = []string{"a"}
	again, err = b.as("bob").PutDomain(t.Context(), vendor, again)
	b.ok(err)
	if !again.UpdatedAt.Equal(b.clock) {
		t.Errorf("replaced again by %+v", again)
	}
	_, err = b.PutDomain(t.Context(), vendor, store.Domain{Domain: "a.example", SigningKeyPEM: publisherPEM()})
	b.ok(err)
	listed, err := b.TrustedDomains(t.Context(), vendor, store.Page{})
	b.ok(err)
	if len(listed) != 2 || listed[0].Domain != "a.example" || listed[1].UpdatedBy != "bob" {
		t.Errorf("listed are %+v", listed)
	}
	_, err = b.DenyKey(t.Context(), vendor, store.DeniedKey{KeyID: "k1", Note: "leaked"})
	b.ok(err)
	domains, err := b.Domains(t.Context(), vendor, nil)
	b.ok(err)
	if len(domains.Trusted) != 2 || fmt.Sprint(domains.DeniedKeys) != "[k1]" || domains.Trusted[1].JWKSURI == "" {
		t.Errorf("the policy reads %+v", domains)
	}
	if other, err := b.Domains(t.Context(), "other", nil); err != nil || len(other.Trusted)+len(other.DeniedKeys) != 0 {
		t.Errorf("another vendor has %+v, %v", other, err)
	}
	for range 2 { // twice is no error
		b.ok(b.RemoveDomain(t.Context(), vendor, "news.example"))
		b.ok(b.AllowKey(t.Context(), vendor, "k1"))
	}
	_, err = b.Domain(t.Context(), vendor, "news.example")
	b.is(err, store.ErrNotFound)
	denied, err := b.DeniedKeys(t.Context(), vendor)
	b.ok(err)
	if len(denied) != 0 {
		t.Errorf("denied are %v", denied)
	}
}

func TestDomainsAreChecked(t *testing.T) {
	b := newFixture(t)
	for field, domain := range map[string]store.Domain{
		"domain":             {Domain: "https://news.example", SigningKeyPEM: publisherPEM()},
		"signingKeyPem":      {Domain: "news.example"},
		"jwksUri":            {Domain: "news.example", JWKSURI: "https://evil.example/jwks"},
		"allowedResourceIds": {Domain: "news.example", SigningKeyPEM: publisherPEM(), AllowedResourceIDs: []string{""}},
	} {
		_, err := b.PutDomain(t.Context(), vendor, domain)
		b.names(err, field)
	}
	_, err := b.PutDomain(t.Context(), vendor, store.Domain{Domain: "news.example", SigningKeyPEM: publisherPEM(), JWKSURI: "https://news.example/jwks"})
	b.names(err, "jwksUri")
	_, err = b.PutDomain(t.Context(), vendor, store.Domain{Domain: "news.example", SigningKeyPEM: "-----BEGIN PUBLIC KEY-----"})
	b.names(err, "signingKeyPem")
	for _, denied := range []store.DeniedKey{{}, {KeyID: "a\x00b"}, {KeyID: strings.Repeat("k", 256)}, {KeyID: "k", Note: strings.Repeat("n", 1025)}} {
		_, err := b.DenyKey(t.Context(), vendor, denied)
		if _, ok := errors.AsType[*store.FieldError](err); !ok {
			t.Errorf("%+v is denied: %v", denied, err)
		}
	}
	var all engine.Batch // one by one they would take long
	for i := range store.MaxDomains {
		all.Puts = append(all.Puts, engine.Put{Key: fmt.Appendf(nil, "Dd%d.example", i), Value: fmt.Appendf(nil, `{"domain":"d%d.example"}`, i)})
	}
	_, err = b.engine.Commit(t.Context(), vendor, &all)
	b.ok(err)
	_, err = b.PutDomain(t.Context(), vendor, store.Domain{Domain: "more.example", JWKSURI: "https://more.example/jwks"})
	b.names(err, "domain")
	_, err = b.PutDomain(t.Context(), vendor, store.Domain{Domain: "d7.example", JWKSURI: "https://d7.example/other"})
	b.ok(err)
	// There is room for exactly as many as were removed, however it is counted.
	for i := range 3 {
		b.ok(b.RemoveDomain(t.Context(), vendor, fmt.Sprintf("d%d.example", i)))
	}
	for i := range 4 {
		_, err := b.PutDomain(t.Context(), vendor, store.Domain{Domain: fmt.Sprintf("new%d.example", i), JWKSURI: fmt.Sprintf("https://new%d.example/jwks", i)})
		if i < 3 {
			b.ok(err)
		} else {
			b.names(err, "domain")
		}
	}
}

// Room is counted now and then: what was given away without counting never adds up
// to more than there is.
func TestRoomForDomainsIsKept(t *testing.T) {
	b := newFixture(t)
	const free = 40
	var all engine.Batch
	for i := range store.MaxDomains - free {
		all.Puts = append(all.Puts, engine.Put{Key: fmt.Appendf(nil, "Dd%d.example", i), Value: fmt.Appendf(nil, `{"domain":"d%d.example"}`, i)})
	}
	_, err := b.engine.Commit(t.Context(), vendor, &all)
	b.ok(err)
	for i := range free + 5 {
		_, err := b.PutDomain(t.Context(), vendor, store.Domain{Domain: fmt.Sprintf("new%d.example", i), JWKSURI: fmt.Sprintf("https://new%d.example/jwks", i)})
		if i < free {
			b.ok(err)
		} else {
			b.names(err, "domain")
		}
	}
}

// Thousands of domains are listed in pages, each once and in order.
func TestDomainsAreListedInPages(t *testing.T) {
	b := newFixture(t)
	var all engine.Batch
	for i := range 250 {
		all.Puts = append(all.Puts, engine.Put{Key: fmt.Appendf(nil, "Dd%03d.example", i), Value: fmt.Appendf(nil, `{"domain":"d%03d.example"}`, i)})
	}
	_, err := b.engine.Commit(t.Context(), vendor, &all)
	b.ok(err)
	var names []string
	page := store.Page{Limit: 100}
	for pages := 1; ; pages++ {
		found, err := b.TrustedDomains(t.Context(), vendor, page)
		b.ok(err)
		for _, domain := range found {
			names = append(names, domain.Domain)
		}
		if len(found) < page.Limit {
			if pages != 3 {
				t.Errorf("there are %d pages", pages)
			}
			break
		}
		page.From = names[len(names)-1]
	}
	if len(names) != 250 || !slices.IsSorted(names) || len(slices.Compact(names)) != 250 {
		t.Errorf("listed are %d: %v", len(names), names)
	}
}

// Of thousands of domains that are read again, only those are read whose records
// changed. What is taken over is what is stored, whatever became of it in between.
func TestDomainsAreReadAgainWhereTheyChanged(t *testing.T) {
	b := newFixture(t)
	put := func(name string, allowed ...string) {
		_, err := b.PutDomain(t.Context(), vendor, store.Domain{Domain: name, SigningKeyPEM: publisherPEM(), AllowedResourceIDs: allowed})
		b.ok(err)
	}
	for _, name := range []string{"b.example", "d.example", "f.example", "h.example"} {
		put(name)
	}
	before, err := b.Domains(t.Context(), vendor, nil)
	b.ok(err)
	put("a.example")
	put("d.example", "x")
	put("e.example")
	b.ok(b.RemoveDomain(t.Context(), vendor, "f.example"))
	b.ok(b.RemoveDomain(t.Context(), vendor, "h.example"))
	put("h.example") // the same bytes: the clock is not advanced
	put("i.example")
	known := map[string]*policy.TrustedDomain{}
	for _, domain := range before.Trusted {
		known[domain.Domain] = domain
	}
	for range 2 {
		after, err := b.Domains(t.Context(), vendor, &before)
		b.ok(err)
		fresh, err := b.Domains(t.Context(), vendor, nil)
		b.ok(err)
		if !reflect.DeepEqual(after, fresh) {
			t.Errorf("read again are %+v, and from scratch %+v", after, fresh)
		}
		var taken []string
		for _, domain := range after.Trusted {
			if known[domain.Domain] == domain {
				taken = append(taken, domain.Domain)
			}
		}
		if fmt.Sprint(taken) != "[b.example h.example]" {
			t.Errorf("taken over are %v", taken)
		}
		b.clock = b.clock.Add(time.Second)
	}
}

// published is a publisher's link, which is not stored.
func published(b *fixture, claims keys.LinkClaims) policy.Redemption {
	claims.Issuer, claims.ID, claims.PublisherContentID = "news.example", "share_1", "a1"
	claims.IssuedAt, claims.ExpiresAt = b.clock.Unix(), b.clock.Unix()+3600
	return policy.Redemption{
		Issuer: claims.Issuer, LinkID: claims.ID, MaxUses: claims.MaxUses, At: b.clock, ExpiresAt: time.Unix(claims.ExpiresAt, 0),
		Link: &policy.Link{Claims: claims, KeyID: "key_1"},
	}
}

func (b *fixture) redeems(r policy.Redemption, id string) error {
	r.ID = id
	return b.Redeem(b.Context(), vendor, r)
}

// Of 32 concurrent first uses of a publisher's link with ten uses, one stores its record
// and ten are counted.
func TestUsesOfPublishersLinksAreCountedExactly(t *testing.T) {
	b := newFixture(t)
	redemption := published(b, keys.LinkClaims{MaxUses: 10, ContentNames: []string{"bodytext"}})
	var redeemed, refused atomic.Int32
	var readers sync.WaitGroup
	for i := range 32 {
		readers.Go(func() {
			for range 2 { // each tries again, as after a lost answer
				switch err := b.redeems(redemption, fmt.Sprint(i)); {
				case err == nil:
					redeemed.Add(1)
				case errors.Is(err, policy.ErrLinkUsedUp):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	if redeemed.Load() != 20 || refused.Load() != 44 {
		t.Errorf("%d calls were redeemed and %d refused, want 20 and 44", redeemed.Load(), refused.Load())
	}
	shown, err := b.SignedLink(t.Context(), vendor, "news.example", "share_1")
	b.ok(err)
	if shown.Uses != 10 || shown.KeyID != "key_1" || fmt.Sprint(shown.Claims.ContentNames) != "[bodytext]" {
		t.Errorf("the record is %+v", shown)
	}
	link, err := b.Link(t.Context(), vendor, "news.example", "share_1")
	b.ok(err)
	if link.KeyID != "key_1" || link.Revoked {
		t.Errorf("the policy reads %+v", link)
	}
}

// An uncounted link is written once and counts nothing; another link with its id
// is another link; revoked, it opens nothing.
func TestPublishersLinksAreWrittenOnce(t *testing.T) {
	b := newFixture(t)
	redemption := published(b, keys.LinkClaims{})
	for i := range 3 {
		b.ok(b.redeems(redemption, fmt.Sprint(i)))
	}
	shown, err := b.SignedLink(t.Context(), vendor, "news.example", "share_1")
	b.ok(err)
	if shown.Uses != 0 || !shown.CreatedAt.Equal(b.clock) {
		t.Errorf("the record is %+v", shown)
	}
	b.is(b.redeems(published(b, keys.LinkClaims{MaxUses: 5}), "x"), policy.ErrLinkReused)
	other := published(b, keys.LinkClaims{})
	other.Link.Claims.PublisherContentID = "a2"
	b.is(b.redeems(other, "x"), policy.ErrLinkReused)
	_, err = b.RevokeLink(t.Context(), vendor, "news.example", "share_1")
	b.ok(err)
	b.is(b.redeems(redemption, "y"), policy.ErrLinkRevoked)
}

// Other people's key sets survive a restart, and are swept long after their end.
func TestKeySetsAreKept(t *testing.T) {
	b := newFixture(t)
	none, err := b.LoadKeySet(t.Context(), "url https://news.example/jwks")
	b.ok(err)
	if none != nil {
		t.Errorf("there is %+v", none)
	}
	set := &keys.StoredSet{Body: []byte(`{"keys":[]}`), ETag: `"1"`, From: "https://news.example/jwks", FetchedAt: b.clock, Fresh: time.Hour}
	b.ok(b.SaveKeySet(t.Context(), "url https://news.example/jwks", set, b.clock.Add(25*time.Hour)))
	loaded, err := b.LoadKeySet(t.Context(), "url https://news.example/jwks")
	b.ok(err)
	if string(loaded.Body) != string(set.Body) || loaded.ETag != set.ETag || !loaded.FetchedAt.Equal(set.FetchedAt) || loaded.Fresh != time.Hour {
		t.Errorf("loaded is %+v", loaded)
	}
	if vendors, err := b.Vendors(t.Context()); err != nil || len(vendors) != 0 {
		t.Errorf("the vendors are %v, %v", vendors, err)
	}
	b.clock = b.clock.Add(25*time.Hour + store.Retention + time.Second)
	_, err = b.Sweep(t.Context())
	b.ok(err)
	if loaded, err = b.LoadKeySet(t.Context(), "url https://news.example/jwks"); err != nil || loaded != nil {
		t.Errorf("after the sweep there is %+v, %v", loaded, err)
	}
}
