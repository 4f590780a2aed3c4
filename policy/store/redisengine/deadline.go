package redisengine

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// A redemption has little time: a reader waits for it. It carries its deadline into the
// script, by the clock of the server, and is void after it. So a server that was stopped, and
// reads requests later that were long answered with 503, counts none of them.

// clocks knows the clocks of the servers by partition. The zero value is ready for use.
type clocks struct{ of sync.Map }

// clock is the time of a server, in Unix milliseconds, at a time of this process.
type clock struct {
	server int64
	at     time.Time
}

const (
	// clockQuick is the duration of an answer up to which it is precise enough to replace
	// a clock that is younger than clockRenewed.
	clockQuick   = 50 * time.Millisecond
	clockRenewed = 2 * time.Second
	// clockValid is how long a clock is used. A node that follows a partition reads its
	// clock several times a second.
	clockValid = 10 * time.Second
	// leastTime is how much time a use must have left to be sent.
	leastTime = 5 * time.Millisecond
)

// set notes the time of a server from an answer to a request that began at a time.
func (c *clocks) set(partition, milliseconds string, began time.Time) error {
	server, err := strconv.ParseInt(milliseconds, 10, 64)
	if err != nil {
		return errReply
	}
	answered := time.Now()
	if before, ok := c.of.Load(partition); ok && answered.Sub(began) > clockQuick && answered.Sub(before.(clock).at) < clockRenewed {
		return nil
	}
	// The server read its clock before the answer arrived: deadlines are early rather than late.
	c.of.Store(partition, clock{server, answered})
	return nil
}

// deadline returns a time of this process by the clock of a partition's server, for a script.
func (e *Engine) deadline(ctx context.Context, partition string, at time.Time) (string, error) {
	for range 2 {
		if found, ok := e.clocks.of.Load(partition); ok && time.Since(found.(clock).at) < clockValid {
			c := found.(clock)
			return strconv.FormatInt(c.server+at.Sub(c.at).Milliseconds(), 10), nil
		}
		if _, err := e.look(ctx, partition); err != nil {
			return "", err
		}
	}
	return "", ErrUnreachable
}

// bounded returns the context of a redemption that ends at a time. The wait for replicas is
// not part of its time.
func (e *Engine) bounded(ctx context.Context, at time.Time) (context.Context, context.CancelFunc) {
	if e.options.AckReplicas > 0 {
		at = at.Add(e.options.AckTimeout)
	}
	return context.WithDeadline(ctx, at)
}

// late is the error of a redemption that had no time left.
func (e *Engine) late() error {
	return fmt.Errorf("%w within redeem_timeout (%v): %w", ErrUnreachable, e.options.RedeemTimeout, context.DeadlineExceeded)
}

// urgent returns the context of a read for which a reader waits, and how the read ends.
func (e *Engine) urgent(ctx context.Context) (context.Context, context.CancelFunc) {
	if !engine.IsUrgent(ctx) {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, e.options.RedeemTimeout)
}
