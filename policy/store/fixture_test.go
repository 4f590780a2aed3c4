package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const vendor = "acme"

// fixture is a store over a real database, with a clock that tests move.
type fixture struct {
	*testing.T
	store.Writer
	file     string
	engine   *boltengine.Engine
	records  engine.Engine // engine, or another one
	versions *policy.Versions
	clock    time.Time
	moved    *atomic.Int64
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	b := &fixture{
		T: t, file: filepath.Join(t.TempDir(), "gatefold.db"), versions: new(policy.Versions), moved: new(atomic.Int64),
		clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	backend, err := boltengine.Open(b.file)
	if err != nil {
		t.Fatal(err)
	}
	b.engine = backend
	b.records = backend
	t.Cleanup(func() { _ = backend.Close() })
	b.Writer = store.New(backend, b.versions, b.now).As(store.Actor{})
	return b
}

func (b *fixture) now() time.Time { return b.clock.Add(time.Duration(b.moved.Load())) }

// moveClock moves the clock, also for what runs in the background.
func (b *fixture) moveClock(by time.Duration) { b.moved.Add(int64(by)) }

// ok wants that something succeeded.
func (b *fixture) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// is wants an error of a kind.
func (b *fixture) is(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("the error is %v, want %v", err, want)
	}
}

// names wants an error that names a field.
func (b *fixture) names(err error, field string) {
	b.Helper()
	failed, ok := errors.AsType[*store.FieldError](err)
	if !ok || failed.Field != field || failed.Problem == "" {
		b.Fatalf("the error is %v, want one of %s", err, field)
	}
}

func (b *fixture) grant(g store.Grant) store.Grant {
	b.Helper()
	b.clock = b.clock.Add(time.Second)
	made, err := b.CreateGrant(b.Context(), vendor, store.DefaultList, g)
	b.ok(err)
	return made
}

// skus lists the grants that match a reader, in order, with a plus where they
// are active.
func (b *fixture) skus(reader policy.Reader) string {
	b.Helper()
	records, err := b.ReaderRecords(b.Context(), vendor, reader)
	b.ok(err)
	var names []string
	for _, g := range records.Grants {
		if g.Active {
			g.SKU += "+"
		}
		names = append(names, g.SKU)
	}
	return strings.Join(names, " ")
}

func (b *fixture) link(claims keys.LinkClaims) store.SignedLink {
	b.Helper()
	b.clock = b.clock.Add(time.Second)
	claims.Issuer, claims.ID, claims.IssuedAt = keys.VendorIssuer(vendor), b.NewLinkID(), b.clock.Unix()
	if claims.ExpiresAt == 0 {
		claims.ExpiresAt = b.clock.Unix() + 3600
	}
	made, err := b.CreateLink(b.Context(), vendor, claims)
	b.ok(err)
	return made
}

func (b *fixture) redeem(link store.SignedLink, id string) error {
	b.Helper()
	return b.Redeem(b.Context(), vendor, policy.Redemption{
		Issuer: link.Claims.Issuer, LinkID: link.Claims.ID, ID: id, MaxUses: link.Claims.MaxUses,
		At: b.clock, ExpiresAt: time.Unix(link.Claims.ExpiresAt, 0),
	})
}

// bytes is the database as it lies on the disk.
func (b *fixture) bytes() string {
	b.Helper()
	content, err := os.ReadFile(b.file)
	b.ok(err)
	return string(content)
}
