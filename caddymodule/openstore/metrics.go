package openstore

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/caddymodule/linkreport"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const namespace = "gatefold"

// Metric is a metric that is collected from the open stores.
type Metric struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels int
}

// metrics holds all of them.
var metrics []*Metric

// NewMetric returns a metric of the open stores, for a variable of a package.
func NewMetric(kind prometheus.ValueType, name, help string, labels ...string) *Metric {
	m := &Metric{prometheus.NewDesc(namespace+"_"+name, help, labels, nil), kind, len(labels)}
	metrics = append(metrics, m)
	return m
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var (
	cacheHits   = NewMetric(counter, "cache_hits_total", "Lookups answered from memory, by cache.", "cache")
	cacheMisses = NewMetric(counter, "cache_misses_total", "Lookups that read the store or verified a signature, by cache.", "cache")
	cacheBytes  = NewMetric(gauge, "cache_bytes", "Memory used by a cache, by its own account.", "cache")
	verified    = NewMetric(counter, "signature_verifications_total", "Token verifications, by kind of token and result.", "kind", "result")
	selfChecked = NewMetric(counter, "self_checks_total", "Decisions from memory that were repeated from the store.")
	selfFailed  = NewMetric(counter, "self_check_failures_total", "Repeated decisions that differed. Must be 0.")
	storeState  = NewMetric(gauge, "store_state", "State of the connection to a shared store: 1 for the current state.", "state")
	snapBytes   = NewMetric(gauge, "snapshot_bytes", "Size of the node's snapshots of a shared store.")
	snapAge     = NewMetric(gauge, "snapshot_age_seconds", "Time since the snapshots noted that the change feed was followed, of the oldest.")
	snapUsable  = NewMetric(gauge, "snapshot_usable", "1 if the node could start from its snapshots now.")
	snapChanged = NewMetric(gauge, "snapshot_changed_ratio", "Share of readers and links, from 0 to 1, that changed after the snapshot was written and are not answered from it.")
	visits      = NewMetric(counter, "visits_total", "Reader visits recorded for engagement and recent activity, by result.", "result")
	refunds     = NewMetric(counter, "link_refunds_total", "Uses of links that were to be taken back after the store failed, by result.", "result")

	linkRecords = NewMetric(counter, "link_records_total", "Refusals of links, and networks that opened one, recorded beside the decisions, by result.", "kind", "result")
	linksLeaked = NewMetric(counter, "links_leaked_total", "Links that were opened from more networks than their limits within an hour, by action.", "action")

	contractUses = NewMetric(counter, "contract_uses_total", "Requests recorded for the usage of contracts beside the decisions, by result.", "result")

	supportCodes = NewMetric(counter, "support_codes_total", "Refusals that were to be kept for their support codes, by result.", "result")

	fileBytes   = NewMetric(gauge, "store_file_bytes", "Length of the file of an embedded database.")
	fileFree    = NewMetric(gauge, "store_file_free_bytes", "Bytes of the file that are free for new records.")
	diskUsed    = NewMetric(gauge, "store_disk_used_ratio", "How much of the disk of an embedded database is used, from 0 to 1.")
	backupAge   = NewMetric(gauge, "backup_age_seconds", "Time since the newest backup of the global option was begun.")
	fileChecked = NewMetric(gauge, "store_checked_timestamp_seconds", "Unix time of the last complete check of the file.")

	swept = NewMetric(counter, "store_swept_total", "Entries of records that were removed because their retention was over.")
	shed  = NewMetric(counter, "store_shed_total", "Records that were removed early because the store was nearly full, by kind.", "kind")

	webhookAttempts = NewMetric(counter, "webhook_attempts_total", "Attempts to deliver an event to a webhook, by result.", "result")
	webhookDead     = NewMetric(counter, "webhook_dead_letters_total", "Events that are not attempted again, until they are replayed.")
	webhooksFailing = NewMetric(gauge, "webhooks_failing", "Webhooks to which nothing can be delivered, as far as this node knows.")

	keySetFetches  = NewMetric(counter, "jwks_fetches_total", "Fetches of key sets, by result.", "result")
	keySetAge      = NewMetric(gauge, "jwks_age_seconds", "Time since a key set in use was fetched or revalidated.", "source")
	keySetKeys     = NewMetric(gauge, "jwks_keys", "Valid keys of a key set; 0 when the set has expired.", "source")
	keySetUnknown  = NewMetric(counter, "jwks_unknown_kid_total", "Tokens with an unknown key: those that caused a fetch, and those refused at once.", "result")
	conditions     = NewMetric(gauge, "condition", "Conditions of the node by kind: 0 while nothing of the kind is wrong.", "name", "severity")
	feedLag        = NewMetric(gauge, "feed_lag_seconds", "Time since the change feed of a shared store was followed to its end; of the vendor that is most behind.")
	clockAhead     = NewMetric(gauge, "clock_ahead_seconds", "How far another clock is ahead of this node's, by clock: the Redis server's, and those of issuers from 30 s on.", "clock")
	publisherVerif = NewMetric(counter, "publisher_verifications_total", "Verifications of tokens of trusted domains, by domain and result.", "vendor", "domain", "result")
)

var (
	storeDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "store_operation_duration_seconds",
		Help:    "Duration of store operations.",
		Buckets: []float64{1e-5, 5e-5, 2.5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.5},
	}, []string{"operation"})
	storeOperations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "store_operations_total",
		Help: "Store operations, by result.",
	}, []string{"operation", "result"})
)

