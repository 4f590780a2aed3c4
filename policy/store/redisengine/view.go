package redisengine

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// View implements engine.Engine. The snapshot is taken by the first read. Every read is
// one round trip, and so is engine.Prefetch.
//
// The server keeps replaced values for a while, in the undo log, from which a view
// restores its snapshot. A view that took too long for it returns
// engine.ErrSnapshotGone.
func (e *Engine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	if err := e.calls.Enter(ctx); err != nil {
		return err
	}
	defer e.calls.Leave()
	bounded, stop := e.urgent(ctx)
	defer stop()
	return fn(&snapshot{engine: e, ctx: bounded, outer: ctx, partition: partition, keys: e.keys.read(partition), fetched: make(map[string][]byte)})
}

// snapshot is one revision of a partition. It reads the newest revision, and restores its
// own with replaced.
type snapshot struct {
	engine    *Engine
	ctx       context.Context // may end before outer
	outer     context.Context
	partition string
	keys      []string

	began bool
	seen  uint64 // the revision up to which replaced is complete
	// replaced has the original values of the keys that were changed since the view
	// began; nil for keys that were absent.
	replaced map[string][]byte
	// fetched has the values that were read, so that each is read once.
	fetched map[string][]byte
	// ranges has the first pages of the prefixes that PrefetchRanges read.
	ranges map[string]firstEntries
}

// Get implements engine.Snapshot.
func (s *snapshot) Get(key []byte) ([]byte, error) {
	if len(key) == 0 || len(key) > engine.MaxKeySize {
		return nil, nil
	}
	if value, ok := s.known(key); ok {
		return value, nil
	}
	if err := s.Prefetch(key); err != nil {
		return nil, err
	}
	value, _ := s.known(key)
	return value, nil
}

// known returns the value of a key that was read or replaced.
func (s *snapshot) known(key []byte) (value []byte, ok bool) {
	if value, ok = s.replaced[string(key)]; ok {
		return value, true
	}
	value, ok = s.fetched[string(key)]
	return value, ok
}

// Count implements engine.Snapshot.
func (s *snapshot) Count(key []byte) (int64, error) {
	value, err := s.Get(key)
	if err != nil || value == nil {
		return 0, err
	}
	return engine.DecodeCounter(value)
}

// Prefetch implements engine.Prefetcher.
func (s *snapshot) Prefetch(keys ...[]byte) error {
	for len(keys) > 0 {
		n := min(len(keys), prefetchStep)
		if err := s.prefetch(keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// prefetchStep bounds the keys of one round trip.
const prefetchStep = 200

func (s *snapshot) prefetch(keys [][]byte) error {
	var args []any
	var missing []string
	for _, key := range keys {
		if _, ok := s.known(key); !ok {
			args = append(args, "get", key)
			missing = append(missing, string(key))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	answers, err := s.read(args)
	if err != nil {
		return err
	}
	if len(answers) != len(missing) {
		return errReply
	}
	for i, key := range missing {
		value, err := bytesOrNil(answers[i])
		if err != nil {
			return err
		}
		s.fetched[key] = value
	}
	return nil
}

// read runs read.lua and takes note of what was replaced since the last time.
func (s *snapshot) read(args []any) ([]any, error) {
	since := ""
	if s.began {
		since = strconv.FormatUint(s.seen, 10)
	}
	known := s.engine.known(s.partition)
	reply, err := readScript.Run(s.ctx, s.engine.client, s.keys, append([]any{since}, args...)...).Slice()
	if err != nil {
		return nil, s.engine.fail(s.outer, err)
	}
	if len(reply) < 4 {
		return nil, errReply
	}
	revision, err1 := strconv.ParseUint(text(reply[0]), 10, 64)
	floor, err2 := strconv.ParseUint(text(reply[1]), 10, 64)
	log, ok := reply[2].([]any)
	if err := errors.Join(err1, err2); err != nil || !ok {
		return nil, errReply
	}
	if s.began {
		// A revision behind ours is another database: a failover, or a restore.
		if revision < s.seen || floor > s.seen {
			return nil, engine.ErrSnapshotGone
		}
		if err := s.note(log); err != nil {
			return nil, err
		}
	}
	// What was removed may be back, until this process removed it again.
	if seen, err := markOf(reply[3], reply[0]); err != nil {
		return nil, err
	} else if seen.Before(known) && !engine.IsRepairing(s.ctx) {
		return nil, engine.ErrWentBack
	}
	if err := s.engine.saw(s.partition, reply[3], reply[0], ""); err != nil {
		return nil, err
	}
	if s.engine.Behind(s.partition) && !engine.IsRepairing(s.ctx) {
		return nil, engine.ErrWentBack
	}
	s.began, s.seen = true, revision
	return reply[4:], nil
}

// note adds entries of the undo log. The oldest entry of a key is its value when the view
// began.
func (s *snapshot) note(log []any) error {
	for _, entry := range log {
		parts, ok := entry.([]any)
		if !ok || len(parts) != 2 {
			return errReply
		}
		fields, ok := parts[1].([]any)
		if !ok || len(fields)%2 != 0 {
			return errReply
		}
		for i := 0; i < len(fields); i += 2 {
			key, before := text(fields[i]), text(fields[i+1])
			if key == "" {
				continue // the id of the batch, and its result
			}
			if _, ok := s.replaced[key]; ok {
				continue
			}
			if s.replaced == nil {
				s.replaced = make(map[string][]byte)
			}
			s.replaced[key] = nil
			if before != "" && before[0] == '+' {
				s.replaced[key] = []byte(before[1:])
			}
		}
	}
	return nil
}

func bytesOrNil(reply any) ([]byte, error) {
	switch value := reply.(type) {
	case nil:
		return nil, nil
	case string:
		return append([]byte{}, value...), nil
	case error:
		if errors.Is(value, redis.Nil) {
			return nil, nil
		}
		return nil, value
	}
	return nil, errReply
}
