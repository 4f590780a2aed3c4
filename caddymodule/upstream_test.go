package caddymodule

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// backend sets the site's session backend.
func (s *testSite) backend(backend policy.SessionBackend) {
	s.Helper()
	rt := s.running()
	operator := rt.Store.As(store.Actor{})
	if _, err := operator.ChangeForwarding(s.Context(), defaultVendor, defaultVendor, func(f *policy.Forwarding) error {
		f.Backend = backend
		return nil
	}); err != nil {
		s.Fatal(err)
	}
	if err := rt.Sessions.EnsureSessionKey(s.Context(), operator, defaultVendor, defaultVendor); err != nil {
		s.Fatal(err)
	}
}

// sharedKey returns the key that the site shares with its origin.
func (s *testSite) sharedKey() string {
	s.Helper()
	key, _, err := s.running().Sessions.SessionKey(s.Context(), defaultVendor, defaultVendor)
	if err != nil {
		s.Fatal(err)
	}
	return key.Reveal()
}

// session decodes the session of a request as an origin does. It returns nil if there
// is none.
func (s *testSite) session(r *http.Request, backend policy.SessionBackend) map[string]any {
	s.Helper()
	var payload []byte
	switch backend {
	case policy.SessionAssertion:
		values := r.Header["Gatefold-Session"]
		if len(values) == 0 {
			return nil
		}
		payload = s.verifyAssertion(values)
	case policy.SessionJWT:
		values := r.Header["Authorization"]
		if len(values) == 0 {
			return nil
		}
		token, err := jose.ParseSignedCompact(strings.TrimPrefix(values[0], "Bearer "), []jose.SignatureAlgorithm{jose.HS256})
		if err != nil || len(values) != 1 {
			s.Fatalf("%v: %v", values, err)
		}
		if payload, err = token.Verify([]byte(s.sharedKey())); err != nil {
			s.Fatal(err)
		}
	case policy.SessionCookie:
		cookies := r.CookiesNamed("sessionid")
		if len(cookies) == 0 {
			return nil
		}
		if len(cookies) != 1 {
			s.Fatalf("%d session cookies", len(cookies))
		}
		payload = openCookie(s.TB, cookies[0].Value, s.sharedKey())
	default:
		return nil
	}
	var session map[string]any
	if err := json.Unmarshal(payload, &session); err != nil {
		s.Fatalf("%s: %v", payload, err)
	}
	return session
}

