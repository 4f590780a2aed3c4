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

// Refund implements policy.Records. It takes back the use and the device that the
// redemption counted, unless another request keeps them, and says so in the history of the
// link.
func (s *Store) Refund(ctx context.Context, vendor string, r policy.Redemption) error {
	_, err := s.refund(ctx, vendor, &r, RefundNotDelivered)
	return err
}

// refund reports whether there was something to take back. Each counter is taken back by
// itself: another request may keep one of them.
func (s *Store) refund(ctx context.Context, vendor string, r *policy.Redemption, reason string) (found bool, err error) {
	taken := false
	for _, counter := range counters(r) {
		counter.Max, counter.Undo = 0, true
		committed, err := s.engine.Commit(ctx, vendor, &engine.Batch{
			Checks: []engine.Check{{Key: keptOf(r, &counter)}}, Counters: []engine.Counter{counter},
		})
		_, kept := errors.AsType[*engine.CheckError](err)
		switch {
		case kept:
			found = true
		case !isTaken(err):
			return found, err
		case err != nil || !committed.Replayed[0]:
			found, taken = true, true
		}
	}
	if taken {
		at := s.timestamp()
		// The history is for people: a use is taken back although it cannot be written.
		_ = s.RecordLinkEvents(ctx, vendor, r.Issuer, r.LinkID, []LinkEvent{
			{Kind: LinkRefunded, Reason: reason, Visitor: r.Visitor, Since: at, At: at, Count: 1},
		})
	}
	return found, nil
}

// keptKey returns the key of the marker of a use or a device that is not taken back any
// more. The ids of both are one only for a browser, which keeps both.
func keptKey(issuer, link, id string) []byte { return key(prefixKept, issuer, link, id) }

// keptOf returns the key for what a counter of a redemption counts.
func keptOf(r *policy.Redemption, counter *engine.Counter) []byte {
	if counter.Key[0] == prefixDevices {
		return keptKey(r.Issuer, r.LinkID, r.DeviceID)
	}
	return keptKey(r.Issuer, r.LinkID, r.ID)
}

// keep makes what was counted by another request, and found by this one, something that is
// not taken back. It returns ErrConflict if it is not counted any more.
func (s *Store) keep(ctx context.Context, vendor string, r *policy.Redemption, counted []engine.Counter, found []bool) error {
	batch := new(engine.Batch)
	for i := range counted {
		if !found[i] || counted[i].Max == 0 {
			continue
		}
		batch.Checks = append(batch.Checks, engine.Check{Key: counted[i].IdempotencyKey, Present: true})
		if len(batch.Puts) == 0 || r.ID != r.DeviceID {
			batch.Puts = append(batch.Puts, engine.Put{Key: keptOf(r, &counted[i]), Expires: r.ExpiresAt.Add(Retention)})
		}
	}
	if len(batch.Puts) == 0 {
		return nil
	}
	_, err := s.engine.Commit(ctx, vendor, batch)
	if _, gone := errors.AsType[*engine.CheckError](err); gone {
		return ErrConflict
	}
	return err
}

// giveBack takes back the use of a redemption that failed, if it may have been counted.
func (s *Store) giveBack(ctx context.Context, vendor string, r *policy.Redemption, failed error) {
	if r.MaxUses == 0 && r.MaxDevices == 0 || !mayBeCounted(failed) {
		return
	}
	if errors.Is(failed, engine.ErrNotAcknowledged) { // the store answers
		if _, err := s.refund(context.WithoutCancel(ctx), vendor, r, RefundNotAcknowledged); isTaken(err) {
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
		nil, policy.ErrLinkUsedUp, policy.ErrLinkDeviceLimit, policy.ErrLinkRevoked, policy.ErrLinkReused, ErrNotFound, ErrConflict,
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
			found, err = s.refund(context.Background(), one.vendor, &one.redemption, RefundNotAcknowledged)
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
