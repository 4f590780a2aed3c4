package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// library is the licence of a university for `premium`: by its domain, all below that, and
// two ranges, of which one is within the other.
var library = SiteLicence{
	Contract: "uni", SKUs: []string{"gold", "premium"}, Domains: []string{"uni.example", "*.uni.example", "xn--mnchen-3ya.example"},
	Ranges: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("198.51.100.64/26"), netip.MustParsePrefix("2001:db8:7::/48")},
}

func from(address string) AddressSource { return FixedAddress(netip.MustParseAddr(address)) }

func withEmail(email string) Reader { return Reader{UserID: "reader", Email: LowerEmail(email)} }

// decideFrom decides a request of a client address.
func (env *testEnv) decideFrom(client AddressSource, v testRequest) Decision {
	env.t.Helper()
	r := env.request(v)
	r.Client = client
	return env.policy.Decide(env.t.Context(), r)
}

// A student reads at home by the address that the university gave them; a stranger whose
// address only looks like it does not.
func TestSiteLicenceByDomain(t *testing.T) {
	env := newTestEnv(t)
	env.records.setLicences("acme", library)
	for email, want := range map[string]bool{
		"ann@uni.example":              true,
		"Ann@UNI.Example":              true,
		"ann@cs.uni.example":           true,
		"ann@a.b.uni.example":          true,
		"ann@münchen.example":          true,
		"ann@xn--mnchen-3ya.example":   true,
		"":                             false, // not verified: see Reader.Email
		"ann":                          false,
		"@uni.example":                 false,
		"ann@evil-uni.example":         false,
		"ann@uni.example.evil":         false,
		"ann@uni.example.evil.example": false,
		"ann@example":                  false,
		"uni.example@evil.example":     false,
		// Programs differ on where the domain of these begins.
		"ann@evil.example@uni.example":   false,
		`"ann@evil.example"@uni.example`: false,
		"ann@uni.example@evil.example":   false,
		"ann@evil.example＠uni.example":   false,
		// These look like the domain, or become it by normalization.
		"ann@unі.example":         false, // і of Cyrillic
		"ann@ｕｎｉ.example":         false, // full width
		"ann@uni。example":         false,
		"ann@uni.ex\u00adample":   false, // soft hyphen
		"ann@uni.example.":        false,
		"ann@.uni.example":        false,
		"ann@x..uni.example":      false,
		"ann@<x>.uni.example":     false,
		"ann@x uni.example":       false,
		"ann@[198.51.100.7]":      false,
		"ann@xn--mnchen-.example": false,
		"ann@MÜNCHEN.example":     false, // no issuer has verified this spelling
	} {
		decision := env.decideFrom(nil, testRequest{reader: withEmail(email)})
		if decision.Allow() != want {
			t.Errorf("%q: %s", email, decision.Reason)
		}
		if want && (decision.Reason != ReasonEntitled || decision.Grant != "contract:uni" || decision.SKU != "premium" || decision.Licence != LicenceDomain) {
			t.Errorf("%q: decided by %s %s %q", email, decision.Grant, decision.SKU, decision.Licence)
		}
	}
	long := "ann@" + strings.Repeat("x.", maxMailDomain) + "uni.example"
	if decision := env.decideFrom(nil, testRequest{reader: withEmail(long)}); decision.Allow() {
		t.Error("a domain that is too long is licensed")
	}
	// The wildcard alone does not cover its own domain.
	env.records.setLicences("acme", SiteLicence{Contract: "uni", SKUs: []string{"premium"}, Domains: []string{"*.uni.example"}})
	if decision := env.decideFrom(nil, testRequest{reader: withEmail("ann@uni.example")}); decision.Allow() {
		t.Error("*.uni.example covers uni.example")
	}
}

