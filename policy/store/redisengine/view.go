package redisengine

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// View implements store.Engine. The first read fixes the moment that is seen, and
// every read is one round trip; what is read together with store.Prefetch is one
// altogether.
//
// A view sees what a batch replaces while it runs because the server keeps that
// for a while, in the undo log. A view that took too long for it ends with
// store.ErrSnapshotGone.
func (e *Engine) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	if err := e.calls.Enter(ctx); err != nil {
		return err
	}
	defer e.calls.Leave()
	return fn(&snapshot{engine: e, ctx: ctx, keys: e.keys.read(partition), fetched: make(map[string][]byte)})
}

// snapshot is one revision of a partition. What it reads is of the server's newest
// revision; replaced takes it back to its own.
type snapshot struct {
	engine *Engine
	ctx    context.Context
	keys   []string

	began bool
	seen  uint64 // up to which revision replaced is complete
	// replaced holds what keys held that were changed since the view began; nil
	// for those that were absent.
	replaced map[string][]byte
	// fetched holds what was read of keys, so that it is read once.
	fetched map[string][]byte
}

// Get implements store.Snapshot.
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

// known returns what is in memory of a key, if it is.
func (s *snapshot) known(key []byte) (value []byte, ok bool) {
	if value, ok = s.replaced[string(key)]; ok {
		return value, true
	}
	value, ok = s.fetched[string(key)]
	return value, ok
}

// Count implements store.Snapshot.
func (s *snapshot) Count(key []byte) (int64, error) {
	value, err := s.Get(key)
	if err != nil || value == nil {
		return 0, err
	}
	return engine.DecodeCounter(value)
}

// Prefetch implements store.Prefetcher: what is got later is read now, all in one
// round trip.
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

// prefetchStep is how many keys are read at once.
const prefetchStep = 200

func (s *snapshot) prefetch(keys [][]byte) error {
	var args []any
	var wanted []string
	for _, key := range keys {
		if _, ok := s.known(key); !ok {
			args = append(args, "get", key)
			wanted = append(wanted, string(key))
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	answers, err := s.read(args)
	if err != nil {
		return err
	}
	if len(answers) != len(wanted) {
		return errReply
	}
	for i, key := range wanted {
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
	reply, err := readScript.Run(s.ctx, s.engine.client, s.keys, append([]any{since}, args...)...).Slice()
	if err != nil {
		return nil, s.engine.fail(s.ctx, err)
	}
	if len(reply) < 3 {
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
	s.began, s.seen = true, revision
	return reply[3:], nil
}

// note adds entries of the undo log. Of each key the oldest counts: it is what the
// key held when the view began.
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
				continue // who committed, and what came out
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
