package caddymodule

import (
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// The metrics, made once for the process: they survive reloads, and each
// configuration only registers them with its own registry. Labels hold what is
// configured or comes from a closed list, never what a client sends.
// docs/observability.md describes each.
var (
	decisionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "decisions_total",
		Help: "Requests decided, by site, decision and reason.",
	}, []string{"vendor", "site", "decision", "reason"})
	decisionDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Name: "decision_duration_seconds",
		Help:    "Time from the arrival of a request at the gate to its decision.",
		Buckets: []float64{5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1},
	}, []string{"vendor", "site"})
	redemptionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "redemptions_total",
		Help: "Uses of counted links that were asked for, by what came out.",
	}, []string{"vendor", "site", "result"})
	streamsCut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "streams_cut_total",
		Help: "Streams that were cut because what allowed them was taken back.",
	}, []string{"vendor", "site"})
	storeDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Name: "store_operation_duration_seconds",
		Help:    "Time that operations of the store took.",
		Buckets: []float64{1e-5, 5e-5, 2.5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.5},
	}, []string{"operation"})
	storeOperations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "store_operations_total",
		Help: "Operations of the store, by what came out.",
	}, []string{"operation", "result"})
)

const metricsNamespace = "gatefold"

// registerMetrics makes the metrics known to a configuration's registry. Several
// handlers of one configuration do so.
func registerMetrics(registry prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{
		decisionsTotal, decisionDuration, redemptionsTotal, streamsCut, storeDuration, storeOperations, policyCollector{}, keySetCollector{},
	} {
		err := registry.Register(collector)
		if _, known := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !known {
			return err
		}
	}
	return nil
}

// siteMetrics are the metrics of one site, found once: a decision costs no
// lookup.
type siteMetrics struct {
	decisions   [256]prometheus.Counter // by policy.Reason
	redemptions map[policy.Reason]prometheus.Counter
	duration    prometheus.Observer
}

func newSiteMetrics(vendor, site string) *siteMetrics {
	m := &siteMetrics{
		redemptions: make(map[policy.Reason]prometheus.Counter),
		duration:    decisionDuration.WithLabelValues(vendor, site),
	}
	for _, reason := range policy.Reasons() {
		verdict := "deny"
		if reason.Allows() {
			verdict = "allow"
		}
		m.decisions[reason] = decisionsTotal.WithLabelValues(vendor, site, verdict, reason.String())
	}
	for reason, result := range map[policy.Reason]string{
		policy.ReasonSignedLink: "redeemed", policy.ReasonLinkUsedUp: "used_up", policy.ReasonLinkRevoked: "revoked",
		policy.ReasonLinkInvalid: "unknown", policy.ReasonStoreUnavailable: "error",
	} {
		m.redemptions[reason] = redemptionsTotal.WithLabelValues(vendor, site, result)
	}
	streamsCut.WithLabelValues(vendor, site) // there from the start, at 0
	return m
}

// decided counts a decision that took a while.
func (m *siteMetrics) decided(reason policy.Reason, took time.Duration) {
	if counter := m.decisions[reason]; counter != nil {
		counter.Inc()
	}
	m.duration.Observe(took.Seconds())
}

// redeemed counts what came out of a redemption.
func (m *siteMetrics) redeemed(reason policy.Reason) {
	if counter := m.redemptions[reason]; counter != nil {
		counter.Inc()
	}
}

// storeOperation measures one operation of the store; its result is told at the
// end.
func storeOperation(operation string) func(error) {
	began := time.Now()
	return func(err error) {
		storeDuration.WithLabelValues(operation).Observe(time.Since(began).Seconds())
		storeOperations.WithLabelValues(operation, storeResult(err)).Inc()
	}
}

// storeResult tells an operation that was refused, as it should be, from one
// that failed.
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

// policyCollector reads what the policies of all open stores counted, when
// Prometheus asks. While one store takes the place of another there are two:
// their numbers are added up.
type policyCollector struct{}

var (
	cacheHits   = desc("cache_hits_total", "Questions answered from memory, by cache.", "cache")
	cacheMisses = desc("cache_misses_total", "Questions for which the store or a signature was looked at, by cache.", "cache")
	cacheBytes  = desc("cache_bytes", "Memory that a cache takes, as it counts it.", "cache")
	verified    = desc("signature_verifications_total", "Tokens whose signature was looked at, by kind and by what came out.", "kind", "result")
	selfChecked = desc("self_checks_total", "Decisions from memory that were made again from the store.")
	streamsOpen = desc("streams_open", "Tunnels, streams of events and downloads that are open, and cut when what allowed them is taken back.")
	storeState  = desc("store_state", "How the node stands towards a store that other nodes share: 1 for the state that it is in.", "state")
	visited     = desc("visits_total", "Readers noted for engagement and recent activity, by what became of it.", "result")
	selfFailed  = desc("self_check_failures_total", "Of these, those that differed. Must be 0.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricsNamespace+"_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (policyCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cacheHits, cacheMisses, cacheBytes, verified, selfChecked, selfFailed, visited, storeState, streamsOpen} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (policyCollector) Collect(to chan<- prometheus.Metric) {
	sums := make(map[*prometheus.Desc]map[[2]string]float64)
	add := func(d *prometheus.Desc, value float64, labels ...string) {
		var key [2]string
		copy(key[:], labels)
		if sums[d] == nil {
			sums[d] = make(map[[2]string]float64)
		}
		sums[d][key] += value
	}
	pool.Range(func(_, value any) bool {
		visits := value.(*sharedStore).recorder.Stats()
		add(visited, float64(visits.Stored), "stored")
		add(visited, float64(visits.Dropped), "dropped")
		add(visited, float64(visits.Lost), "lost")
		stats := value.(*sharedStore).policy.Stats()
		for _, cache := range stats.Caches {
			add(cacheHits, float64(cache.Hits), cache.Name)
			add(cacheMisses, float64(cache.Misses), cache.Name)
			add(cacheBytes, float64(cache.Bytes), cache.Name)
		}
		for _, v := range stats.Verifications {
			add(verified, float64(v.Count), v.Kind, v.Result)
		}
		if follower := value.(*sharedStore).engine.follower(); follower != nil {
			state := follower.State().State
			for _, name := range []string{store.StateFollowing, store.StateStale, store.StateClosed} {
				add(storeState, map[bool]float64{true: 1}[name == state], name)
			}
		}
		add(streamsOpen, float64(value.(*sharedStore).streams.count()))
		add(selfChecked, float64(stats.SelfChecks))
		add(selfFailed, float64(stats.SelfCheckFailures))
		return true
	})
	for d, values := range sums {
		kind, labels := prometheus.CounterValue, 1
		switch d {
		case cacheBytes, storeState:
			kind = prometheus.GaugeValue
		case streamsOpen:
			kind, labels = prometheus.GaugeValue, 0
		case verified:
			labels = 2
		case selfChecked, selfFailed:
			labels = 0
		}
		for key, value := range values {
			to <- prometheus.MustNewConstMetric(d, kind, value, key[:labels]...)
		}
	}
}
