package caddymodule

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
)

const originRules = identifyReaders + `
	rule /articles/{publisherContentId} origin {
		default entitled premium
		teaser cut
	}
	rule / any
`

// originSite has a reader of premium, one of art-42, and one without a grant.
type originSite struct {
	*testSite
	tokens map[string]string
}

func newOriginSite(t testing.TB, gate, site string) *originSite {
	s := &originSite{testSite: newTestSiteWith(t, "", gate, site), tokens: map[string]string{"": ""}}
	s.grant(store.Grant{UserID: "premium", SKU: "premium"})
	s.grant(store.Grant{UserID: "one", SKU: "art-42"})
	for _, user := range []string{"premium", "one", "none"} {
		s.tokens[user] = s.reader(keys.ReaderClaims{UserID: user})
	}
	return s
}

// rawAs sends a request as a reader, and returns all bytes of the answer.
func (s *originSite) rawAs(user, method, path string, headers ...string) string {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.Fatal(err)
	}
	text := method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nConnection: close\r\nTE: trailers\r\n"
	if user != "" {
		text += "Authorization: Bearer " + s.tokens[user] + "\r\n"
	}
	for i := 0; i < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		s.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil && len(all) == 0 {
		s.Fatal(err)
	}
	return string(all)
}

func statusOf(raw string) string {
	_, status, _ := strings.Cut(raw, " ")
	status, _, _ = strings.Cut(status, " ")
	return status
}

// What the origin requires decides, for each reader: it can be less than the default of the
// rule, or more. What it does not say, or says in a way that cannot be read, is the default.
func TestOriginDecides(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	var lines []string
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()[requireHeader] = lines
		_, _ = io.WriteString(w, "the article")
	})
	for _, test := range []struct {
		said  string // lines, separated by |
		opens string // the readers who get the page
	}{
		{"any", "- none one premium"},
		{"authenticated", "none one premium"},
		{`entitled=("art-42")`, "one"},
		{`entitled=("premium" "art-42")`, "one premium"},
		{`entitled=("premium" "art-42"), teaser=?0`, "one premium"},
		{"any|any", "- none one premium"},
		{"", "premium"},
		{"any|authenticated", "premium"},
		{"any, authenticated", "premium"},
		{"any=1", "premium"},
		{"any;from=2027", "premium"},
		{"any, meter=3", "premium"},
		{"entitled", "premium"},
		{"entitled=()", "premium"},
		{`entitled=("{publisherContentId}")`, "premium"},
		{"any, profile=\"x\"", "premium"},
		{"public", "premium"},
		{`"any"`, "premium"},
		{`entitled=("art-42" "` + strings.Repeat("x", 1100) + `")`, "premium"},
	} {
		lines = strings.Split(test.said, "|")
		if test.said == "" {
			lines = nil
		}
		var opens []string
		for _, user := range []string{"", "none", "one", "premium"} {
			raw := s.rawAs(user, http.MethodGet, "/articles/x")
			if strings.Contains(raw, "the article") {
				opens = append(opens, map[bool]string{true: "-", false: user}[user == ""])
			} else if status := statusOf(raw); status != "401" && status != "403" {
				t.Errorf("%q, reader %q: status %s", test.said, user, status)
			}
			if strings.Contains(strings.ToLower(raw), "gatefold-require") {
				t.Errorf("%q: the header reaches the client:\n%s", test.said, raw)
			}
		}
		if got := strings.Join(opens, " "); got != test.opens {
			t.Errorf("%q opens the page to %s, want %s", test.said, got, test.opens)
		}
	}
}

// randomOrigin answers in a random way, with secrets in everything that it sends.
type randomOrigin struct {
	hints, status, chunks              int
	said                               []string
	flush, trailers, hijacks, panics   bool
	prefixed, length, nothing, upgrade bool
}

var requirementsOfOrigins = [][]string{
	nil, {"any"}, {"authenticated"}, {`entitled=("premium")`}, {`entitled=("art-42")`}, {"any", "authenticated"}, {"entitled"}, {"???"}, {"any", "any"}, {`any, x="`},
}