// Readers in the reading room need no login, from every spelling of its addresses.
func TestSiteLicenceByAddress(t *testing.T) {
	env := newTestEnv(t)
	env.records.setLicences("acme", library)
	for address, want := range map[string]bool{
		"198.51.100.7":               true,
		"198.51.100.65":              true, // in both ranges
		"::ffff:198.51.100.7":        true,
		"::ffff:c633:6407":           true,
		"::ffff:198.51.100.7%eth0":   true,
		"2001:db8:7::1":              true,
		"2001:db8:7:ffff::1%eth0":    true,
		"198.51.101.7":               false,
		"::198.51.100.7":             false, // compatible form, which no host has
		"64:ff9b::198.51.100.7":      false, // of a translator
		"2002:c633:6407::1":          false, // 6to4
		"2001:db8:8::1":              false,
		"::ffff:203.0.113.9":         false,
		"::":                         false,
		"0.0.0.0":                    false,
		"2001:db8:7:0:0:ffff:c633:1": true,
	} {
		decision := env.decideFrom(from(address), testRequest{})
		if decision.Allow() != want {
			t.Errorf("%s: %s", address, decision.Reason)
		}
		if want && (decision.Grant != "contract:uni" || decision.Licence != LicenceAddress) {
			t.Errorf("%s: decided by %s %q", address, decision.Grant, decision.Licence)
		}
	}
	for _, unknown := range []AddressSource{nil, FixedAddress{}} {
		if decision := env.decideFrom(unknown, testRequest{}); decision.Reason != ReasonLoginRequired {
			t.Errorf("an unknown address: %s", decision.Reason)
		}
	}
	// A credential that has expired keeps no reader from what their address gives; what it
	// does not give is denied as before.
	rejected := testRequest{reader: Reader{Rejected: true}}
	if decision := env.decideFrom(from("198.51.100.7"), rejected); !decision.Allow() {
		t.Error(decision.Reason)
	}
	if decision := env.decideFrom(from("203.0.113.9"), rejected); decision.Reason != ReasonBadCredential {
		t.Error(decision.Reason)
	}
	// A page for identified readers stays one.
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{path: "/account"}); decision.Reason != ReasonLoginRequired {
		t.Error(decision.Reason)
	}
}

// Ranges of several institutions overlap: each that contains the address counts, and the
// licence that lasts longest is named.
func TestOverlappingLicences(t *testing.T) {
	env := newTestEnv(t)
	day := int64(24 * 3600 * 1000)
	at := func(id, network, sku string, days int64) SiteLicence {
		return SiteLicence{Contract: id, SKUs: []string{sku}, EndsAt: start*1000 + days*day, Ranges: []netip.Prefix{netip.MustParsePrefix(network)}}
	}
	env.records.setLicences("acme", at("campus", "198.51.0.0/16", "gold", 3), at("a", "198.51.100.0/24", "premium", 2), at("b", "198.51.100.0/24", "premium", 3), at("c", "198.51.100.7/32", "premium", 3))
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{}); decision.Grant != "contract:b" || decision.Until != start*1000+3*day {
		t.Errorf("%s until %d", decision.Grant, decision.Until)
	}
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{path: "/gold"}); decision.Grant != "contract:campus" {
		t.Error(decision.Grant)
	}
	env.advance(3 * 24 * time.Hour)
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{}); decision.Reason != ReasonLoginRequired {
		t.Error(decision.Reason)
	}
	// What the reader has themselves comes first, and then their domain.
	env.records.setLicences("acme", at("a", "198.51.100.0/24", "premium", 30), SiteLicence{Contract: "d", SKUs: []string{"premium"}, Domains: []string{"example.org"}})
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{reader: ann}); decision.Grant != "contract:d" || decision.Licence != LicenceDomain {
		t.Error(decision.Grant, decision.Licence)
	}
	env.subscribe(0, 0)
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{reader: ann}); decision.Grant != "g1" || decision.Licence != LicenceNone {
		t.Error(decision.Grant, decision.Licence)
	}
}

