package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// engagedRules have engagement tags.
const engagedRules = `
		identify jwt {
			issuer self
		}
		rule /pricing any {
			engage pricing app
		}
		rule /app authenticated {
			engage app
		}
		rule / any
`

// every sets the interval at which visits are written.
func every(t *testing.T, interval time.Duration) {
	t.Helper()
	before := storeOptions.RecordEvery
	storeOptions.RecordEvery = interval
	t.Cleanup(func() { storeOptions.RecordEvery = before })
}

// A visit and its tags appear in the API, and the origin learns that the tag was
// engaged before.
func TestVisitsAreRecorded(t *testing.T) {
	every(t, time.Millisecond)
	s, admin := newAdminSite(t)
	s.load(strings.Replace(s.config("", engagedRules, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1))
	s.backend(policy.SessionJWT)
	alice := "Bearer " + s.reader(keys.ReaderClaims{UserID: "alice"})
	visited := func() any {
		t.Helper()
		s.get("/app", "Authorization", alice).page()
		return s.session(s.origin.Last(t), policy.SessionJWT)["last_visited"]
	}
	if at := visited(); at != nil {
		t.Errorf("at the first visit: %v", at)
	}
	s.waitFor("the session with the last visit", func() bool { return visited() != nil })
	if at := visited(); at != clock.Now().UTC().Format(time.RFC3339) {
		t.Errorf("the first engagement is %v", at)
	}
	s.get("/pricing").page() // an anonymous reader
	s.get("/pricing", "Authorization", alice).page()
	s.get("/app/denied").denied(http.StatusUnauthorized, "login_required")
	var engagement struct {
		Active      int `json:"active_users"`
		Engagements []struct {
			Slug  string
			Count int
		}
	}
	s.waitFor("the reader's engagement", func() bool {
		if err := json.Unmarshal([]byte(s.get(admin+"/gatefold/api/proxy/engagement").body), &engagement); err != nil {
			t.Fatal(err)
		}
		return len(engagement.Engagements) == 2
	})
	if fmt.Sprint(engagement) != "{1 [{app 1} {pricing 1}]}" {
		t.Errorf("the engagement is %v", engagement)
	}
	if recent := s.get(admin + "/gatefold/api/proxy/recent").body; !strings.Contains(recent, `"slug":"alice"`) || !strings.Contains(recent, `"count":1`) {
		t.Errorf("the recent readers are %s", recent)
	}
}

// stallingEngine blocks commits from stall on, until it is released.
type stallingEngine struct {
	engine.Engine
	stall   atomic.Bool
	release chan struct{}
}

func (e *stallingEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if e.stall.Load() {
		<-e.release
	}
	return e.Engine.Commit(ctx, partition, batch)
}

// Requests do not wait for the store to accept visits.
func TestRequestsDoNotWaitForVisits(t *testing.T) {
	every(t, time.Millisecond)
	stalling := &stallingEngine{release: make(chan struct{})}
	storeOptions.OpenEngine = func(s *openstore.Shared, configured func(*openstore.Shared) (engine.Engine, error)) (_ engine.Engine, err error) {
		stalling.Engine, err = configured(s)
		return stalling, err
	}
	t.Cleanup(func() { storeOptions.OpenEngine = nil })
	s := newTestSite(t, engagedRules)
	tokens := make([]string, 50)
	for i := range tokens {
		tokens[i] = "Bearer " + s.reader(keys.ReaderClaims{UserID: fmt.Sprint("reader-", i)})
	}
	stalling.stall.Store(true)
	for range 4 {
		for _, token := range tokens {
			s.get("/app", "Authorization", token).page()
		}
	}
	if stats := s.shared().Recorder.Stats(); stats.Stored != 0 {
		t.Errorf("the store stalls, and yet: %+v", stats)
	}
	close(stalling.release)
	s.waitFor("the visits", func() bool {
		_, count, err := s.running().Store.Visitors(s.Context(), defaultVendor, defaultVendor, store.VisitorPage{})
		return err == nil && count == len(tokens)
	})
}

// Pending visits are written at shutdown.
func TestVisitsAreWrittenAtShutdown(t *testing.T) {
	every(t, time.Hour)
	s := newTestSite(t, engagedRules)
	s.get("/app", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "alice"})).page()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	backend, err := boltengine.Open(s.database())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	list, _, err := store.New(backend, new(policy.Versions), clock.Now).Visitors(t.Context(), defaultVendor, defaultVendor, store.VisitorPage{Limit: 2, Tags: true})
	if err != nil || len(list) != 1 || list[0].UserID != "alice" || fmt.Sprint(list[0].Tags) != "[app]" {
		t.Errorf("%v, %v", list, err)
	}
}