// verifyAssertion verifies an assertion as docs/proxy.md tells origins to.
func (s *testSite) verifyAssertion(values []string) []byte {
	s.Helper()
	if len(values) != 1 {
		s.Fatalf("%d assertions", len(values))
	}
	token, err := jose.ParseSignedCompact(values[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		s.Fatal(err)
	}
	header := token.Signatures[0].Protected
	ring, err := s.running().Keyring.Ring(s.Context(), defaultVendor)
	if err != nil {
		s.Fatal(err)
	}
	published, err := json.Marshal(ring.KeySet())
	if err != nil {
		s.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(published, &set); err != nil || len(set.Key(header.KeyID)) != 1 {
		s.Fatalf("%s: %v", published, err)
	}
	payload, err := token.Verify(set.Key(header.KeyID)[0])
	if err != nil || header.ExtraHeaders["typ"] != keys.TypeSession {
		s.Fatalf("%+v: %v", header, err)
	}
	return payload
}

// openCookie decrypts OpenSSL's format.
func openCookie(t testing.TB, value, key string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil || !strings.HasPrefix(string(raw), "Salted__") {
		t.Fatalf("%q: %v", raw, err)
	}
	var derived, last []byte
	for len(derived) < 48 {
		sum := md5.Sum(slices.Concat(last, []byte(key), raw[8:16]))
		last = sum[:]
		derived = append(derived, last...)
	}
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		t.Fatal(err)
	}
	text := raw[16:]
	cipher.NewCBCDecrypter(block, derived[32:]).CryptBlocks(text, text)
	return text[:len(text)-int(text[len(text)-1])]
}

var allBackends = []policy.SessionBackend{policy.SessionNone, policy.SessionCookie, policy.SessionJWT, policy.SessionAssertion}

// Every backend describes the reader and their entitlements to the origin.
func TestSessionOfAReader(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	ends := clock.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	s.grant(store.Grant{UserID: "subscriber", SKU: "archive", EndsAt: &ends})
	for _, backend := range allBackends[1:] {
		s.backend(backend)
		s.get("/articles/hello", name, bearer, "Cookie", "theme=dark").page()
		seen := s.origin.Last(t)
		session := s.session(seen, backend)
		who := session["username"]
		if backend == policy.SessionAssertion {
			who = session["sub"]
			if session["aud"] != "default" || session["iss"] != "gatefold:default" || session["exp"].(float64)-session["iat"].(float64) != 60 {
				t.Errorf("the assertion is %v", session)
			}
		} else if site, _ := session["site"].(map[string]any); site["slug"] != "default" || session["last_visited"] != nil {
			t.Errorf("the session is %v", session)
		}
		want := fmt.Sprintf("[map[ends_at:%s sku:archive] map[ends_at:<nil> sku:premium]]", ends.Format(time.RFC3339))
		if who != "subscriber" || fmt.Sprint(session["entitlements"]) != want {
			t.Errorf("backend %d: the session is %v, want %s", backend, session, want)
		}
		if got, err := seen.Cookie("theme"); err != nil || got.Value != "dark" {
			t.Errorf("backend %d: the reader's own cookie is gone: %v", backend, seen.Header)
		}
		// The origin gets the session on public pages too; shared caches must not store
		// its response.
		public := s.get("/public/x", name, bearer).page()
		if session := s.session(s.origin.Last(t), backend); session == nil || public.Header.Get("Cache-Control") != "private" {
			t.Errorf("backend %d: the public page: %v %v", backend, session, public.Header)
		}
	}
}

// An anonymous reader has no session, not even an empty one.
func TestAnonymousReaderHasNoSession(t *testing.T) {
	s := newTestSite(t, standardRules)
	for _, backend := range allBackends {
		s.backend(backend)
		got := s.get("/public/x").page()
		seen := s.origin.Last(t).Header
		for _, name := range []string{"Authorization", "Cookie", "Gatefold-Session"} {
			if values, there := seen[name]; there {
				t.Errorf("backend %d: %s: %q", backend, name, values)
			}
		}
		if got.Header.Get("Cache-Control") != "" {
			t.Errorf("backend %d: the public page is %v", backend, got.Header)
		}
	}
}

// Mallory tries to pass for another reader, with a token under a key of their own, a
// forged cookie, and every spelling of the headers.
func TestForgedSessionsAreRemoved(t *testing.T) {
	s := newTestSite(t, standardRules)
	mallory := "Authorization: Bearer " + s.reader(keys.ReaderClaims{UserID: "mallory"}) + "\r\n"
	const forged = "Zm9yZ2VkLWZvcmdlZA"
	spellings := []string{
		"Gatefold-Session: " + forged, "gatefold-session: " + forged, "GATEFOLD_SESSION: " + forged, "Gatefold_Session: " + forged,
		"Gatefold.Session: " + forged, "X-Gatefold-Session: " + forged, "Gatefold-User: " + forged,
		"Gatefold-Session: " + forged + "\r\nConnection: gatefold-session, keep-alive",
		"Connection: gatefold-session", "Connection: Gatefold_Session, close",
	}
	shared := []string{
		"Authorization: Bearer " + forged, "authorization: bearer " + forged, "Authorization: Basic " + forged,
		"Authorization: Bearer " + forged + "\r\nAuthorization: Bearer " + forged,
		"Cookie: sessionid=" + forged, "Cookie: a=b; sessionid=" + forged + "; c=d", "Cookie: SESSIONID=" + forged,
		"Cookie: a=b\r\nCookie: sessionid=" + forged, "Cookie: sessionid=" + forged + "; sessionid=" + forged,
		`Cookie: sessionid="` + forged + `"`, "Cookie: a=b sessionid=" + forged, "Cookie: a=b,sessionid=" + forged,
		`Cookie: a="x; sessionid=` + forged + `"`, "Cookie: \xa0sessionid=" + forged, "Cookie: sessionid\x85=" + forged,
		"Cookie: sessionid =" + forged, "Cookie: \tsessionid=" + forged, "Cookie: ;;sessionid=" + forged,
		"Authorization: Bearer " + forged + "\r\nConnection: authorization", "Cookie: sessionid=" + forged + "\r\nConnection: Cookie",
		"Connection: authorization, cookie",
	}
	for _, backend := range allBackends {
		s.backend(backend)
		attacks := spellings
		if backend.Shared() {
			attacks = append(slices.Clone(spellings), shared...)
		}
		for _, attack := range attacks {
			for _, credential := range []string{"", mallory} {
				if credential != "" && strings.Contains(strings.ToLower(attack), "authorization:") {
					continue // two headers identify no reader
				}
				s.raw("GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + credential + attack + "\r\nTE: trailers\r\n\r\n").page()
				seen := s.origin.Last(t)
				if dump := fmt.Sprint(seen.Header); strings.Contains(dump, forged) {
					t.Errorf("backend %d: %q arrives as %s", backend, attack, dump)
				}
				session := s.session(seen, backend)
				if backend == policy.SessionNone || credential == "" {
					if session != nil {
						t.Errorf("backend %d: %q makes the session %v", backend, attack, session)
					}
					continue
				}
				if session["username"] != "mallory" && session["sub"] != "mallory" {
					t.Errorf("backend %d: %q makes of mallory %v", backend, attack, session)
				}
			}
		}
	}
}

// Some servers merge trailers into the headers.
func TestForgedTrailersAreRemoved(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.backend(policy.SessionAssertion)
	const forged = "Zm9yZ2VkLWZvcmdlZA"
	trailers := make(chan http.Header, 1)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		buffer := make([]byte, 64)
		for {
			if _, err := r.Body.Read(buffer); err != nil {
				break
			}
		}
		trailers <- r.Trailer.Clone()
		fmt.Fprintf(w, "origin saw %s", r.RequestURI)
	})
	s.raw("POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum, Gatefold-Session\r\n\r\n" +
		"2\r\nok\r\n0\r\nX-Checksum: 1\r\nGatefold-Session: " + forged + "\r\nGatefold-User: " + forged + "\r\nCookie: sessionid=" + forged + "\r\n\r\n").page()
	got := <-trailers
	if got.Get("X-Checksum") != "1" || strings.Contains(fmt.Sprint(got), forged) {
		t.Errorf("the trailers are %v", got)
	}
}

