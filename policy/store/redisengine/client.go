package redisengine

import (
	"context"
	_ "embed"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

//go:embed common.lua
var commonLua string

//go:embed commit.lua
var commitLua string

//go:embed uses.lua
var usesLua string

//go:embed sweep.lua
var sweepLua string

//go:embed read.lua
var readLua string

//go:embed feed.lua
var feedLua string

var (
	commitScript = newWriteScript(commitLua)
	usesScript   = newWriteScript(usesLua)
	sweepScript  = newWriteScript(sweepLua)
	readScript   = redis.NewScript(readLua)
	feedScript   = redis.NewScript(feedLua)
)

// writeScript is a script that writes. It starts with common.lua.
type writeScript struct {
	*redis.Script
	source string
}

func newWriteScript(text string) *writeScript {
	source := commonLua + text
	return &writeScript{Script: redis.NewScript(source), source: source}
}

// The client also returns the errors that it logs.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// readRetries is how often the client retries a read. It never retries a write: see
// noRetry.
const readRetries = 2

// client returns a client of the server.
func (o *Options) client(poolSize, retries int, timeout time.Duration) redis.UniversalClient {
	options := redis.UniversalOptions{
		// A client of a Cluster appends what it finds to its addresses: each has its own.
		Addrs: slices.Clone(o.Addresses), MasterName: o.Master, SentinelPassword: o.SentinelPassword, DB: o.Database,
		ClientName: "gatefold", Username: o.User, Password: o.Password, TLSConfig: o.TLS,
		PoolSize: poolSize, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		DialTimeout: o.DialTimeout, DialerRetries: 1, MaxRetries: retries, DisableIdentity: true, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch o.Mode {
	case Cluster:
		// The client of a cluster retries by following redirections.
		options.MaxRetries, options.MaxRedirects = 0, 5
		options.MinRetryBackoff, options.MaxRetryBackoff = 5*time.Millisecond, 100*time.Millisecond
		return redis.NewClusterClient(options.Cluster())
	case Sentinel:
		return redis.NewFailoverClient(options.Failover())
	default:
		return redis.NewClient(options.Simple())
	}
}

// autoPipeline returns the part of a client that sends concurrent commands in one round
// trip.
func autoPipeline(client redis.UniversalClient) (*redis.AutoPipeliner, error) {
	return client.(interface {
		AutoPipeline() (*redis.AutoPipeliner, error)
	}).AutoPipeline()
}

// scriptArgs returns the arguments of a command that runs a script.
func scriptArgs(command, script string, keys []string, args []any) []any {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, command, script, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	return append(words, args...)
}
