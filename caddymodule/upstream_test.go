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

// backend makes the site tell its origin in a way who asks.
func (b *bench) backend(backend policy.SessionBackend) {
	b.Helper()
	rt := b.running()
	operator := rt.store.As(store.Actor{})
	if _, err := operator.ChangeForwarding(b.Context(), defaultVendor, defaultVendor, func(f *policy.Forwarding) error {
		f.Backend = backend
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	if err := rt.sessions.EnsureSessionKey(b.Context(), operator, defaultVendor, defaultVendor); err != nil {
		b.Fatal(err)
	}
}

// sharedKey is the key that the site shares with its origin.
func (b *bench) sharedKey() string {
	b.Helper()
	key, _, err := b.running().sessions.SessionKey(b.Context(), defaultVendor, defaultVendor)
	if err != nil {
		b.Fatal(err)
	}
	return key.Reveal()
}

// session reads the session of a request as an origin does, by its backend; nil
// when it has none.
func (b *bench) session(r *http.Request, backend policy.SessionBackend) map[string]any {
	b.Helper()
	var payload []byte
	switch backend {
	case policy.SessionAssertion:
		values := r.Header["Gatefold-Session"]
		if len(values) == 0 {
			return nil
		}
		payload = b.verifyAssertion(values)
	case policy.SessionJWT:
		values := r.Header["Authorization"]
		if len(values) == 0 {
			return nil
		}
		token, err := jose.ParseSignedCompact(strings.TrimPrefix(values[0], "Bearer "), []jose.SignatureAlgorithm{jose.HS256})
		if err != nil || len(values) != 1 {
			b.Fatalf("%v: %v", values, err)
		}
		if payload, err = token.Verify([]byte(b.sharedKey())); err != nil {
			b.Fatal(err)
		}
	case policy.SessionCookie:
		cookies := r.CookiesNamed("sessionid")
		if len(cookies) == 0 {
			return nil
		}
		if len(cookies) != 1 {
			b.Fatalf("%d session cookies", len(cookies))
		}
		payload = openCookie(b.TB, cookies[0].Value, b.sharedKey())
	default:
		return nil
	}
	var session map[string]any
	if err := json.Unmarshal(payload, &session); err != nil {
		b.Fatalf("%s: %v", payload, err)
	}
	return session
}

// verifyAssertion does what docs/proxy.md asks an origin to do.
func (b *bench) verifyAssertion(values []string) []byte {
	b.Helper()
	if len(values) != 1 {
		b.Fatalf("%d assertions", len(values))
	}
	token, err := jose.ParseSignedCompact(values[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		b.Fatal(err)
	}
	header := token.Signatures[0].Protected
	ring, err := b.running().keyring.Ring(b.Context(), defaultVendor)
	if err != nil {
		b.Fatal(err)
	}
	published, err := json.Marshal(ring.KeySet())
	if err != nil {
		b.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(published, &set); err != nil || len(set.Key(header.KeyID)) != 1 {
		b.Fatalf("%s: %v", published, err)
	}
	payload, err := token.Verify(set.Key(header.KeyID)[0])
	if err != nil || header.ExtraHeaders["typ"] != keys.TypeSession {
		b.Fatalf("%+v: %v", header, err)
	}
	return payload
}

// openCookie opens OpenSSL's format.
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

// Under every backend the origin learns who asks, and what she has.
func TestSessionOfAReader(t *testing.T) {
	b := newBench(t, standardRules)
	name, bearer := b.subscriber()
	ends := clock.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	b.grant(store.Grant{UserID: "subscriber", SKU: "archive", EndsAt: &ends})
	for _, backend := range allBackends[1:] {
		b.backend(backend)
		b.get("/articles/hello", name, bearer, "Cookie", "theme=dark").page()
		seen := b.origin.last(t)
		session := b.session(seen, backend)
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
		// A page that everybody may have tells of her too; shared caches must not
		// keep what the origin makes of that.
		public := b.get("/public/x", name, bearer).page()
		if session := b.session(b.origin.last(t), backend); session == nil || public.Header.Get("Cache-Control") != "private" {
			t.Errorf("backend %d: the public page: %v %v", backend, session, public.Header)
		}
	}
}

// Of a reader whom nobody knows there is no session at all, not an empty one.
func TestNoSessionOfNobody(t *testing.T) {
	b := newBench(t, standardRules)
	for _, backend := range allBackends {
		b.backend(backend)
		got := b.get("/public/x").page()
		seen := b.origin.last(t).Header
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

// Mallory wants the origin to take her for alice. She has a token under a key of
// her own, a cookie of alice's from long ago, and every way to spell a header.
func TestNothingOfTheClientPassesForASession(t *testing.T) {
	b := newBench(t, standardRules)
	mallory := "Authorization: Bearer " + b.reader(keys.ReaderClaims{UserID: "mallory"}) + "\r\n"
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
		b.backend(backend)
		attacks := spellings
		if backend.Shared() {
			attacks = append(slices.Clone(spellings), shared...)
		}
		for _, attack := range attacks {
			for _, credential := range []string{"", mallory} {
				if credential != "" && strings.Contains(strings.ToLower(attack), "authorization:") {
					continue // two of them identify nobody
				}
				b.raw("GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + credential + attack + "\r\nTE: trailers\r\n\r\n").page()
				seen := b.origin.last(t)
				if dump := fmt.Sprint(seen.Header); strings.Contains(dump, forged) {
					t.Errorf("backend %d: %q arrives as %s", backend, attack, dump)
				}
				session := b.session(seen, backend)
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

// What comes behind a body is no header, and yet some servers take it for one.
func TestTrailersPassForNothing(t *testing.T) {
	b := newBench(t, standardRules)
	b.backend(policy.SessionAssertion)
	const forged = "Zm9yZ2VkLWZvcmdlZA"
	b.origin.mu.Lock()
	trailers := make(chan http.Header, 1)
	b.origin.answer = func(w http.ResponseWriter, r *http.Request) {
		buffer := make([]byte, 64)
		for {
			if _, err := r.Body.Read(buffer); err != nil {
				break
			}
		}
		trailers <- r.Trailer.Clone()
		fmt.Fprintf(w, "origin saw %s", r.RequestURI)
	}
	b.origin.mu.Unlock()
	b.raw("POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum, Gatefold-Session\r\n\r\n" +
		"2\r\nok\r\n0\r\nX-Checksum: 1\r\nGatefold-Session: " + forged + "\r\nGatefold-User: " + forged + "\r\nCookie: sessionid=" + forged + "\r\n\r\n").page()
	got := <-trailers
	if got.Get("X-Checksum") != "1" || strings.Contains(fmt.Sprint(got), forged) {
		t.Errorf("the trailers are %v", got)
	}
}

// A session is made once, and again when what it says changes, or its time is half
// over.
func TestSessionIsMadeOnce(t *testing.T) {
	b := newBench(t, standardRules)
	b.backend(policy.SessionAssertion)
	name, bearer := b.subscriber()
	visit := func() string {
		t.Helper()
		b.get("/public/x", name, bearer).page()
		return b.origin.last(t).Header.Get("Gatefold-Session")
	}
	visit()
	var first string
	b.waitFor("a session that is kept", func() bool {
		before := first
		first = visit()
		return first == before
	})
	clock.advance(29 * time.Second)
	defer clock.advance(-29 * time.Second)
	if visit() != first {
		t.Error("made again before its time")
	}
	clock.advance(2 * time.Second)
	defer clock.advance(-2 * time.Second)
	if visit() == first {
		t.Error("used when half of its time is over")
	}
	// A grant that is taken away is gone from the next session.
	made := b.grant(store.Grant{UserID: "subscriber", SKU: "extra"})
	skus := func() string {
		return fmt.Sprint(b.session(&http.Request{Header: http.Header{"Gatefold-Session": {visit()}}}, policy.SessionAssertion)["entitlements"])
	}
	if got := skus(); !strings.Contains(got, "extra") {
		t.Errorf("with the grant: %s", got)
	}
	if err := b.running().store.As(store.Actor{}).DeleteGrant(b.Context(), defaultVendor, store.DefaultList, made.ID, nil); err != nil {
		t.Fatal(err)
	}
	if got := skus(); strings.Contains(got, "extra") || !strings.Contains(got, "premium") {
		t.Errorf("without the grant: %s", got)
	}
	// One that ends takes itself out.
	soon := clock.Now().Add(5 * time.Second)
	b.grant(store.Grant{UserID: "subscriber", SKU: "short", EndsAt: &soon})
	if got := skus(); !strings.Contains(got, "short") {
		t.Errorf("before its end: %s", got)
	}
	clock.advance(5 * time.Second)
	defer clock.advance(-5 * time.Second)
	if got := skus(); strings.Contains(got, "short") {
		t.Errorf("at its end: %s", got)
	}
	// The origin is told nothing from the moment on at which that is set.
	b.backend(policy.SessionNone)
	if got := visit(); got != "" {
		t.Errorf("still told: %s", got)
	}
}

// Whom a link lets in is nobody; the origin learns of the link.
func TestSessionOfALink(t *testing.T) {
	b := newBench(t, standardRules)
	b.backend(policy.SessionAssertion)
	link, id := b.link(keys.LinkClaims{PublisherContentID: "hello", Subject: "alice", Meta: json.RawMessage(`{"campaign":"autumn"}`)})
	cookie := b.get(link).page().linkCookie()
	b.origin.last(t)
	b.get("/articles/hello", "Cookie", cookie).page()
	session := b.session(b.origin.last(t), policy.SessionAssertion)
	told, _ := session["link"].(map[string]any)
	if session["sub"] != nil || told["jti"] != id || told["publisherContentId"] != "hello" || fmt.Sprint(told["meta"]) != "map[campaign:autumn]" || told["sub"] != nil {
		t.Errorf("the session is %v", session)
	}
	b.get("/public/x", "Cookie", cookie).page()
	if session := b.session(b.origin.last(t), policy.SessionAssertion); session != nil {
		t.Errorf("where the link opens nothing: %v", session)
	}
}

// A reader token is no session, and a session is no credential.
func TestSessionIsNoCredential(t *testing.T) {
	b := newBench(t, standardRules)
	b.backend(policy.SessionAssertion)
	name, bearer := b.subscriber()
	b.get("/articles/hello", name, bearer).page()
	stolen := b.origin.last(t).Header.Get("Gatefold-Session")
	b.get("/articles/hello", "Authorization", "Bearer "+stolen).denied(http.StatusUnauthorized, "bad_credential")
	b.get("/articles/hello", "Cookie", "reader="+stolen).denied(http.StatusUnauthorized, "bad_credential")
	b.get("/articles/hello?token="+stolen).denied(http.StatusForbidden, "link_invalid")
	b.origin.untouched(t)
}

// A site's own error page comes from the origin: a denied request brings no
// session there either.
func TestErrorRoutesGetNoSession(t *testing.T) {
	b := newBench(t, standardRules)
	config := b.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t}", "handle_errors {\n\t\treverse_proxy ORIGIN\n\t}")
	b.load(strings.ReplaceAll(config, "ORIGIN", strings.TrimPrefix(b.origin.URL, "http://")))
	for _, backend := range []policy.SessionBackend{policy.SessionCookie, policy.SessionJWT} {
		b.backend(backend)
		b.get("/account", "Cookie", "sessionid=forged; a=b", "Authorization", "Bearer forged", "Gatefold-Session", "forged")
		if seen := b.origin.last(t).Header; strings.Contains(fmt.Sprint(seen), "forged") || seen.Get("Cookie") != "a=b" {
			t.Errorf("backend %d: %v", backend, seen)
		}
	}
}

// Where the settings cannot be read, what everybody may have is served, and tells
// of nobody.
func TestSessionWithoutAStore(t *testing.T) {
	b := newBench(t, standardRules)
	b.backend(policy.SessionJWT)
	name, bearer := b.subscriber()
	b.get("/account", name, bearer).page()
	b.origin.last(t)
	b.backend(policy.SessionJWT) // what was remembered is stale now
	if err := b.shared().engine.Close(); err != nil {
		t.Fatal(err)
	}
	b.get("/public/x", "Cookie", "sessionid=forged", name, bearer).page()
	if seen := b.origin.last(t).Header; seen.Get("Authorization") != "" || seen.Get("Cookie") != "" {
		t.Errorf("the origin saw %v", seen)
	}
	b.get("/account", name, bearer).denied(http.StatusServiceUnavailable, "store_unavailable")
	b.origin.untouched(t)
}

// A site whose key is not there yet cannot tell its origin who asks. A reader who
// opens her only use of a link then keeps it.
func TestNoUseIsSpentWithoutASession(t *testing.T) {
	b := newBench(t, standardRules)
	link, _ := b.link(keys.LinkClaims{MaxUses: 1})
	if _, err := b.running().store.As(store.Actor{}).ChangeForwarding(b.Context(), defaultVendor, defaultVendor, func(f *policy.Forwarding) error {
		f.Backend = policy.SessionJWT
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.get(link).denied(http.StatusServiceUnavailable, "store_unavailable")
	}
	b.origin.untouched(t)
	b.backend(policy.SessionJWT)
	b.get(link).page()
	if session := b.session(b.origin.last(t), policy.SessionJWT); session == nil {
		t.Error("the origin is not told of the link")
	}
	b.get(link).denied(http.StatusForbidden, "link_used_up")
}

// The session of a key that is replaced is made anew with the next one, at the
// moment that was said.
func TestSessionKeyOverlap(t *testing.T) {
	b := newBench(t, standardRules)
	b.backend(policy.SessionJWT)
	name, bearer := b.subscriber()
	sessions, operator := b.running().sessions, b.running().store.As(store.Actor{})
	rotate := func(overlap time.Duration) string {
		t.Helper()
		key, err := sessions.RotateSessionKey(b.Context(), operator, defaultVendor, defaultVendor, overlap)
		if err != nil {
			t.Fatal(err)
		}
		return key.Reveal()
	}
	signedWith := func(key string) {
		t.Helper()
		b.get("/public/x", name, bearer).page()
		token, err := jose.ParseSignedCompact(strings.TrimPrefix(b.origin.last(t).Header.Get("Authorization"), "Bearer "), []jose.SignatureAlgorithm{jose.HS256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.Verify([]byte(key)); err != nil {
			t.Errorf("not signed with this key: %v", err)
		}
	}
	first := rotate(time.Hour) // nobody had the one before it
	signedWith(first)
	second := rotate(10 * time.Minute)
	signedWith(first)
	clock.advance(10*time.Minute - time.Millisecond)
	signedWith(first)
	clock.advance(time.Millisecond)
	defer clock.advance(-10 * time.Minute)
	signedWith(second)
	third := rotate(time.Hour)
	signedWith(second)
	if err := sessions.SwitchSessionKey(b.Context(), operator, defaultVendor, defaultVendor); err != nil {
		t.Fatal(err)
	}
	signedWith(third)
	if list, current, err := sessions.SessionKeys(b.Context(), defaultVendor, defaultVendor); err != nil || len(list) != 2 || current != 1 {
		t.Errorf("%v %d %v", list, current, err)
	}
}
