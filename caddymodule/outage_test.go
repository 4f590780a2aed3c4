package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// A stream that was allowed ends when the Redis has been unreachable for stale_for: also
// if the node had heard of a change by then and could not read the rules that changed.
func TestRedisOutageCutsStreams(t *testing.T) {
	for name, heard := range map[string]bool{"rules in memory": false, "rules that could not be read": true} {
		t.Run(name, func(t *testing.T) {
			s := newRedisSite(t, "stale_for 10s")
			rule := policy.Rule{Rank: 1, Path: "/", Forward: true, Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium"]`)}}}
			records := s.shared().Store.As(store.Actor{})
			if err := records.ReplaceRules(t.Context(), defaultVendor, defaultVendor, []policy.Rule{rule}, policy.StandardOperators()); err != nil {
				t.Fatal(err)
			}
			s.grant(store.Grant{UserID: "ada", SKU: "premium"})
			bearer := "Bearer " + s.reader(keys.ReaderClaims{UserID: "ada"})
			_, ended := s.open("/events", "Authorization", bearer)
			s.redis.Kill()
			if heard {
				s.shared().Policy.RefreshVendor(t.Context(), defaultVendor)
			}
			clock.Advance(11 * time.Second)
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Errorf("the stream goes on; a request is answered %d", s.get("/page", "Authorization", bearer).StatusCode)
			}
		})
	}
}

// redisSiteUnderTest is a gated site whose records are in a Redis.
type redisSiteUnderTest struct {
	*testSite
	redis *redistest.Server
}

// newRedisSite runs a site whose rules are in a Redis. Its origin sends a line, and
// under /events nothing after it. Option is a line of the global option.
func newRedisSite(t *testing.T, option string, settings ...string) *redisSiteUnderTest {
	t.Helper()
	return newRedisSiteWith(t, option, streamRules, settings...)
}

// newRedisSiteWith runs a site with these lines in its gate.
func newRedisSiteWith(t *testing.T, option, gate string, settings ...string) *redisSiteUnderTest {
	t.Helper()
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	s := &redisSiteUnderTest{
		testSite: &testSite{TB: t, dir: t.TempDir(), origin: keystest.NewOrigin(t), port: keystest.FreePort(t)},
		redis:    redistest.Start(t, settings...),
	}
	s.site = "http://127.0.0.1:" + s.port
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello\n")
		_ = http.NewResponseController(w).Flush()
		if strings.HasSuffix(r.URL.Path, "/events") {
			<-r.Context().Done()
		}
	})
	s.load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tgatefold {\n\t\tstore redis %s\n\t\t%s\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n%s\n\t}\n\treverse_proxy %s\n}\n",
		s.redis.URL(), option, s.port, gate, strings.TrimPrefix(s.origin.URL, "http://")))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A preflight goes to the origin without the reader, whatever credentials it carries.
func TestPreflightIdentifiesNoReader(t *testing.T) {
	s := newTestSiteWith(t, "order request_header after gatefold", standardRules, "request_header X-User {http.auth.user.id}")
	s.do(http.MethodOptions, "/articles/a", "Origin", "https://a.example", "Access-Control-Request-Method", "GET",
		"Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "ada"}))
	if user := s.origin.Last(t).Header.Get("X-User"); strings.Contains(user, "ada") {
		t.Errorf("the origin gets the user %q", user)
	}
}

// A stream goes on while the keys that would identify its reader cannot be read, also
// if its URL carries two link tokens: the reader may be one who needs no link.
func TestStreamOfAnUnknownReaderGoesOn(t *testing.T) {
	s := newTestSite(t, standardRules)
	gate := s.app().gates.list()[0]
	site := gate.site()
	unread := &credentialSource{verifier: policy.NewReaderVerifier("unread", keys.OwnReaderIssuer(defaultVendor, defaultVendor),
		policy.UnreachableKeys(errors.New("the keys cannot be read")))}
	one := &stream{
		gate: gate, site: site, source: unread, token: s.reader(keys.ReaderClaims{UserID: "ada"}), began: now(),
		request: policy.Request{
			Site: site.site, Method: http.MethodGet, Target: "/articles/hello", EscapedPath: "/articles/hello",
			Link: policy.LinkEvidence{Token: "eyJ.a.b", Ambiguous: true},
		},
	}
	if reason := one.refusal(); reason != "" {
		t.Errorf("the stream is cut: %s", reason)
	}
}
