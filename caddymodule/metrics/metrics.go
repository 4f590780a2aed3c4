// Package metrics has the metrics of decisions and of what is beside them.
package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatefold/gatefold/caddymodule/buildinfo"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/caddymodule/readerkey"
	"github.com/gatefold/gatefold/policy"
)

// These metrics exist once per process, so that they survive reloads; each
// configuration registers them with its own registry. Label values are configured or
// from a closed list, never a client's. docs/observability.md describes each metric.
var (
	decisionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "decisions_total",
		Help: "Requests decided, by site, decision and reason.",
	}, []string{"vendor", "site", "decision", "reason"})
	decisionDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: Namespace, Name: "decision_duration_seconds",
		Help:    "Time from the arrival of a request at the gate to its decision.",
		Buckets: []float64{5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1},
	}, []string{"vendor", "site"})
	redemptionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "redemptions_total",
		Help: "Redemptions of counted links, by result.",
	}, []string{"vendor", "site", "result"})
	meterViews = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "meter_views_total",
		Help: "Views of metered pages that were to be counted, by result.",
	}, []string{"vendor", "site", "result"})
	StreamsCut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "streams_cut_total",
		Help: "Streams that were cut because access was revoked.",
	}, []string{"vendor", "site"})
	Logins = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "logins_total",
		Help: "Logins, logouts and renewals of sessions at the gate, by result.",
	}, []string{"vendor", "site", "kind", "result"})
	readerKeys = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "reader_key_requests_total",
		Help: "Requests with API keys of readers and with links of feeds, by result.",
	}, []string{"vendor", "site", "kind", "result"})
	Crawlers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "crawler_requests_total",
		Help: "Requests that were allowed as those of a crawler, by the name that the site gives it.",
	}, []string{"vendor", "site", "crawler"})
	StoreLoss = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "store_loss_answers_total",
		Help: "Requests that on_store_loss answered, because the store was unreachable for too long.",
	}, []string{"vendor", "site", "answer"})
	Teasers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "teasers_total",
		Help: "Denials of pages with a teaser, by what was sent.",
	}, []string{"vendor", "site", "result"})
	cachedRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "page_cache_requests_total",
		Help: "Allowed requests for pages that may be kept, by result.",
	}, []string{"vendor", "site", "result"})
	HookEvents = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: Namespace, Name: "hook_events_total",
		Help: "Requests to the paths of billing systems, by hook and result.",
	}, []string{"vendor", "hook", "result"})
)

// Namespace begins the names of all metrics.
const Namespace = "gatefold"

// buildMetric is 1, with what is running as labels.
var buildMetric = func() prometheus.Collector {
	info := buildinfo.Read()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: Namespace, Name: "build_info",
		Help: "1, with the versions of Gatefold, Caddy and Go, and the commit, as labels.",
		ConstLabels: prometheus.Labels{
			"version": info.Version, "revision": info.Revision, "caddy_version": info.Caddy, "go_version": info.Go,
		},
	}, func() float64 { return 1 })
}()

// What strangers send to the paths of billing systems is counted from zero on, so that its
// rate is known from the first event on.
func init() { HookEvents.WithLabelValues("", "", "refused") }

// Register registers the metrics, and those of others, with a configuration's registry. It
// may be called several times for a registry.
func Register(registry prometheus.Registerer, others ...prometheus.Collector) error {
	for _, collector := range append(others,
		Logins, readerKeys,
		decisionsTotal, decisionDuration, redemptionsTotal, meterViews, Crawlers, StreamsCut, Teasers, StoreLoss, cachedRequests, HookEvents,
		buildMetric,
	) {
		err := registry.Register(collector)
		if _, registered := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !registered {
			return err
		}
	}
	return nil
}

// Site are the metrics of one site, resolved once so that a decision needs no
// lookup by label.
type Site struct {
	decisions   [256]prometheus.Counter // by policy.Reason
	redemptions map[policy.Reason]prometheus.Counter
	views       map[policy.Reason]prometheus.Counter
	duration    prometheus.Observer
	pages       map[pagecache.Outcome]prometheus.Counter
	readerKeys  map[[2]string]prometheus.Counter // by kind and result
	losses      map[string]prometheus.Counter    // by answer
}

// NewSite returns the metrics of a site, of which some export 0 from the start.
func NewSite(vendor, site string) *Site {
	m := &Site{
		redemptions: make(map[policy.Reason]prometheus.Counter),
		views:       make(map[policy.Reason]prometheus.Counter),
		pages:       make(map[pagecache.Outcome]prometheus.Counter),
		losses:      newLossCounters(vendor, site),
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
		policy.ReasonSignedLink: "redeemed", policy.ReasonLinkUsedUp: "used_up", policy.ReasonLinkDeviceLimit: "device_limit", policy.ReasonLinkRevoked: "revoked",
		policy.ReasonLinkInvalid: "unknown", policy.ReasonStoreUnavailable: "error",
	} {
		m.redemptions[reason] = redemptionsTotal.WithLabelValues(vendor, site, result)
	}
	for reason, result := range map[policy.Reason]string{
		policy.ReasonMetered: "counted", policy.ReasonMeterUsedUp: "used_up", policy.ReasonStoreUnavailable: "error",
	} {
		m.views[reason] = meterViews.WithLabelValues(vendor, site, result)
	}
	for _, outcome := range pagecache.Outcomes() {
		m.pages[outcome] = cachedRequests.WithLabelValues(vendor, site, string(outcome))
	}
	m.readerKeys = make(map[[2]string]prometheus.Counter)
	for _, kind := range []string{readerkey.KindAPIKey, readerkey.KindFeed} {
		for _, result := range keyResults {
			m.readerKeys[[2]string{kind, result}] = readerKeys.WithLabelValues(vendor, site, kind, result)
		}
	}
	// These export 0 from the start.
	StreamsCut.WithLabelValues(vendor, site)
	Teasers.WithLabelValues(vendor, site, "sent")
	Logins.WithLabelValues(vendor, site, string(login.KindLogin), string(login.ResultOK))
	return m
}

// Decided counts a decision and observes its duration.
func (m *Site) Decided(reason policy.Reason, took time.Duration) {
	if counter := m.decisions[reason]; counter != nil {
		counter.Inc()
	}
	m.duration.Observe(took.Seconds())
}

// Cached counts what became of a request at gatefold_cache.
func (m *Site) Cached(outcome pagecache.Outcome) {
	if counter := m.pages[outcome]; counter != nil {
		counter.Inc()
	}
}

// Redeemed counts the result of a redemption.
func (m *Site) Redeemed(reason policy.Reason) {
	if counter := m.redemptions[reason]; counter != nil {
		counter.Inc()
	}
}

// Viewed counts what became of a view when it was to be counted.
func (m *Site) Viewed(reason policy.Reason) {
	if counter := m.views[reason]; counter != nil {
		counter.Inc()
	}
}

// newLossCounters returns the counters of a site by answer.
func newLossCounters(vendor, site string) map[string]prometheus.Counter {
	counters := make(map[string]prometheus.Counter)
	for _, answer := range []string{policy.LossDeny, policy.LossTeaser, policy.LossPublic} {
		counters[answer] = StoreLoss.WithLabelValues(vendor, site, answer)
	}
	return counters
}

// Lost counts an answer by on_store_loss.
func (m *Site) Lost(answer string) { m.losses[answer].Inc() }

// keyResults are the results of requests with keys of readers.
var keyResults = []string{"ok", "unknown", "limited", "unavailable"}

// Keyed counts a request with a key.
func (m *Site) Keyed(kind, result string) { m.readerKeys[[2]string{kind, result}].Inc() }
