package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// StoreLoss is that a shared store came back without writes of a vendor.
type StoreLoss struct {
	Vendor    string     `json:"vendor" doc:"The vendor whose records are concerned; _system for those of no vendor." example:"default"`
	From      uint64     `json:"from" doc:"The number of the last write that the store still had." example:"95"`
	To        uint64     `json:"to" doc:"The number of the newest write that a node had seen." example:"130"`
	NoticedAt time.Time  `json:"noticedAt" doc:"When a node noticed it, by the clock of the store."`
	After     *time.Time `json:"after,omitempty" doc:"The lost writes were made after this time; absent if this node does not know."`
	Before    *time.Time `json:"before,omitempty" doc:"The lost writes were made before this time; absent if this node does not know."`
	Rewritten int        `json:"rewritten" doc:"How many lost removals and revocations this node made again." example:"2"`
}

// registerStoreLoss adds the operation that ends the condition store_went_back. It is
// available to the operator only: it concerns all vendors.
func (a *api) registerStoreLoss() {
	register(a, huma.Operation{
		OperationID: "accept-store-loss", Method: http.MethodPost, Path: "/management/store/accept-loss", Tags: []string{"Operation"}, Security: needs("health:write"),
		Summary: "Ends the condition store_went_back on all nodes, and returns what was lost",
		Description: "A shared store that came back without acknowledged writes keeps counted links refused until this call. Uses of links that are lost may be made " +
			"again after it. Without such a loss it changes nothing and returns an empty list.",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, _ *call, _ *struct{}) (*body[[]StoreLoss], error) {
		if a.AcceptLoss == nil {
			return &body[[]StoreLoss]{Body: []StoreLoss{}}, nil
		}
		accepted, err := a.AcceptLoss(ctx)
		return &body[[]StoreLoss]{Body: wireAll(accepted, wireLoss)}, err
	})
}

func wireLoss(loss store.PartitionLoss) StoreLoss {
	shown := StoreLoss{Vendor: loss.Partition, From: loss.From, To: loss.To, NoticedAt: loss.At.UTC(), Rewritten: loss.Rewritten}
	if !loss.After.IsZero() {
		after := loss.After.UTC()
		shown.After = &after
	}
	if !loss.Before.IsZero() {
		before := loss.Before.UTC()
		shown.Before = &before
	}
	return shown
}
