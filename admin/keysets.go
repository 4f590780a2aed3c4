package admin

import (
	"net/url"
	"time"
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

// keySetsHealth tells of all sets that are watched. One that cannot be had fails
// no node: whoever needs it is told.
func (a *api) keySetsHealth() []keySetHealth {
	told := []keySetHealth{}
	if a.KeySets == nil {
		return told
	}
	for _, status := range a.KeySets.Statuses() {
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
		told = append(told, health)
	}
	return told
}
