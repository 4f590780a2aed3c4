package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/readerkey"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	// readerBaseHeader tells an origin the base URL of the reader of a feed. The name is
	// reserved: a client's header never reaches the origin.
	readerBaseHeader = "Gatefold-Reader-Base"
	// defaultKeyRate is how often an API key is used in a minute on one node.
	defaultKeyRate = 600
	// keyLimitSeconds is when a program should go on whose key was used too often.
	keyLimitSeconds = "60"
)

func init() {
	gateOptions.Register(func(h *Handler) []block.Option { return []block.Option{block.Count("key_rate", &h.KeyRate)} })
}

func (h *Handler) validateKeyRate() error {
	if h.KeyRate.V < 1 {
		return setting.In("key_rate", errors.New("key_rate: must be at least 1, the requests of one API key in a minute"))
	}
	return nil
}

// errKeyLimit is the error of a key that was used too often.
var errKeyLimit = errors.New("the API key was used more often in this minute than key_rate allows")

// errFeedUpgrade is the error of a feed's key with which another protocol is asked for.
var errFeedUpgrade = errors.New("a feed's link opens no WebSocket")

// keySource verifies the keys of one kind.
type keySource struct {
	credentialSource
	kind string          // in metrics
	uses *readerkey.Uses // nil for feeds, which may be used at any rate
}

// newKeySources returns the verifiers of a site's keys by their prefix.
func (h *Handler) newKeySources(rt *openstore.Opened) (map[string]*keySource, error) {
	sources := make(map[string]*keySource)
	for prefix, kind := range map[string]string{policy.PrefixAPIKey: readerkey.KindAPIKey, policy.PrefixFeed: readerkey.KindFeed} {
		made, err := rt.Keyring.ReaderKeys(prefix, h.Vendor, h.Site)
		if err != nil {
			return nil, err
		}
		source := &keySource{kind: kind}
		source.key = policy.NewKeyVerifier(made, rt.Store.StoredReaderKeys(), h.Vendor, h.Site)
		if prefix == policy.PrefixAPIKey {
			writer := rt.Store.As(store.Actor{})
			source.uses = readerkey.NewUses(int64(h.KeyRate.V), made.ID, func(ctx context.Context, uses []readerkey.KeyUses) error {
				counts := make([]store.KeyUses, len(uses))
				for i := range uses {
					counts[i] = store.KeyUses(uses[i])
				}
				return writer.CountKeyUses(ctx, h.Vendor, counts)
			})
		}
		sources[prefix] = source
	}
	return sources, nil
}

// keySource returns the verifier of a key, nil for none.
func (r *siteRuntime) keySource(key string) *keySource {
	if len(key) < len(policy.PrefixAPIKey) {
		return nil
	}
	return r.keys[key[:len(policy.PrefixAPIKey)]]
}

// takeReaderKey takes a key that speaks for a reader from the request, so that no origin and
// no other source of readers gets it.
func (g *gateRequest) takeReaderKey() {
	if credential, found := readerkey.Find(g.authorization); found {
		delete(g.r.Header, "Authorization")
		g.authorization = nil
		g.keyed, g.readerKey, g.keyBearer = true, credential.Key, credential.Bearer
	}
	if g.pathFeed() { // what a program was given, whatever else it sends
		g.keyed, g.readerKey, g.keyBearer = true, g.pathToken, false
	}
}

// pathFeed reports whether the token in the path of the request is that of a feed.
func (g *gateRequest) pathFeed() bool { return strings.HasPrefix(g.pathToken, policy.PrefixFeed) }

// keyReader returns the reader of the request's key.
func (g *gateRequest) keyReader() policy.Reader {
	s := g.site.keySource(g.readerKey)
	if s == nil {
		return policy.Reader{Rejected: true, Failure: policy.ErrReaderKey}
	}
	if s.kind == readerkey.KindFeed && len(g.r.Header["Upgrade"]) > 0 { // GET, but not only to read
		return policy.Reader{Rejected: true, Failure: errFeedUpgrade}
	}
	reader, err := g.site.policy.KeyReader(g.r.Context(), s.key, g.readerKey, g.request.Now)
	result := "ok"
	switch {
	case errors.Is(err, policy.ErrUnavailable):
		reader, result = failedReader(err), "unavailable"
	case err != nil:
		reader, result = failedReader(err), "unknown"
	case s.uses != nil && !s.uses.Take(g.readerKey, g.request.Now):
		reader, result = policy.Reader{Limited: true, Failure: errKeyLimit}, "limited"
	default:
		g.source, g.token = &s.credentialSource, g.readerKey
	}
	g.gate.metrics.Keyed(s.kind, result)
	return reader
}

// readerBase returns the URL below which the reader of a feed has the pages of the site.
func (g *gateRequest) readerBase() string {
	return siteURL(g) + strings.TrimSuffix(keys.LinkPath, "/") + "/" + g.readerKey
}

// setReaderBase tells the origin the base URL of the reader of a feed, so that the feed can
// name its enclosures by it.
func (g *gateRequest) setReaderBase() {
	if g.request.Reader.ContentSpace != "" {
		g.r.Header[readerBaseHeader] = []string{g.readerBase()}
	}
}

// asksForPassword reports whether a program is asked for the password of a feed (RFC 7617):
// many send it only then. A browser, which says Sec-Fetch-Mode, would show its own dialog.
func asksForPassword(r *http.Request, decision *policy.Decision) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Sec-Fetch-Mode") == "" &&
		decision.Rule != nil && decision.Rule.Options["content_space"] != nil
}

// verifyKey verifies the key that explain is asked about.
func (e *explainer) verifyKey(ctx context.Context, key string, now time.Time) {
	s := e.site.keySource(key)
	if s == nil {
		e.fail(readerkey.KindAPIKey, policy.ErrReaderKey)
		return
	}
	reader, err := e.site.policy.KeyReader(ctx, s.key, key, now)
	if e.reader, e.result.Reader.Source = reader, s.kind; err != nil {
		e.fail(s.kind, err)
	}
}
