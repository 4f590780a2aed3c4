package redisengine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Inspection is what is known of the server's fitness.
type Inspection struct {
	// Version is the server's, the oldest one in a Cluster.
	Version string
	// Warnings say which settings may lose what was acknowledged, and what to set
	// instead.
	Warnings []string
}

// oldest is the oldest version that has what the scripts use.
var oldest = [2]int{6, 2}

// Inspect connects to the server, or to every master of a Cluster, and reads its
// version and settings. It returns an error where the server cannot be used, and
// warns where it can but an acknowledged write could be lost. What a server does not
// tell, as some hosted ones do not, is not warned of.
//
// An eviction policy that may drop counters lets Commit refuse bounded counters from
// then on, until another inspection finds it mended.
func (e *Engine) Inspect(ctx context.Context) (Inspection, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return Inspection{}, err
	}
	defer e.calls.Leave()
	var mu sync.Mutex
	var found Inspection
	var evicts string
	err := e.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		s, err := readSettings(ctx, node)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if found.Version == "" || older(s.version, found.Version) {
			found.Version = s.version
		}
		if s.eviction != "" && s.eviction != noEviction {
			evicts = s.eviction
		}
		for _, warning := range s.warnings(e.options.AckReplicas) {
			if !slices.Contains(found.Warnings, warning) {
				found.Warnings = append(found.Warnings, warning)
			}
		}
		return nil
	})
	if err != nil {
		return Inspection{}, e.fail(ctx, err)
	}
	if older(found.Version, fmt.Sprintf("%d.%d", oldest[0], oldest[1])) {
		return found, fmt.Errorf("%w: it is %s, and %d.%d or newer is needed", ErrTooOld, found.Version, oldest[0], oldest[1])
	}
	if evicts == "" {
		e.evicts.Store(nil)
	} else {
		e.evicts.Store(&evicts)
	}
	return found, nil
}

const noEviction = "noeviction"

func (e *Engine) eachMaster(ctx context.Context, fn func(context.Context, *redis.Client) error) error {
	switch client := e.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, fn)
	case *redis.Client:
		return fn(ctx, client)
	}
	return nil
}

// settings are those of one server; empty where it does not tell.
type settings struct {
	version, eviction, role string
	appendOnly, appendFsync string
	clustered               bool
}

func readSettings(ctx context.Context, node *redis.Client) (settings, error) {
	info, err := node.Info(ctx).Result()
	if err != nil {
		return settings{}, err
	}
	values := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			values[name] = value
		}
	}
	s := settings{
		version: values["redis_version"], eviction: values["maxmemory_policy"], role: values["role"],
		appendOnly: values["aof_enabled"], clustered: values["cluster_enabled"] == "1",
	}
	// Hosted servers often refuse this one.
	if config, err := node.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		s.appendFsync = config["appendfsync"]
	}
	return s, nil
}

func (s *settings) warnings(replicas int) []string {
	var warnings []string
	switch {
	case s.appendOnly == "0":
		warnings = append(warnings, "the Redis server keeps no append-only file: what was acknowledged since its last snapshot is lost when it stops; set appendonly yes")
	case s.appendFsync == "no":
		warnings = append(warnings, "the Redis server leaves it to the system when its append-only file reaches the disk: set appendfsync always, or everysec")
	case s.appendFsync == "everysec" && replicas == 0:
		warnings = append(warnings, "the Redis server writes its append-only file to the disk once a second: what was acknowledged in the last second is lost when the machine fails; set appendfsync always, or ack_replicas")
	}
	if s.eviction != "" && s.eviction != noEviction {
		warnings = append(warnings, "the Redis server may drop records when its memory is full (maxmemory-policy "+s.eviction+"): counted links are refused; set maxmemory-policy noeviction")
	}
	if s.role == "slave" {
		warnings = append(warnings, "the Redis server is a replica: writes will be refused; give the address of the master, or use redis+sentinel://")
	}
	return warnings
}

// older compares the first two numbers of two versions. One that cannot be read is
// not older.
func older(a, b string) bool {
	a1, a2, ok := versionOf(a)
	b1, b2, okB := versionOf(b)
	return ok && okB && (a1 < b1 || a1 == b1 && a2 < b2)
}

func versionOf(text string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(text, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	return major, minor, err1 == nil && err2 == nil
}
