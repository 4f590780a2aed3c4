package policy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// keyEnv is a loginEnv whose site has keys of both kinds.
type keyEnv struct {
	*loginEnv
	apiKeys, feeds               *ReaderKeys
	apiKeyVerifier, feedVerifier *KeyVerifier
}

func newKeyEnv(t testing.TB) *keyEnv {
	t.Helper()
	env := &keyEnv{loginEnv: newLoginEnv(t)}
	env.apiKeys, env.feeds = NewReaderKeys(PrefixAPIKey, [32]byte{1}, "acme", "news"), NewReaderKeys(PrefixFeed, [32]byte{2}, "acme", "news")
	env.apiKeyVerifier = NewKeyVerifier(env.apiKeys, env.logins, "acme", "news")
	env.feedVerifier = NewKeyVerifier(env.feeds, env.logins, "acme", "news")
	return env
}

// store stores a key of a reader.
func (env *keyEnv) store(id, prefix, user, space string) {
	now := env.now()
	env.logins.sessions["acme/"+id] = LoginSession{
		Reader: Reader{UserID: user, ContentSpace: space}, Origin: KeyOrigin(prefix, "news"), EndsAt: now.Add(48 * time.Hour), DueAt: now.Add(24 * time.Hour),
	}
}

func (env *keyEnv) reader(v *KeyVerifier, key string) (Reader, error) {
	return env.policy.KeyReader(context.Background(), v, key, env.now())
}

// revoke revokes a key as a write of the store does, which a rewrite after a loss repeats.
func (env *keyEnv) revoke(id string) {
	delete(env.logins.sessions, "acme/"+id)
	var change Invalidation
	change.Add(KindLink, "acme", ReaderKeyIssuer, id)
	env.policy.versions.Bump(change)
}

// A key is read once and known from memory until it is revoked or ends.
func TestKeyReader(t *testing.T) {
	env := newKeyEnv(t)
	key, id := env.apiKeys.New()
	env.store(id, PrefixAPIKey, "ann", "")
	for range 3 {
		if reader, err := env.reader(env.apiKeyVerifier, key); err != nil || reader.UserID != "ann" || reader.ContentSpace != "" {
			t.Fatalf("the reader is %+v, %v", reader, err)
		}
	}
	if env.logins.reads != 1 || len(key) != ReaderKeySize {
		t.Errorf("the key %q was read %d times", key, env.logins.reads)
	}
	stamp := env.policy.KeyStamp(env.apiKeyVerifier, key)
	env.revoke(id)
	for range 3 {
		if reader, err := env.reader(env.apiKeyVerifier, key); !errors.Is(err, ErrReaderKey) || !reader.Anonymous() {
			t.Fatalf("a revoked key is that of %+v, %v", reader, err)
		}
	}
	if env.logins.reads != 2 || env.policy.KeyStamp(env.apiKeyVerifier, key) == stamp {
		t.Errorf("the key was read %d times", env.logins.reads)
	}
	env.logins.err = errors.New("down")
	other, _ := env.apiKeys.New()
	if _, err := env.reader(env.apiKeyVerifier, other); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a store: %v", err)
	}
}

// A stranger floods the site with keys that they make up, and with changed ones of their own:
// none costs a read of the store, none displaces what is known of others.
func TestFloodOfMadeUpKeys(t *testing.T) {
	env := newKeyEnv(t)
	key, id := env.apiKeys.New()
	env.store(id, PrefixAPIKey, "ann", "")
	_, err := env.reader(env.apiKeyVerifier, key)
	must(t, err)
	before := env.policy.Stats()
	foreign := NewReaderKeys(PrefixAPIKey, [32]byte{9}, "acme", "news")
	for range 10_000 {
		made, _ := foreign.New()
		if _, err := env.reader(env.apiKeyVerifier, made); !errors.Is(err, ErrReaderKey) {
			t.Fatalf("%q is a key: %v", made, err)
		}
	}
	for i := len(PrefixAPIKey); i < len(key); i++ { // each digit changed
		digit := "A"
		if key[i] == 'A' {
			digit = "B"
		}
		if _, err := env.reader(env.apiKeyVerifier, key[:i]+digit+key[i+1:]); !errors.Is(err, ErrReaderKey) {
			t.Errorf("with another digit %d: %v", i, err)
		}
	}
	for _, made := range []string{"", PrefixAPIKey, key + "A", key[1:], strings.ToUpper(key), PrefixFeed + key[len(PrefixFeed):]} {
		if _, err := env.reader(env.apiKeyVerifier, made); !errors.Is(err, ErrReaderKey) {
			t.Errorf("%q is a key: %v", made, err)
		}
	}
	if after := env.policy.Stats(); env.logins.reads != 1 || cacheBytes(after) != cacheBytes(before) {
		t.Errorf("the flood read the store %d times, and the memory is %+v after %+v", env.logins.reads-1, after, before)
	}
	if _, err := env.reader(env.apiKeyVerifier, key); err != nil || env.logins.reads != 1 {
		t.Errorf("the known key: %v, read %d times", err, env.logins.reads)
	}
}

// cacheBytes is the memory of all caches.
func cacheBytes(s Stats) (bytes int64) {
	for _, cache := range s.Caches {
		bytes += cache.Bytes
	}
	return bytes
}

