package admin

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy/store"
)

// Health is the state of the node. Status is failing if the node cannot decide, stale if
// the shared store is unreachable and the node decides from memory, degraded if an
// operator must act, and else ok.
type Health struct {
	Status string `json:"status" enum:"ok,degraded,stale,failing" doc:"failing: the node cannot decide. stale: it decides from memory. degraded: it decides, and a condition needs an operator."`
	// Conditions are what is wrong at the moment, the worst first.
	Conditions []condition.Condition `json:"conditions" doc:"What is wrong with the node at the moment, the worst first; at most 256."`
	Store      StoreHealth           `json:"store"`
	// SnapshotVersion counts the changes of rules, lists and keys since the
	// process started.
	SnapshotVersion uint64         `json:"snapshotVersion"`
	SelfChecks      SelfChecks     `json:"selfChecks"`
	Vendors         []VendorHealth `json:"vendors"`
	KeySets         []KeySetHealth `json:"keySets" doc:"The key sets of trusted publisher domains and of reader token issuers; at most 1000, those with errors first."`
	MoreKeySets     int            `json:"moreKeySets,omitempty" doc:"The number of omitted entries."`
}

// The values of Health.Status.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded"
	HealthStale    = "stale"
	HealthFailing  = "failing"
)

// FailingHealth is the health of a node whose store cannot be used, for the given cause.
func FailingHealth(cause error, conditions []condition.Condition) *Health {
	return &Health{
		Status: HealthFailing, Conditions: conditions, Store: StoreHealth{Error: cause.Error()},
		Vendors: []VendorHealth{}, KeySets: []KeySetHealth{},
	}
}

// StoreHealth is the state of the store as this node sees it.
type StoreHealth struct {
	Reachable bool   `json:"reachable"`
	Error     string `json:"error,omitempty"`
	// The following fields are present if other nodes share the store.
	State       string     `json:"state,omitempty" enum:"following,stale,restored,closed" doc:"following: memory is up to date with the store. stale: the store is unreachable and memory is still used. restored: the same since the start of the node, which uses its snapshot. closed: memory is no longer used."`
	AwaySince   *time.Time `json:"awaySince,omitempty"`
	LeftSeconds *float64   `json:"leftSeconds,omitempty" doc:"How many seconds memory may still be used if the store stays unreachable."`
	// File is present if the store is an embedded database.
	File *StoreFile `json:"file,omitempty"`
}

// StoreFile is the file of an embedded database.
type StoreFile struct {
	Bytes     int64      `json:"bytes" doc:"The length of the file."`
	FreeBytes int64      `json:"freeBytes" doc:"How many of the bytes are free: removed records leave room for new ones, and the file as long as it is."`
	CheckedAt *time.Time `json:"checkedAt,omitempty" doc:"When the whole file was last read and checked; absent until then."`
}

// SelfChecks counts cached decisions that were compared with the store.
type SelfChecks struct {
	Checked uint64 `json:"checked"`
	Failed  uint64 `json:"failed" doc:"Must be 0."`
}

// VendorHealth is the state of one vendor's records.
type VendorHealth struct {
	Vendor       string      `json:"vendor"`
	FeedPosition uint64      `json:"feedPosition" doc:"The feed position of the newest change."`
	Keys         *KeysHealth `json:"keys,omitempty" doc:"Absent before the vendor's first key."`
}

// KeysHealth is the state of a vendor's signing keys.
type KeysHealth struct {
	Signing    string `json:"signing" doc:"The kid of the signing key."`
	Verifying  int    `json:"verifying" doc:"The number of keys that verify, including the signing key."`
	AgeSeconds int64  `json:"ageSeconds" doc:"The age of the signing key in seconds."`
}

type healthAnswer struct {
	Status     int
	RetryAfter string `header:"Retry-After" doc:"With 503: the seconds after which to ask again."`
	Body       Health
}

func (a *api) registerHealth() {
	register(a, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health", Tags: []string{"Operation"}, Security: needs("health:read"),
		Summary: "Returns the state of the node: 200 if it can decide, 503 if it cannot",
	}, func(ctx context.Context, _ *call, _ *struct{}) (*healthAnswer, error) {
		return a.health(ctx), nil
	})
}

func (a *api) health(ctx context.Context) *healthAnswer {
	answer := &healthAnswer{Status: http.StatusOK, Body: Health{
		Status: HealthOK, Store: StoreHealth{Reachable: true}, SnapshotVersion: a.Store.SnapshotVersion(), Vendors: []VendorHealth{},
		Conditions: []condition.Condition{},
	}}
	if a.Conditions != nil {
		answer.Body.Conditions = a.Conditions()
	}
	if a.StoreFile != nil {
		answer.Body.Store.File = a.StoreFile()
	}
	answer.Body.KeySets, answer.Body.MoreKeySets = a.keySetsHealth()
	answer.Body.SelfChecks.Checked, answer.Body.SelfChecks.Failed = a.Policy.SelfChecks()
	err := a.vendorHealth(ctx, &answer.Body)
	stale := a.StoreState != nil && answer.Body.Store.follow(a.StoreState())
	switch {
	case stale:
		answer.Body.Status = HealthStale
	case err != nil || answer.Body.Store.State == store.StateClosed:
		answer.Status, answer.RetryAfter = http.StatusServiceUnavailable, retryAfterSeconds
		answer.Body.Status = HealthFailing
	case slices.ContainsFunc(answer.Body.Conditions, func(c condition.Condition) bool { return c.Severity != condition.Notice }):
		answer.Body.Status = HealthDegraded
	}
	if err != nil {
		answer.Body.Store.Reachable, answer.Body.Store.Error = false, err.Error()
	}
	return answer
}

// follow adds the state of a shared store. It reports whether the node decides
// without the store.
func (h *StoreHealth) follow(state store.FollowState) bool {
	h.State = state.State
	left := state.Left.Seconds()
	h.LeftSeconds = &left
	if state.Error != nil {
		h.Reachable, h.Error = false, state.Error.Error()
		since := state.Since.UTC()
		h.AwaySince = &since
	}
	return state.State == store.StateStale || state.State == store.StateRestored
}

func (a *api) vendorHealth(ctx context.Context, h *Health) error {
	vendors, err := a.Store.Vendors(ctx)
	if err != nil {
		return err
	}
	for _, vendor := range vendors {
		position, err := a.Store.FeedPosition(ctx, vendor)
		if err != nil {
			return err
		}
		list, err := a.Keyring.Keys(ctx, vendor)
		if err != nil {
			return err
		}
		h.Vendors = append(h.Vendors, VendorHealth{Vendor: vendor, FeedPosition: position, Keys: keysHealth(list, a.Now())})
	}
	return nil
}

func keysHealth(list []store.KeyInfo, now time.Time) *KeysHealth {
	var info KeysHealth
	for _, key := range list {
		if key.RetiredAt.IsZero() {
			info.Verifying++
		}
		if key.Signs {
			info.Signing, info.AgeSeconds = key.ID, int64(now.Sub(key.CreatedAt)/time.Second)
		}
	}
	if info.Signing == "" {
		return nil
	}
	return &info
}
