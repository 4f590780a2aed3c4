package admin_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const bulkPath = "/management/signed-links/batch"

type bulkLink struct {
	Row                                          int
	UserID, TokenID, SignedURL, Token, ExpiresAt string
}

func recipients(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"userId":"u%d"}`, i))
	}
	return strings.Join(all, ",")
}

func (b *fixture) links() []string {
	b.Helper()
	var ids []string
	for from := ""; ; {
		links, err := b.store.SignedLinks(b.Context(), "acme", keys.VendorIssuer("acme"), store.Page{Limit: 1000, From: from})
		if err != nil {
			b.Fatal(err)
		}
		for _, link := range links {
			ids = append(ids, link.Claims.ID)
		}
		if len(links) < 1000 {
			return ids
		}
		from = ids[len(ids)-1]
	}
}

func readLinks(t *testing.T, body string) (links []bulkLink) {
	t.Helper()
	for line := range strings.Lines(body) {
		var link bulkLink
		if err := json.Unmarshal([]byte(line), &link); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		links = append(links, link)
	}
	return links
}

// A newsletter goes out to many readers, each with their own link.
func TestManyLinksAtOnce(t *testing.T) {
	b := newFixture(t, false)
	body := `{"url":"https://news.example/a?utm=1#top","maxUses":2,"expiresIn":"14d","meta":{"campaign":"may"},"recipients":[` + recipients(600) + `,
		{"userId":"vip","url":"https://news.example/b","maxUses":5,"expiresIn":3600,"meta":{"campaign":"june"}}]}`
	got := b.call(http.MethodPost, bulkPath, body).want(http.StatusOK, nil)
	links := readLinks(t, got.body)
	if len(links) != 601 || got.head.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d links, %v", len(links), got.head)
	}
	ring, err := b.keyring.Ring(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, link := range links {
		claims, err := keys.VerifyLink(link.Token, keys.VendorIssuer("acme"), ring.KeySet(), b.clock)
		if err != nil || claims.ID != link.TokenID || claims.Subject != link.UserID || link.Row != i || seen[link.TokenID] || !strings.Contains(link.SignedURL, link.Token) {
			t.Fatalf("link %d is %+v, %v", i, link, err)
		}
		seen[link.TokenID] = true
		if i < 600 && (link.UserID != fmt.Sprint("u", i) || claims.MaxUses != 2 || claims.ExpiresAt-claims.IssuedAt != 14*86400 || !strings.HasSuffix(link.SignedURL, "#top")) {
			t.Fatalf("link %d is %+v", i, claims)
		}
		if i == 600 && (claims.MaxUses != 5 || claims.ExpiresAt-claims.IssuedAt != 3600 || string(claims.Meta) != `{"campaign":"june"}`) {
			t.Errorf("the last link is %+v", claims)
		}
	}
	if stored := b.links(); len(stored) != 601 || !slices.Equal(stored[:3], []string{links[0].TokenID, links[1].TokenID, links[2].TokenID}) {
		t.Errorf("%d links are stored, the first are %v", len(stored), stored[:3])
	}
	// CSV for a mail program.
	table := b.send("acme", http.MethodPost, bulkPath, `{"sku":"s","recipients":[`+recipients(3)+`]}`, http.Header{"Content-Type": {"application/json"}, "Accept": {"text/csv"}}).want(http.StatusOK, nil)
	records, err := csv.NewReader(strings.NewReader(table.body)).ReadAll()
	if err != nil || len(records) != 4 || records[0][4] != "token" || records[3][1] != "u2" {
		t.Errorf("%v: %v", err, records)
	}
	if _, err := keys.VerifyLink(records[3][4], keys.VendorIssuer("acme"), ring.KeySet(), b.clock); err != nil {
		t.Error(err)
	}
}

// A reader has chosen a formula as user id. No spreadsheet that opens the file evaluates it.
func TestManyLinksCarryNoFormula(t *testing.T) {
	b := newFixture(t, false)
	table := b.send("acme", http.MethodPost, bulkPath, `{"recipients":[{"sku":"+1","userId":"=HYPERLINK(\"https://evil.example/\")"},{"publisherContentId":"@a","userId":"u-1"}]}`,
		http.Header{"Content-Type": {"application/json"}, "Accept": {"text/csv"}}).want(http.StatusOK, nil)
	records, err := csv.NewReader(strings.NewReader(table.body)).ReadAll()
	if err != nil || len(records) != 3 || records[1][1] != `'=HYPERLINK("https://evil.example/")` || records[1][6] != "'+1" ||
		records[2][1] != "u-1" || records[2][7] != "'@a" || !strings.HasPrefix(records[2][4], "ey") {
		t.Errorf("%v: %q", err, records)
	}
}

