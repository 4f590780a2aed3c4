package admin

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
)

// KeySetRefreshBody names the key set to fetch.
type KeySetRefreshBody struct {
	URL string `json:"url" minLength:"1" maxLength:"2048" doc:"The URL of the key set or of its issuer, as the configuration or the domain names it." example:"https://id.example.com"`
}

// KeySetRefreshed is the state of a key set after a fetch.
type KeySetRefreshed struct {
	KeySetHealth
	KeyIDs  []string `json:"keyIds" doc:"The kids of the keys in use; empty for a key without one." example:"[\"2027-01\"]"`
	Dropped []string `json:"dropped,omitempty" doc:"Why keys of the set are not used." example:"[\"key 1: is not for verifying signatures\"]"`
}

// refreshedAnswer is the response with the state of a key set.
type refreshedAnswer = body[KeySetRefreshed]

// registerKeySets adds the operation that fetches a watched key set now, on this node. It
// is available to the operator only: an issuer belongs to no vendor.
func (a *api) registerKeySets() {
	register(a, huma.Operation{
		OperationID: "refresh-key-set", Method: http.MethodPost, Path: "/management/key-sets/refresh", Tags: []string{"Operation"}, Security: needs("health:write"),
		Summary: "Fetches a key set now, on this node, and returns its state",
		Description: "Each node fetches key sets for itself: before they become stale, and when a token names a key that is unknown. The error of a fetch is in " +
			"the response; keys that were fetched before stay in use. A set that was fetched within 2 s is 429.",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, _ *call, in *body[KeySetRefreshBody]) (*refreshedAnswer, error) {
		return a.refreshKeySet(ctx, in.Body.URL)
	})
}

func (a *api) refreshKeySet(ctx context.Context, address string) (*refreshedAnswer, error) {
	var remotes []*keys.Remote
	if a.KeySets != nil {
		remotes = a.KeySets.Find(address)
	}
	if len(remotes) == 0 {
		return nil, newProblem(http.StatusNotFound, "No key set of this URL is in use: `gatefold status` lists those that are.")
	}
	remote := remotes[0]
	for _, other := range remotes { // a domain and an issuer may share the URL
		if wait := other.RefreshIn(); wait > 0 {
			problem := newProblem(http.StatusTooManyRequests, "The key set was fetched a moment ago: try again as soon as Retry-After says.")
			problem.retryAfter = secondsOf(wait)
			return nil, problem
		}
	}
	for _, other := range remotes {
		if err := other.Refresh(ctx); err != nil {
			remote = other // its state has the error
		}
	}
	status := remote.Status()
	return &refreshedAnswer{Body: KeySetRefreshed{wireKeySet(&status), status.KeyIDs, status.Dropped}}, ctx.Err()
}

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
