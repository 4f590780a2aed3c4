package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// CancelBody cancels a contract.
type CancelBody struct {
	At     string `json:"at,omitempty" maxLength:"40" default:"PERIOD_END" doc:"When access ends: NOW, PERIOD_END (at expiresAt, or at nextBillAt without one), or a time." example:"PERIOD_END"`
	Reason string `json:"reason,omitempty" maxLength:"1024" doc:"The reason, for people." example:"moved abroad"`
}

// RenewBody renews a contract.
type RenewBody struct {
	ExpiresAt  *time.Time `json:"expiresAt,omitempty" doc:"The new end (exclusive), not before the old one. Default: one period after it." example:"2037-02-01T00:00:00Z"`
	NextBillAt *time.Time `json:"nextBillAt,omitempty" doc:"The time of the next bill." example:"2037-02-01T00:00:00Z"`
	Price      *amount    `json:"price,omitempty" doc:"The price of the new period. Default: nextPrice, if there is one." example:"12.90"`
	NextPrice  *amount    `json:"nextPrice,omitempty" doc:"The price of the period after it." example:"12.90"`
	Periods    int        `json:"periods,omitempty" minimum:"1" maximum:"120" doc:"By how many periods the end moves, in place of expiresAt. Default: 1."`
	Resume     bool       `json:"resume,omitempty" doc:"Takes back a cancellation that has not taken effect. Without it, a contract that is canceled at its end is canceled at the new one." example:"true"`
	Reference  string     `json:"reference,omitempty" maxLength:"255" doc:"The caller's id of the renewal, such as that of an invoice: the same one again changes nothing." example:"invoice-4712"`
}

// TransferBody gives a contract to another reader.
type TransferBody struct {
	OwnerData *Party `json:"ownerData" doc:"The new owner, by user id or e-mail address."`
}

func (a *api) registerContractEnds(tags []string) {
	register(a, huma.Operation{
		OperationID: "cancel-contract", Method: http.MethodPost, Path: contractPath + "/cancel", Tags: tags, Security: needs("contracts:write"),
		Summary: "Cancels a contract: at once, at the end of the period or at a time",
		Description: "A contract that is cancelled NOW gives nothing from the next request on. One that is not confirmed is cancelled at once. " +
			"Cancelling a cancelled contract again changes nothing; an earlier time takes the place of a later one.",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		ContractPath
		IfMatch
		Body CancelBody
	},
	) (*record[Contract], error) {
		cancel := store.Cancellation{Reason: in.Body.Reason}
		switch at, err := time.Parse(time.RFC3339Nano, in.Body.At); {
		case in.Body.At == "NOW":
		case in.Body.At == "" || in.Body.At == "PERIOD_END":
			cancel.AtPeriodEnd = true
		case err != nil:
			return nil, invalid("at", "must be NOW, PERIOD_END or a time such as 2027-01-31T12:00:00Z")
		default:
			cancel.At = &at
		}
		changed, err := c.store.CancelContract(ctx, c.Vendor, in.ID, cancel, in.contractCheck())
		return a.contractRecord(changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "renew-contract", Method: http.MethodPost, Path: contractPath + "/renew", Tags: tags, Security: needs("contracts:write"),
		Summary: "Moves the end of a contract on",
		Description: "Without expiresAt the end moves by one period. An expired contract goes on; a canceled, an unconfirmed or an abandoned one does not (409). " +
			"Send a reference, or an Idempotency-Key, so that a repeated call does not renew twice.",
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *struct {
		ContractPath
		IfMatch
		Body RenewBody
	},
	) (*record[Contract], error) {
		b := &in.Body
		for field, sum := range map[string]*amount{"price": b.Price, "nextPrice": b.NextPrice} {
			if err := sum.check(field); err != nil {
				return nil, err
			}
		}
		changed, err := c.store.RenewContract(ctx, c.Vendor, in.ID, store.Renewal{
			EndsAt: b.ExpiresAt, NextBillAt: b.NextBillAt, Price: b.Price.text(), NextPrice: b.NextPrice.text(),
			Periods: b.Periods, Resume: b.Resume, Reference: b.Reference,
		}, in.contractCheck())
		return a.contractRecord(changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "transfer-contract", Method: http.MethodPost, Path: contractPath + "/transfer", Tags: tags, Security: needs("contracts:write"),
		Summary:     "Gives a contract to another reader, effective from the next request on",
		Description: "The payer and the seats stay as they are. Transferring to the same reader changes nothing.",
		Metadata:    map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		ContractPath
		IfMatch
		Body TransferBody
	},
	) (*record[Contract], error) {
		_, owner, err := a.parties(&Party{}, in.Body.OwnerData)
		if err != nil {
			return nil, err
		}
		changed, err := c.store.TransferContract(ctx, c.Vendor, in.ID, owner, in.contractCheck())
		return a.contractRecord(changed, in.changed(err))
	})
}

// contractCheck returns the check of a precondition for a change of a contract.
func (m IfMatch) contractCheck() func(*store.Contract) error {
	return func(c *store.Contract) error { return m.check(*c) }
}