// One recipient is invalid: nothing is created, and the error names them.
func TestManyLinksAreValidatedFirst(t *testing.T) {
	b := newFixture(t, false)
	for body, location := range map[string]string{
		`{"sku":"s"}`:                 "body.recipients",
		`{"sku":"s","recipients":[]}`: "body.recipients",
		`{"recipients":[{"userId":"u","sku":"s"},{"userId":"v"}]}`:              "body.recipients[1].url",
		`{"sku":"s","recipients":[` + recipients(300) + `,{"expiresIn":"9y"}]}`: "body.recipients[300].expiresIn",
		`{"sku":"s","recipients":[{"userId":"u"},{"url":"ftp://x/"}]}`:          "body.recipients[1].url",
		`{"sku":"s","recipients":[{"price":1}]}`:                                "body.recipients[0].price",
		`{"sku":"s","recipients":[{"meta":{"a":[1]}}]}`:                         "body.recipients[0].meta.a",
		`{"sku":"s","recipients":[` + recipients(10_001) + `]}`:                 "body.recipients",
		`{"sku":"s","recipients":[{"maxUses":0}]}`:                              "body.recipients[0].maxUses",
	} {
		b.call(http.MethodPost, bulkPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.call(http.MethodPost, bulkPath, `{"sku":"s","recipients":[{"userId":"u"},{"userId":"u","userId":"v"}]}`).refused(http.StatusBadRequest, "bad_request", "")
	b.call(http.MethodPost, bulkPath, `{"sku":"`+strings.Repeat("x", 9<<20)+`"}`).refused(http.StatusRequestEntityTooLarge, "too_large", "")
	b.send("acme", http.MethodPost, bulkPath, `{}`, http.Header{"Content-Type": {"application/json"}, "X-Test-Scope": {"links:read"}}).refused(http.StatusForbidden, "forbidden", "")
	if stored := b.links(); len(stored) != 0 {
		t.Errorf("%d links were made", len(stored))
	}
}

// leavingWriter is a client that disconnects after the first links.
type leavingWriter struct {
	*httptest.ResponseRecorder
	leave func()
}

func (l leavingWriter) Flush() { l.leave() }

// The client disconnects in the middle. No more links are created than were stored
// by then; a repetition with the same key creates the rest and returns the same
// links.
func TestManyLinksAfterDisconnect(t *testing.T) {
	b := newFixture(t, false)
	body := `{"url":"https://news.example/a","recipients":[` + recipients(1000) + `]}`
	ctx, leave := context.WithCancel(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, bulkPath, strings.NewReader(body))
	request.Header = withKey("k")
	request.Header.Set("X-Test-Vendor", "acme")
	caller := leavingWriter{httptest.NewRecorder(), leave}
	func() {
		// net/http aborts a response in this way.
		defer func() {
			ended, _ := recover().(error)
			if !errors.Is(ended, http.ErrAbortHandler) {
				t.Errorf("the answer ended with %v", ended)
			}
		}()
		b.handler.ServeHTTP(caller, request)
	}()
	received := readLinks(t, caller.Body.String())
	left := b.links()
	if len(received) != 250 || len(left) != 250 || len(b.failed) != 0 {
		t.Errorf("%d links were received, and %d were made; the log has %v", len(received), len(left), b.failed)
	}
	b.send("acme", http.MethodPost, bulkPath, strings.Replace(body, `"u17"`, `"u18"`, 1), withKey("k")).refused(http.StatusUnprocessableEntity, "idempotency_key_reused", "")
	b.clock = b.clock.Add(time.Hour)
	links := readLinks(t, b.send("acme", http.MethodPost, bulkPath, body, withKey("k")).want(http.StatusOK, nil).body)
	if len(links) != 1000 {
		t.Fatalf("%d links", len(links))
	}
	for i, link := range received {
		if links[i].TokenID != link.TokenID || links[i].ExpiresAt != link.ExpiresAt || links[i].UserID != link.UserID {
			t.Errorf("link %d was %+v, and is %+v", i, link, links[i])
		}
	}
	if stored := b.links(); len(stored) != 1000 || !slices.Equal(stored[:len(left)], left) {
		t.Errorf("%d links are stored", len(stored))
	}
}

// A call with the maximum number of links streams all of them.
func TestTenThousandLinks(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	response, answer, err := stream(t, server, http.MethodPost, bulkPath, "application/json", "", strings.NewReader(`{"sku":"s","recipients":[`+recipients(10_000)+`]}`))
	if err != nil || response.StatusCode != http.StatusOK || strings.Count(string(answer), "\n") != 10_000 {
		t.Fatalf("%v, %v, %d lines", response, err, strings.Count(string(answer), "\n"))
	}
}

// Each use of a link is listed with its time.
func TestUsesOfALink(t *testing.T) {
	b := newFixture(t, false)
	var made struct{ TokenID string }
	b.call(http.MethodPost, "/management/create-signed-link", `{"sku":"s","maxUses":5}`).want(http.StatusOK, &made)
	usesPath := "/management/signed-links/" + made.TokenID + "/uses"
	for _, id := range []string{useID(1), useID(2), useID(3), useID(2)} {
		err := b.store.Redeem(t.Context(), "acme", policy.Redemption{
			Issuer: keys.VendorIssuer("acme"), LinkID: made.TokenID, ID: id, MaxUses: 5, At: b.clock, ExpiresAt: b.clock.Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var uses []struct{ ID, At string }
	page := b.call(http.MethodGet, usesPath+"?limit=2", "").want(http.StatusOK, &uses)
	if len(uses) != 2 || uses[0].ID != useID(1) || uses[0].At != "2026-11-23T12:00:00Z" || !strings.Contains(page.head.Get("Link"), "from="+useID(2)) {
		t.Errorf("the uses are %+v, %s", uses, page.head.Get("Link"))
	}
	b.call(http.MethodGet, usesPath+"?from="+useID(2), "").want(http.StatusOK, &uses)
	if len(uses) != 1 || uses[0].ID != useID(3) {
		t.Errorf("the next are %+v", uses)
	}
	b.callAs("other", http.MethodGet, usesPath, "").refused(http.StatusNotFound, "not_found", "")
}
