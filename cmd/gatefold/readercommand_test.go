package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Support finds a reader, hands out what is kept about them, and erases them on request. The
// record, the grant and the page are gone with the same command; a bill keeps its amount and
// loses the reader.
func TestReaderAndBillCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if code := s.api(http.MethodPost, "/management/users", `{"userId":"ada-1","email":"ada@example.com","firstName":"Ada","lastName":"Lovelace"}`, nil); code >= 300 {
		t.Fatalf("the reader is not stored: %d", code)
	}
	s.must("grant", "add", "--user", "ada-1", "--sku", "premium")
	s.page("ada-1").expect(t, http.StatusOK, "")

	bills := s.write("bills.ndjson", `{"id":"b-1","status":"PAID","price":9.90,"currency":"SEK","userId":"ada-1","createdAt":"2026-11-01T00:00:00Z"}`+"\n"+
		`{"id":"b-2","status":"OVERDUE","price":12.50,"currency":"SEK","userId":"eve-9","createdAt":"2026-11-02T00:00:00Z"}`+"\n")
	s.must("bill", "import", bills)
	paid := s.write("transactions.ndjson", `{"id":"t-1","amount":9.90,"currency":"SEK","billId":"b-1","userId":"ada-1","createdAt":"2026-11-01T00:00:00Z"}`+"\n")
	s.must("bill", "transaction", "import", paid)
	shows := func(want, not string, args ...string) {
		t.Helper()
		got := s.must(args...)
		if !strings.Contains(got, want) || not != "" && strings.Contains(got, not) {
			t.Errorf("%q prints %s", args, got)
		}
	}
	shows("b-2", "b-1", "bill", "list", "--status", "OVERDUE")
	shows("b-1", "b-2", "bill", "list", "--user", "ada-1")
	shows(`9.90`, "", "bill", "show", "b-1")
	shows("12.50", "", "bill", "export")
	shows("t-1", "", "bill", "transaction", "list", "--bill", "b-1")
	shows("9.90", "", "bill", "transaction", "show", "t-1")
	shows("t-1", "", "bill", "transaction", "export")

	for _, text := range []string{"ada-1", "ADA@example", "Ada"} {
		shows("ada@example.com", "", "reader", "find", text)
	}
	shows("Ada Lovelace", "", "reader", "show", "ada-1")
	exported := s.must("reader", "export", "ada-1")
	for _, of := range []string{"ada@example.com", "premium", "b-1", "t-1"} {
		if !strings.Contains(exported, of) {
			t.Errorf("the export lacks %s: %s", of, exported)
		}
	}
	if strings.Contains(exported, "eve-9") {
		t.Errorf("the export is also about another reader: %s", exported)
	}

	if got := s.command("reader", "erase", "ada-1"); got.code == 0 || !strings.Contains(got.stderr, "--yes is required") {
		t.Errorf("an erasure without --yes: %+v", got)
	}
	shows("Ada Lovelace", "", "reader", "show", "ada-1")
	shows("erased ada-1", "", "reader", "erase", "ada-1", "--yes")
	s.page("ada-1").expect(t, http.StatusForbidden, "not_entitled")
	if got := s.command("reader", "show", "ada-1"); got.code == 0 {
		t.Errorf("the reader is still there: %s", got.stdout)
	}
	shows("9.90", "ada-1", "bill", "show", "b-1")
	shows("12.50", "ada", "bill", "export")
}

// Most readers have no record: they are found by their whole user id or e-mail address in what
// was granted, sold or sent to them, and the answer says where.
func TestReadersWithoutRecordAreFound(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("grant", "add", "--user", "grantee", "--sku", "premium")
	s.must("grant", "add", "--email", "Ada@example.com", "--sku", "premium")
	s.must("link", "create", "http://localhost/articles/hello", "--user", "linked")
	var contract struct{ ID string }
	if err := json.Unmarshal([]byte(s.must("contract", "add", "--sku", "premium", "--email", "ada@example.com", "--seats", "2", "--json")), &contract); err != nil {
		t.Fatal(err)
	}
	s.must("contract", "add", "--sku", "premium", "--email", "child@example.com", "--payer", "Parent@example.com")
	s.must("contract", "seat", "add", contract.ID, "--email", "seat@example.com")
	if code := s.api(http.MethodPost, "/management/users", `{"userId":"eve-1","email":"eve@example.com"}`, nil); code >= 300 {
		t.Fatalf("the reader is not stored: %d", code)
	}
	s.must("grant", "add", "--user", "eve-1", "--sku", "premium")
	for text, want := range map[string]string{
		"grantee": "grants", "linked": "signed links", "ADA@example.com": "grants, contracts, contracts paid", "seat@example.com": "seats", "child@example.com": "contracts", "parent@example.com": "contracts paid", "eve-1": "record, grants", "eve@example.com": "record",
	} {
		rows := strings.Split(strings.TrimSpace(s.must("reader", "find", text)), "\n")
		if len(rows) != 2 || !strings.HasSuffix(rows[1], "  "+want) {
			t.Errorf("%s: %q, want %s", text, rows, want)
		}
	}
	if rows := s.must("reader", "find", "grante"); strings.Contains(rows, "grantee") {
		t.Errorf("the beginning of an id without a record finds %s", rows)
	}
	if got := s.must("reader", "find", "linked", "--json"); !strings.Contains(got, `"foundIn"`) || !strings.Contains(got, "signed links") {
		t.Errorf("as JSON: %s", got)
	}
}
