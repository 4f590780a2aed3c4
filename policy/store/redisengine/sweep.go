package redisengine

import (
	"context"
	"strconv"
	"time"
)

// sweepStep bounds the entries that one script removes, as it blocks the server.
const sweepStep = 500

// Sweep implements engine.Engine.
func (e *Engine) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return 0, err
	}
	defer e.calls.Leave()
	total := 0
	for total < limit {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		step := min(limit-total, sweepStep)
		args := append(e.writeArgs(newCommitID(), partition, 2), strconv.FormatInt(max(ceilMilli(before), 1), 10), step)
		reply, err := e.write(context.WithoutCancel(ctx), sweepScript, e.keys.written(partition), args)
		if err != nil {
			return total, e.fail(ctx, err)
		}
		removed, ok := reply.(int64)
		if !ok {
			return total, errReply
		}
		total += int(removed)
		if int(removed) < step {
			break
		}
	}
	return total, nil
}
