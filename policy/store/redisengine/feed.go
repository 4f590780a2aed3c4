package redisengine

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Bounds of one answer with events.
const (
	maxEvents     = 512
	maxEventBytes = 1 << 20
)

// Events implements engine.Engine. It returns at most 512 events at a time.
func (e *Engine) Events(ctx context.Context, partition string, after uint64, limit int) ([]engine.Event, error) {
	events, _, err := e.EventsAfter(ctx, partition, engine.Cursor{Position: after}, limit)
	return events, err
}

// Position implements engine.Engine.
func (e *Engine) Position(ctx context.Context, partition string) (uint64, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return 0, err
	}
	defer e.calls.Leave()
	position, err := e.client.HGet(ctx, e.keys.meta(partition), "pos").Uint64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return position, e.fail(ctx, err)
}

// EventsAfter implements engine.Watcher. Another event at the cursor's position shows
// that the feed is another one, as after a failover that lost writes.
func (e *Engine) EventsAfter(ctx context.Context, partition string, after engine.Cursor, limit int) ([]engine.Event, engine.Cursor, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return nil, engine.Cursor{}, err
	}
	defer e.calls.Leave()
	limit = min(limit, maxEvents)
	from := after.Position
	if after.Token == "" {
		from++ // nothing to compare with
	} else {
		limit++
	}
	if from == 0 {
		return nil, engine.Cursor{}, engine.ErrFeedGap // the position overflowed
	}
	keys := []string{e.keys.meta(partition), e.keys.of(partition, 'f')}
	reply, err := feedScript.Run(ctx, e.waiting, keys, strconv.FormatUint(from, 10)+"-0", limit, maxEventBytes).Slice()
	if err != nil {
		return nil, engine.Cursor{}, e.fail(ctx, err)
	}
	if len(reply) != 5 {
		return nil, engine.Cursor{}, errReply
	}
	if err := e.saw(partition, reply[3], reply[4], ""); err != nil {
		return nil, engine.Cursor{}, err
	}
	newest, err := strconv.ParseUint(text(reply[0]), 10, 64)
	if err != nil {
		return nil, engine.Cursor{}, errReply
	}
	newestCursor := engine.Cursor{Position: newest, Token: text(reply[1])}
	switch {
	case after.Position > newest:
		return nil, newestCursor, engine.ErrFeedGap
	case after.Position == newest:
		if after.Token != "" && after.Token != newestCursor.Token {
			return nil, newestCursor, engine.ErrFeedGap
		}
		return nil, newestCursor, nil
	}
	events, last, err := readEvents(reply[2], after)
	switch {
	case err != nil:
		return nil, newestCursor, err
	case limit > 0 && len(events) == 0:
		return nil, newestCursor, engine.ErrFeedGap
	case len(events) == 0:
		return nil, after, nil
	}
	return events, last, nil
}

// readEvents decodes the answer of feed.lua: events without a gap, after the cursor.
func readEvents(reply any, after engine.Cursor) (events []engine.Event, last engine.Cursor, err error) {
	entries, ok := reply.([]any)
	if !ok {
		return nil, after, errReply
	}
	want := after.Position + 1
	for i, entry := range entries {
		parts, ok := entry.([]any)
		if !ok || len(parts) != 3 {
			return nil, after, errReply
		}
		id, _, _ := strings.Cut(text(parts[0]), "-")
		position, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, after, errReply
		}
		token := text(parts[1])
		if i == 0 && after.Token != "" {
			if position != after.Position || token != after.Token {
				return nil, after, engine.ErrFeedGap
			}
			continue
		}
		if position != want {
			return nil, after, engine.ErrFeedGap
		}
		want++
		events = append(events, engine.Event{Position: position, Payload: []byte(text(parts[2]))})
		last = engine.Cursor{Position: position, Token: token}
	}
	return events, last, nil
}

// Cursors implements engine.Watcher, in one round trip for each partition.
func (e *Engine) Cursors(ctx context.Context, partitions []string) ([]engine.Cursor, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return nil, err
	}
	defer e.calls.Leave()
	if len(partitions) == 0 {
		return nil, e.fail(ctx, e.waiting.Exists(ctx, e.keys.partitions()).Err())
	}
	cursors := make([]engine.Cursor, len(partitions))
	for i, partition := range partitions {
		var err error
		if cursors[i], err = e.look(ctx, partition); err != nil {
			return nil, e.fail(ctx, err)
		}
	}
	return cursors, nil
}

// Wait implements engine.Watcher.
func (e *Engine) Wait(ctx context.Context, partition string, after uint64, most time.Duration) error {
	if err := e.calls.Enter(ctx); err != nil {
		return err
	}
	defer e.calls.Leave()
	_, err := e.waiting.XRead(ctx, &redis.XReadArgs{
		Streams: []string{e.keys.of(partition, 'f'), strconv.FormatUint(after, 10) + "-0"}, Count: 1, Block: most,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return e.fail(ctx, err)
}
