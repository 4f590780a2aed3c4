package admin

import (
	"cmp"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// ContractBody creates a contract.
type ContractBody struct {
	ExternalOrderID string      `json:"externalOrderId,omitempty" maxLength:"255" doc:"The caller's id of the order: the same order again has the same contract." example:"order-2027-0816"`
	Quantity        int         `json:"quantity,omitempty" minimum:"1" maximum:"100000" default:"1" doc:"How many of the items were ordered, by which their seats are multiplied." example:"1"`
	UserData        *Party      `json:"userData" doc:"The payer."`
	OwnerData       *Party      `json:"ownerData,omitempty" doc:"The owner, if it is not the payer."`
	Price           *sentAmount `json:"price,omitempty" doc:"The price of a period." example:"9.90"`
	NextPrice       *sentAmount `json:"nextPrice,omitempty" doc:"The price of the next period." example:"12.90"`
	ContractTerms
}

// ContractChange is a contract as a back office changes it.
type ContractChange struct {
	UserData  *Party      `json:"userData,omitempty" doc:"The payer."`
	OwnerData *Party      `json:"ownerData,omitempty" doc:"The owner's details. Another userId or email is a transfer."`
	Price     *sentAmount `json:"price,omitempty" doc:"The price of a period." example:"9.90"`
	NextPrice *sentAmount `json:"nextPrice,omitempty" doc:"The price of the next period." example:"12.90"`
	ContractTerms
}

// parties returns the payer and the owner of an order, or a problem.
func (a *api) parties(user, owner *Party) (payer, owns store.Party, err error) {
	reads, field := owner, "ownerData"
	if owner == nil {
		reads, field = user, "userData"
	}
	if reads == nil || reads.Email == "" && reads.UserID == "" {
		return payer, owns, invalid(field+".email", "is required: without an e-mail address or a user id no reader has the contract")
	}
	if err := cmp.Or(user.check("userData", a.Now()), owner.check("ownerData", a.Now())); err != nil {
		return payer, owns, err
	}
	return user.party(), reads.party(), nil
}

// ConfirmParam is the query parameter of operations that may confirm what they make.
type ConfirmParam struct {
	Confirm string `query:"confirm" maxLength:"8" doc:"1 or true confirms the contract at once; 0 or false, the default, leaves it unconfirmed: it gives nothing." example:"1"`
}

// confirm returns whether the contract is to be confirmed.
func (p ConfirmParam) confirm() (bool, error) {
	switch p.Confirm {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	}
	return false, invalidAt("query.confirm", "must be 1 or true, which confirms, or 0 or false")
}

// soldContract is the response to an order: 201 with a new contract, 200 with the one that
// the order has already.
type soldContract struct {
	Status   int
	Location string `header:"Location" doc:"The URL of a new contract, relative to the request URL."`
	ETag     string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body     SoldContract
}

// SoldContract is the contract that an order made, or had already.
type SoldContract struct {
	Contract
	NotKept []string `json:"notKept,omitempty" nullable:"false" doc:"The members of the order that were checked and dropped, because the promo does not name them in keeps." example:"[\"userData.birthday\"]"`
}

func (a *api) newSold(location string, made store.Contract, isNew bool, err error) (*soldContract, error) {
	if err != nil {
		return nil, err
	}
	answer := &soldContract{Status: http.StatusOK, ETag: etagOf(made), Body: SoldContract{Contract: wireContract(&made, a.Now())}}
	if isNew {
		answer.Status, answer.Location = http.StatusCreated, location
	}
	return answer, nil
}

// soldResponses describe a response that is 201 or 200.
func soldResponses(a *api, operation *huma.Operation) {
	again := *a.huma.OpenAPI().Paths[operation.Path].Post.Responses["201"]
	again.Description = "The contract that the order has already."
	a.huma.OpenAPI().Paths[operation.Path].Post.Responses["200"] = &again
}

func (a *api) registerContractChanges(tags []string) {
	create := huma.Operation{
		OperationID: "create-contract", Method: http.MethodPost, Path: contractsPath, Tags: tags, Security: needs("contracts:write"),
		Summary:     "Creates a contract without a promo code, as a back office does",
		Description: "The order is idempotent by externalOrderId, as a sale is.", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatCall},
	}
	register(a, create, func(ctx context.Context, c *call, in *struct {
		ConfirmParam
		Body ContractBody
	},
	) (*soldContract, error) {
		confirm, err := in.confirm()
		if err != nil {
			return nil, err
		}
		b := &in.Body
		wanted := store.Contract{OrderID: b.ExternalOrderID, Quantity: b.Quantity, Price: b.Price.text(), NextPrice: b.NextPrice.text()}
		if err := cmp.Or(b.Price.check("price"), b.NextPrice.check("nextPrice"), b.apply(&wanted)); err != nil {
			return nil, err
		}
		if wanted.Payer, wanted.Owner, err = a.parties(b.UserData, b.OwnerData); err != nil {
			return nil, err
		}
		wanted.Seller = c.Name
		made, isNew, err := c.store.CreateContract(ctx, c.Vendor, wanted, confirm)
		return a.newSold(below(contractsPath, made.ID), made, isNew, err)
	})
	soldResponses(a, &create)
	patch := newPatcher[ContractChange](a, "startsAt", "expiresAt", "ownerSeat")
	patch.counters = []string{"seatsTaken"}
	register(a, huma.Operation{
		OperationID: "change-contract", Method: http.MethodPatch, Path: contractPath, Tags: tags, Security: needs("contracts:write"),
		Summary: "Changes the named fields of a contract",
		Description: "The body is a JSON merge patch (RFC 7396). It changes no state: see cancel-contract and renew-contract; nor the owner or the seats: see transfer-contract and change-seats. " +
			"A contract that has ended is not changed (409).",
		RequestBody: patch.requestBody(), SkipValidateBody: true,
	}, func(ctx context.Context, c *call, in *struct {
		ContractPath
		IfMatch
		RawBody []byte `contentType:"application/json"`
	},
	) (*record[Contract], error) {
		changed, err := c.store.UpdateContract(ctx, c.Vendor, in.ID, func(found *store.Contract) error {
			if err := in.check(*found); err != nil {
				return err
			}
			shown := wireContract(found, a.Now())
			wanted, err := patch.apply(shown, &ContractChange{
				UserData: &shown.UserData, OwnerData: &shown.OwnerData, Price: (*sentAmount)(amountOf(found.Price)), NextPrice: (*sentAmount)(shown.NextPrice), ContractTerms: shown.ContractTerms,
			}, in.RawBody)
			if err != nil {
				return err
			}
			return a.applyChange(wanted, found)
		})
		return a.contractRecord(changed, in.changed(err))
	})
}

// applyChange changes a contract as a patched body says.
func (a *api) applyChange(wanted *ContractChange, found *store.Contract) error {
	if err := cmp.Or(wanted.Price.check("price"), wanted.NextPrice.check("nextPrice"), wanted.apply(found)); err != nil {
		return err
	}
	payer, owner, err := a.parties(wanted.UserData, wanted.OwnerData)
	if err != nil {
		return err
	}
	if owner.UserID != found.Owner.UserID || owner.Email != found.Owner.Email {
		return invalid("ownerData", "names another reader: a contract goes to another reader by transfer-contract")
	}
	found.Payer, found.Owner, found.Price, found.NextPrice = payer, owner, wanted.Price.text(), wanted.NextPrice.text()
	return nil
}
