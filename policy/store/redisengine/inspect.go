package redisengine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Inspection is the result of Inspect.
type Inspection struct {
	// Version is the version of the server, in a Cluster the oldest one.
	Version string
	// Risks are settings and states that may lose acknowledged writes, or refuse writes.
	Risks []Risk
	// Evicts is the eviction policy of a server that has a limit of memory and evicts records
	// at it; empty for none. EvictionUnknown is whether a server does not tell its policy.
	Evicts          string
	EvictionUnknown bool
	// ClockAhead is how far the server's clock is ahead of Options.Now; of a Cluster the
	// greatest difference of a master.
	ClockAhead time.Duration
}

// Risk is a setting or a state of the server that loses or refuses writes. Text says
// which, and the remedy.
type Risk struct {
	Kind RiskKind
	Text string
}

// RiskKind is a kind of risk.
type RiskKind int

// The kinds of risks.
const (
	// RiskEviction: records may be evicted when memory is full.
	RiskEviction RiskKind = iota
	// RiskNotPersistent: acknowledged writes may not be on the disk for long.
	RiskNotPersistent
	// RiskSyncsLate: acknowledged writes may not be on the disk for a second.
	RiskSyncsLate
	// RiskReadOnly: the server is a replica.
	RiskReadOnly
	// RiskMemoryFilling: 80 % of the memory are used. RiskMemoryFull: 95 %.
	RiskMemoryFilling
	RiskMemoryFull
	// RiskReplicasMissing: fewer replicas are connected than must acknowledge.
	RiskReplicasMissing
)

// oldest is the oldest version that has the commands of the scripts.
var oldest = [2]int{6, 2}

// Refusal returns why a server must not be used by these options: it evicts records, or does
// not tell whether it does. It returns nil if it may be used.
func (i *Inspection) Refusal(o *Options) error {
	switch {
	case i.Evicts != "":
		return fmt.Errorf("%w: maxmemory-policy is %s, so a whole vendor may vanish: set maxmemory-policy noeviction in Redis", ErrRefused, i.Evicts)
	case i.EvictionUnknown && !o.EvictionUnknown:
		return fmt.Errorf("%w: it does not tell its maxmemory-policy (INFO memory): see to it that it is noeviction, and write `eviction unknown` in `store redis`", ErrRefused)
	}
	return nil
}

// Inspect reads the version and the settings of the server, in a Cluster of every master.
// It returns an error when the server cannot be used, and risks when acknowledged
// writes may be lost. It finds no risk in settings that a server hides, as some hosted
// ones do.
//
// While the eviction policy may evict counters, Commit returns ErrEviction for bounded
// counters, until a later Inspect finds another policy.
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
		if redis.IsPermissionError(err) && e.options.EvictionUnknown {
			s, err = settings{hidden: true}, nil
		}
		if err != nil {
			return err
		}
		ahead, err := clockAhead(ctx, node, e.options.Now)
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
			if s.maxMemory > 0 {
				found.Evicts = s.eviction
			}
		}
		found.EvictionUnknown = found.EvictionUnknown || s.eviction == ""
		for _, risk := range s.risks(e.options.AckReplicas) {
			if !slices.Contains(found.Risks, risk) {
				found.Risks = append(found.Risks, risk)
			}
		}
		if ahead.Abs() > found.ClockAhead.Abs() {
			found.ClockAhead = ahead
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

// settings are the settings of one server; empty when it hides them.
type settings struct {
	version, eviction, role string
	appendOnly, appendFsync string
	// replicas is the number of connected replicas.
	replicas  int
	clustered bool
	// hidden is whether the server does not let its user read INFO.
	hidden bool
	// usedMemory of maxMemory bytes are used; zero for no limit.
	usedMemory, maxMemory int64
}

// clockAhead returns how far a server's clock is ahead. A difference that the time of the
// answer explains is none.
func clockAhead(ctx context.Context, node *redis.Client, now func() time.Time) (time.Duration, error) {
	asked := now()
	at, err := node.Time(ctx).Result()
	answered := now()
	switch {
	case err != nil && redis.IsPermissionError(err):
		return 0, nil // an older list of permissions than docs/redis.md has
	case err != nil:
		return 0, err
	case at.Before(asked):
		return at.Sub(asked), nil
	case at.After(answered):
		return at.Sub(answered), nil
	}
	return 0, nil
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
	s.replicas = onlineReplicas(values)
	s.usedMemory, _ = strconv.ParseInt(values["used_memory"], 10, 64)
	s.maxMemory, _ = strconv.ParseInt(values["maxmemory"], 10, 64)
	// Hosted servers often refuse CONFIG.
	if config, err := node.ConfigGet(ctx, "appendfsync").Result(); err == nil {
		s.appendFsync = config["appendfsync"]
	}
	return s, nil
}

// onlineReplicas counts the replicas that receive writes, from the lines slave0, slave1…
// of INFO. One that loads the first copy of the data does not acknowledge yet.
func onlineReplicas(info map[string]string) int {
	online := 0
	for i := 0; ; i++ {
		line, found := info["slave"+strconv.Itoa(i)]
		if !found {
			return online
		}
		if strings.Contains(line, "state=online") {
			online++
		}
	}
}

func (s *settings) risks(replicas int) []Risk {
	if s.hidden {
		return nil
	}
	var risks []Risk
	add := func(kind RiskKind, text string) { risks = append(risks, Risk{kind, text}) }
	switch {
	case s.appendOnly == "0":
		add(RiskNotPersistent, "the Redis server has no append-only file: acknowledged writes since its last snapshot are lost when it stops; set appendonly yes")
	case s.appendFsync == "no":
		add(RiskNotPersistent, "the Redis server does not sync its append-only file to disk: set appendfsync always, or everysec")
	case s.appendFsync == "everysec" && replicas == 0:
		add(RiskSyncsLate, "the Redis server syncs its append-only file to disk once a second: acknowledged writes of the last second are lost when the machine fails; set appendfsync always, or ack_replicas")
	}
	if s.eviction != "" && s.eviction != noEviction {
		add(RiskEviction, "the Redis server may evict records when its memory is full (maxmemory-policy "+s.eviction+"): counted links are refused; set maxmemory-policy noeviction")
	}
	if used := s.memoryUsed(); used >= memoryFull {
		add(RiskMemoryFull, fmt.Sprintf("%d %% of the %d MiB of memory of the Redis server are used: it refuses new grants, links and uses of counted links at 100 %%; raise maxmemory", used, s.maxMemory>>20))
	} else if used >= memoryFilling {
		add(RiskMemoryFilling, fmt.Sprintf("%d %% of the %d MiB of memory of the Redis server are used; raise maxmemory", used, s.maxMemory>>20))
	}
	switch {
	case s.role == "slave":
		add(RiskReadOnly, "the Redis server is a replica: writes will be refused; give the address of the master, or use redis+sentinel://")
	case s.replicas < replicas:
		add(RiskReplicasMissing, fmt.Sprintf("ack_replicas asks for %d replicas and the Redis server has %d: every write is refused after ack_timeout, though it may have been made; bring replicas back", replicas, s.replicas))
	}
	return risks
}

// The percentages of memory from which there is a risk.
const (
	memoryFilling = 80
	memoryFull    = 95
)

// memoryUsed returns how much of its memory a server uses, in percent.
func (s *settings) memoryUsed() int64 {
	if s.maxMemory <= 0 {
		return 0
	}
	return s.usedMemory * 100 / s.maxMemory
}

// older compares the major and minor numbers of two versions. It returns false when one
// of them is not valid.
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
