package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	salePath        = "/payments/vendor/{vendorId}/promos/code/{promoCode}"
	confirmSalePath = salePath + "/confirm/{contractId}"
)

// SaleBody is an order of an external sale.
type SaleBody struct {
	ExternalOrderID string  `json:"externalOrderId,omitempty" maxLength:"255" doc:"The seller's id of the order: the same order again has the same contract. Without one, only an Idempotency-Key keeps a repeated order from making a second contract." example:"order-2027-0815"`
	PaymentProvider string  `json:"paymentProvider,omitempty" enum:"KLARNA,STRIPE,BILLOGRAM,SESAMY" doc:"The payment provider: one that the promo accepts." example:"SESAMY"`
	PaymentMethod   string  `json:"paymentMethod,omitempty" enum:"BANKGIRO,EXTERNAL,INVOICE,SWISH,CARD,FREE" doc:"The payment method: one that the promo accepts." example:"EXTERNAL"`
	Quantity        int     `json:"quantity,omitempty" minimum:"1" maximum:"100000" default:"1" doc:"How many are ordered, by which the seats of the promo are multiplied; at most the promo's maxQuantity." example:"1"`
	VendorData      textMap `json:"vendorData,omitempty" doc:"The seller's own data: at most 64 texts and 8 KiB." example:"{\"campaign\": \"autumn\"}"`
	ProviderData    textMap `json:"providerData,omitempty" doc:"The payment provider's data of the order: at most 64 texts and 8 KiB." example:"{\"checkout\": \"c-1\"}"`
	UserData        *Party  `json:"userData" doc:"The payer, who is the owner without ownerData."`
	OwnerData       *Party  `json:"ownerData,omitempty" doc:"The owner, who reads, if it is not the payer."`
}

// ConfirmBody confirms a contract.
type ConfirmBody struct {
	ProviderPaymentData textMap `json:"providerPaymentData,omitempty" doc:"The payment provider's data of the payment: at most 64 texts and 8 KiB." example:"{\"reference\": \"pay-1\"}"`
}

// SalePath identifies a promo of a vendor in a path.
type SalePath struct {
	VendorID string `path:"vendorId" maxLength:"63" doc:"The vendor's id: that of the access token." example:"acme"`
	PromoPath
}

// ConfirmPath identifies a contract of a promo in a path.
type ConfirmPath struct {
	SalePath
	ContractID string `path:"contractId" maxLength:"128" doc:"The contract's id, from the answer to the order." example:"1d78271264b9c76d5842911dd70b4353"`
}

// ofVendor is the middleware of operations whose path names a vendor. It refuses another
// vendor's before anything is read, so that the answer reveals nothing. The local operator
// calls for any vendor.
func (a *api) ofVendor(ctx huma.Context, next func(huma.Context)) {
	c, vendor := callOf(ctx.Context()), ctx.Param("vendorId")
	switch {
	case c.Vendor == vendor:
	case a.Operator && c.Unlimited && vendorPattern.MatchString(vendor):
		c.Vendor = vendor
	default:
		answerProblem(ctx, newProblem(http.StatusForbidden, "The access token is not that of this vendor."))
		return
	}
	next(ctx)
}

func (a *api) registerSales() {
	tags := []string{"Sales"}
	sell := huma.Operation{
		OperationID: "create-sale", Method: http.MethodPost, Path: salePath, Tags: tags, Security: needs("sales:write"),
		Summary: "Sells a promo: creates a contract, and confirms it if asked to", DefaultStatus: http.StatusCreated,
		Description: "The same order again, by externalOrderId and seller, answers 200 with the same contract, and confirms it if that is asked for now. " +
			"Another content under the id is refused with 409, `order_conflict`. A contract that is not confirmed gives nothing, and ends by itself.",
		Middlewares: huma.Middlewares{a.ofVendor}, Metadata: map[string]any{repetitionKey: repeatCall},
	}
	register(a, sell, func(ctx context.Context, c *call, in *struct {
		SalePath
		ConfirmParam
		Body SaleBody
	},
	) (*soldContract, error) {
		confirm, err := in.confirm()
		if err != nil {
			return nil, err
		}
		order, err := a.order(c, &in.Body)
		if err != nil {
			return nil, err
		}
		order.Promo, order.Confirm = in.Code, confirm
		made, isNew, err := c.store.Sell(ctx, c.Vendor, order)
		answer, err := a.newSold("../../../../../management/contracts/"+made.ID, made, isNew, err)
		if err == nil {
			answer.Body.NotKept = append(notKept("ownerData", &order.Owner, &made.Owner, in.Body.OwnerData != nil), notKept("userData", &order.Payer, &made.Payer, true)...)
		}
		return answer, err
	})
	soldResponses(a, &sell)
	register(a, huma.Operation{
		OperationID: "confirm-sale", Method: http.MethodPost, Path: confirmSalePath, Tags: tags, Security: needs("sales:write"),
		Summary:     "Confirms a contract, which gives access from the next request on",
		Description: "Confirming a confirmed contract changes nothing; an ended one is refused with 409, `contract_ended`.",
		Middlewares: huma.Middlewares{a.ofVendor}, Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		ConfirmPath
		Body *ConfirmBody
	},
	) (*record[Contract], error) {
		var paid textMap
		if in.Body != nil {
			paid = in.Body.ProviderPaymentData
		}
		if err := paid.checkSize("providerPaymentData"); err != nil {
			return nil, err
		}
		return a.contractRecord(c.store.ConfirmContract(ctx, c.Vendor, in.Code, c.Name, in.ContractID, paid))
	})
}

// order returns the order of a body, or a problem.
func (a *api) order(c *call, b *SaleBody) (order store.Sale, err error) {
	for field, data := range map[string]textMap{"vendorData": b.VendorData, "providerData": b.ProviderData} {
		if err := data.checkSize(field); err != nil {
			return order, err
		}
	}
	order = store.Sale{
		Seller: c.Name, OrderID: b.ExternalOrderID, Quantity: b.Quantity, PaymentProvider: b.PaymentProvider, PaymentMethod: b.PaymentMethod,
		VendorData: b.VendorData, ProviderData: b.ProviderData,
	}
	order.Payer, order.Owner, err = a.parties(b.UserData, b.OwnerData)
	return order, err
}

// notKept returns the members of a party that were dropped, if it was sent.
func notKept(name string, sent, kept *store.Party, given bool) (dropped []string) {
	for _, member := range []struct{ path, sent, kept string }{
		{"gender", sent.Gender, kept.Gender}, {"birthday", sent.Birthday, kept.Birthday}, {"businessDetails.vatNr", sent.VATNumber, kept.VATNumber},
	} {
		if given && member.sent != "" && member.kept == "" {
			dropped = append(dropped, name+"."+member.path)
		}
	}
	return dropped
}
