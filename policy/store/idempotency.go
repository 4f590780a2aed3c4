package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// IdempotencyRetention is how long an idempotency record is kept.
const IdempotencyRetention = 24 * time.Hour

// ErrAlreadyCompleted is returned for a call whose idempotency record is stored
// already: an earlier call with the same key was carried out, or is being carried
// out.
var ErrAlreadyCompleted = errors.New("the call was carried out already")

// IdempotencyRecord makes a call be carried out at most once. It belongs to one
// call, and is not safe for concurrent use.
//
// The first batch of a Writer with the record (see Writer.Once) stores it in the
// same atomic step, provided that none is stored yet. No crash can leave the one
// without the other.
type IdempotencyRecord struct {
	// ID identifies the call. Fingerprint is a digest of its request.
	ID          string
	Fingerprint []byte

	partition string
	completed *CompletedCall
	stored    []byte
}

// CompletedCall is an idempotency record as it is stored.
type CompletedCall struct {
	Fingerprint []byte    `json:"fingerprint"`
	At          time.Time `json:"at"`
	// Record is the path of the record that the call created: parent ids first. Kind is the
	// record's kind, as in the audit log.
	Record []string `json:"record,omitempty"`
	Kind   string   `json:"kind,omitempty"`
	// Answer is the answer of the call, if it was saved.
	Answer json.RawMessage `json:"answer,omitempty"`
}

// Completed returns what was stored, or nil.
func (r *IdempotencyRecord) Completed() *CompletedCall { return r.completed }

// CompletedCall returns the call of an idempotency record, or nil when none is
// stored or it is older than IdempotencyRetention.
func (s *Store) CompletedCall(ctx context.Context, partition, id string) (*CompletedCall, error) {
	call, _, err := s.completedCall(ctx, partition, id)
	return call, err
}

// completedCall also returns the stored bytes, those of an expired record included.
func (s *Store) completedCall(ctx context.Context, partition, id string) (*CompletedCall, []byte, error) {
	var call CompletedCall
	stored, err := s.get(ctx, partition, key(prefixIdempotency, id), &call)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	case !s.now().Before(call.At.Add(IdempotencyRetention)):
		return nil, stored, nil
	}
	return &call, stored, nil
}

// pendingRecord is an idempotency record in a batch that is not committed yet.
type pendingRecord struct {
	record *IdempotencyRecord
	next   IdempotencyRecord
	check  int // its index among the batch's checks
}

// addIdempotencyRecord adds a record to a batch, with the check that no other one is
// stored. It returns nil when there is no record, or it is stored already.
func (s *Store) addIdempotencyRecord(
	ctx context.Context, partition string, batch *engine.Batch, record *IdempotencyRecord,
) (*pendingRecord, error) {
	if record == nil || record.completed != nil {
		return nil, nil
	}
	earlier, expired, err := s.completedCall(ctx, partition, record.ID)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return nil, ErrAlreadyCompleted
	}
	call := &CompletedCall{Fingerprint: record.Fingerprint, At: s.timestamp()}
	if created := slices.IndexFunc(batch.Puts, func(p engine.Put) bool { return !auditKindOf(p.Key).unaudited }); created >= 0 {
		k := batch.Puts[created].Key
		call.Record, call.Kind = auditID(k), auditKindOf(k).name
	}
	put, err := record.put(call)
	if err != nil {
		return nil, err
	}
	pending := &pendingRecord{record: record, next: *record, check: len(batch.Checks)}
	pending.next.partition, pending.next.completed, pending.next.stored = partition, call, put.Value
	batch.Checks = append(batch.Checks, engine.Check{Key: put.Key, Value: expired})
	batch.Puts = append(batch.Puts, put)
	return pending, nil
}

func (r *IdempotencyRecord) put(call *CompletedCall) (engine.Put, error) {
	stored, err := encode(call)
	return engine.Put{Key: key(prefixIdempotency, r.ID), Value: stored, Expires: call.At.Add(IdempotencyRetention)}, err
}

// settle updates the record by the result of its batch.
func (p *pendingRecord) settle(err error) error {
	if p == nil {
		return err
	}
	if failed, ok := errors.AsType[*engine.CheckError](err); ok && failed.Index == p.check {
		return ErrAlreadyCompleted
	}
	if err == nil {
		*p.record = p.next
	}
	return err
}

// Complete stores an idempotency record by itself, unless a batch did.
func (s *Store) Complete(ctx context.Context, partition string, record *IdempotencyRecord) error {
	batch := new(engine.Batch)
	pending, err := s.addIdempotencyRecord(ctx, partition, batch, record)
	if err != nil || pending == nil {
		return err
	}
	_, err = s.engine.Commit(ctx, partition, batch)
	return pending.settle(err)
}

// SaveAnswer adds the answer of the call to a record that is stored.
func (s *Store) SaveAnswer(ctx context.Context, record *IdempotencyRecord, answer json.RawMessage) error {
	if record.completed == nil {
		return nil
	}
	call := *record.completed
	call.Answer = answer
	put, err := record.put(&call)
	if err != nil {
		return err
	}
	_, err = s.engine.Commit(ctx, record.partition, &engine.Batch{
		Checks: []engine.Check{{Key: put.Key, Value: record.stored}},
		Puts:   []engine.Put{put},
	})
	return err
}
