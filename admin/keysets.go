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

// maxKeySetsTold bounds the sets that are told of.
const maxKeySetsTold = 1000

// keySetsHealth tells of the sets that are watched, and how many more there are. One
// that cannot be had fails no node: whoever needs it is told.
func (a *api) keySetsHealth() (told []KeySetHealth, more int) {
	if a.KeySets == nil {
		return []KeySetHealth{}, 0
	}
	return tellKeySets(a.KeySets.Statuses())
}

// tellKeySets tells of as many sets as there is room for. Of more, those come first
// with which something is wrong.
func tellKeySets(statuses []keys.SetStatus) (told []KeySetHealth, more int) {
	if more = len(statuses) - maxKeySetsTold; more > 0 {
		statuses = slices.Clone(statuses)
		slices.SortStableFunc(statuses, func(a, b keys.SetStatus) int { return cmp.Compare(trouble(&a), trouble(&b)) })
		statuses = statuses[:maxKeySetsTold]
	}
	told = make([]KeySetHealth, len(statuses))
	for i := range statuses {
		told[i] = wireKeySet(&statuses[i])
	}
	return told, max(more, 0)
}

// trouble ranks a set by how wrong something is with it, the worst first.
func trouble(status *keys.SetStatus) int {
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
	address := status.Source.Address()
	if parsed, err := url.Parse(address); err == nil {
		parsed.RawQuery = "" // which may hold a secret
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