func newRandomOrigin(r *rand.Rand) *randomOrigin {
	return &randomOrigin{
		hints: r.IntN(3), status: []int{200, 200, 200, 206, 203, 304, 201, 204, 301, 404, 500}[r.IntN(11)], chunks: r.IntN(4),
		said: requirementsOfOrigins[r.IntN(len(requirementsOfOrigins))], flush: r.IntN(2) == 0, trailers: r.IntN(2) == 0,
		hijacks: r.IntN(12) == 0, panics: r.IntN(8) == 0, prefixed: r.IntN(2) == 0, length: r.IntN(4) == 0, nothing: r.IntN(10) == 0, upgrade: r.IntN(15) == 0,
	}
}

func (o *randomOrigin) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	control := http.NewResponseController(w)
	for range o.hints {
		header.Set("Link", "</SECRET.css>; rel=preload")
		header.Set(requireHeader, "any")
		w.WriteHeader(http.StatusEarlyHints)
		header.Del(requireHeader)
	}
	if o.hijacks || o.upgrade {
		conn, _, err := control.Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		status := "200 OK"
		if o.upgrade {
			status = "101 Switching Protocols\r\nUpgrade: websocket"
		}
		text := "HTTP/1.1 " + status + "\r\nSet-Cookie: a=SECRET\r\n"
		for _, line := range o.said {
			text += requireHeader + ": " + line + "\r\n"
		}
		_, _ = io.WriteString(conn, text+"Connection: close\r\n\r\nSECRET")
		return
	}
	header.Set("Set-Cookie", "a=SECRET")
	header.Set("Etag", `"SECRET"`)
	header["X-Secret"] = []string{"SECRET"}
	for _, line := range o.said {
		header.Add(requireHeader, line)
	}
	if o.trailers && !o.prefixed {
		header.Set("Trailer", "X-Late, "+requireHeader)
	}
	if o.nothing {
		return
	}
	w.WriteHeader(o.status)
	if o.flush {
		_ = control.Flush()
	}
	for range o.chunks {
		_, _ = io.WriteString(w, strings.Repeat("SECRET ", 300))
		_ = control.Flush()
	}
	if o.panics {
		panic(http.ErrAbortHandler)
	}
	if o.trailers {
		prefix := ""
		if o.prefixed {
			prefix = http.TrailerPrefix
		}
		header.Set(prefix+"X-Late", "SECRET")
		header.Set(prefix+requireHeader, "any")
	}
}

// opens reports whether a reader may have what the origin sends.
func (o *randomOrigin) opens(user string) bool {
	if !o.hijacks && !o.upgrade && !o.nothing && (o.status == 301 || o.status >= 400) {
		return true
	}
	switch {
	case len(o.said) == 0, len(o.said) == 2 && o.said[0] != o.said[1]:
		return user == "premium"
	}
	switch o.said[0] {
	case "any":
		return true
	case "authenticated":
		return user != ""
	case `entitled=("art-42")`:
		return user == "one"
	default:
		return user == "premium"
	}
}

// Whatever an origin does, in whatever order, no byte of a page that its reader may not have
// is sent: no early hint, no header, no trailer, no part of a body. A reader who may have it
// gets it.
func TestNoByteOfARefusedPage(t *testing.T) {
	s := newOriginSite(t, strings.Replace(originRules, "teaser cut", "", 1), "")
	var serving atomic.Pointer[randomOrigin] // a refused request may still be served
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) { serving.Load().ServeHTTP(w, r) })
	random := rand.New(rand.NewPCG(21, 5))
	users := []string{"", "none", "one", "premium"}
	opened, refused := 0, 0
	for i := range 600 {
		current := newRandomOrigin(random)
		serving.Store(current)
		user := users[random.IntN(len(users))]
		method := []string{http.MethodGet, http.MethodGet, http.MethodHead}[random.IntN(3)]
		var headers []string
		if random.IntN(2) == 0 {
			headers = append(headers, "Range", "bytes=0-3", "If-None-Match", `"SECRET"`, requireHeader, "any", "Gatefold_Require", "any")
		}
		raw := s.rawAs(user, method, fmt.Sprint("/articles/", i), headers...)
		what := fmt.Sprintf("%d: %+v, %s by %q:\n%.600s", i, *current, method, user, raw)
		if strings.Contains(strings.ToLower(raw), "gatefold-require: ") {
			t.Fatalf("the header reaches the client: %s", what)
		}
		if current.upgrade {
			if strings.Contains(raw, "SECRET") && !current.opens(user) {
				t.Fatalf("a refused page leaks: %s", what)
			}
			continue
		}
		if !current.opens(user) {
			refused++
			broken := current.panics && !current.flush && current.chunks == 0 // no answer: 502
			if status := statusOf(raw); strings.Contains(raw, "SECRET") || status != "401" && status != "403" && !broken {
				t.Fatalf("a refused page leaks: %s", what)
			}
			continue
		}
		opened++
		if current.nothing || current.panics {
			continue
		}
		if current.hijacks {
			current.chunks = 0
		}
		if !strings.Contains(raw, "SECRET") || current.chunks > 0 && method == http.MethodGet && !slices.Contains([]int{204, 304, 301}, current.status) && strings.Count(raw, "SECRET ") < 300 {
			t.Fatalf("a page does not reach its reader: %s", what)
		}
	}
	if opened < 100 || refused < 100 {
		t.Errorf("%d pages were opened and %d refused: the test tries too few", opened, refused)
	}
}

