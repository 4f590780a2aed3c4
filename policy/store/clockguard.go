package store

import (
	"fmt"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// ClockError is returned for redemptions and signatures while the clock of this node is wrong:
// it would count uses of links that ended, and sign tokens that others refuse. It matches
// engine.ErrUnavailable.
type ClockError struct {
	// Ahead is how far the clock of the store is ahead of this node's.
	Ahead time.Duration
}

func (e *ClockError) Error() string {
	return fmt.Sprintf("the clock of this node and that of the store differ by %v: synchronize them (NTP); links are not redeemed and nothing is signed until then", e.Ahead.Abs().Round(time.Second))
}

// Is implements the interface of errors.Is.
func (e *ClockError) Is(target error) bool { return target == engine.ErrUnavailable }

// GuardClock sets a check that every redemption and every use of a signing key passes first.
// It must be called before the store is used.
func (s *Store) GuardClock(check func() error) { s.checkClock = check }

// clockRight returns the error of the check of GuardClock.
func (s *Store) clockRight() error {
	if s.checkClock == nil {
		return nil
	}
	return s.checkClock()
}
