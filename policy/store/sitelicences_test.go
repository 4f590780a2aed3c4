package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

func ranges(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// A librarian sends the list as they have it: in any order and spelling, with ranges twice
// and within others. It is stored once each, in one form.
func TestSiteLicenceIsNormalized(t *testing.T) {
	licence := store.SiteLicence{
		Domains: []string{"Uni.Example.", "*.uni.example", "uni.example", "München.example", "xn--mnchen-3ya.example"},
		Ranges: ranges("198.51.100.77/24", "198.51.100.64/26", "::ffff:198.51.100.0/120", "203.0.113.9/32", "2001:db8:7:1::/64", "2001:db8:7::1/48",
			"10.20.0.0/16", "100.64.0.0/16", "fd00:1:2::/48"),
	}
	if err := licence.Normalize(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"*.uni.example", "uni.example", "xn--mnchen-3ya.example"}; !slices.Equal(licence.Domains, want) {
		t.Error(licence.Domains)
	}
	if want := ranges("10.20.0.0/16", "100.64.0.0/16", "198.51.100.0/24", "203.0.113.9/32", "2001:db8:7::/48", "fd00:1:2::/48"); !slices.Equal(licence.Ranges, want) {
		t.Error(licence.Ranges)
	}
	for text, want := range map[string]string{"203.0.113.9": "203.0.113.9/32", "2001:db8::1": "2001:db8::1/128", "10.0.0.0/8": "10.0.0.0/8"} {
		if got, err := store.ParseRange(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "203.0.113.9/33", "203.0.113.0-203.0.113.9", "fe80::1%eth0", "fe80::%eth0/64", "010.0.0.1", "uni.example"} {
		if got, err := store.ParseRange(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

// What can only be a mistake is refused, with its field.
func TestSiteLicenceRefused(t *testing.T) {
	many := make([]string, store.MaxSiteDomains+1)
	for i := range many {
		many[i] = fmt.Sprintf("uni-%d.example", i)
	}
	for field, licences := range map[string][]store.SiteLicence{
		"siteLicence":            {{}},
		"siteLicence.domains":    {{Domains: many}},
		"siteLicence.ranges":     {{Ranges: make([]netip.Prefix, store.MaxSiteRanges+1)}},
		"siteLicence.domains[0]": {{Domains: []string{""}}, {Domains: []string{"*"}}, {Domains: []string{"*."}}, {Domains: []string{"example"}}, {Domains: []string{"*.com"}}},
		"siteLicence.domains[1]": {
			{Domains: []string{"uni.example", "ann@uni.example"}},
			{Domains: []string{"uni.example", "*.*.example.com"}},
			{Domains: []string{"uni.example", "u*.example.com"}},
			{Domains: []string{"uni.example", "198.51.100.7"}},
			{Domains: []string{"uni.example", "https://uni.example"}},
			{Domains: []string{"uni.example", "uni..example"}},
		},
		"siteLicence.ranges[0]": {
			{Ranges: []netip.Prefix{{}}},
			{Ranges: ranges("0.0.0.0/0")},
			{Ranges: ranges("::/0")},
			{Ranges: ranges("10.0.0.0/7")},
			{Ranges: ranges("2001::/15")},
			{Ranges: ranges("::ffff:0.0.0.0/96")},
			{Ranges: ranges("::ffff:0.0.0.0/95")},
			{Ranges: ranges("::ffff:10.0.0.0/102")},
			{Ranges: ranges("127.0.0.1/32")},
			{Ranges: ranges("::1/128")},
			{Ranges: ranges("fe80::/64")},
			{Ranges: ranges("169.254.0.0/16")},
			{Ranges: ranges("224.0.0.1/32")},
			{Ranges: ranges("255.255.255.255/32")},
			{Ranges: ranges("ff02::/16")},
			{Ranges: ranges("0.1.2.0/24")},
			{Ranges: ranges("::ffff:127.0.0.1/128")},
		},
	} {
		for _, licence := range licences {
			err := licence.Normalize()
			if refused, ok := errors.AsType[*store.FieldError](err); !ok || refused.Field != field {
				t.Errorf("%.3v %.3v: %v, want %s", licence.Domains, licence.Ranges, err, field)
			}
		}
	}
}

// sites is a store with a policy over it, at one site of each vendor.
type sites struct {
	*testing.T
	store    *store.Store
	engine   engine.Engine
	versions *policy.Versions
	policy   *policy.Policy
	clock    *keystest.Clock
}

func newSites(t *testing.T) *sites {
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	s := &sites{T: t, engine: backend, versions: new(policy.Versions), clock: keystest.NewClock(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))}
	s.store = store.New(backend, s.versions, s.clock.Now)
	s.policy, err = policy.New(policy.Options{
		Records: s.store, Versions: s.versions, Operators: policy.StandardOperators(), CacheBytes: 64 << 20, Now: s.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.policy.Close)
	return s
}

func (s *sites) put(vendor string, c store.Contract) {
	s.Helper()
	if err := s.store.As(store.Actor{}).PutContract(s.Context(), vendor, c); err != nil {
		s.Fatal(err)
	}
}

// request returns a request for a page of premium.
func (s *sites) request(vendor string, reader policy.Reader, address string) *policy.Request {
	s.Helper()
	rules, err := policy.CompileRules([]policy.Rule{{Rank: 1, Path: "/", Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium"]`)}}}}, policy.StandardOperators())
	if err != nil {
		s.Fatal(err)
	}
	return &policy.Request{
		Site: policy.NewSite(vendor, "news", rules, policy.PathOptions{}, nil), Method: "GET", Target: "/page", EscapedPath: "/page", Host: "news.example",
		Reader: reader, Client: policy.FixedAddress(netip.MustParseAddr(address)), Now: s.clock.Now(),
	}
}

func (s *sites) wantAllowed(vendor string, want bool, when string) {
	s.Helper()
	for _, r := range []*policy.Request{
		s.request(vendor, policy.Reader{}, "::ffff:198.51.100.7"), s.request(vendor, policy.Reader{UserID: "ann", Email: "ann@cs.uni.example"}, "203.0.113.9"),
	} {
		if decision := s.policy.Decide(s.Context(), r); decision.Allow() != want {
			s.Errorf("%s: %s %v", when, decision.Reason, decision.Err)
		}
	}
}

func universityContract(clock *keystest.Clock) store.Contract {
	return store.Contract{
		ID: "uni", State: store.StateActive, Owner: store.Party{Email: "library@uni.example"}, Duration: store.DurationRenewable, Interval: store.IntervalYear, Items: []store.ContractItem{{SKU: "premium"}, {SKU: "gold"}}, StartsAt: clock.Now(),
		Site: &store.SiteLicence{Domains: []string{"*.uni.example"}, Ranges: ranges("198.51.100.0/24")},
	}
}

// The life of a site licence: each change counts from the next request on, and at the
// contract's times without any change. Another vendor's readers get nothing by it.
func TestSiteLicenceOfAContract(t *testing.T) {
	s := newSites(t)
	contract := universityContract(s.clock)
	contract.State = store.StateUnconfirmed
	s.put("acme", contract)
	s.wantAllowed("acme", false, "unconfirmed")
	contract.State = store.StatusActive
	s.put("acme", contract)
	s.wantAllowed("acme", true, "confirmed")
	s.wantAllowed("rival", false, "the other vendor")
	in := func(d time.Duration) *time.Time { at := s.clock.Now().Add(d); return &at }
	contract.EndsAt = in(2 * time.Hour)
	s.put("acme", contract)
	contract.WillCancelAt = in(time.Hour)
	s.put("acme", contract)
	s.clock.Advance(time.Hour - time.Millisecond)
	s.wantAllowed("acme", true, "before the cancellation")
	s.clock.Advance(time.Millisecond)
	s.wantAllowed("acme", false, "after the cancellation")
	contract.WillCancelAt = nil
	s.put("acme", contract)
	s.wantAllowed("acme", true, "not cancelled any more")
	s.clock.Advance(time.Hour)
	s.wantAllowed("acme", false, "ended")
	contract.EndsAt = nil
	s.put("acme", contract)
	s.wantAllowed("acme", true, "renewed")
	contract.Site = nil
	s.put("acme", contract)
	s.wantAllowed("acme", false, "without its site licence")
	contract = universityContract(s.clock)
	s.put("acme", contract)
	s.wantAllowed("acme", true, "with it again")
	contract.State = store.StateCanceled
	s.put("acme", contract)
	s.wantAllowed("acme", false, "cancelled at once")
	contract.State = store.StatusActive
	s.put("acme", contract)
	if err := s.store.As(store.Actor{}).RemoveContract(t.Context(), "acme", "uni"); err != nil {
		t.Fatal(err)
	}
	s.wantAllowed("acme", false, "removed")
}

// A change of a site licence makes the shared records stale but no domains, and any other
// change of a contract neither.
func TestWhatAContractMakesStale(t *testing.T) {
	s := newSites(t)
	contract := universityContract(s.clock)
	shared, domains := s.versions.Shared(), s.versions.Domains()
	want := func(bumps uint64, what string) {
		t.Helper()
		s.put("acme", contract)
		if now := s.versions.Shared(); now-shared != bumps || s.versions.Domains() != domains {
			t.Errorf("%s: %d bumps, %d of domains", what, now-shared, s.versions.Domains()-domains)
		}
		shared = s.versions.Shared()
	}
	want(1, "a new site licence")
	contract.Name, contract.Price, contract.SeatsTaken = "University", "10", 3
	want(0, "a name and a price")
	contract.Items = contract.Items[:1]
	want(1, "fewer items")
	contract.Site = &store.SiteLicence{Domains: []string{"uni.example"}}
	want(1, "another licence")
	contract.Site = nil
	want(1, "no licence")
	contract.Items = []store.ContractItem{{SKU: "silver"}}
	want(0, "items without a licence")
	contract.ID, contract.State, contract.Site = "other", store.StateUnconfirmed, universityContract(s.clock).Site
	want(0, "a licence that is not confirmed")
}

// The site licences of a vendor are bounded, in number and in what they cover.
func TestSiteLicencesAreBounded(t *testing.T) {
	s := newSites(t)
	entries := func(n int, value []byte) {
		for at := 0; at < n; at += 500 {
			batch := new(engine.Batch)
			for i := at; i < min(n, at+500); i++ {
				batch.Puts = append(batch.Puts, engine.Put{Key: fmt.Appendf(nil, "3l\x00c%d", i), Value: value})
			}
			if _, err := s.engine.Commit(t.Context(), "acme", batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused := func(want string) {
		t.Helper()
		contract := universityContract(s.clock)
		err := s.store.As(store.Actor{}).PutContract(t.Context(), "acme", contract)
		if field, ok := errors.AsType[*store.FieldError](err); !ok || field.Field != "siteLicence" || !strings.Contains(field.Problem, want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	entries(store.MaxSites-1, []byte(`{"skus":["premium"]}`))
	s.put("acme", universityContract(s.clock))
	entries(store.MaxSites, []byte(`{"skus":["premium"]}`))
	refused("2000 contracts")

	s = newSites(t)
	var all []netip.Prefix
	for i := range store.MaxSiteRanges {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i >> 6), byte(i << 2), 0}), 25))
	}
	value, err := json.Marshal(map[string]any{"ranges": all})
	if err != nil {
		t.Fatal(err)
	}
	entries(store.MaxSitesCover/store.MaxSiteRanges, value)
	refused("100002 domains and ranges")
}
