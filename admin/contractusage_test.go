package admin_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const usagePath = "/management/contracts/uni/usage"

// newUsage returns a fixture with a contract of acme that was used in two months.
func newUsage(t *testing.T) *fixture {
	b := newFixture(t, false)
	_, err := b.engine.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{
		{Key: []byte("cuni"), Value: []byte(`{"id":"uni","site":{"domains":["uni.example"]}}`)},
		{Key: []byte("c=1+1"), Value: []byte(`{"id":"=1+1","seats":1}`)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.RecordUsage(t.Context(), "acme", []store.ContractUse{
		{Contract: "uni", Month: "2026-09", Pages: 3, Readers: []string{"a", "b"}, Refused: 1}, {Contract: "uni", Month: "2026-11", Pages: 2, Readers: []string{"a"}},
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// usage reads a report with further headers.
func (b *fixture) usage(vendor, path string, headers ...http.Header) answer {
	b.Helper()
	all := http.Header{}
	for _, header := range headers {
		maps.Copy(all, header)
	}
	return b.send(vendor, http.MethodGet, path, "", all)
}

// A librarian reads the report of three months, as JSON and as a table for a spreadsheet.
func TestContractUsage(t *testing.T) {
	b := newUsage(t)
	var report admin.ContractUsage
	b.usage("acme", usagePath+"?from=2026-09&to=2026-11", http.Header{"X-Test-Scope": {"contracts:read"}}).want(http.StatusOK, &report)
	want := []admin.MonthlyUsage{{Month: "2026-09", Pages: 3, Readers: 2, Refused: 1}, {Month: "2026-10"}, {Month: "2026-11", Pages: 2, Readers: 1}}
	if report.ContractID != "uni" || len(report.Months) != 3 || report.Months[0] != want[0] || report.Months[1] != want[1] || report.Months[2] != want[2] {
		t.Errorf("%+v", report)
	}
	got := b.usage("acme", usagePath+"?from=2026-09&to=2026-11", http.Header{"Accept": {"text/csv"}})
	got.want(http.StatusOK, nil)
	if got.body != "contractId,month,pages,uniqueReaders,refused\nuni,2026-09,3,2,1\nuni,2026-10,0,0,0\nuni,2026-11,2,1,0\n" || !strings.HasPrefix(got.head.Get("Content-Type"), "text/csv") {
		t.Errorf("%s: %q", got.head.Get("Content-Type"), got.body)
	}
	// Without months it is the current one.
	b.usage("acme", usagePath).want(http.StatusOK, &report)
	if len(report.Months) != 1 || report.Months[0] != want[2] {
		t.Errorf("%+v", report)
	}
	// An id that a spreadsheet would evaluate is text.
	got = b.usage("acme", "/management/contracts/=1+1/usage", http.Header{"Accept": {"text/csv"}})
	if !strings.Contains(got.body, "\n'=1+1,") {
		t.Errorf("%q", got.body)
	}
	// What was used stays in the report for three years.
	b.clock = time.Date(2029, 9, 30, 0, 0, 0, 0, time.UTC)
	if _, err := b.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.usage("acme", usagePath+"?from=2026-09").want(http.StatusOK, &report)
	if len(report.Months) != 37 || report.Months[0] != want[0] {
		t.Errorf("%d months, %+v", len(report.Months), report.Months[0])
	}
}

// What is no report is refused with its parameter, and other vendors and scopes learn
// nothing.
func TestContractUsageRefused(t *testing.T) {
	b := newUsage(t)
	for query, location := range map[string]string{
		"?from=2026":                 "query.from",
		"?from=":                     "query.from",
		"?from=2026-13":              "query.from",
		"?to=2026-1":                 "query.to",
		"?to=2026-11-01":             "query.to",
		"?from=2026-12&to=2026-11":   "query.from",
		"?from=2023-09&to=2026-11":   "query.from",
		"?month=2026-11":             "query.month",
		"?from=0000-00":              "query.from",
		"?from=2026-09&to=9999-12":   "query.from",
		"?from=%32026-09&to=%002026": "query.to",
	} {
		got := b.usage("acme", usagePath+query)
		if got.code != http.StatusUnprocessableEntity || !strings.Contains(got.body, `"location":"`+location+`"`) {
			t.Errorf("%s: %d %s", query, got.code, got.body)
		}
	}
	b.usage("rival", usagePath).want(http.StatusNotFound, nil)
	b.usage("acme", "/management/contracts/none/usage").want(http.StatusNotFound, nil)
	b.usage("acme", usagePath, http.Header{"X-Test-Scope": {"sales:write"}}).want(http.StatusForbidden, nil)
	b.usage("acme", usagePath, http.Header{"Accept": {"application/pdf"}}).want(http.StatusNotAcceptable, nil)
}
