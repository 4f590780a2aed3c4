package policy

import (
	"net/netip"
	"testing"
	"time"
)

// licencePaths returns decisions at a site whose vendor has as many site licences, of ten
// ranges each. The licences of the last two are those of the readers. All is cached.
func licencePaths(t testing.TB, licences int) map[string]func() Decision {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	if licences > 0 {
		env.records.setLicences("acme", append(manyLicences(licences-1, 10), library)...)
	}
	paths := map[string]func() Decision{}
	for name, v := range map[string]struct {
		reader  Reader
		address string
		want    Reason
	}{
		"entitled": {ann, "203.0.113.9", ReasonEntitled},
		"denied":   {withEmail("bob@elsewhere.example"), "203.0.113.9", ReasonNotEntitled},
		"stranger": {Reader{}, "203.0.113.9", ReasonLoginRequired},
		"domain":   {withEmail("bob@cs.uni.example"), "203.0.113.9", ReasonEntitled},
		"address":  {Reader{}, "2001:db8:7::9", ReasonEntitled},
	} {
		if licences == 0 && (name == "domain" || name == "address") {
			continue
		}
		request, client := new(Request), AddressSource(FixedAddress(netip.MustParseAddr(v.address)))
		paths[name] = func() Decision {
			request.Reset()
			request.Site, request.Method, request.Host = env.site, "GET", "news.example"
			request.Reader, request.Now, request.Client = v.reader, env.now(), client
			request.Target, request.EscapedPath = "/articles/some-article", "/articles/some-article"
			return env.policy.Decide(t.Context(), request)
		}
		for range 2 {
			if decision := paths[name](); decision.Reason != v.want {
				t.Fatalf("%s: %s, %v", name, decision.Reason, decision.Err)
			}
		}
		env.waitForCaches()
	}
	return paths
}

// BenchmarkDecideLicence measures decisions at a site whose vendor has 1,000 site licences,
// and without any.
func BenchmarkDecideLicence(b *testing.B) {
	for kind, licences := range map[string]int{"none": 0, "1000": 1000} {
		for name, decide := range licencePaths(b, licences) {
			b.Run(kind+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decide()
				}
			})
		}
	}
}

// What is decided without a licence costs the same beside 1,000 site licences of ten ranges
// each, and by a licence it costs a few lookups, whatever the number of ranges.
func TestDecisionsDoNotDependOnLicences(t *testing.T) {
	none, many, some := licencePaths(t, 0), licencePaths(t, 1000), licencePaths(t, 20)
	for _, c := range []struct {
		name   string
		before map[string]func() Decision
		more   time.Duration
	}{
		{"entitled", none, 0},
		{"denied", none, 2 * time.Microsecond}, // the ranges are looked at: as many lookups as they have lengths
		{"stranger", none, 2 * time.Microsecond},
		{"domain", some, 0},
		{"address", some, 0},
	} {
		a, b := timesOf(c.before[c.name], many[c.name])
		if b > 3*a+time.Microsecond+c.more {
			t.Errorf("%s takes %v, and %v beside 1,000 licences", c.name, a, b)
		}
		t.Logf("%s takes %v, and %v beside 1,000 licences", c.name, a, b)
	}
}

// 10,000 ranges are read into memory in a moment, and found as fast as a few.
func TestTenThousandRanges(t *testing.T) {
	list := manyLicences(1000, 10)
	began := time.Now()
	table := newLicenceTable(list, 0)
	took := time.Since(began)
	if took > time.Second {
		t.Errorf("the table of 10,000 ranges takes %v", took)
	}
	address := netip.MustParseAddr("::ffff:203.0.113.9")
	if allocs := testing.AllocsPerRun(100, func() { table.ranges.containing(address) }); allocs > 0 {
		t.Errorf("a lookup takes %v allocations", allocs)
	}
	t.Logf("10,000 ranges, of %d lengths, are read in %v", len(table.ranges.lengths4), took)
}
