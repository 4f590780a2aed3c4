package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// A redemption that fails may have counted its use: the answer of a shared store was
// lost, or too few replicas have the write. The reader gets no page, so the use is taken
// back. If the store does not answer, as in a failover, that is tried again in the
// background.
//
// Another request of the same device, or with the same cookie, may find the use before
// it is taken back. It keeps the use (see keep) before it gets the page, and a use that is
// kept is not taken back any more. A use older than policy.UseSettles is not, either.

const (
	// maxRefunds bounds the uses that wait to be taken back; each is below 1 KB.
	maxRefunds = 4096
	// refundPause is the time between attempts to take uses back.
	refundPause = 250 * time.Millisecond
)

// RefundStats counts the uses that were to be taken back in the background.
type RefundStats struct {
	// Done were taken back, or had not been counted.
	Done uint64
	// GivenUp were not: the store did not answer in time, or too many waited. Of each a
	// use of the link may be lost.
	GivenUp uint64
}

// refunds are the uses that wait to be taken back. The zero value is ready for use.
type refunds struct {
	mu      sync.Mutex
	waiting []refund
	running bool
	stats   RefundStats
}

type refund struct {
	vendor     string
	redemption policy.Redemption
	tried      bool // and there was nothing to take back
}

// Refunds returns what became of uses that were to be taken back in the background.
func (s *Store) Refunds() RefundStats {
	s.refunds.mu.Lock()
	defer s.refunds.mu.Unlock()
	return s.refunds.stats
}

// Refund implements policy.Records. In one atomic step it checks that the redemption
// counted the use and that no other request keeps it, and takes it back.
func (s *Store) Refund(ctx context.Context, vendor string, r policy.Redemption) error {
	_, err := s.refund(ctx, vendor, &r)
	return err
}

// refund reports whether there was a use to take back.
func (s *Store) refund(ctx context.Context, vendor string, r *policy.Redemption) (bool, error) {
	counter := useCounter(r)
	counter.Max, counter.Undo = 0, true
	committed, err := s.engine.Commit(ctx, vendor, &engine.Batch{
		Checks: []engine.Check{{Key: keptKey(r)}}, Counters: []engine.Counter{counter},
	})
	if _, kept := errors.AsType[*engine.CheckError](err); kept {
		return true, nil
	}
	return err == nil && !committed.Replayed[0], err
}

func keptKey(r *policy.Redemption) []byte { return key(prefixKept, r.Issuer, r.LinkID, r.ID) }

// keep makes a use that was counted by another request one that is not taken back. It
// returns ErrConflict if there is no such use any more.
func (s *Store) keep(ctx context.Context, vendor string, r *policy.Redemption) error {
	_, err := s.engine.Commit(ctx, vendor, &engine.Batch{
		Checks: []engine.Check{{Key: key(prefixUse, r.Issuer, r.LinkID, r.ID), Present: true}},
		Puts:   []engine.Put{{Key: keptKey(r), Expires: r.ExpiresAt.Add(Retention)}},
	})
	if _, gone := errors.AsType[*engine.CheckError](err); gone {
		return ErrConflict
	}
	return err
}

// giveBack takes back the use of a redemption that failed, if it may have been counted.
func (s *Store) giveBack(ctx context.Context, vendor string, r *policy.Redemption, failed error) {
	if r.MaxUses == 0 || !mayBeCounted(failed) {
		return
	}
	if errors.Is(failed, engine.ErrNotAcknowledged) { // the store answers
		if _, err := s.refund(context.WithoutCancel(ctx), vendor, r); isTaken(err) {
			return
		}
	}
	s.refunds.mu.Lock()
	defer s.refunds.mu.Unlock()
	if len(s.refunds.waiting) >= maxRefunds {
		s.refunds.stats.GivenUp++
		return
	}
	later := *r
	later.Link = nil
	s.refunds.waiting = append(s.refunds.waiting, refund{vendor: vendor, redemption: later})
	if !s.refunds.running {
		s.refunds.running = true
		go s.giveBackLater()
	}
}

// mayBeCounted reports whether a redemption with this error may have counted a use.
func mayBeCounted(failed error) bool {
	for _, never := range []error{
		nil, policy.ErrLinkUsedUp, policy.ErrLinkRevoked, policy.ErrLinkReused, ErrNotFound, ErrConflict,
		context.Canceled, context.DeadlineExceeded, engine.ErrClosed, engine.ErrTooLarge,
	} {
		if errors.Is(failed, never) {
			return false
		}
	}
	return true
}

// isTaken reports whether a use was taken back: also if too few replicas have that. If it
// is lost in another failover, so is the count, which is as old.
func isTaken(err error) bool { return err == nil || errors.Is(err, engine.ErrNotAcknowledged) }

// giveBackLater takes back the waiting uses, and ends when there are none.
func (s *Store) giveBackLater() {
	for {
		time.Sleep(refundPause)
		s.refunds.mu.Lock()
		waiting := s.refunds.waiting
		s.refunds.waiting = nil
		s.refunds.running = len(waiting) > 0
		s.refunds.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		left, stats := s.giveBackAll(waiting)
		s.refunds.mu.Lock()
		s.refunds.stats.Done += stats.Done
		s.refunds.stats.GivenUp += stats.GivenUp
		s.refunds.waiting = append(left, s.refunds.waiting...)
		s.refunds.mu.Unlock()
	}
}

// giveBackAll tries to take back uses, the first of them first, until the store does not
// answer. It returns those that are left.
func (s *Store) giveBackAll(waiting []refund) (left []refund, stats RefundStats) {
	failed := false
	for _, one := range waiting {
		err := engine.ErrUnavailable
		found := false
		if !failed {
			found, err = s.refund(context.Background(), one.vendor, &one.redemption)
		}
		failed = !isTaken(err)
		switch {
		case errors.Is(err, engine.ErrClosed), failed && s.now().Sub(one.redemption.At) >= policy.RefundsFor:
			stats.GivenUp++
		case failed:
			left = append(left, one)
		case !found && !one.tried:
			// The server may have the redemption itself still to read, from a connection
			// that was given up.
			one.tried = true
			left = append(left, one)
		default:
			stats.Done++
		}
	}
	return left, stats
}
