package policy

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// fakeSessions is a SessionSource in memory.
type fakeSessions struct {
	forwarding Forwarding
	key        keys.SessionKey
	replaced   time.Time
	first      map[string]time.Time
	profiles   map[string]keys.SessionProfile
	asked      int // the most profiles in one call
	err        error
	calls      int
}

func (f *fakeSessions) Forwarding(context.Context, string, string) (Forwarding, error) {
	f.calls++
	return f.forwarding, f.err
}

func (f *fakeSessions) SessionKey(context.Context, string, string) (keys.SessionKey, time.Time, error) {
	f.calls++
	return f.key, f.replaced, f.err
}

func (f *fakeSessions) Ring(context.Context, string) (*keys.Ring, error) {
	f.calls++
	return testRing(), f.err
}

func (f *fakeSessions) FirstEngaged(_ context.Context, _, _, _ string, tags []string) (map[string]time.Time, error) {
	engaged := make(map[string]time.Time)
	for _, tag := range tags {
		if at, ok := f.first[tag]; ok {
			engaged[tag] = at
		}
	}
	return engaged, f.err
}

func (f *fakeSessions) Profiles(_ context.Context, _ string, slugs []string) (map[string]keys.SessionProfile, error) {
	f.calls++
	f.asked = max(f.asked, len(slugs))
	found := make(map[string]keys.SessionProfile)
	for _, slug := range slugs {
		if profile, ok := f.profiles[slug]; ok {
			found[slug] = profile
		}
	}
	return found, f.err
}

// session decides a request as the handler does, and returns the upstream session and,
// unless it is encrypted, its claims.
func (env *testEnv) session(source *fakeSessions, v testRequest, backend SessionBackend) (session string, claims map[string]any) {
	env.t.Helper()
	ctx := context.Background()
	r := env.request(v)
	decision := env.policy.Decide(ctx, r)
	if decision.Pending() {
		decision = env.policy.Redeem(ctx, r, decision, env.records.nextID())
	}
	if !decision.Allow() {
		env.t.Fatalf("denied: %s", decision.Reason)
	}
	session, err := env.policy.Session(ctx, source, r, &decision, backend)
	must(env.t, err)
	if session == "" || backend == SessionCookie {
		return session, nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(session, ".")[1])
	must(env.t, err)
	must(env.t, json.Unmarshal(payload, &claims))
	return session, claims
}

// The session contains what a publisher's link names, by its token before the link has
// a record, and by the link cookie.
func TestSessionOfAPublishersLink(t *testing.T) {
	env, source := newTestEnv(t), new(fakeSessions)
	env.trustEditor()
	names := func(v testRequest) string {
		t.Helper()
		_, claims := env.session(source, v, SessionAssertion)
		if claims["sub"] != nil {
			t.Errorf("a link identifies a user: %v", claims)
		}
		link, _ := claims["link"].(map[string]any)
		if link["iss"] != newsDomain {
			t.Errorf("the link is %v", link)
		}
		return fmt.Sprintf("%v%v", link["jti"], link["contentNames"])
	}
	token := shareEvidence(editor.share(map[string]any{"contentNames": []string{"bodytext", "sidebar"}}))
	for range 2 {
		if got := names(testRequest{link: token}); got != "share_1[bodytext sidebar]" {
			t.Errorf("token: %s", got)
		}
		env.waitForCaches()
	}
	if got := names(testRequest{link: LinkEvidence{Redeemed: []RedeemedLink{redeemedPublisherLink("share_1")}}}); got != "share_1[bodytext sidebar]" {
		t.Errorf("cookie: %s", got)
	}
}

// A session contains the time since which the reader knows all of the rule's tags, and
// no time while one is new.
func TestLastVisited(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(
		Rule{Path: "/one", Allow: Allow{Operator: "authenticated"}, Engaged: []string{"app"}},
		Rule{Path: "/two", Allow: Allow{Operator: "authenticated"}, Engaged: []string{"app", "profile"}},
		Rule{Path: "/", Allow: Allow{Operator: "authenticated"}},
	)
	early, late := time.Unix(start-2000, 0), time.Unix(start-1000, 0)
	source := &fakeSessions{key: keys.GenerateSessionKey(), first: map[string]time.Time{"app": early}}
	visited := func(path string) any {
		t.Helper()
		_, claims := env.session(source, testRequest{path: path, reader: ann}, SessionJWT)
		return claims["last_visited"]
	}
	if one, two, none := visited("/one"), visited("/two"), visited("/x"); one != early.UTC().Format(time.RFC3339) || two != nil || none != nil {
		t.Errorf("%v, %v, %v", one, two, none)
	}
	// The cached session is used until a write.
	env.waitForCaches()
	source.first["profile"] = late
	if two := visited("/two"); two != nil {
		t.Errorf("before the write: %v", two)
	}
	env.records.commit(Invalidation{Stripes: []uint16{Stripe(KindUserID, "acme", ann.UserID)}}, func() {})
	if two := visited("/two"); two != late.UTC().Format(time.RFC3339) {
		t.Errorf("after the write: %v", two)
	}
}

