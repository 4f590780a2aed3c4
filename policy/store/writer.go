package store

import (
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Actor identifies the caller on whose behalf records are written.
type Actor struct {
	// Name identifies the caller, Operation the operation that they called.
	Name, Operation string
}

// Writer writes records on behalf of an actor. Every batch that it commits appends
// an entry to the audit log of its partition, and the events of its changes to the queues
// of the vendor's webhooks, in the same atomic step. It reads as the Store does, and is safe for concurrent use unless it has an idempotency
// record.
//
// What the gate writes by itself, such as redemptions and visits, is written by the
// Store, and is not audited.
type Writer struct {
	*Store
	actor       Actor
	idempotency *IdempotencyRecord
}

// As returns a Writer for an actor. The zero Actor is the system itself: what it
// writes is not audited.
func (s *Store) As(actor Actor) Writer { return Writer{Store: s, actor: actor} }

// Once returns a Writer whose first batch also writes the idempotency record, in the
// same atomic step. A batch whose record is there already returns
// ErrAlreadyCompleted and writes nothing. Nil means that there is no record to
// write.
func (w Writer) Once(record *IdempotencyRecord) Writer {
	w.idempotency = record
	return w
}

// commit audits a batch, commits it with its events, and bumps the versions that it invalidates.
func (w Writer) commit(ctx context.Context, partition string, batch *engine.Batch, change policy.Invalidation) error {
	return w.commitReplacing(ctx, partition, batch, change, nil)
}

// commitReplacing is commit for a batch whose checks do not show what its keys held
// before: stored has that, by key.
func (w Writer) commitReplacing(ctx context.Context, partition string, batch *engine.Batch, change policy.Invalidation, stored map[string][]byte) error {
	if err := w.audit(batch, stored); err != nil {
		return err
	}
	pending, err := w.addIdempotencyRecord(ctx, partition, batch, w.idempotency)
	if err != nil {
		return err
	}
	return conflict(pending.settle(w.commitWithEvents(ctx, partition, batch, stored, func() error {
		return w.apply(ctx, partition, batch, change)
	})))
}

// commit commits a batch that is not audited, and bumps the versions that it
// invalidates.
func (s *Store) commit(ctx context.Context, partition string, batch *engine.Batch, change policy.Invalidation) error {
	return conflict(s.apply(ctx, partition, batch, change))
}

// apply commits a batch and bumps the versions, even when the commit fails: an
// engine that lost its connection may have written, and a bump too many costs only
// a read.
func (s *Store) apply(ctx context.Context, partition string, batch *engine.Batch, change policy.Invalidation) error {
	batch.Event = change.Encode()
	_, err := s.engine.Commit(ctx, partition, batch)
	if errors.Is(err, engine.ErrFull) && !batch.Closes && closes(batch, new(removals).of(partition, batch, time.Time{})) {
		// Nothing was written: there may be room that is kept for what takes access away.
		closing := *batch
		closing.Closes = true
		_, err = s.engine.Commit(ctx, partition, &closing)
	}
	s.versions.Bump(change)
	return err
}

// conflict returns ErrConflict for a check that failed, and other errors as they
// are.
func conflict(err error) error {
	if _, failed := errors.AsType[*engine.CheckError](err); failed {
		return ErrConflict
	}
	return err
}