// Collectors returns the collectors of the open stores' metrics. More adds what the process
// knows besides of a store.
func Collectors(more func(Values, *Shared)) []prometheus.Collector {
	return []prometheus.Collector{storeDuration, storeOperations, collector{more}}
}

// maxKeySetSeries bounds the sources of key sets that have series of their own.
const maxKeySetSeries = 256

// collector collects the metrics of the open stores when Prometheus scrapes
// them. While one store replaces another there are two: counts are added up, and a
// key set's state is that of the latest fetch. Label values are configured,
// registered or from a closed list, never a client's.
type collector struct {
	more func(Values, *Shared)
}

// Describe implements prometheus.Collector.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range metrics {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	values := make(Values)
	sources := make(map[string]keys.SetStatus)
	Pool.Range(func(_, value any) bool {
		shared := value.(*Shared)
		values.addDecisions(shared)
		values.addKeySets(shared.KeySets.Stats())
		values.addConditions(shared)
		c.more(values, shared)
		for _, status := range shared.KeySets.Statuses() {
			name := sourceName(status.Location)
			if other, ok := sources[name]; len(sources) < maxKeySetSeries && !ok || ok && other.TriedAt.Before(status.TriedAt) {
				sources[name] = status
			}
		}
		return true
	})
	for name, status := range sources {
		values.Add(keySetKeys, float64(len(status.KeyIDs)), name)
		if status.OK || status.Stale {
			values.Add(keySetAge, status.Age.Seconds(), name)
		}
	}
	for of, value := range values {
		to <- prometheus.MustNewConstMetric(of.desc, of.kind, value, of.values[:of.labels]...)
	}
}

// series is a metric with its label values.
type series struct {
	*Metric
	values [3]string
}

// Values are the values of all series, added up over the open stores.
type Values map[series]float64

// Add adds to the value of a series.
func (v Values) Add(m *Metric, value float64, labels ...string) {
	one := series{Metric: m}
	copy(one.values[:], labels)
	v[one] += value
}

