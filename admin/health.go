package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// health is the state of the node.
type health struct {
	// Status is `ok`, or `failing` when the store cannot be read; then the
	// answer is 503.
	Status string      `json:"status" enum:"ok,failing"`
	Store  storeHealth `json:"store"`
	// SnapshotVersion grows with every change of rules, lists and keys that
	// this process knows of, and starts at zero with the process.
	SnapshotVersion uint64         `json:"snapshotVersion"`
	SelfChecks      selfChecks     `json:"selfChecks"`
	Vendors         []vendorHealth `json:"vendors"`
	KeySets         []keySetHealth `json:"keySets" doc:"Other people's keys: of trusted publisher domains, and of readers' issuers."`
}

// storeHealth says whether the store answers.
type storeHealth struct {
	Reachable bool   `json:"reachable"`
	Error     string `json:"error,omitempty"`
}

// selfChecks counts decisions from memory that were made again from the store.
type selfChecks struct {
	Checked uint64 `json:"checked"`
	Failed  uint64 `json:"failed" doc:"Must be 0."`
}

// vendorHealth is the state of one vendor's records.
type vendorHealth struct {
	Vendor       string    `json:"vendor"`
	FeedPosition uint64    `json:"feedPosition" doc:"The position of the newest change."`
	Keys         *keysInfo `json:"keys,omitempty" doc:"Absent before the vendor's first key."`
}

// keysInfo tells of a vendor's key set.
type keysInfo struct {
	Signing    string `json:"signing" doc:"The kid that signs."`
	Verifying  int    `json:"verifying" doc:"How many keys verify, the signing one among them."`
	AgeSeconds int64  `json:"ageSeconds" doc:"How long the signing key has been in use."`
}

type healthAnswer struct {
	Status int
	Body   health
}

func (a *api) registerHealth() {
	register(a, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health", Tags: []string{"Operation"}, Security: needs("health:read"),
		Summary: "Tells the state of the node: 200 when it can decide, 503 when it cannot",
	}, func(ctx context.Context, _ string, _ *struct{}) (*healthAnswer, error) {
		return a.health(ctx), nil
	})
}

func (a *api) health(ctx context.Context) *healthAnswer {
	answer := &healthAnswer{Status: http.StatusOK, Body: health{
		Status: "ok", Store: storeHealth{Reachable: true}, SnapshotVersion: a.Store.SnapshotVersion(), Vendors: []vendorHealth{},
		KeySets: a.keySetsHealth(),
	}}
	answer.Body.SelfChecks.Checked, answer.Body.SelfChecks.Failed = a.Policy.SelfChecks()
	if err := a.vendorHealth(ctx, &answer.Body); err != nil {
		answer.Status = http.StatusServiceUnavailable
		answer.Body.Status = "failing"
		answer.Body.Store = storeHealth{Error: err.Error()}
	}
	return answer
}

func (a *api) vendorHealth(ctx context.Context, h *health) error {
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
		h.Vendors = append(h.Vendors, vendorHealth{Vendor: vendor, FeedPosition: position, Keys: keysHealth(list, a.Now())})
	}
	return nil
}

func keysHealth(list []store.KeyInfo, now time.Time) *keysInfo {
	var info keysInfo
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
