package caddymodule

import (
	"fmt"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/caddymodule/linkreport"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/linkwatch"
	"github.com/gatefold/gatefold/policy/store"
)

// storeMetric is a metric that storeCollector collects from the open stores.
type storeMetric struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels int
}

// storeMetrics holds all of them.
var storeMetrics []*storeMetric

func newStoreMetric(kind prometheus.ValueType, name, help string, labels ...string) *storeMetric {
	m := &storeMetric{prometheus.NewDesc(metricsNamespace+"_"+name, help, labels, nil), kind, len(labels)}
	storeMetrics = append(storeMetrics, m)
	return m
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var (
	cacheHits   = newStoreMetric(counter, "cache_hits_total", "Lookups answered from memory, by cache.", "cache")
	cacheMisses = newStoreMetric(counter, "cache_misses_total", "Lookups that read the store or verified a signature, by cache.", "cache")
	cacheBytes  = newStoreMetric(gauge, "cache_bytes", "Memory used by a cache, by its own account.", "cache")
	verified    = newStoreMetric(counter, "signature_verifications_total", "Token verifications, by kind of token and result.", "kind", "result")
	selfChecked = newStoreMetric(counter, "self_checks_total", "Decisions from memory that were repeated from the store.")
	selfFailed  = newStoreMetric(counter, "self_check_failures_total", "Repeated decisions that differed. Must be 0.")
	streamsOpen = newStoreMetric(gauge, "streams_open", "Open tunnels, event streams and downloads, which are cut when access is revoked.")
	storeState  = newStoreMetric(gauge, "store_state", "State of the connection to a shared store: 1 for the current state.", "state")
	snapBytes   = newStoreMetric(gauge, "snapshot_bytes", "Size of the node's snapshots of a shared store.")
	snapAge     = newStoreMetric(gauge, "snapshot_age_seconds", "Time since the snapshots noted that the change feed was followed, of the oldest.")
	snapUsable  = newStoreMetric(gauge, "snapshot_usable", "1 if the node could start from its snapshots now.")
	snapChanged = newStoreMetric(gauge, "snapshot_changed_ratio", "Share of readers and links, from 0 to 1, that changed after the snapshot was written and are not answered from it.")
	visits      = newStoreMetric(counter, "visits_total", "Reader visits recorded for engagement and recent activity, by result.", "result")
	refunds     = newStoreMetric(counter, "link_refunds_total", "Uses of links that were to be taken back after the store failed, by result.", "result")

	linkRecords = newStoreMetric(counter, "link_records_total", "Refusals of links, and networks that opened one, recorded beside the decisions, by result.", "kind", "result")
	linksLeaked = newStoreMetric(counter, "links_leaked_total", "Links that were opened from more networks than their limits within an hour, by action.", "action")

	contractUses = newStoreMetric(counter, "contract_uses_total", "Requests recorded for the usage of contracts beside the decisions, by result.", "result")

	supportCodes = newStoreMetric(counter, "support_codes_total", "Refusals that were to be kept for their support codes, by result.", "result")

	fileBytes   = newStoreMetric(gauge, "store_file_bytes", "Length of the file of an embedded database.")
	fileFree    = newStoreMetric(gauge, "store_file_free_bytes", "Bytes of the file that are free for new records.")
	diskUsed    = newStoreMetric(gauge, "store_disk_used_ratio", "How much of the disk of an embedded database is used, from 0 to 1.")
	backupAge   = newStoreMetric(gauge, "backup_age_seconds", "Time since the newest backup of the global option was begun.")
	fileChecked = newStoreMetric(gauge, "store_checked_timestamp_seconds", "Unix time of the last complete check of the file.")

	swept = newStoreMetric(counter, "store_swept_total", "Entries of records that were removed because their retention was over.")
	shed  = newStoreMetric(counter, "store_shed_total", "Records that were removed early because the store was nearly full, by kind.", "kind")

	webhookAttempts = newStoreMetric(counter, "webhook_attempts_total", "Attempts to deliver an event to a webhook, by result.", "result")
	webhookDead     = newStoreMetric(counter, "webhook_dead_letters_total", "Events that are not attempted again, until they are replayed.")
	webhooksFailing = newStoreMetric(gauge, "webhooks_failing", "Webhooks to which nothing can be delivered, as far as this node knows.")

	keySetFetches  = newStoreMetric(counter, "jwks_fetches_total", "Fetches of key sets, by result.", "result")
	keySetAge      = newStoreMetric(gauge, "jwks_age_seconds", "Time since a key set in use was fetched or revalidated.", "source")
	keySetKeys     = newStoreMetric(gauge, "jwks_keys", "Valid keys of a key set; 0 when the set has expired.", "source")
	keySetUnknown  = newStoreMetric(counter, "jwks_unknown_kid_total", "Tokens with an unknown key: those that caused a fetch, and those refused at once.", "result")
	conditions     = newStoreMetric(gauge, "condition", "Conditions of the node by kind: 0 while nothing of the kind is wrong.", "name", "severity")
	feedLag        = newStoreMetric(gauge, "feed_lag_seconds", "Time since the change feed of a shared store was followed to its end; of the vendor that is most behind.")
	clockAhead     = newStoreMetric(gauge, "clock_ahead_seconds", "How far another clock is ahead of this node's, by clock: the Redis server's, and those of issuers from 30 s on.", "clock")
	publisherVerif = newStoreMetric(counter, "publisher_verifications_total", "Verifications of tokens of trusted domains, by domain and result.", "vendor", "domain", "result")
)

// maxKeySetSeries bounds the sources of key sets that have series of their own.
const maxKeySetSeries = 256

// storeCollector collects the metrics of the open stores when Prometheus scrapes
// them. While one store replaces another there are two: counts are added up, and a
// key set's state is that of the latest fetch. Label values are configured,
// registered or from a closed list, never a client's.
type storeCollector struct{}

// Describe implements prometheus.Collector.
func (storeCollector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range storeMetrics {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (storeCollector) Collect(to chan<- prometheus.Metric) {
	values := make(storeValues)
	values.add(streamsOpen, float64(openStreams.count()))
	sources := make(map[string]keys.SetStatus)
	pool.Range(func(_, value any) bool {
		shared := value.(*sharedStore)
		values.addDecisions(shared)
		values.addKeySets(shared.keySets.Stats())
		values.addConditions(shared)
		values.addPages(shared)
		for _, status := range shared.keySets.Statuses() {
			name := sourceName(status.Location)
			if other, ok := sources[name]; len(sources) < maxKeySetSeries && !ok || ok && other.TriedAt.Before(status.TriedAt) {
				sources[name] = status
			}
		}
		return true
	})
	for name, status := range sources {
		values.add(keySetKeys, float64(len(status.KeyIDs)), name)
		if status.OK || status.Stale {
			values.add(keySetAge, status.Age.Seconds(), name)
		}
	}
	for series, value := range values {
		to <- prometheus.MustNewConstMetric(series.desc, series.kind, value, series.values[:series.labels]...)
	}
}

// storeSeries is a metric with its label values.
type storeSeries struct {
	*storeMetric
	values [3]string
}

// storeValues are the values of all series, added up over the open stores.
type storeValues map[storeSeries]float64

func (v storeValues) add(m *storeMetric, value float64, labels ...string) {
	series := storeSeries{storeMetric: m}
	copy(series.values[:], labels)
	v[series] += value
}

func (v storeValues) addDecisions(shared *sharedStore) {
	recorded := shared.recorder.Stats()
	v.add(visits, float64(recorded.Stored), "stored")
	v.add(visits, float64(recorded.Dropped), "dropped")
	v.add(visits, float64(recorded.Lost), "lost")
	watched := shared.watch.Stats()
	for kind, counts := range map[string]linkwatch.Counts{"refusal": watched.Refusals, "network": watched.Networks} {
		v.add(linkRecords, float64(counts.Stored), kind, "stored")
		v.add(linkRecords, float64(counts.Dropped), kind, "dropped")
		v.add(linkRecords, float64(counts.Lost), kind, "lost")
	}
	v.add(linksLeaked, float64(watched.Reported), linkreport.ActionReport)
	v.add(linksLeaked, float64(watched.Quarantined), linkreport.ActionQuarantine)
	coded := shared.codes.Stats()
	v.add(supportCodes, float64(coded.Stored), "stored")
	v.add(supportCodes, float64(coded.Dropped), "dropped")
	v.add(supportCodes, float64(coded.Lost), "lost")
	used := shared.usage.Stats()
	v.add(contractUses, float64(used.Stored), "stored")
	v.add(contractUses, float64(used.Dropped), "dropped")
	v.add(contractUses, float64(used.Lost), "lost")
	events := shared.webhooks.Stats()
	v.add(webhookAttempts, float64(events.Delivered), "delivered")
	v.add(webhookAttempts, float64(events.Failed), "failed")
	v.add(webhookDead, float64(events.Dead))
	v.add(webhooksFailing, float64(len(shared.webhooks.Failing())))
	if file := shared.fileState(); file != nil {
		v.add(fileBytes, float64(file.Bytes))
		v.add(fileFree, float64(file.FreeBytes))
		if file.CheckedAt != nil {
			v.add(fileChecked, float64(file.CheckedAt.Unix()))
		}
	}
	if used, known := shared.node.Disk.Used(); known {
		v.add(diskUsed, used)
	}
	if age, known := shared.backupAge(); known {
		v.add(backupAge, age.Seconds())
	}
	v.add(swept, float64(shared.store.Swept()))
	for kind, count := range shared.store.Shed() {
		v.add(shed, float64(count), kind)
	}
	refunded := shared.store.Refunds()
	v.add(refunds, float64(refunded.Done), "done")
	v.add(refunds, float64(refunded.GivenUp), "given_up")
	stats := shared.policy.Stats()
	v.add(selfChecked, float64(stats.SelfChecks))
	v.add(selfFailed, float64(stats.SelfCheckFailures))
	for _, cache := range stats.Caches {
		v.add(cacheHits, float64(cache.Hits), cache.Name)
		v.add(cacheMisses, float64(cache.Misses), cache.Name)
		v.add(cacheBytes, float64(cache.Bytes), cache.Name)
	}
	for _, verification := range stats.Verifications {
		v.add(verified, float64(verification.Count), verification.Kind, verification.Result)
	}
	for _, publisher := range stats.Publishers {
		for _, verification := range publisher.Verifications {
			v.add(publisherVerif, float64(verification.Count), publisher.Vendor, publisher.Domain, verification.Result)
		}
	}
	if follower := shared.engine.follower(); follower != nil {
		for _, state := range []string{store.StateFollowing, store.StateStale, store.StateRestored, store.StateClosed} {
			v.add(storeState, 0, state)
		}
		v.add(storeState, 1, follower.State().State)
		if snapshots, kept := follower.Snapshots(); kept {
			v.add(snapBytes, float64(snapshots.Bytes))
			v.add(snapAge, snapshots.Age.Seconds())
			v.add(snapChanged, snapshots.Changed)
			usable := 0.0
			if snapshots.Usable {
				usable = 1
			}
			v.add(snapUsable, usable)
		}
	}
}

func (v storeValues) addKeySets(stats keys.SetsStats) {
	for result, count := range stats.Fetches {
		v.add(keySetFetches, float64(count), string(result))
	}
	v.add(keySetUnknown, float64(stats.UnknownAsked), "asked")
	v.add(keySetUnknown, float64(stats.UnknownRefused), "refused")
}

// addConditions adds the conditions of a store, and the measures behind them.
func (v storeValues) addConditions(shared *sharedStore) {
	for _, kind := range condition.Kinds() {
		v.add(conditions, 0, kind.Name, string(kind.Severity))
	}
	for _, c := range shared.node.Look() {
		v.add(conditions, 1, c.Name, string(c.Severity))
	}
	for _, skew := range shared.policy.ClockSkews(now()) {
		v.add(clockAhead, skew.Ahead.Seconds(), skew.Issuer)
	}
	if follower := shared.engine.follower(); follower != nil {
		v.add(feedLag, follower.State().Behind.Seconds())
		v.add(clockAhead, shared.node.Server.ClockAhead().Seconds(), "redis")
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