// However many grants a reader has, the session fits into a header and says that it is
// truncated.
func TestSessionSizeIsBounded(t *testing.T) {
	env, source := newTestEnv(t), &fakeSessions{key: keys.GenerateSessionKey()}
	for i := range 500 {
		env.records.grant(fakeGrant{Grant: Grant{ID: fmt.Sprint("g", i), SKU: fmt.Sprintf("sku-%03d-%s", i, strings.Repeat("x", 40))}, userID: "ann"})
	}
	env.subscribe(0, 0)
	reader := Reader{UserID: "ann", Email: strings.Repeat("e", 240) + "@x.example", PublisherUserID: strings.Repeat("p", 255)}
	for _, backend := range []SessionBackend{SessionCookie, SessionJWT, SessionAssertion} {
		session, claims := env.session(source, testRequest{path: "/public", reader: reader}, backend)
		if len(session) > 4096 || len(session) < 1000 {
			t.Errorf("backend %d: %d bytes", backend, len(session))
		}
		if backend == SessionCookie {
			continue
		}
		list, _ := claims["entitlements"].([]any)
		if len(list) == 0 || len(list) > 40 || claims["entitlements_truncated"] != true {
			t.Errorf("backend %d: %d entitlements, truncated %v", backend, len(list), claims["entitlements_truncated"])
		}
	}
}

// A cached session is used neither after its content changes nor after its key is
// replaced.
func TestSessionExpires(t *testing.T) {
	env := newTestEnv(t)
	source := &fakeSessions{key: keys.GenerateSessionKey()}
	env.subscribe(0, 10_000)
	kept := func(v testRequest, backend SessionBackend) string {
		t.Helper()
		var last string
		for range 100 { // until it is cached
			session, _ := env.session(source, v, backend)
			if session == last {
				return session
			}
			last = session
			env.waitForCaches()
		}
		t.Fatal("the session is never cached")
		return ""
	}
	v := testRequest{path: "/public", reader: ann}
	first := kept(v, SessionCookie)
	env.advance(9_999 * time.Millisecond)
	if got, _ := env.session(source, v, SessionCookie); got != first {
		t.Error("made again before the end of the grant")
	}
	env.advance(time.Millisecond)
	if got, _ := env.session(source, v, SessionCookie); got == first {
		t.Error("used after the end of the grant")
	}
	source.replaced = env.now().Add(5 * time.Second)
	bob := testRequest{path: "/public", reader: Reader{UserID: "bob"}}
	first = kept(bob, SessionJWT)
	env.advance(5 * time.Second)
	source.key, source.replaced = keys.GenerateSessionKey(), time.Time{}
	if got, _ := env.session(source, bob, SessionJWT); got == first {
		t.Error("used after the key was replaced")
	}
}

// A site's settings are read again only after a change. There is no default if they
// cannot be read.
func TestForwardingIsCached(t *testing.T) {
	env := newTestEnv(t)
	source := &fakeSessions{forwarding: Forwarding{EntryPoint: "https://app.example", Backend: SessionJWT}}
	for range 3 {
		got, err := env.policy.Forwarding(t.Context(), source, env.site)
		if err != nil || *got != source.forwarding {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if source.calls != 1 {
		t.Errorf("read %d times", source.calls)
	}
	env.records.commit(Invalidation{Shared: true}, func() { source.err = errDown })
	if got, err := env.policy.Forwarding(t.Context(), source, env.site); !errors.Is(err, ErrUnavailable) || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	r := &Request{Site: env.site, Reader: ann, Now: env.now()}
	if session, err := env.policy.Session(t.Context(), source, r, &Decision{Reason: ReasonAuthenticated}, SessionAssertion); !errors.Is(err, ErrUnavailable) || session != "" {
		t.Errorf("%q, %v", session, err)
	}
}
