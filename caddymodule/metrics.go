package caddymodule

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/buildinfo"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/policy"
)

// These metrics exist once per process, so that they survive reloads; each
// configuration registers them with its own registry. Label values are configured or
// from a closed list, never a client's. docs/observability.md describes each metric.
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
		Help: "Redemptions of counted links, by result.",
	}, []string{"vendor", "site", "result"})
	meterViews = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "meter_views_total",
		Help: "Views of metered pages that were to be counted, by result.",
	}, []string{"vendor", "site", "result"})
	streamsOpen = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "streams_open",
		Help: "Open tunnels, event streams and downloads, which are cut when access is revoked.",
	}, func() float64 { return float64(openStreams.count()) })
	streamsCut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "streams_cut_total",
		Help: "Streams that were cut because access was revoked.",
	}, []string{"vendor", "site"})
	loginsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "logins_total",
		Help: "Logins, logouts and renewals of sessions at the gate, by result.",
	}, []string{"vendor", "site", "kind", "result"})
	readerKeys = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "reader_key_requests_total",
		Help: "Requests with API keys of readers and with links of feeds, by result.",
	}, []string{"vendor", "site", "kind", "result"})
	cachedRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "page_cache_requests_total",
		Help: "Allowed requests for pages that may be kept, by result.",
	}, []string{"vendor", "site", "result"})
	hookEvents = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Name: "hook_events_total",
		Help: "Requests to the paths of billing systems, by hook and result.",
	}, []string{"vendor", "hook", "result"})
)

const metricsNamespace = "gatefold"

// buildMetric is 1, with what is running as labels.
var buildMetric = func() prometheus.Collector {
	info := buildinfo.Read()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "build_info",
		Help: "1, with the versions of Gatefold, Caddy and Go, and the commit, as labels.",
		ConstLabels: prometheus.Labels{
			"version": info.Version, "revision": info.Revision, "caddy_version": info.Caddy, "go_version": info.Go,
		},
	}, func() float64 { return 1 })
}()

// What strangers send to the paths of billing systems is counted from zero on, so that its
// rate is known from the first event on.
func init() { hookEvents.WithLabelValues("", "", "refused") }

// registerMetrics registers the metrics with a configuration's registry. It may be
// called several times for a registry.
func registerMetrics(registry prometheus.Registerer) error {
	for _, collector := range append(openstore.Collectors(addPages),
		loginsTotal, readerKeys,
		decisionsTotal, decisionDuration, redemptionsTotal, meterViews, crawlerRequests, streamsOpen, streamsCut, teasersTotal, storeLossTotal, cachedRequests, hookEvents,
		buildMetric,
	) {
		err := registry.Register(collector)
		if _, registered := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !registered {
			return err
		}
	}
	return nil
}

// siteMetrics are the metrics of one site, resolved once so that a decision needs no
// lookup by label.
type siteMetrics struct {
	decisions   [256]prometheus.Counter // by policy.Reason
	redemptions map[policy.Reason]prometheus.Counter
	views       map[policy.Reason]prometheus.Counter
	duration    prometheus.Observer
	pages       map[pagecache.Outcome]prometheus.Counter
	readerKeys  map[[2]string]prometheus.Counter // by kind and result
	losses      map[string]prometheus.Counter    // by answer
}

func newSiteMetrics(vendor, site string) *siteMetrics {
	m := &siteMetrics{
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
	for _, kind := range []string{kindAPIKey, kindFeed} {
		for _, result := range keyResults {
			m.readerKeys[[2]string{kind, result}] = readerKeys.WithLabelValues(vendor, site, kind, result)
		}
	}
	// These export 0 from the start.
	streamsCut.WithLabelValues(vendor, site)
	teasersTotal.WithLabelValues(vendor, site, string(teaserSent))
	loginsTotal.WithLabelValues(vendor, site, string(login.KindLogin), string(login.ResultOK))
	return m
}

// decided counts a decision and observes its duration.
func (m *siteMetrics) decided(reason policy.Reason, took time.Duration) {
	if counter := m.decisions[reason]; counter != nil {
		counter.Inc()
	}
	m.duration.Observe(took.Seconds())
}

// cached counts what became of a request at gatefold_cache.
func (m *siteMetrics) cached(outcome pagecache.Outcome) {
	if counter := m.pages[outcome]; counter != nil {
		counter.Inc()
	}
}

// redeemed counts the result of a redemption.
func (m *siteMetrics) redeemed(reason policy.Reason) {
	if counter := m.redemptions[reason]; counter != nil {
		counter.Inc()
	}
}

// viewed counts what became of a view when it was to be counted.
func (m *siteMetrics) viewed(reason policy.Reason) {
	if counter := m.views[reason]; counter != nil {
		counter.Inc()
	}
}

// hookReceived counts and logs what became of an event of a billing system. What strangers
// send to unknown paths is counted, and logged for debugging only.
func (a *App) hookReceived(r admin.HookReport) {
	hookEvents.WithLabelValues(r.Vendor, r.Hook, r.Result).Inc()
	level := zap.InfoLevel
	switch {
	case r.Hook == "":
		level = zap.DebugLevel
	case r.Failed():
		level = zap.WarnLevel
	}
	a.logger.Log(level, "event of a billing system", zap.String("vendor", r.Vendor), zap.String("hook", r.Hook), zap.String("result", r.Result),
		zap.String("event", r.Event), zap.String("type", r.Type), zap.String("action", r.Do), zap.String("contract", r.Contract))
}