func (v Values) addDecisions(shared *Shared) {
	recorded := shared.Recorder.Stats()
	v.Add(visits, float64(recorded.Stored), "stored")
	v.Add(visits, float64(recorded.Dropped), "dropped")
	v.Add(visits, float64(recorded.Lost), "lost")
	watched := shared.Watch.Stats()
	for kind, counts := range map[string]linkwatch.Counts{"refusal": watched.Refusals, "network": watched.Networks} {
		v.Add(linkRecords, float64(counts.Stored), kind, "stored")
		v.Add(linkRecords, float64(counts.Dropped), kind, "dropped")
		v.Add(linkRecords, float64(counts.Lost), kind, "lost")
	}
	v.Add(linksLeaked, float64(watched.Reported), linkreport.ActionReport)
	v.Add(linksLeaked, float64(watched.Quarantined), linkreport.ActionQuarantine)
	coded := shared.Codes.Stats()
	v.Add(supportCodes, float64(coded.Stored), "stored")
	v.Add(supportCodes, float64(coded.Dropped), "dropped")
	v.Add(supportCodes, float64(coded.Lost), "lost")
	used := shared.Usage.Stats()
	v.Add(contractUses, float64(used.Stored), "stored")
	v.Add(contractUses, float64(used.Dropped), "dropped")
	v.Add(contractUses, float64(used.Lost), "lost")
	events := shared.Webhooks.Stats()
	v.Add(webhookAttempts, float64(events.Delivered), "delivered")
	v.Add(webhookAttempts, float64(events.Failed), "failed")
	v.Add(webhookDead, float64(events.Dead))
	v.Add(webhooksFailing, float64(len(shared.Webhooks.Failing())))
	if file := shared.FileState(); file != nil {
		v.Add(fileBytes, float64(file.Bytes))
		v.Add(fileFree, float64(file.FreeBytes))
		if file.CheckedAt != nil {
			v.Add(fileChecked, float64(file.CheckedAt.Unix()))
		}
	}
	if used, known := shared.Node.Disk.Used(); known {
		v.Add(diskUsed, used)
	}
	if age, known := shared.BackupAge(); known {
		v.Add(backupAge, age.Seconds())
	}
	v.Add(swept, float64(shared.Store.Swept()))
	for kind, count := range shared.Store.Shed() {
		v.Add(shed, float64(count), kind)
	}
	refunded := shared.Store.Refunds()
	v.Add(refunds, float64(refunded.Done), "done")
	v.Add(refunds, float64(refunded.GivenUp), "given_up")
	stats := shared.Policy.Stats()
	v.Add(selfChecked, float64(stats.SelfChecks))
	v.Add(selfFailed, float64(stats.SelfCheckFailures))
	for _, cache := range stats.Caches {
		v.Add(cacheHits, float64(cache.Hits), cache.Name)
		v.Add(cacheMisses, float64(cache.Misses), cache.Name)
		v.Add(cacheBytes, float64(cache.Bytes), cache.Name)
	}
	for _, verification := range stats.Verifications {
		v.Add(verified, float64(verification.Count), verification.Kind, verification.Result)
	}
	for _, publisher := range stats.Publishers {
		for _, verification := range publisher.Verifications {
			v.Add(publisherVerif, float64(verification.Count), publisher.Vendor, publisher.Domain, verification.Result)
		}
	}
	if follower := shared.Engine.Follower(); follower != nil {
		for _, state := range []string{store.StateFollowing, store.StateStale, store.StateRestored, store.StateClosed} {
			v.Add(storeState, 0, state)
		}
		v.Add(storeState, 1, follower.State().State)
		if snapshots, kept := follower.Snapshots(); kept {
			v.Add(snapBytes, float64(snapshots.Bytes))
			v.Add(snapAge, snapshots.Age.Seconds())
			v.Add(snapChanged, snapshots.Changed)
			usable := 0.0
			if snapshots.Usable {
				usable = 1
			}
			v.Add(snapUsable, usable)
		}
	}
}

func (v Values) addKeySets(stats keys.SetsStats) {
	for result, count := range stats.Fetches {
		v.Add(keySetFetches, float64(count), string(result))
	}
	v.Add(keySetUnknown, float64(stats.UnknownAsked), "asked")
	v.Add(keySetUnknown, float64(stats.UnknownRefused), "refused")
}

// addConditions adds the conditions of a store, and the measures behind them.
func (v Values) addConditions(shared *Shared) {
	for _, kind := range condition.Kinds() {
		v.Add(conditions, 0, kind.Name, string(kind.Severity))
	}
	for _, c := range shared.Node.Look() {
		v.Add(conditions, 1, c.Name, string(c.Severity))
	}
	for _, skew := range shared.Policy.ClockSkews(shared.options.Now()) {
		v.Add(clockAhead, skew.Ahead.Seconds(), skew.Issuer)
	}
	if follower := shared.Engine.Follower(); follower != nil {
		v.Add(feedLag, follower.State().Behind.Seconds())
		v.Add(clockAhead, shared.Node.Server.ClockAhead().Seconds(), "redis")
	}
}

// sourceName returns the address of a source without its query and user, which may
// be secret.
func sourceName(source keys.KeySetLocation) string {
	address, err := url.Parse(source.Address())
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%s://%s%s", address.Scheme, address.Host, address.EscapedPath())
}

// storeOperation begins to measure an operation of the store. The caller calls the
// returned function with the operation's result.
func storeOperation(operation string) func(error) {
	began := time.Now()
	return func(err error) {
		storeDuration.WithLabelValues(operation).Observe(time.Since(began).Seconds())
		storeOperations.WithLabelValues(operation, storeResult(err)).Inc()
	}
}

// storeResult distinguishes an operation that the store refused, which is normal, from
// one that failed.
func storeResult(err error) string {
	_, check := errors.AsType[*engine.CheckError](err)
	_, bound := errors.AsType[*engine.BoundError](err)
	switch {
	case err == nil:
		return "ok"
	case check, bound, errors.Is(err, store.ErrNotFound):
		return "refused"
	default:
		return "error"
	}
}
