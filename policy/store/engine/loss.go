package engine

import (
	"context"
	"errors"
	"time"
)

// Mark is how far a process saw a partition written: by every batch, also by one without
// an event. Marks are ordered by generation, then by revision.
type Mark struct {
	// Generation grows with each accepted loss.
	Generation uint64 `json:"generation,omitempty"`
	// Revision is the number of batches.
	Revision uint64 `json:"revision"`
	// ID is the id of the batch at IDRevision, the newest whose id is known.
	ID         string `json:"id,omitempty"`
	IDRevision uint64 `json:"idRevision,omitempty"`
}

// Before reports whether a mark is older than another one.
func (m Mark) Before(other Mark) bool {
	return m.Generation < other.Generation || m.Generation == other.Generation && m.Revision < other.Revision
}

// Loss is that a store came back without writes that a process saw.
type Loss struct {
	// From is the revision with which the store came back, To the newest one that a
	// process saw. What was written in between is lost.
	From, To uint64
	// At is when it was noticed, by the clock of the store.
	At time.Time
}

// LossDetector is a Watcher that notices when its store goes back in time. It keeps the
// loss in the store, where all processes see it, until AcceptLoss. Meanwhile Commit returns
// ErrWentBack for batches with a bounded counter.
type LossDetector interface {
	Watcher

	// Guard begins to compare the store with what this process sees of it, and with
	// marks of an earlier run.
	Guard(marks map[string]Mark)
	// Marks returns the newest marks.
	Marks() map[string]Mark
	// Behind reports whether a partition is behind its mark. Reads return ErrWentBack
	// then, except those of Repairing, until Adopt takes the partition as it is.
	Behind(partition string) bool
	Adopt(partition string)
	// Loss returns the loss of a partition that is not accepted.
	Loss(partition string) (Loss, bool)
	// AcceptLoss ends the loss of a partition, for all processes, as this one saw it last. It
	// returns ErrOtherLoss if more is lost than that.
	AcceptLoss(ctx context.Context, partition string) error
}

// ErrWentBack is returned for what depends on writes that the store lost. It matches
// ErrUnavailable.
var ErrWentBack error = wentBackError{}

type wentBackError struct{}

func (wentBackError) Error() string {
	return "the store went back in time: writes that were acknowledged are lost; see `gatefold status`"
}

// Is implements the interface of errors.Is.
func (wentBackError) Is(target error) bool { return target == ErrUnavailable }

type repairing struct{}

// Repairing returns a context for the reads and writes that repair a partition which is
// behind its mark.
func Repairing(ctx context.Context) context.Context {
	return context.WithValue(ctx, repairing{}, true)
}

// IsRepairing reports whether a context is one of Repairing.
func IsRepairing(ctx context.Context) bool { return ctx.Value(repairing{}) != nil }

// ErrNoLoss is returned by AcceptLoss when there is none.
var ErrNoLoss = errors.New("the store has lost nothing that is known")

// ErrOtherLoss is returned by AcceptLoss when the loss is not the one that this process saw.
var ErrOtherLoss = errors.New("the store has lost more than was known")
