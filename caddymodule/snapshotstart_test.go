package caddymodule

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// docs/performance.md has the times with a million.
var snapshotGrants = flag.Int("snapshot.grants", 6_000, "the grants of TestStartFromASnapshotOfManyGrants")

// A server that starts while its Redis is away decides about the first and the last reader of
// a large snapshot.
func TestStartFromASnapshotOfManyGrants(t *testing.T) {
	keepClock(t)
	s := newSnapshotSite(t)
	s.importMany(*snapshotGrants)
	readers := []string{
		"Bearer " + s.reader(keys.ReaderClaims{UserID: "many0"}),
		"Bearer " + s.reader(keys.ReaderClaims{UserID: fmt.Sprintf("many%d", *snapshotGrants-1)}),
	}
	for range *snapshotGrants / 10_000 { // a minute has some 100,000 where nothing else runs
		if state, _ := s.shared().Engine.Follower().Snapshots(); state.Usable && state.Changed*65536 < 512 {
			break
		}
		clock.Advance(time.Millisecond)
		time.Sleep(15 * time.Second)
	}
	s.settled()
	s.redis.Kill()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	s.load(s.config)
	loaded := time.Since(began)
	for _, reader := range readers {
		if answer := s.get("/page", "Authorization", reader); answer.StatusCode != http.StatusOK {
			t.Errorf("a reader of the snapshot is answered %d %s", answer.StatusCode, answer.body)
		}
	}
	t.Logf("%d grants: loaded after %v, both readers answered after %v", *snapshotGrants, loaded, time.Since(began))
}

// importMany makes grants of the readers many0, many1, and so on. On a busy machine a Redis may
// not answer a batch in time, which is then sent again.
func (s *snapshotSite) importMany(count int) {
	s.Helper()
	const rows = 1000
	writer := s.running().Store.As(store.Actor{})
	for position := 0; position < count; {
		batch := store.ImportBatch{ID: "many", Position: int64(position)}
		for range min(rows, count-position) {
			batch.Rows = append(batch.Rows, store.ImportRow{Grant: store.Grant{UserID: fmt.Sprintf("many%d", position), SKU: "premium"}})
			position++
		}
		s.waitFor("a batch is imported", func() bool {
			_, err := writer.ImportGrants(s.Context(), defaultVendor, store.DefaultList, batch)
			if err != nil && !errors.Is(err, engine.ErrUnavailable) {
				s.Fatal(err)
			}
			return err == nil
		})
	}
}
