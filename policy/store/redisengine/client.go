package redisengine

import (
	"context"
	_ "embed"
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

// writeScript is a script that writes. It begins with what they share.
type writeScript struct {
	*redis.Script
	source string
}

func newWriteScript(text string) *writeScript {
	source := commonLua + text
	return &writeScript{Script: redis.NewScript(source), source: source}
}

// What the client would log it also returns.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// readRetries is how often a read is sent again. A write never is: see onceCommand.
const readRetries = 2

// client makes the connections to the server.
func (o *Options) client(poolSize, retries int, timeout time.Duration) redis.UniversalClient {
	const name = "gatefold"
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch o.Mode {
	case Cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: o.Addresses, ClientName: name, Username: o.User, Password: o.Password, TLSConfig: o.TLS,
			PoolSize: poolSize, ReadTimeout: timeout, WriteTimeout: timeout, DialTimeout: o.DialTimeout, DialerRetries: 1, PoolTimeout: timeout,
			MaxRedirects: 5, MinRetryBackoff: 5 * time.Millisecond, MaxRetryBackoff: 100 * time.Millisecond,
			DisableIdentity: true, MaintNotificationsConfig: quiet, ContextTimeoutEnabled: true,
		})
	case Sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: o.Addresses, SentinelPassword: o.SentinelPassword,
			ClientName: name, Username: o.User, Password: o.Password, DB: o.Database, TLSConfig: o.TLS,
			PoolSize: poolSize, ReadTimeout: timeout, WriteTimeout: timeout, DialTimeout: o.DialTimeout, DialerRetries: 1, PoolTimeout: timeout,
			MaxRetries: retries, DisableIdentity: true, ContextTimeoutEnabled: true,
		})
	default:
		return redis.NewClient(&redis.Options{
			Addr: o.Addresses[0], ClientName: name, Username: o.User, Password: o.Password, DB: o.Database, TLSConfig: o.TLS,
			PoolSize: poolSize, ReadTimeout: timeout, WriteTimeout: timeout, DialTimeout: o.DialTimeout, DialerRetries: 1, PoolTimeout: timeout,
			MaxRetries: retries, DisableIdentity: true, MaintNotificationsConfig: quiet, ContextTimeoutEnabled: true,
		})
	}
}

// autoPipeline returns the part of a client that sends what comes at the same
// time in one go.
func autoPipeline(client redis.UniversalClient) (*redis.AutoPipeliner, error) {
	return client.(interface {
		AutoPipeline() (*redis.AutoPipeliner, error)
	}).AutoPipeline()
}

// scriptArgs are the words of a command that runs a script.
func scriptArgs(command, script string, keys []string, args []any) []any {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, command, script, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	return append(words, args...)
}