// The key of one kind, site, vendor or secret is none of another.
func TestKeysOfOthers(t *testing.T) {
	env := newKeyEnv(t)
	for name, others := range map[string]*ReaderKeys{
		"kind": env.feeds, "site": NewReaderKeys(PrefixAPIKey, [32]byte{1}, "acme", "other"), "vendor": NewReaderKeys(PrefixAPIKey, [32]byte{1}, "acm", "enews"),
		"secret": NewReaderKeys(PrefixAPIKey, [32]byte{3}, "acme", "news"),
	} {
		key, id := others.New()
		env.store(id, PrefixAPIKey, "ann", "")
		if _, err := env.reader(env.apiKeyVerifier, key); !errors.Is(err, ErrReaderKey) {
			t.Errorf("the key of another %s: %v", name, err)
		}
	}
	key, id := env.apiKeys.New()
	env.store(id, PrefixFeed, "ann", "podcasts") // stored as that of a feed
	if _, err := env.reader(env.apiKeyVerifier, key); !errors.Is(err, ErrReaderKey) {
		t.Errorf("a feed's record: %v", err)
	}
	first, firstID := env.feeds.Derived("ann", "podcasts", "0")
	again, againID := env.feeds.Derived("ann", "podcasts", "0")
	if first != again || firstID != againID {
		t.Error("a derived key is another one")
	}
	for _, texts := range [][]string{{"ann", "podcasts", "1"}, {"annp", "odcasts", "0"}, {"ann", "podcasts0", ""}, {"ann", "podcasts"}} {
		if other, _ := env.feeds.Derived(texts...); other == first {
			t.Errorf("%q have the same key", texts)
		}
	}
}

// The reader of a feed is identified in its content space alone, with GET and HEAD, whatever
// other page a path could mean.
func TestFeedKeepsToItsSpace(t *testing.T) {
	env := newKeyEnv(t)
	space := map[string]json.RawMessage{"content_space": json.RawMessage(`"podcasts"`)}
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/podcasts/{publisherContentId}", Allow: entitledTo("gold"), Options: space},
		{Rank: 2, Path: "/gold/{publisherContentId}", Allow: entitledTo("gold")},
		{Rank: 3, Path: "/account", Allow: Allow{Operator: "authenticated"}},
		{Rank: 4, Path: "/", Allow: Allow{Operator: "any"}},
	}, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{EncodedSlash: true}, env.keys)
	env.records.grant(fakeGrant{Grant: Grant{ID: "g1", SKU: "gold", Active: true}, userID: "ann"})
	key, id := env.feeds.Derived("ann", "podcasts", "0")
	env.store(id, PrefixFeed, "ann", "podcasts")
	for _, test := range []struct {
		method, path string
		want         Reason
		user         string
	}{
		{"GET", "/podcasts/feed.xml", ReasonEntitled, "ann"},
		{"HEAD", "/podcasts/feed.xml", ReasonEntitled, "ann"},
		{"POST", "/podcasts/feed.xml", ReasonBadCredential, ""},
		{"GET", "/gold/hello", ReasonBadCredential, ""},
		{"GET", "/account", ReasonBadCredential, ""},
		{"GET", "/", ReasonPublic, ""},
		{"GET", "/podcasts/..%2Fgold%2Fhello", ReasonBadPath, ""},
		{"GET", "/podcasts%2Ffeed.xml", ReasonPublic, ""}, // it can mean a public page as well
	} {
		for range 2 { // from the store and from memory
			reader, err := env.reader(env.feedVerifier, key)
			must(t, err)
			r := &Request{Site: env.site, Method: test.method, EscapedPath: test.path, Reader: reader, Now: env.now()}
			decision := env.policy.Decide(context.Background(), r)
			if decision.Reason != test.want && (test.want != ReasonPublic || decision.Reason != ReasonBadCredential) || decision.Allow() && r.Reader.UserID != test.user {
				t.Errorf("%s %s: %v, %v, of %q", test.method, test.path, decision.Reason, decision.Err, r.Reader.UserID)
			}
		}
	}
	if env.records.revoke("g1"); true {
		reader, err := env.reader(env.feedVerifier, key)
		must(t, err)
		r := &Request{Site: env.site, Method: "GET", EscapedPath: "/podcasts/feed.xml", Reader: reader, Now: env.now()}
		if decision := env.policy.Decide(context.Background(), r); decision.Reason != ReasonNotEntitled {
			t.Errorf("after the end of the subscription: %v", decision.Reason)
		}
	}
}

// A key that was used too often gives gated pages a reason of its own, and takes public ones
// from no one.
func TestLimitedKey(t *testing.T) {
	env := newTestEnv(t)
	for path, want := range map[string]Reason{"/gold": ReasonRateLimited, "/account": ReasonRateLimited, "/public": ReasonPublic} {
		r := &Request{Site: env.site, Method: "GET", EscapedPath: path, Reader: Reader{Limited: true}, Now: env.now()}
		if decision := env.policy.Decide(context.Background(), r); decision.Reason != want {
			t.Errorf("%s: %v", path, decision.Reason)
		}
	}
}
