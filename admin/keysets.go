package admin

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// KeySetHealth is the state of a remote key set.
type KeySetHealth struct {
	URL        string `json:"url" doc:"The URL of the key set or of its issuer."`
	OK         bool   `json:"ok" doc:"Whether the set has keys in use."`
	Keys       int    `json:"keys"`
	AgeSeconds *int64 `json:"ageSeconds,omitempty" doc:"The seconds since the key set was fetched or found unchanged; absent if it never was."`
	Stale      bool   `json:"stale,omitempty" doc:"The key set is overdue for a refresh that failed."`
	Error      string `json:"error,omitempty" doc:"The error of the last fetch."`
}

// maxKeySets bounds the sets that Health lists.
const maxKeySets = 1000

// keySetsHealth returns the state of the watched sets and the number of omitted
// ones. An unavailable set does not fail the node.
func (a *api) keySetsHealth() (list []KeySetHealth, more int) {
	if a.KeySets == nil {
		return []KeySetHealth{}, 0
	}
	return wireKeySets(a.KeySets.Statuses())
}

// wireKeySets lists at most maxKeySets sets, those with errors first.
func wireKeySets(statuses []keys.SetStatus) (list []KeySetHealth, more int) {
	if more = len(statuses) - maxKeySets; more > 0 {
		statuses = slices.Clone(statuses)
		slices.SortStableFunc(statuses, func(a, b keys.SetStatus) int { return cmp.Compare(severity(&a), severity(&b)) })
		statuses = statuses[:maxKeySets]
	}
	list = make([]KeySetHealth, len(statuses))
	for i := range statuses {
		list[i] = wireKeySet(&statuses[i])
	}
	return list, max(more, 0)
}

// severity ranks the state of a set, the worst lowest.
func severity(status *keys.SetStatus) int {
	switch {
	case !status.OK:
		return 0
	case status.Stale || status.Err != nil:
		return 1
	default:
		return 2
	}
}

func wireKeySet(status *keys.SetStatus) KeySetHealth {
	address := status.Location.Address()
	if parsed, err := url.Parse(address); err == nil {
		parsed.RawQuery = "" // may contain a secret
		address = parsed.String()
	}
	health := KeySetHealth{URL: address, OK: status.OK, Keys: len(status.KeyIDs), Stale: status.Stale}
	if status.OK || status.Stale {
		age := int64(status.Age / time.Second)
		health.AgeSeconds = &age
	}
	if status.Err != nil {
		health.Error = status.Err.Error()
	}
	return health
}