// A session is cached until the entitlements change or half of its lifetime is over.
func TestSessionIsCached(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.backend(policy.SessionAssertion)
	name, bearer := s.subscriber()
	visit := func() string {
		t.Helper()
		s.get("/public/x", name, bearer).page()
		return s.origin.Last(t).Header.Get("Gatefold-Session")
	}
	visit()
	var first string
	s.waitFor("a session that is kept", func() bool {
		before := first
		first = visit()
		return first == before
	})
	clock.Advance(29 * time.Second)
	defer clock.Advance(-29 * time.Second)
	if visit() != first {
		t.Error("made again before its time")
	}
	clock.Advance(2 * time.Second)
	defer clock.Advance(-2 * time.Second)
	if visit() == first {
		t.Error("used when half of its time is over")
	}
	// A removed grant is not in the next session.
	made := s.grant(store.Grant{UserID: "subscriber", SKU: "extra"})
	skus := func() string {
		return fmt.Sprint(s.session(&http.Request{Header: http.Header{"Gatefold-Session": {visit()}}}, policy.SessionAssertion)["entitlements"])
	}
	if got := skus(); !strings.Contains(got, "extra") {
		t.Errorf("with the grant: %s", got)
	}
	if err := s.running().Store.As(store.Actor{}).DeleteGrant(s.Context(), defaultVendor, store.DefaultList, made.ID, nil); err != nil {
		t.Fatal(err)
	}
	if got := skus(); strings.Contains(got, "extra") || !strings.Contains(got, "premium") {
		t.Errorf("without the grant: %s", got)
	}
	// An expired grant is not in the next session.
	soon := clock.Now().Add(5 * time.Second)
	s.grant(store.Grant{UserID: "subscriber", SKU: "short", EndsAt: &soon})
	if got := skus(); !strings.Contains(got, "short") {
		t.Errorf("before its end: %s", got)
	}
	clock.Advance(5 * time.Second)
	defer clock.Advance(-5 * time.Second)
	if got := skus(); strings.Contains(got, "short") {
		t.Errorf("at its end: %s", got)
	}
	// The backend none takes effect at once.
	s.backend(policy.SessionNone)
	if got := visit(); got != "" {
		t.Errorf("there still is a session: %s", got)
	}
}

// A link identifies no reader; the session describes the link.
func TestSessionOfALink(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.backend(policy.SessionAssertion)
	link, id := s.link(keys.LinkClaims{PublisherContentID: "hello", Subject: "alice", Meta: json.RawMessage(`{"campaign":"autumn"}`)})
	cookie := s.get(link).page().linkCookie()
	s.origin.Last(t)
	s.get("/articles/hello", "Cookie", cookie).page()
	session := s.session(s.origin.Last(t), policy.SessionAssertion)
	sessionLink, _ := session["link"].(map[string]any)
	if session["sub"] != nil || sessionLink["jti"] != id || sessionLink["publisherContentId"] != "hello" || fmt.Sprint(sessionLink["meta"]) != "map[campaign:autumn]" || sessionLink["sub"] != nil {
		t.Errorf("the session is %v", session)
	}
	s.get("/public/x", "Cookie", cookie).page()
	if session := s.session(s.origin.Last(t), policy.SessionAssertion); session != nil {
		t.Errorf("where the link opens nothing: %v", session)
	}
}

