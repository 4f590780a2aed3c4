package store

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// AuditRetention is how long it is known who changed what.
const AuditRetention = 365 * 24 * time.Hour

// AuditEntry says who changed what, and when.
type AuditEntry struct {
	ID        string        `json:"-"`
	At        time.Time     `json:"at"`
	Actor     string        `json:"actor"`
	Operation string        `json:"operation"`
	Records   []AuditRecord `json:"records"`
	// More is how many records were changed besides those that are told.
	More int `json:"more,omitempty"`
}

// AuditRecord is what became of one record.
type AuditRecord struct {
	Kind string `json:"kind"`
	// ID is the record's id, behind those of what it stands in.
	ID []string `json:"id"`
	// Before and After are JSON objects: both, with the members that differ, for
	// a record that was altered; one of them for a record that was made or
	// removed. Secrets are left out.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Truncated: a side was too long to be told.
	Truncated bool `json:"truncated,omitempty"`
}

// maxAuditRecords bounds how many records an entry tells of.
const maxAuditRecords = 10

// audit appends to a batch the entry that tells of it.
// Held returns what keys held before, where no check of the batch says it; it may
// be nil.
func (w Writer) audit(batch *engine.Batch, held heldBefore) error {
	if w.actor == (Actor{}) {
		return nil
	}
	entry := AuditEntry{At: w.now().UTC().Truncate(time.Microsecond), Actor: w.actor.Name, Operation: w.actor.Operation}
	entry.Records, entry.More = auditRecords(batch, held)
	if len(entry.Records) == 0 {
		return nil
	}
	stored, err := encode(entry)
	if err != nil {
		return err
	}
	batch.Puts = append(batch.Puts, engine.Put{
		Key: key(prefixAudit, w.newAuditID()), Value: stored, Expires: entry.At.Add(AuditRetention),
	})
	return nil
}

// auditRecords tells of the records that a batch changes, and how many more
// there are.
func auditRecords(batch *engine.Batch, held heldBefore) (records []AuditRecord, more int) {
	add := func(k, after []byte) {
		kind := auditKindOf(k)
		switch {
		case kind.unaudited:
		case len(records) == maxAuditRecords:
			more++
		default:
			record := AuditRecord{Kind: kind.name, ID: auditID(k)}
			record.Before, record.After, record.Truncated = kind.change(before(batch, held, k), after)
			records = append(records, record)
		}
	}
	puts := batch.Puts
	// A record that stands for all others comes last in its batch.
	if last := len(puts) - 1; last >= 0 && auditKindOf(puts[last].Key).sum {
		add(puts[last].Key, puts[last].Value)
		for _, put := range puts[:last] {
			if !auditKindOf(put.Key).unaudited {
				more++
			}
		}
		return records, more
	}
	for _, put := range puts {
		add(put.Key, put.Value)
	}
	if len(batch.Deletes) == 0 {
		return records, more
	}
	written := make(map[string]bool, len(puts))
	for _, put := range puts {
		written[string(put.Key)] = true
	}
	for _, k := range batch.Deletes {
		if !written[string(k)] {
			add(k, nil)
		}
	}
	return records, more
}

// heldBefore returns what a key held before a batch, if that is known.
type heldBefore func(key []byte) (value []byte, ok bool)

// before returns what a key held, as far as it is known.
func before(batch *engine.Batch, held heldBefore, k []byte) []byte {
	if held != nil {
		if value, ok := held(k); ok {
			return value
		}
	}
	i := slices.IndexFunc(batch.Checks, func(c engine.Check) bool { return string(c.Key) == string(k) })
	if i < 0 {
		return nil
	}
	return batch.Checks[i].Value
}

// newAuditID returns an id that sorts before all earlier ones of this process,
// and before those that other processes made in an earlier microsecond: what is
// newest is read first. The last digits are random.
func (s *Store) newAuditID() string {
	var random [15]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	for i, b := range random {
		random[i] = idDigits[b&31]
	}
	return auditDigits(auditStampOf(s.nextAuditStamp())) + string(random[:])
}

// auditDigits writes a stamp so that it sorts as text: 55 bits of microseconds,
// a thousand years.
func auditDigits(stamp uint64) string {
	var digits [11]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = idDigits[stamp&31]
		stamp >>= 5
	}
	return string(digits[:])
}

// auditStampOf returns what an entry of a moment in microseconds is sorted by:
// later ones first.
func auditStampOf(us int64) uint64 { return uint64(1<<55-1) - uint64(us) }

// nextAuditStamp returns the time in microseconds, or the microsecond after the
// last one that it returned.
func (s *Store) nextAuditStamp() int64 {
	now := s.now().UnixMicro()
	for {
		last := s.auditStamp.Load()
		next := max(now, last+1)
		if s.auditStamp.CompareAndSwap(last, next) {
			return next
		}
	}
}
