// Package store keeps Gatefold's records: access lists and grants, signed links
// and their uses, products, rules, trusted domains, clients, signing keys, and the
// log of who changed what. Records, their indexes and their queries are written
// once, here, over the small Engine interface; the folders below hold the engines.
//
// In the way of a request it stands behind the package policy, which declares
// what it reads (policy.Records) and keeps it in memory. Every write commits,
// then bumps the versions of what it made stale, and then returns: a caller
// that was told "done" knows that the next decision is made with it.
package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// Store reads and writes the records of all vendors. It is safe for concurrent
// use.
type Store struct {
	engine   engine.Engine
	versions *policy.Versions
	now      func() time.Time

	auditStamp atomic.Int64 // of the newest entry, in microseconds
	quotas     quotas
}

// New returns a store over an engine. The versions are bumped on every write;
// now is the clock.
func New(backend engine.Engine, versions *policy.Versions, now func() time.Time) *Store {
	return &Store{engine: backend, versions: versions, now: now}
}

var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = policy.ErrNotFound
	// ErrConflict says that somebody else changed the record at the same time; read it
	// again and decide anew.
	ErrConflict = errors.New("the record was changed by somebody else at the same time")
)

// FieldError says which field of a record is wrong, and why. Nothing was
// stored.
type FieldError struct {
	Field   string
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// timestamp returns the time as records store it.
func (s *Store) timestamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// get reads one record of a vendor into value, and returns its bytes as they
// are stored, for a later Check.
func (s *Store) get(ctx context.Context, vendor string, key []byte, value any) ([]byte, error) {
	var stored []byte
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		found, err := snapshot.Get(key)
		if err != nil {
			return err
		}
		if found == nil {
			return ErrNotFound
		}
		stored = append([]byte(nil), found...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stored, decode(key, stored, value)
}

func decode(key, stored []byte, value any) error {
	if err := json.Unmarshal(stored, value); err != nil {
		return fmt.Errorf("the record %q cannot be read: %w", key, err)
	}
	return nil
}

func encode(value any) ([]byte, error) {
	stored, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return stored, nil
}

// Page is a part of a listing.
type Page struct {
	// Limit is the most records to return; zero means DefaultLimit.
	Limit int
	// From continues behind the record with this id; empty starts at the first.
	From string
}

// Bounds of a page.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

// idDigits are the digits of ids, in the order of their bytes.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// newID returns an id with a prefix, unique and in order of time: 48 bits of
// Unix milliseconds, then 80 random ones.
func newID(prefix string, now time.Time) string {
	var id [26]byte
	ms := uint64(now.UnixMilli())
	for i := 9; i >= 0; i-- {
		id[i] = idDigits[ms&31]
		ms >>= 5
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	for i, b := range random {
		id[10+i] = idDigits[b&31]
	}
	return prefix + string(id[:])
}

// checkText refuses text that is too long or holds control characters, which
// the layout of the keys relies on.
func checkText(field, text string, maxBytes int) error {
	if len(text) > maxBytes {
		return &FieldError{field, fmt.Sprintf("is longer than %d bytes", maxBytes)}
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' }) {
		return &FieldError{field, "holds a control character or invalid UTF-8"}
	}
	return nil
}

// SystemPartition holds the records that belong to no vendor. No vendor can have
// its name.
const SystemPartition = "_system"

// Vendors lists the vendors that have records.
func (s *Store) Vendors(ctx context.Context) ([]string, error) {
	partitions, err := s.engine.Partitions(ctx)
	return slices.DeleteFunc(partitions, func(name string) bool { return name == SystemPartition }), err
}

// FeedPosition returns the position of a vendor's newest change, zero before the
// first one.
func (s *Store) FeedPosition(ctx context.Context, vendor string) (uint64, error) {
	return s.engine.Position(ctx, vendor)
}

// SnapshotVersion says how often what is shared by all readers (rules, lists,
// keys) was changed, as far as this process knows.
func (s *Store) SnapshotVersion() uint64 { return s.versions.Shared() }

// sweepBatch is how many expired entries are removed in one step, so that other
// writes come in between.
const sweepBatch = 500

// Retention is how long a record is kept after it ended, to be looked at.
const Retention = 30 * 24 * time.Hour

// Sweep removes what ended more than Retention ago, and the grants of lists that
// were removed, and says how much that was.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	partitions, err := s.engine.Partitions(ctx)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, partition := range partitions {
		purged, err := s.purge(ctx, partition)
		total += purged
		if err != nil {
			return total, err
		}
		for {
			removed, err := s.engine.Sweep(ctx, partition, s.now(), sweepBatch)
			total += removed
			if err != nil {
				return total, err
			}
			if removed < sweepBatch {
				break
			}
		}
	}
	return total, nil
}
