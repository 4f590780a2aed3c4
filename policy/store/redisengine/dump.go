package redisengine

import (
	"context"
	_ "embed"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
)

//go:embed dump.lua
var dumpLua string

var dumpScript = redis.NewScript(dumpLua)

// Dump implements engine.Dumper.
func (e *Engine) Dump(ctx context.Context, partition string, after []byte, limit int) ([]engine.Put, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return nil, err
	}
	defer e.calls.Leave()
	var entries []engine.Put
	for from := append([]byte{'('}, after...); len(entries) < limit; {
		if after == nil && len(entries) == 0 {
			from = []byte{'-'}
		}
		flat, err := dumpScript.Run(ctx, e.client, e.keys.list(partition, "kve"), from, limit-len(entries), pageBytes).Slice()
		if err != nil {
			return nil, e.fail(ctx, err)
		}
		if len(flat) == 0 {
			break
		}
		if len(flat)%3 != 0 {
			return nil, errReply
		}
		for i := 0; i < len(flat); i += 3 {
			entry := engine.Put{Key: []byte(text(flat[i])), Value: []byte(text(flat[i+1]))}
			if score := text(flat[i+2]); score != "" {
				ms, err := strconv.ParseFloat(score, 64)
				if err != nil {
					return nil, errReply
				}
				entry.Expires = time.UnixMilli(int64(ms))
			}
			entries = append(entries, entry)
		}
		from = append([]byte{'('}, entries[len(entries)-1].Key...)
	}
	return entries, nil
}
