package store

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// AuditRetention is how long audit entries are kept.
const AuditRetention = 365 * 24 * time.Hour

// AuditEntry is the entry of one batch in the audit log.
type AuditEntry struct {
	ID        string        `json:"-"`
	At        time.Time     `json:"at"`
	Actor     string        `json:"actor"`
	Operation string        `json:"operation"`
	Records   []AuditRecord `json:"records"`
	// More is the number of changed records that are not in Records.
	More int `json:"more,omitempty"`
}

// AuditRecord is the change of one record.
type AuditRecord struct {
	Kind string `json:"kind"`
	// ID is the record's path: parent ids first.
	ID []string `json:"id"`
	// Before and After are JSON objects without secrets. A changed record has both,
	// with the members that differ; a created or removed one has one of them.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Truncated reports that one of them was too long, and was left out.
	Truncated bool `json:"truncated,omitempty"`
	// Erased reports that they were of a person who was erased, and were emptied.
	Erased bool `json:"erased,omitempty"`
}

// maxAuditRecords bounds the records of an entry.
const maxAuditRecords = 10

// audit appends the audit entry of a batch to it. Stored has what keys held before,
// where no check of the batch has it; it may be nil.
func (w Writer) audit(batch *engine.Batch, stored map[string][]byte) error {
	if w.actor == (Actor{}) {
		return nil
	}
	entry := AuditEntry{At: w.now().UTC().Truncate(time.Microsecond), Actor: w.actor.Name, Operation: w.actor.Operation}
	entry.Records, entry.More = auditRecords(batch, stored)
	if len(entry.Records) == 0 {
		return nil
	}
	encoded, err := encode(entry)
	if err != nil {
		return err
	}
	batch.Puts = append(batch.Puts, engine.Put{
		Key: key(prefixAudit, w.newAuditID()), Value: encoded, Expires: entry.At.Add(AuditRetention),
	})
	return nil
}

// auditRecords returns the changes of a batch, and the number of those that are
// left out.
func auditRecords(batch *engine.Batch, stored map[string][]byte) (records []AuditRecord, more int) {
	add := func(k, after []byte) {
		kind := auditKindOf(k)
		switch {
		case kind.unaudited:
		case len(records) == maxAuditRecords:
			more++
		default:
			record := AuditRecord{Kind: kind.name, ID: auditID(k)}
			record.Before, record.After, record.Truncated = kind.change(before(batch, stored, k), after)
			records = append(records, record)
		}
	}
	puts := batch.Puts
	// A summary comes last in its batch.
	if last := len(puts) - 1; last >= 0 && auditKindOf(puts[last].Key).summary {
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

// before returns what a key held before a batch, nil when that is not known.
func before(batch *engine.Batch, stored map[string][]byte, k []byte) []byte {
	if value, ok := stored[string(k)]; ok {
		return value
	}
	i := slices.IndexFunc(batch.Checks, func(c engine.Check) bool { return string(c.Key) == string(k) })
	if i < 0 {
		return nil
	}
	return batch.Checks[i].Value
}

// newAuditID returns an id that sorts before all earlier ones of this process, and
// before those of other processes from an earlier microsecond: the newest entry is
// read first.
func (s *Store) newAuditID() string {
	return auditDigits(auditStampOf(s.nextAuditStamp())) + randomDigits(15)
}

// auditDigits writes a stamp as sortable text: 55 bits of microseconds, a thousand
// years.
func auditDigits(stamp uint64) string {
	var digits [11]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = idDigits[stamp&31]
		stamp >>= 5
	}
	return string(digits[:])
}

// auditStampOf returns the sort order of an entry by its time in Unix microseconds:
// later ones first.
func auditStampOf(us int64) uint64 { return uint64(1<<55-1) - uint64(us) }

// nextAuditStamp returns the time in Unix microseconds, and at least one more than
// the last call.
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
