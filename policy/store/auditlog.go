package store

import (
	"context"
	"slices"
	"strings"
	"time"
)

// AuditQuery selects audit entries. An empty field selects all.
type AuditQuery struct {
	Actor, Operation string
	// Kind and Record select entries with a record of this kind, and with this id
	// in its path.
	Kind, Record string
	// Since and Until are a half-open interval: Since is included.
	Since, Until time.Time
	Page
}

// Audit returns entries of a partition's audit log, the newest first. More reports
// that there may be further entries: the query continues after next.
func (s *Store) Audit(ctx context.Context, partition string, query AuditQuery) (entries []AuditEntry, next string, more bool, err error) {
	oldest := s.now().Add(-AuditRetention)
	if query.Since.After(oldest) {
		oldest = query.Since
	}
	return search(ctx, s, partition, []byte{prefixAudit}, query.start(), query.limit(), func(id string, entry *AuditEntry) (matches, end bool) {
		entry.ID = id
		return query.matches(entry), entry.At.Before(oldest)
	})
}

// start returns the key after which the entries of the query begin.
func (q *AuditQuery) start() []byte {
	if q.From != "" {
		return key(prefixAudit, q.From)
	}
	if q.Until.IsZero() || q.Until.UnixMicro() <= 0 {
		return nil
	}
	// Entries of the same microsecond follow; matches excludes them.
	return key(prefixAudit, auditDigits(auditStampOf(q.Until.UnixMicro())))
}

func (q *AuditQuery) matches(entry *AuditEntry) bool {
	return (q.Actor == "" || q.Actor == entry.Actor) &&
		(q.Operation == "" || q.Operation == entry.Operation) &&
		(q.Until.IsZero() || entry.At.Before(q.Until)) &&
		(q.Kind == "" && q.Record == "" || slices.ContainsFunc(entry.Records, q.matchesRecord))
}

func (q *AuditQuery) matchesRecord(record AuditRecord) bool {
	return (q.Kind == "" || q.Kind == record.Kind) &&
		(q.Record == "" || slices.Contains(record.ID, q.Record) || q.Record == strings.Join(record.ID, "/"))
}