// A licence counts in its half-open interval, with no job that ends it, and a change counts
// from the next request on.
func TestSiteLicenceTimes(t *testing.T) {
	env := newTestEnv(t)
	licensed := library
	licensed.StartsAt, licensed.EndsAt = start*1000+1000, start*1000+2000
	env.records.setLicences("acme", licensed)
	want := func(reason Reason, until int64) {
		t.Helper()
		for _, v := range []testRequest{{reader: withEmail("ann@uni.example")}, {}} {
			if v.reader.Anonymous() && reason == ReasonNotEntitled {
				reason = ReasonLoginRequired // they may be one who is entitled
			}
			if decision := env.decideFrom(from("198.51.100.7"), v); decision.Reason != reason || decision.Until != until {
				t.Errorf("%s until %d, want %s until %d", decision.Reason, decision.Until, reason, until)
			}
		}
	}
	want(ReasonNotEntitled, licensed.StartsAt)
	env.advance(time.Second)
	want(ReasonEntitled, licensed.EndsAt)
	env.advance(999 * time.Millisecond)
	want(ReasonEntitled, licensed.EndsAt)
	env.advance(time.Millisecond)
	want(ReasonNotEntitled, never)
	licensed.EndsAt = 0
	env.records.setLicences("acme", licensed)
	want(ReasonEntitled, never)
	env.records.setLicences("acme")
	want(ReasonNotEntitled, never)
}

// The licences of one vendor open nothing of another vendor on the same node, whose readers
// and addresses are the same.
func TestSiteLicencesOfAnotherVendor(t *testing.T) {
	env := newTestEnv(t)
	env.records.setLicences("acme", library)
	rules, err := CompileRules(testRules, StandardOperators())
	must(t, err)
	other := NewSite("rival", "news", rules, PathOptions{}, env.keys)
	for range 2 {
		if decision := env.decideFrom(from("198.51.100.7"), testRequest{reader: withEmail("ann@uni.example")}); !decision.Allow() {
			t.Error(decision.Reason)
		}
		r := env.request(testRequest{reader: withEmail("ann@uni.example")})
		r.Site, r.Client = other, from("198.51.100.7")
		if decision := env.policy.Decide(t.Context(), r); decision.Reason != ReasonNotEntitled {
			t.Errorf("the other vendor's site: %s", decision.Reason)
		}
	}
}

// A collection that is licensed gives what it contains, and `all` still asks for the rest.
func TestSiteLicenceAndSteps(t *testing.T) {
	env := newTestEnv(t)
	licensed := library
	licensed.SKUs = []string{"archive"}
	env.records.containers = map[string][]string{"premium": {"archive"}}
	env.records.setLicences("acme", licensed)
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{}); decision.Grant != "contract:uni" || decision.SKU != "archive" {
		t.Error(decision.Reason, decision.Grant)
	}
	env.setRules(Rule{Rank: 1, Path: "/all", Allow: Allow{Operator: "all", Arguments: Arguments{"steps": []byte(`["entitled/{\"sku\":\"premium\"}","authenticated"]`)}}})
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{path: "/all"}); decision.Reason != ReasonLoginRequired {
		t.Errorf("an anonymous reader under all: %s", decision.Reason)
	}
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{path: "/all", reader: bob}); decision.Reason != ReasonAuthenticated {
		t.Errorf("an identified reader under all: %s", decision.Reason)
	}
}

// A licence keeps a counted link from being spent.
func TestSiteLicenceBeforeLinks(t *testing.T) {
	env := newTestEnv(t)
	env.records.setLicences("acme", library)
	token := env.newLink(keys.LinkClaims{MaxUses: 1})
	decision := env.decideFrom(from("198.51.100.7"), testRequest{link: linkEvidence(token)})
	if decision.Reason != ReasonEntitled || decision.Link.Spend {
		t.Error(decision.Reason)
	}
}

// Licences that cannot be read open nothing, and what needs none of them is decided.
func TestSiteLicencesUnavailable(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.records.licencesDown = errDown
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{}); decision.Reason != ReasonStoreUnavailable || decision.Err == nil {
		t.Error(decision.Reason)
	}
	for _, v := range []testRequest{{reader: ann}, {path: "/public"}} {
		if decision := env.decideFrom(from("198.51.100.7"), v); !decision.Allow() {
			t.Error(decision.Reason)
		}
	}
	env.records.licencesDown = nil
	env.records.setLicences("acme", library)
	env.records.licencesDown = errDown
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{}); decision.Reason != ReasonStoreUnavailable {
		t.Error("a table that is not current decides:", decision.Reason)
	}
	env.records.licencesDown = nil
	if decision := env.decideFrom(from("198.51.100.7"), testRequest{}); !decision.Allow() {
		t.Error(decision.Reason)
	}
}