// A session is not accepted as a credential.
func TestSessionIsNotACredential(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.backend(policy.SessionAssertion)
	name, bearer := s.subscriber()
	s.get("/articles/hello", name, bearer).page()
	stolen := s.origin.Last(t).Header.Get("Gatefold-Session")
	s.get("/articles/hello", "Authorization", "Bearer "+stolen).denied(http.StatusUnauthorized, "bad_credential")
	s.get("/articles/hello", "Cookie", "reader="+stolen).denied(http.StatusUnauthorized, "bad_credential")
	s.get("/articles/hello?token="+stolen).denied(http.StatusUnauthorized, "login_required") // is the origin's
	s.origin.WantNone(t)
}

// A denied request that an error route proxies to the origin carries no session.
func TestErrorRoutesHaveNoSession(t *testing.T) {
	s := newTestSite(t, standardRules)
	config := s.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t}", "handle_errors {\n\t\treverse_proxy ORIGIN\n\t}")
	s.load(strings.ReplaceAll(config, "ORIGIN", strings.TrimPrefix(s.origin.URL, "http://")))
	for _, backend := range []policy.SessionBackend{policy.SessionCookie, policy.SessionJWT} {
		s.backend(backend)
		s.get("/account", "Cookie", "sessionid=forged; a=b", "Authorization", "Bearer forged", "Gatefold-Session", "forged")
		if seen := s.origin.Last(t).Header; strings.Contains(fmt.Sprint(seen), "forged") || seen.Get("Cookie") != "" {
			t.Errorf("backend %d: %v", backend, seen)
		}
	}
}

// If the settings cannot be loaded, public pages are served without a session.
func TestSessionWithoutAStore(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.backend(policy.SessionJWT)
	name, bearer := s.subscriber()
	s.get("/account", name, bearer).page()
	s.origin.Last(t)
	s.backend(policy.SessionJWT) // what was remembered is stale now
	if err := s.shared().Engine.Close(); err != nil {
		t.Fatal(err)
	}
	s.get("/public/x", "Cookie", "sessionid=forged", name, bearer).page()
	if seen := s.origin.Last(t).Header; seen.Get("Authorization") != "" || seen.Get("Cookie") != "" {
		t.Errorf("the origin saw %v", seen)
	}
	s.get("/account", name, bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	s.origin.WantNone(t)
}

// Without a session key the gate denies the request and spends no use.
func TestNoUseIsSpentWithoutASession(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{MaxUses: 1})
	if _, err := s.running().Store.As(store.Actor{}).ChangeForwarding(s.Context(), defaultVendor, defaultVendor, func(f *policy.Forwarding) error {
		f.Backend = policy.SessionJWT
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.get(link).denied(http.StatusServiceUnavailable, "store_unavailable")
	}
	s.origin.WantNone(t)
	s.backend(policy.SessionJWT)
	s.get(link).page()
	if session := s.session(s.origin.Last(t), policy.SessionJWT); session == nil {
		t.Error("the session does not describe the link")
	}
	s.get(link).denied(http.StatusForbidden, "link_used_up")
}

// After a rotation the next key signs sessions from the announced moment on.
func TestSessionKeyOverlap(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.backend(policy.SessionJWT)
	name, bearer := s.subscriber()
	sessions, operator := s.running().Sessions, s.running().Store.As(store.Actor{})
	rotate := func(overlap time.Duration) string {
		t.Helper()
		key, err := sessions.RotateSessionKey(s.Context(), operator, defaultVendor, defaultVendor, overlap)
		if err != nil {
			t.Fatal(err)
		}
		return key.Reveal()
	}
	signedWith := func(key string) {
		t.Helper()
		s.get("/public/x", name, bearer).page()
		token, err := jose.ParseSignedCompact(strings.TrimPrefix(s.origin.Last(t).Header.Get("Authorization"), "Bearer "), []jose.SignatureAlgorithm{jose.HS256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.Verify([]byte(key)); err != nil {
			t.Errorf("not signed with this key: %v", err)
		}
	}
	first := rotate(time.Hour) // no origin has the previous key
	signedWith(first)
	second := rotate(10 * time.Minute)
	signedWith(first)
	clock.Advance(10*time.Minute - time.Millisecond)
	signedWith(first)
	clock.Advance(time.Millisecond)
	defer clock.Advance(-10 * time.Minute)
	signedWith(second)
	third := rotate(time.Hour)
	signedWith(second)
	if err := sessions.SwitchSessionKey(s.Context(), operator, defaultVendor, defaultVendor); err != nil {
		t.Fatal(err)
	}
	signedWith(third)
	if list, current, err := sessions.SessionKeys(s.Context(), defaultVendor, defaultVendor); err != nil || len(list) != 2 || current != 1 {
		t.Errorf("%v %d %v", list, current, err)
	}
}
