package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Store reads the records of all vendors, and writes what the gate itself records.
// Other changes are made with a Writer, see As. It is safe for concurrent use.
type Store struct {
	engine   engine.Engine
	versions *policy.Versions
	now      func() time.Time

	checkClock func() error // see GuardClock

	auditStamp atomic.Int64 // of the newest entry, in microseconds
	quotas     quotas
	refunds    refunds
	seatTurns  seatTurns
	waiting    waiting // vendors whose webhooks have events to deliver
	swept      atomic.Uint64
	shed       [len(shedKinds)]atomic.Uint64
	builds     indexBuilds
}

// New returns a store over an engine. Every write bumps the versions of what it
// invalidates; now is the clock.
func New(backend engine.Engine, versions *policy.Versions, now func() time.Time) *Store {
	return &Store{engine: backend, versions: versions, now: now}
}

var (
	// ErrNotFound is returned when there is no such record.
	ErrNotFound = policy.ErrNotFound
	// ErrConflict is returned when the record was changed concurrently: read it
	// again and repeat the change.
	ErrConflict = errors.New("the record was changed concurrently")
	// ErrExists is returned when there is a record of this name already.
	ErrExists = errors.New("there is such a record already")
)

// FieldError is the error of a field of a record that was not stored.
type FieldError struct {
	Field   string
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// timestamp returns the time in UTC, in milliseconds, as records hold it.
func (s *Store) timestamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// advanced returns the timestamp of a change after an earlier one: it advances with every
// change, so that a record and its ETag never return to an earlier state.
func (s *Store) advanced(before time.Time) time.Time {
	if now := s.timestamp(); now.After(before) {
		return now
	}
	return before.Add(time.Millisecond)
}

// An id is the milliseconds since 1970 in idTimeDigits, and idRandomDigits.
const (
	idTimeDigits   = 10
	idRandomDigits = 16
)

// idDigits are the digits of ids, in the order of their bytes.
const idDigits = "0123456789abcdefghjkmnpqrstvwxyz"

// newID returns a unique id with a prefix: 48 bits of Unix milliseconds, then 80
// random bits. Ids sort by time.
func newID(prefix string, now time.Time) string {
	var id [idTimeDigits]byte
	ms := uint64(now.UnixMilli())
	for i := len(id) - 1; i >= 0; i-- {
		id[i] = idDigits[ms&31]
		ms >>= 5
	}
	return prefix + string(id[:]) + randomDigits(idRandomDigits)
}

// IsID reports whether a text has the form of the ids with a prefix.
func IsID(prefix, id string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && len(digits) == idTimeDigits+idRandomDigits && strings.Trim(digits, idDigits) == ""
}

// idTime returns the time in an id that newID made, or zero.
func idTime(id, prefix string) time.Time {
	digits, ok := strings.CutPrefix(id, prefix)
	if !ok || len(digits) != idTimeDigits+idRandomDigits {
		return time.Time{}
	}
	var ms int64
	for _, c := range digits[:idTimeDigits] {
		i := strings.IndexRune(idDigits, c)
		if i < 0 {
			return time.Time{}
		}
		ms = ms<<5 | int64(i)
	}
	return time.UnixMilli(ms).UTC()
}

// randomBytes returns n random bytes.
func randomBytes(n int) []byte {
	random := make([]byte, n)
	_, _ = rand.Read(random) // never fails, see crypto/rand
	return random
}

// randomDigits returns n random digits of 5 bits each.
func randomDigits(n int) string {
	digits := randomBytes(n)
	for i, b := range digits {
		digits[i] = idDigits[b&31]
	}
	return string(digits)
}

// checkText returns a *FieldError when a text is longer than maxBytes or has
// control characters, which keys use as separators (see layout.go).
func checkText(field, text string, maxBytes int) error {
	if len(text) > maxBytes {
		return &FieldError{field, fmt.Sprintf("is longer than %d bytes", maxBytes)}
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' }) {
		return &FieldError{field, "holds a control character or invalid UTF-8"}
	}
	return nil
}

// SystemPartition holds the records that belong to no vendor. It is not a valid
// vendor name.
const SystemPartition = "_system"

// Vendors lists the vendors that have records.
func (s *Store) Vendors(ctx context.Context) ([]string, error) {
	partitions, err := s.engine.Partitions(ctx)
	return slices.DeleteFunc(partitions, func(name string) bool { return name == SystemPartition }), err
}

// FeedPosition returns the position of a vendor's newest change, zero when there
// was none.
func (s *Store) FeedPosition(ctx context.Context, vendor string) (uint64, error) {
	return s.engine.Position(ctx, vendor)
}

// SnapshotVersion returns how often this process saw a change of the records that
// all readers share (rules, lists, keys).
func (s *Store) SnapshotVersion() uint64 { return s.versions.Shared() }

// sweepBatch is how many expired entries one step removes, so that other writes
// are not held up.
const sweepBatch = 500

// Retention is how long a record is kept after it ended.
const Retention = 30 * 24 * time.Hour

// Probe writes a record without meaning into a partition, which shows whether the store
// takes writes. The partition must exist.
func (s *Store) Probe(ctx context.Context, partition string) error {
	at := s.now()
	_, err := s.engine.Commit(ctx, partition, &engine.Batch{Puts: []engine.Put{{
		Key: []byte{prefixProbe}, Value: at.AppendFormat(nil, time.RFC3339), Expires: at,
	}}})
	return err
}

// Swept returns how many entries Sweep has removed in this process because their retention
// was over.
func (s *Store) Swept() uint64 { return s.swept.Load() }

// Sweep removes the records whose retention is over and the grants of removed
// lists, and indexes the grants of earlier versions. It returns how many entries it
// removed.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	partitions, err := s.engine.Partitions(ctx)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, partition := range partitions {
		purged, err := s.purge(ctx, partition)
		if err == nil {
			err = s.purgeMembers(ctx, partition)
		}
		if err == nil && partition != SystemPartition {
			err = s.sweepContracts(ctx, partition)
		}
		total += purged
		if err == nil && partition != SystemPartition {
			err = s.buildIndexes(ctx, partition)
		}
		for removed := sweepBatch; err == nil && removed == sweepBatch; total += removed {
			removed, err = s.sweepStep(ctx, partition)
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// sweepStep removes at most sweepBatch entries of a partition whose retention is over.
func (s *Store) sweepStep(ctx context.Context, partition string) (int, error) {
	removed, err := s.engine.Sweep(ctx, partition, s.now(), sweepBatch)
	s.swept.Add(uint64(removed)) //nolint:gosec // never negative
	return removed, err
}