// countedAddress counts how often the address is asked for.
type countedAddress struct{ asked int }

func (c *countedAddress) ClientAddress() netip.Addr {
	c.asked++
	return netip.MustParseAddr("203.0.113.9")
}

// The client's address is read where a licence has ranges and no step allows, and once.
func TestAddressIsReadLazily(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	domains := library
	domains.Ranges = nil
	for _, c := range []struct {
		name     string
		licences []SiteLicence
		visit    testRequest
		want     int
	}{
		{"no licences", nil, testRequest{}, 0},
		{"licences without ranges", []SiteLicence{domains}, testRequest{}, 0},
		{"a public page", []SiteLicence{library}, testRequest{path: "/public"}, 0},
		{"an entitled reader", []SiteLicence{library}, testRequest{reader: ann}, 0},
		{"a page that no sku opens", []SiteLicence{library}, testRequest{path: "/account"}, 0},
		{"a reader without a grant", []SiteLicence{library}, testRequest{path: "/articles/A1"}, 1},
	} {
		env.records.setLicences("acme", c.licences...)
		client := new(countedAddress)
		env.decideFrom(client, c.visit)
		if client.asked != c.want {
			t.Errorf("%s: asked %d times", c.name, client.asked)
		}
	}
}

// The contracts of a denied reader are those that cover them now, each once.
func TestContractsOfARefusal(t *testing.T) {
	env := newTestEnv(t)
	ended := library
	ended.Contract, ended.EndsAt = "ended", start*1000
	env.records.setLicences("acme", library, ended)
	env.records.grant(fakeGrant{Grant: Grant{ID: "contract:seat", SKU: "other"}, userID: "reader"})
	r := env.request(testRequest{path: "/silver", reader: withEmail("ann@uni.example")})
	env.setRules(Rule{Rank: 1, Path: "/silver", Allow: entitledTo("silver")})
	r.Site, r.Client = env.site, from("198.51.100.65")
	if decision := env.policy.Decide(t.Context(), r); decision.Reason != ReasonNotEntitled {
		t.Fatal(decision.Reason)
	}
	var found []string
	r.EachContract(func(id string) bool { found = append(found, id); return true })
	if fmt.Sprint(found) != "[uni seat]" {
		t.Error(found)
	}
}

// A model of the ranges: every licence whose range contains the address is found.
func TestRangesAgainstModel(t *testing.T) {
	list := manyLicences(50, 20)
	table := newLicenceTable(list, 0)
	for i := range 20_000 {
		address := netip.AddrFrom4([4]byte{10, byte(i % 7), byte(i >> 3), byte(i)})
		if i%2 == 0 {
			address = netip.AddrFrom16(address.As16())
		}
		want := map[string]bool{}
		for _, licensed := range list {
			for _, network := range licensed.Ranges {
				if network.Contains(address.Unmap()) {
					want[ContractOrigin+licensed.Contract] = true
				}
			}
		}
		found := map[string]bool{}
		for _, l := range table.ranges.containing(address) {
			found[l.grant] = true
		}
		if fmt.Sprint(found) != fmt.Sprint(want) {
			t.Fatalf("%s: %v, want %v", address, found, want)
		}
	}
}

// manyLicences returns licences of as many ranges each, which overlap those of others.
func manyLicences(n, ranges int) (list []SiteLicence) {
	for i := range n {
		licensed := SiteLicence{Contract: fmt.Sprint("c", i), SKUs: []string{"premium"}, Domains: []string{fmt.Sprintf("uni-%d.example", i)}}
		for j := range ranges {
			at := netip.AddrFrom4([4]byte{10, byte(j % 7), byte(i), byte(j * 13)})
			network, _ := at.Prefix(9 + (i+j)%24)
			licensed.Ranges = append(licensed.Ranges, network)
		}
		list = append(list, licensed)
	}
	return list
}
