package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// AuditQuery selects entries of an audit log. What is empty selects all.
type AuditQuery struct {
	Actor, Operation string
	// Kind and Record select entries that tell of a record of this kind, with
	// this id among the parts of its own.
	Kind, Record string
	// Since and Until bound the time: half open, Since counts.
	Since, Until time.Time
	Page
}

// maxAuditScan bounds how many entries one query looks at.
const maxAuditScan = 20_000

// Audit returns entries of a partition's audit log, the newest first. More says
// that there may be more of them: the query goes on behind next.
func (s *Store) Audit(ctx context.Context, partition string, query AuditQuery) (entries []AuditEntry, next string, more bool, err error) {
	entries = []AuditEntry{}
	oldest := s.now().Add(-AuditRetention)
	if query.Since.After(oldest) {
		oldest = query.Since
	}
	scanned := 0
	err = s.engine.View(ctx, partition, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte{prefixAudit}, query.start()) {
			if err != nil {
				return err
			}
			var found AuditEntry
			if err := decode(entry.Key, entry.Value, &found); err != nil {
				return err
			}
			found.ID = string(entry.Key[1:])
			if found.At.Before(oldest) {
				return nil
			}
			next = found.ID
			scanned++
			if query.selects(&found) {
				entries = append(entries, found)
			}
			if len(entries) == query.limit() || scanned == maxAuditScan {
				more = true
				return nil
			}
		}
		return nil
	})
	return entries, next, more, err
}

// start returns the key behind which the query's entries stand.
func (q *AuditQuery) start() []byte {
	if q.From != "" {
		return key(prefixAudit, q.From)
	}
	if q.Until.IsZero() || q.Until.UnixMicro() <= 0 {
		return nil
	}
	// Entries of the very moment stand behind this; selects takes them out.
	return key(prefixAudit, auditDigits(auditStampOf(q.Until.UnixMicro())))
}

func (q *AuditQuery) selects(entry *AuditEntry) bool {
	return (q.Actor == "" || q.Actor == entry.Actor) &&
		(q.Operation == "" || q.Operation == entry.Operation) &&
		(q.Until.IsZero() || entry.At.Before(q.Until)) &&
		(q.Kind == "" && q.Record == "" || slices.ContainsFunc(entry.Records, q.tells))
}

func (q *AuditQuery) tells(record AuditRecord) bool {
	return (q.Kind == "" || q.Kind == record.Kind) &&
		(q.Record == "" || slices.Contains(record.ID, q.Record) || q.Record == strings.Join(record.ID, "/"))
}
