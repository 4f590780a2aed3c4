package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// OnceRetention is how long it is remembered that something was done once.
const OnceRetention = 24 * time.Hour

// ErrDoneOnce says that what was to be done once was done, or is being done, by
// a call that came before.
var ErrDoneOnce = errors.New("it was done already")

// Once makes a call be carried out once, however often it comes. It is for one
// call, and not safe for concurrent use.
//
// The first batch that is written under its context also writes that the call was
// carried out, in the same atomic step, and only if no such note is there. So
// there is no moment at which a crash could leave the one without the other.
type Once struct {
	// ID names the call, and Fingerprint is what it asked for.
	ID          string
	Fingerprint []byte

	partition string
	done      *Done
	stored    []byte // the note, as it is stored
}

// Done is the note that a call was carried out.
type Done struct {
	Fingerprint []byte    `json:"fingerprint"`
	At          time.Time `json:"at"`
	// Record is the id of the record that the call made, behind those of what it
	// stands in.
	Record []string `json:"record,omitempty"`
	// Answer is how the call was answered, if that was kept.
	Answer json.RawMessage `json:"answer,omitempty"`
}

type onceKey struct{}

// WithOnce has the first batch that is written under this context say that a
// call was carried out. Nil: none does.
func WithOnce(ctx context.Context, once *Once) context.Context {
	return context.WithValue(ctx, onceKey{}, once)
}

// Done returns the note that was written, nil if none was.
func (o *Once) Done() *Done { return o.done }

// DoneOnce returns the note that a call was carried out, or nil.
func (s *Store) DoneOnce(ctx context.Context, partition, id string) (*Done, error) {
	done, _, err := s.doneOnce(ctx, partition, id)
	return done, err
}

// doneOnce returns the note, nil if there is none that counts, and what is stored
// in its place.
func (s *Store) doneOnce(ctx context.Context, partition, id string) (*Done, []byte, error) {
	var done Done
	stored, err := s.get(ctx, partition, key(prefixOnce, id), &done)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	case !s.now().Before(done.At.Add(OnceRetention)):
		return nil, stored, nil
	}
	return &done, stored, nil
}

// noteOnce adds to a batch the note that its call was carried out. It returns
// the note, and the check that guards it; nil when the call needs none.
func (s *Store) noteOnce(ctx context.Context, partition string, batch *engine.Batch) (note *onceNote, err error) {
	once, _ := ctx.Value(onceKey{}).(*Once)
	if once == nil || once.done != nil {
		return nil, nil
	}
	before, stale, err := s.doneOnce(ctx, partition, once.ID)
	if err != nil {
		return nil, err
	}
	if before != nil {
		return nil, ErrDoneOnce
	}
	done := &Done{Fingerprint: once.Fingerprint, At: s.now().UTC().Truncate(time.Millisecond)}
	if made := slices.IndexFunc(batch.Puts, func(p engine.Put) bool { return !auditKindOf(p.Key).quiet }); made >= 0 {
		done.Record = auditID(batch.Puts[made].Key)
	}
	stored, err := encode(done)
	if err != nil {
		return nil, err
	}
	k := key(prefixOnce, once.ID)
	note = &onceNote{once: once, partition: partition, done: done, stored: stored, check: len(batch.Checks)}
	batch.Checks = append(batch.Checks, engine.Check{Key: k, Value: stale})
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: stored, Expires: done.At.Add(OnceRetention)})
	return note, nil
}

// onceNote is a note on its way into the store.
type onceNote struct {
	once      *Once
	partition string
	done      *Done
	stored    []byte
	check     int // its index among the batch's checks
}

// settle takes over what came of the batch that held the note.
func (n *onceNote) settle(err error) error {
	if n == nil {
		return err
	}
	if failed, ok := errors.AsType[*engine.CheckError](err); ok && failed.Index == n.check {
		return ErrDoneOnce
	}
	if err == nil {
		n.once.partition, n.once.done, n.once.stored = n.partition, n.done, n.stored
	}
	return err
}

// Note writes that a call was carried out, where nothing that it did said so.
func (s *Store) Note(ctx context.Context, partition string, once *Once) error {
	if once.done != nil {
		return nil
	}
	batch := new(engine.Batch)
	note, err := s.noteOnce(WithOnce(ctx, once), partition, batch)
	if err != nil {
		return err
	}
	_, err = s.engine.Commit(ctx, partition, batch)
	return note.settle(err)
}

// KeepAnswer adds to the note of a call how it was answered.
func (s *Store) KeepAnswer(ctx context.Context, once *Once, answer json.RawMessage) error {
	if once.done == nil {
		return nil
	}
	done := *once.done
	done.Answer = answer
	stored, err := encode(done)
	if err != nil {
		return err
	}
	k := key(prefixOnce, once.ID)
	_, err = s.engine.Commit(ctx, once.partition, &engine.Batch{
		Checks: []engine.Check{{Key: k, Value: once.stored}},
		Puts:   []engine.Put{{Key: k, Value: stored, Expires: done.At.Add(OnceRetention)}},
	})
	return err
}
