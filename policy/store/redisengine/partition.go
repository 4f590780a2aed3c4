package redisengine

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// registeredFor is how long a process assumes that a partition's name is registered: a
// failover may have lost it.
const registeredFor = time.Minute

// register adds a partition's name to the list before it is written. Partitions ignores
// names whose partition was never written.
//
// In a Cluster the list is on another shard, so it cannot be part of the batch.
func (e *Engine) register(ctx context.Context, partition string) error {
	if at, ok := e.registered.Load(partition); ok && time.Since(at.(time.Time)) < registeredFor {
		return nil
	}
	if err := e.client.ZAddNX(ctx, e.keys.partitions(), redis.Z{Member: partition}).Err(); err != nil {
		return err
	}
	e.registered.Store(partition, time.Now())
	return e.keepReserve(ctx, partition)
}

// reserveSize is the memory that a partition keeps for removals and revocations, in bytes.
const reserveSize = 64 << 10

// keepReserve makes the reserve of a partition again after it was given up. A server that has
// no memory yet refuses it.
func (e *Engine) keepReserve(ctx context.Context, partition string) error {
	key := e.keys.of(partition, 'r')
	size, err := e.client.StrLen(ctx, key).Result()
	if err != nil || size == reserveSize {
		return err
	}
	err = e.client.SetRange(ctx, key, reserveSize-1, "\x00").Err()
	if redis.IsOOMError(err) {
		return nil
	}
	return err
}

// partitionsPage is how many names are read at a time.
const partitionsPage = 500

// Partitions implements engine.Engine.
func (e *Engine) Partitions(ctx context.Context) ([]string, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return nil, err
	}
	defer e.calls.Leave()
	var written []string
	for from := "-"; ; {
		names, err := e.client.ZRangeByLex(ctx, e.keys.partitions(), &redis.ZRangeBy{Min: from, Max: "+", Count: partitionsPage}).Result()
		if err != nil {
			return nil, e.fail(ctx, err)
		}
		if written, err = e.appendWritten(ctx, written, names); err != nil {
			return nil, e.fail(ctx, err)
		}
		if len(names) < partitionsPage {
			return written, nil
		}
		from = "(" + names[len(names)-1]
	}
}

// appendWritten appends the names whose partitions were written.
func (e *Engine) appendWritten(ctx context.Context, written, names []string) ([]string, error) {
	exist := make([]*redis.IntCmd, len(names))
	_, err := e.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, name := range names {
			exist[i] = pipe.Exists(ctx, e.keys.meta(name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if exist[i].Val() == 1 {
			written = append(written, name)
		}
	}
	return written, nil
}
