package caddymodule

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// tableRules are the rules of the decision table.
const tableRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /plans subscribed gold
		rule /users/{user} self
		rule /app/{profile} direct
		rule /terms signed
		rule /safe verified
		rule /account GET,POST authenticated
		rule /both {
			subscribed gold
			entitled premium
		}
		rule /form GET any
		rule /premium entitled premium
		rule / GET any
		paths {
			allow empty_segments
		}
`

// The kinds of reader. The names of identified readers are their user ids.
const (
	anonymous  = ""
	subscriber = "subscriber" // has the sku premium
	golden     = "golden"     // has the sku gold
	ann        = "ann"        // has nothing
	linkHolder = "link"       // has redeemed a link to the page
	forger     = "forger"     // shows a token that fails
)

var tableSKUs = map[string][]string{subscriber: {"premium"}, golden: {"gold"}, ann: {}}

// tableRow is a request and its decision.
type tableRow struct {
	method, target, who string
	want                policy.Reason
}

const (
	public        = policy.ReasonPublic
	authenticated = policy.ReasonAuthenticated
	entitled      = policy.ReasonEntitled
	signedLink    = policy.ReasonSignedLink
	loginRequired = policy.ReasonLoginRequired
	notEntitled   = policy.ReasonNotEntitled
	badCredential = policy.ReasonBadCredential
	badPath       = policy.ReasonBadPath
	badMethod     = policy.ReasonBadMethod
	noRule        = policy.ReasonNoRule
)

var decisionTable = []tableRow{
	{"GET", "/", anonymous, public},
	{"GET", "/news?a=b", anonymous, public},
	{"HEAD", "/", anonymous, public},
	{"GET", "/", ann, public},
	{"GET", "/", forger, public},
	{"POST", "/", anonymous, noRule},
	{"DELETE", "/news", subscriber, noRule},
	{"OPTIONS", "/", anonymous, noRule},
	{"PURGE", "/", anonymous, badMethod},

	{"GET", "/articles/hello", anonymous, loginRequired},
	{"GET", "/articles/hello", subscriber, entitled},
	{"GET", "/articles/hello", golden, notEntitled},
	{"GET", "/articles/hello", ann, notEntitled},
	{"GET", "/articles/hello", linkHolder, signedLink},
	{"GET", "/articles/hello", forger, badCredential},
	{"HEAD", "/articles/hello", subscriber, entitled},
	{"HEAD", "/articles/hello", linkHolder, signedLink},
	{"POST", "/articles/hello", subscriber, entitled},
	{"POST", "/articles/hello", ann, notEntitled},
	{"GET", "/articles/hello/", subscriber, entitled},
	{"GET", "/articles/hello/comments?page=2", subscriber, entitled},
	{"GET", "/articles/hello/comments", anonymous, loginRequired},
	{"GET", "/articles", anonymous, public},
	{"GET", "/articles/", anonymous, public},
	{"GET", "/articles/premium", anonymous, loginRequired},
	{"GET", "/articles/h%C3%A9", subscriber, entitled},
	{"GET", "/articles/a%20b", ann, notEntitled},

	{"GET", "/plans", golden, entitled},
	{"GET", "/plans", subscriber, policy.ReasonNotSubscribed},
	{"GET", "/plans", anonymous, loginRequired},
	{"GET", "/plans/monthly", golden, entitled},

	{"GET", "/users/ann", ann, authenticated},
	{"GET", "/users/ann/orders", ann, authenticated},
	{"GET", "/users/ann", golden, notEntitled},
	{"GET", "/users/Ann", ann, notEntitled},
	{"GET", "/users/ann", anonymous, loginRequired},
	{"GET", "/users/ann", forger, badCredential},
	{"GET", "/users", anonymous, public},

	{"GET", "/app/abc", anonymous, loginRequired},
	{"GET", "/app/abc", ann, policy.ReasonRoleRequired},
	{"POST", "/app/abc/x", subscriber, policy.ReasonRoleRequired},
	{"GET", "/terms", ann, policy.ReasonAgreementRequired},
	{"GET", "/safe", ann, policy.ReasonVerifyRequired},
	{"GET", "/safe", anonymous, loginRequired},

	{"GET", "/account", ann, authenticated},
	{"POST", "/account", ann, authenticated},
	{"POST", "/account", anonymous, loginRequired},
	{"GET", "/account", forger, badCredential},
	{"PUT", "/account", ann, noRule},

	{"GET", "/both", golden, entitled},
	{"GET", "/both", subscriber, entitled},
	{"GET", "/both", ann, notEntitled},
	{"GET", "/both", anonymous, loginRequired},
	{"GET", "/both", linkHolder, signedLink},
	{"GET", "/both/x", subscriber, entitled},

	{"GET", "/form", anonymous, public},
	{"POST", "/form", anonymous, noRule},

	{"GET", "/premium", anonymous, loginRequired},
	{"GET", "/premium", subscriber, entitled},
	{"GET", "//premium", anonymous, loginRequired},
	{"GET", "//premium", subscriber, entitled},
	{"GET", "/premium//x", anonymous, loginRequired},

	{"GET", "/#/premium", anonymous, badPath},
	{"GET", "/#/premium", subscriber, badPath},
	{"GET", "/articles/hello#x", subscriber, badPath},
	{"GET", "/news?a=b#c", anonymous, badPath},
	{"GET", "/a/../premium", anonymous, badPath},
	{"GET", "/a/%2e%2e/premium", subscriber, badPath},
	{"GET", "/a%2fpremium", anonymous, badPath},
	{"GET", "/a%5cpremium", anonymous, badPath},
	{"GET", "/%2570remium", anonymous, badPath},
	{"GET", "/premium;x", anonymous, badPath},
	{"GET", "/a%00b", anonymous, badPath},
	{"GET", "/%ff", anonymous, badPath},
	{"POST", "/a/./b", ann, badPath},

	{"TRACE", "/", anonymous, badMethod},
	{"TRACE", "/a/../premium", subscriber, badMethod},
	{"TRACE", "/#/premium", ann, badMethod},
}

// gateTable is a gate to which the table is sent.
type gateTable struct {
	*testSite
	gate   *Handler
	links  map[string]string // link cookies by the page that they open
	forged string
}

// request returns a row's request as a client writes it.
func (s *gateTable) request(row *tableRow) string {
	s.Helper()
	request := row.method + " " + row.target + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nConnection: close\r\n"
	switch row.who {
	case anonymous:
	case linkHolder:
		page, _, _ := strings.Cut(row.target, "?")
		request += "Cookie: " + s.links[page] + "\r\n"
	case forger:
		request += "Cookie: reader=" + s.forged + "\r\n"
	default:
		request += "Cookie: reader=" + s.reader(keys.ReaderClaims{UserID: row.who}) + "\r\n"
	}
	return request + "\r\n"
}

// atTheGate sends a row over the network, and returns the reason and the status.
func (s *gateTable) atTheGate(row *tableRow, request string) (reason string, status int) {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		s.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: row.method})
	if err != nil {
		s.Fatalf("%s %s: %v", row.method, row.target, err)
	}
	defer response.Body.Close()
	return response.Header.Get("X-Gate-Reason"), response.StatusCode
}

// explainRequest returns a row as a question to explain. Offline there is no store, so
// the request has the reader's skus.
func (s *gateTable) explainRequest(row *tableRow, offline bool) admin.ExplainRequest {
	request := admin.ExplainRequest{URL: s.site + row.target, Method: row.method}
	switch row.who {
	case anonymous:
	case linkHolder:
		request.HoldsLink = true
	case forger:
		request.ReaderToken = s.forged
	default:
		request.UserID = row.who
		if skus := tableSKUs[row.who]; offline {
			request.SKUs = &skus
		}
	}
	return request
}

// inAStream decides a row as the open stream of its request is decided.
func (s *gateTable) inAStream(request string) policy.Reason {
	s.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		s.Fatal(err)
	}
	g := s.gate.clean(r)
	defer g.release()
	g.site = s.gate.site()
	g.request.Site = g.site.site
	g.identify()
	decision := g.site.policy.Decide(s.Context(), &g.request)
	stream := newStream(g, nil)
	again := stream.decide(s.Context(), now())
	if decision.Reason != again.Reason {
		s.Errorf("%q is %s when it opens a stream and %s later", request, decision.Reason, again.Reason)
	}
	return again.Reason
}

const tableSite = "header >X-Gate-Reason {http.gatefold.reason}"

// Every caller decides by one function, and they agree on every request: the gate,
// explain, open streams, offline rule tests and the self-check. A gate whose Redis was
// never reachable differs only where records decide.
//
// An earlier version drifted: it served /#/premium, which no browser sends, while an
// origin that drops the fragment late serves /premium.
func TestDecisionTable(t *testing.T) {
	if len(decisionTable) < 60 {
		t.Fatalf("the table has %d rows", len(decisionTable))
	}
	every := storeOptions.SelfCheckEvery
	storeOptions.SelfCheckEvery = 1
	defer func() { storeOptions.SelfCheckEvery = every }()
	s := &gateTable{testSite: newTestSiteWith(t, "", tableRules, tableSite), links: map[string]string{}}
	s.gate = s.app().gates.list()[0]
	for who, skus := range tableSKUs {
		for _, sku := range skus {
			s.grant(store.Grant{UserID: who, SKU: sku})
		}
	}
	for _, page := range []string{"/articles/hello", "/both"} {
		address, _ := s.link(keys.LinkClaims{URL: s.site + page})
		cookie := s.get(address).Cookies()[0]
		s.links[page] = cookie.Name + "=" + cookie.Value
	}
	s.forged = s.reader(keys.ReaderClaims{UserID: ann})
	s.forged = s.forged[:len(s.forged)-8] + "AAAAAAAA"
	offline, err := newOfflineJudge(&Handler{Vendor: defaultVendor, Site: defaultVendor, Rules: s.gate.Rules, Paths: s.gate.Paths})
	if err != nil {
		t.Fatal(err)
	}
	checkedBefore, _ := s.running().Policy.SelfChecks()

	for i := range decisionTable {
		row := &decisionTable[i]
		t.Run(fmt.Sprintf("%s %s as %s", row.method, row.target, cmp.Or(row.who, "anonymous")), func(t *testing.T) {
			request := s.request(row)
			want := row.want.String()
			if reason, _ := s.atTheGate(row, request); reason != want {
				t.Errorf("the gate: %s, want %s", reason, want)
			}
			if got := s.inAStream(request).String(); got != want {
				t.Errorf("a stream: %s, want %s", got, want)
			}
			if got := s.explain(s.explainRequest(row, false)).Decision.Reason; got != want {
				t.Errorf("explain: %s, want %s", got, want)
			}
			if row.who == forger {
				return // rule tests without a server have no keys
			}
			explained, err := offline.Explain(t.Context(), s.explainRequest(row, true))
			if err != nil {
				t.Fatal(err)
			}
			if got := explained.Decision.Reason; got != want {
				t.Errorf("a rule test: %s, want %s", got, want)
			}
		})
	}
	clock.Advance(2 * time.Minute) // a difference counts after a minute
	if checked, failed := s.running().Policy.SelfChecks(); checked < checkedBefore+uint64(len(decisionTable)) || failed != 0 {
		t.Errorf("of %d decisions %d were checked, and %d of the checks failed", len(decisionTable), checked-checkedBefore, failed)
	}

	s.neverReached(t)
}

// neverReached sends the table to a gate whose Redis was never reachable.
func (s *gateTable) neverReached(t *testing.T) {
	t.Helper()
	requests := make([]string, len(decisionTable))
	for i := range decisionTable {
		requests[i] = s.request(&decisionTable[i])
	}
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	config := strings.Replace(s.config("", tableRules, tableSite), "store bolt "+s.database(),
		"store redis redis://127.0.0.1:"+keystest.FreePort(t)+" {\n\t\t\tcold_start\n\t\t}\n\t\tsecret {env.GATEFOLD_TEST_SECRET}", 1)
	s.load(config)
	s.gate = s.app().gates.list()[0]
	for i := range decisionTable {
		row := &decisionTable[i]
		want := policy.ReasonStoreUnavailable
		if row.want == public || row.want == badPath || row.want == badMethod {
			want = row.want // no record decides these
		}
		reason, status := s.atTheGate(row, requests[i])
		if reason != want.String() || (status == http.StatusOK) != want.Allows() {
			t.Errorf("%s %s as %s while the store is unreachable: %s (%d), want %s", row.method, row.target, row.who, reason, status, want)
		}
		if got := s.inAStream(requests[i]); got != want {
			t.Errorf("%s %s as %s in a stream while the store is unreachable: %s, want %s", row.method, row.target, row.who, got, want)
		}
	}
}

// No rule allows a preflight: it is allowed as such.
func TestDecisionOfPreflights(t *testing.T) {
	s := &gateTable{testSite: newTestSiteWith(t, "", tableRules, tableSite)}
	s.gate = s.app().gates.list()[0]
	for target, want := range map[string]policy.Reason{
		"/articles/hello": policy.ReasonPreflight, "/": policy.ReasonPreflight, "/#/premium": badPath, "/a/../b": badPath,
	} {
		row := &tableRow{method: "OPTIONS", target: target}
		request := strings.TrimSuffix(s.request(row), "\r\n") + "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"
		if reason, _ := s.atTheGate(row, request); reason != want.String() {
			t.Errorf("%s: %s, want %s", target, reason, want)
		}
		if got := s.inAStream(request); got != want {
			t.Errorf("%s in a stream: %s, want %s", target, got, want)
		}
	}
}
