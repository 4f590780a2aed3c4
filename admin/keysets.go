package admin

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// keySetHealth is the state of somebody else's key set.
type keySetHealth struct {
	URL        string `json:"url" doc:"Where it is: a key set's own address, or an issuer."`
	OK         bool   `json:"ok" doc:"There are keys that count now."`
	Keys       int    `json:"keys"`
	AgeSeconds *int64 `json:"ageSeconds,omitempty" doc:"How long ago it was fetched or found unchanged; absent when it never was."`
	Stale      bool   `json:"stale,omitempty" doc:"It should have been fetched anew and could not."`
	Error      string `json:"error,omitempty" doc:"Why the last fetch failed."`
}

// maxKeySetsTold bounds the sets that are told of.
const maxKeySetsTold = 1000

// keySetsHealth tells of the sets that are watched, and how many more there are. One
// that cannot be had fails no node: whoever needs it is told.
func (a *api) keySetsHealth() (told []keySetHealth, more int) {
	if a.KeySets == nil {
		return []keySetHealth{}, 0
	}
	return tellKeySets(a.KeySets.Statuses())
}

// tellKeySets tells of as many sets as there is room for. Of more, those come first
// with which something is wrong.
func tellKeySets(statuses []keys.SetStatus) (told []keySetHealth, more int) {
	if more = len(statuses) - maxKeySetsTold; more > 0 {
		statuses = slices.Clone(statuses)
		slices.SortStableFunc(statuses, func(a, b keys.SetStatus) int { return cmp.Compare(trouble(&a), trouble(&b)) })
		statuses = statuses[:maxKeySetsTold]
	}
	told = make([]keySetHealth, len(statuses))
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

func wireKeySet(status *keys.SetStatus) keySetHealth {
	address := status.Source.Address()
	if parsed, err := url.Parse(address); err == nil {
		parsed.RawQuery = "" // which may hold a secret
		address = parsed.String()
	}
	health := keySetHealth{URL: address, OK: status.OK, Keys: len(status.KeyIDs), Stale: status.Stale}
	if status.OK || status.Stale {
		age := int64(status.Age / time.Second)
		health.AgeSeconds = &age
	}
	if status.Err != nil {
		health.Error = status.Err.Error()
	}
	return health
}