// A page is refused while the origin still sends it: its request ends, and its body is not
// read to the end.
func TestRefusedBodyIsCancelled(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	ended := make(chan error, 1)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	s.get("/articles/x", "Accept", "application/json").denied(http.StatusUnauthorized, "login_required")
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the request of a refused page goes on")
	}
}

// Only GET and HEAD ask the origin: another method is decided by the default before it has an
// effect there. So is a request for a WebSocket.
func TestOtherMethodsDoNotReachTheOrigin(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(requireHeader, "any")
		_, _ = io.WriteString(w, "done "+r.Method)
	})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		if raw := s.rawAs("none", method, "/articles/x", "Content-Length", "0"); statusOf(raw) != "403" || strings.Contains(raw, "done") {
			t.Errorf("%s of a reader without the default: %s", method, raw)
		}
	}
	if raw := s.rawAs("none", http.MethodGet, "/articles/x", "Upgrade", "websocket"); statusOf(raw) != "403" {
		t.Errorf("a WebSocket: %s", raw)
	}
	s.origin.WantNone(t)
	if raw := s.rawAs("premium", http.MethodPost, "/articles/x", "Content-Length", "0"); !strings.Contains(raw, "done POST") {
		t.Errorf("POST of a reader with the default: %s", raw)
	}
}

// A counted gift link is spent on the page that it opens, and not on one that is refused: the
// origin requires what the link does not give.
func TestLinkOnAPageOfTheOrigin(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	said := `entitled=("premium")`
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(requireHeader, said)
		_, _ = io.WriteString(w, "the article")
	})
	link, id := s.link(keys.LinkClaims{SKU: "premium", MaxUses: 1})
	said = `entitled=("art-42")`
	path := link[strings.Index(link, "/articles"):]
	if got := s.get(path); strings.Contains(got.body, "the article") || got.StatusCode != http.StatusForbidden {
		t.Errorf("a page that the link does not open: %d %s", got.StatusCode, got.body)
	}
	if uses := s.uses(id); uses != 0 {
		t.Fatalf("%d uses are spent on a refused page", uses)
	}
	said = `entitled=("premium")`
	if got := s.get(path); got.StatusCode != http.StatusOK || got.body != "the article" {
		t.Errorf("the page of the link: %d %s", got.StatusCode, got.body)
	}
	if uses := s.uses(id); uses != 1 {
		t.Errorf("%d uses are spent", uses)
	}
}

// The page cache keeps the requirement with the page: a hit decides by it, for each reader.
func TestRequirementIsKeptWithThePage(t *testing.T) {
	s := newOriginSite(t, identifyReaders+"rule /articles/{id} origin {\n default entitled premium\n cache 1h\n}\nrule / any\n", "gatefold_cache")
	requests := 0
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.Header().Set(requireHeader, `entitled=("art-42")`)
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = io.WriteString(w, "the article")
	})
	for range 3 {
		for _, user := range []string{"one", "", "none", "premium"} {
			raw := s.rawAs(user, http.MethodGet, "/articles/x")
			if got := strings.Contains(raw, "the article"); got != (user == "one") || strings.Contains(raw, requireHeader) {
				t.Errorf("reader %q: %s", user, raw)
			}
		}
	}
	if requests > 1 {
		t.Errorf("the origin was asked %d times", requests)
	}
}

