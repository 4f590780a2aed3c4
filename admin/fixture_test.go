package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// fixture is an API over a real database, with a clock that tests move.
type fixture struct {
	*testing.T
	handler http.Handler
	options admin.Options
	dir     string // of the database
	engine  *boltengine.Engine
	trip    *tripEngine // wraps engine and can be made to fail
	store   *store.Store
	keyring *store.Keyring
	clock   time.Time
	failed  []error
	// publisher is the host news.example.com.
	publisher *publisher
}

func newFixture(t *testing.T, operator bool) *fixture {
	t.Helper()
	return newFixtureWith(t, func(options *admin.Options) { options.Operator = operator })
}

// newFixtureWith changes the API's options.
func newFixtureWith(t *testing.T, change func(*admin.Options)) *fixture {
	t.Helper()
	dir := t.TempDir()
	backend, err := boltengine.Open(filepath.Join(dir, "gatefold.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	sealer, err := keys.NewSealer([]byte("a secret for this test"))
	if err != nil {
		t.Fatal(err)
	}
	b := &fixture{T: t, dir: dir, engine: backend, clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return b.clock }
	versions := new(policy.Versions)
	b.trip = &tripEngine{Engine: backend}
	b.store = store.New(b.trip, versions, now)
	b.publisher = newPublisher(t)
	sets := keys.NewSets(b.publisher.options(now))
	t.Cleanup(sets.Close)
	decisions, err := policy.New(policy.Options{
		Records: b.store, Versions: versions, Operators: policy.StandardOperators(), CacheBytes: policy.MinCacheBytes, Now: now,
		KeySets: sets,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(decisions.Close)
	b.keyring = store.NewKeyring(b.store, sealer)
	options := admin.Options{
		Store: b.store, Keyring: b.keyring, Policy: decisions, Now: now, KeySets: sets,
		Authorize:   authorizeTest,
		TestWebhook: func(_ context.Context, _, id string) (store.Delivery, error) { return b.store.TestDelivery(id) },
		Failed:      func(err error) { b.failed = append(b.failed, err) },
	}
	change(&options)
	b.options = options
	b.handler, err = admin.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tripEngine is an engine whose commits can be made to fail.
type tripEngine struct {
	engine.Engine
	// before and after may fail a commit: before it is applied, or after. Set
	// them before concurrent use.
	before, after func(batch *engine.Batch) error
}

func (e *tripEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if e.before != nil {
		if err := e.before(batch); err != nil {
			return engine.Committed{}, err
		}
	}
	committed, err := e.Engine.Commit(ctx, partition, batch)
	if err == nil && e.after != nil {
		err = e.after(batch)
	}
	return committed, err
}

func (b *fixture) closeStore() {
	b.Helper()
	if err := b.engine.Close(); err != nil {
		b.Fatal(err)
	}
}

// authorizeTest reads the vendor from a header, and the reader or the scope from others.
func authorizeTest(r *http.Request) (admin.Caller, error) {
	switch vendor := r.Header.Get("X-Test-Vendor"); vendor {
	case "":
		return admin.Caller{}, errors.New("a secret reason")
	case "refused":
		return admin.Caller{}, &admin.RefusedError{Status: http.StatusForbidden, Detail: "Not you."}
	default:
		if id, ok := r.Header["X-Test-Reader"]; ok {
			return admin.Caller{Vendor: vendor, Name: "reader " + id[0], Reader: &policy.Reader{UserID: id[0], Email: r.Header.Get("X-Test-Email")}}, nil
		}
		if scope := r.Header.Get("X-Test-Scope"); scope != "" {
			return admin.Caller{Vendor: vendor, Name: "test", Scopes: []string{scope}}, nil
		}
		return admin.Caller{Vendor: vendor, Name: "test", Unlimited: true}, nil
	}
}

// answer is a response of the API.
type answer struct {
	t    *testing.T
	code int
	head http.Header
	body string
}

// call calls the API as the vendor acme. A body is JSON.
func (b *fixture) call(method, path, body string) answer {
	b.Helper()
	return b.callAs("acme", method, path, body)
}

func (b *fixture) callAs(vendor, method, path, body string) answer {
	b.Helper()
	var header http.Header
	if body != "" {
		header = http.Header{"Content-Type": {"application/json"}}
	}
	return b.send(vendor, method, path, body, header)
}

// callReader calls the API as a reader of a vendor; without an id they are anonymous.
func (b *fixture) callReader(vendor, id, method, path, body string) answer {
	b.Helper()
	header := http.Header{"X-Test-Reader": {id}, "X-Test-Email": {id + "@example.com"}}
	if body != "" {
		header.Set("Content-Type", "application/json")
	}
	return b.send(vendor, method, path, body, header)
}

func (b *fixture) send(vendor, method, path, body string, header http.Header) answer {
	b.Helper()
	request := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	maps.Copy(request.Header, header)
	request.Header.Set("X-Test-Vendor", vendor)
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, request)
	got := answer{t: b.T, code: recorder.Code, head: recorder.Header(), body: recorder.Body.String()}
	// Paywalls are read with the published caching headers, everything else is not stored.
	published := method == http.MethodGet && strings.HasPrefix(path, paywallsPath) && got.code == http.StatusOK && got.head.Get("Cache-Control") == "private, max-age=3600"
	if got.head.Get("Cache-Control") != "no-store" && !published {
		b.Errorf("%s %s: Cache-Control is %q", method, path, got.head.Get("Cache-Control"))
	}
	return got
}

// want checks the status and decodes the body.
func (a answer) want(status int, to any) answer {
	a.t.Helper()
	if a.code != status {
		a.t.Fatalf("status %d, want %d: %s", a.code, status, a.body)
	}
	if to != nil {
		if err := json.Unmarshal([]byte(a.body), to); err != nil {
			a.t.Fatalf("the body is not what was expected: %v: %s", err, a.body)
		}
	}
	return a
}

// problem is an error response.
type problem struct {
	Type, Title, Detail, Code string
	Status                    int
	Errors                    []struct{ Message, Location string }
}

// refused checks for a problem with a code and, if given, a location.
func (a answer) refused(status int, code, location string) problem {
	a.t.Helper()
	var p problem
	a.want(status, &p)
	if a.head.Get("Content-Type") != "application/problem+json" || p.Code != code || p.Status != status || p.Title == "" || p.Type == "" {
		a.t.Fatalf("not the problem %s: %s %s", code, a.head.Get("Content-Type"), a.body)
	}
	if again := a.head.Get("Retry-After"); (code == "store_unavailable" || code == "keys_unavailable" || code == "too_many_requests") != (again != "") {
		a.t.Errorf("%s says Retry-After %q", code, again)
	}
	if (code == "validation_failed" || status == http.StatusConflict && location != "") != (len(p.Errors) > 0) && location != "" {
		a.t.Errorf("%s with %d errors: %s", code, len(p.Errors), a.body)
	}
	if location == "" {
		return p
	}
	for _, e := range p.Errors {
		if e.Location == location && e.Message != "" {
			return p
		}
	}
	a.t.Fatalf("the problem does not name %s: %s", location, a.body)
	return p
}

// fields returns the members of a JSON object.
func (a answer) fields() map[string]any {
	a.t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(a.body), &object); err != nil {
		a.t.Fatal(err)
	}
	return object
}
