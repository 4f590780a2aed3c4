package caddymodule

import (
	"fmt"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatefold/gatefold/keys"
)

// keySetCollector reads what is known of other people's keys when Prometheus
// asks. Labels hold what is configured or registered, and of that a bounded
// number.
type keySetCollector struct{}

var (
	keySetFetches  = desc("jwks_fetches_total", "Fetches of other people's key sets, by what came out.", "result")
	keySetAge      = desc("jwks_age_seconds", "Time since a key set in use was fetched or found unchanged.", "source")
	keySetKeys     = desc("jwks_keys", "Keys of a set that count now; 0 when none of them may any more.", "source")
	keySetUnknown  = desc("jwks_unknown_kid_total", "Tokens that named an unknown key, by what was done: newer keys were asked for, or the token was refused at once.", "result")
	publisherVerif = desc("publisher_verifications_total", "Tokens of trusted domains whose signature was looked at, by domain and by what came out.", "vendor", "domain", "result")
)

// maxKeySetSeries bounds the sources that have series of their own.
const maxKeySetSeries = 256

// Describe implements prometheus.Collector.
func (keySetCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{keySetFetches, keySetAge, keySetKeys, keySetUnknown, publisherVerif} {
		to <- d
	}
}

// Collect implements prometheus.Collector. While one store takes the place of
// another there are two of everything: counts are added up, and of a source's
// state the newer one is told.
func (keySetCollector) Collect(to chan<- prometheus.Metric) {
	fetches := make(map[keys.FetchResult]uint64)
	var asked, refused uint64
	sources := make(map[string]keys.SetStatus)
	verifications := make(map[[3]string]uint64)
	pool.Range(func(_, value any) bool {
		shared := value.(*sharedStore)
		stats := shared.keySets.Stats()
		for result, count := range stats.Fetches {
			fetches[result] += count
		}
		asked, refused = asked+stats.UnknownAsked, refused+stats.UnknownRefused
		for _, status := range shared.keySets.Statuses() {
			name := sourceName(status.Source)
			if known, ok := sources[name]; len(sources) < maxKeySetSeries && !ok || ok && known.TriedAt.Before(status.TriedAt) {
				sources[name] = status
			}
		}
		for _, publisher := range shared.policy.Stats().Publishers {
			for _, v := range publisher.Verifications {
				verifications[[3]string{publisher.Vendor, publisher.Domain, v.Result}] += v.Count
			}
		}
		return true
	})
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for result, count := range fetches {
		counter(keySetFetches, count, string(result))
	}
	counter(keySetUnknown, asked, "asked")
	counter(keySetUnknown, refused, "refused")
	for name, status := range sources {
		to <- prometheus.MustNewConstMetric(keySetKeys, prometheus.GaugeValue, float64(len(status.KeyIDs)), name)
		if status.OK || status.Stale {
			to <- prometheus.MustNewConstMetric(keySetAge, prometheus.GaugeValue, status.Age.Seconds(), name)
		}
	}
	for labels, count := range verifications {
		counter(publisherVerif, count, labels[:]...)
	}
}

// sourceName is the address of a source without what could be a secret in it.
func sourceName(source keys.KeySetLocation) string {
	address, err := url.Parse(source.Address())
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%s://%s%s", address.Scheme, address.Host, address.EscapedPath())
}