// A refused reader gets the teaser of the page, unless the origin says that it has none.
func TestTeaserOfAPageOfTheOrigin(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	said := `entitled=("art-42")`
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(requireHeader, said)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><body><p>Lead.</p><!-- gatefold:premium --><p>SECRET</p><!-- /gatefold:premium --></body>")
	})
	got := s.get("/articles/x", "Accept", browserAccept)
	if got.StatusCode != http.StatusOK || !strings.Contains(got.body, "Lead.") || strings.Contains(got.body, "SECRET") || got.Header.Get(requireHeader) != "" {
		t.Errorf("the teaser: %d %v %s", got.StatusCode, got.Header, got.body)
	}
	said = `entitled=("art-42"), teaser=?0`
	if got = s.get("/articles/x", "Accept", browserAccept); got.StatusCode != http.StatusUnauthorized || strings.Contains(got.body, "Lead.") {
		t.Errorf("without a teaser: %d %s", got.StatusCode, got.body)
	}
}

// The header is passed on nowhere: not on pages that another rule opens, not in early hints,
// not from a client to the origin.
func TestRequirementIsNeverPassedOn(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	var asked http.Header
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Clone()
		w.Header().Set(requireHeader, "any")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set(http.TrailerPrefix+requireHeader, "any")
		_, _ = io.WriteString(w, "public")
	})
	raw := s.rawAs("", http.MethodGet, "/public", requireHeader, "any", "Gatefold_Require", "any")
	if !strings.Contains(raw, "public") || strings.Contains(strings.ToLower(raw), "gatefold-require") {
		t.Errorf("a public page: %s", raw)
	}
	for name := range asked {
		if strings.Contains(strings.ToLower(name), "require") {
			t.Errorf("the origin gets %s of a client", name)
		}
	}
}

// The log and explain show what the origin required.
func TestRequirementIsExplained(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(requireHeader, `entitled=("art-42")`) })
	s.get("/articles/x").denied(http.StatusUnauthorized, "login_required")
	entries := logged.entries(t, "http.handlers.gatefold")
	fields, _ := entries[len(entries)-1]["gatefold"].(map[string]any)
	if fields["require"] != `entitled=("art-42")` {
		t.Errorf("the log has %v", fields)
	}
	for require, want := range map[string]string{"any": "public", "": "not_entitled", `entitled=("art-42")`: "entitled", "???": "not_entitled"} {
		if got := s.explain(admin.ExplainRequest{URL: "/articles/x", UserID: "one", Require: require}); got.Decision.Reason != want {
			t.Errorf("%q is explained as %s, want %s", require, got.Decision.Reason, want)
		}
	}
}

// While the origin fails, error routes answer a reader whom the default refuses, but they do
// not serve them the page of another origin.
func TestErrorRoutesDoNotServeARefusedPage(t *testing.T) {
	s := newOriginSite(t, originRules, "")
	config := strings.Replace(s.config("", originRules, "handle_errors {\nrespond \"SECRET of a replica\" 200\n}\n"), "reverse_proxy", "\n\treverse_proxy", 1)
	s.load(strings.Replace(config, strings.TrimPrefix(s.origin.URL, "http://"), "127.0.0.1:"+keystest.FreePort(t), 1))
	raw := s.rawAs("none", http.MethodGet, "/articles/x")
	if strings.Contains(raw, "SECRET") || statusOf(raw) != "502" {
		t.Errorf("a refused reader gets %s", raw)
	}
	if raw = s.rawAs("premium", http.MethodGet, "/articles/x"); !strings.Contains(raw, "SECRET") {
		t.Errorf("a reader of the default gets %s", raw)
	}
}

// What can only be a mistake fails the load.
func TestMistakesOfOriginRules(t *testing.T) {
	s := newTestSite(t, standardRules)
	for rules, want := range map[string]string{
		"rule /a origin":                                              "default entitled premium",
		"rule /a origin premium":                                      "takes no arguments",
		"rule /a origin {\n default any\n}":                           "would open each page",
		"rule /a origin {\n default\n}":                               "default entitled premium",
		"rule /a origin {\n default wrong\n}":                         "unknown operator",
		"rule /a origin {\n default entitled\n}":                      "at least one sku",
		"rule /a entitled premium {\n default authenticated\n}":       "operator is origin",
		"rule /a origin {\n default entitled premium\n entitled b\n}": "must be the only step",
	} {
		if err := load(s.config("", rules+"\nrule / any\n", "")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rules, err, want)
		}
	}
}
