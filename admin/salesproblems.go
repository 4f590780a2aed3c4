package admin

import (
	"errors"
	"net/http"

	"github.com/gatefold/gatefold/policy/store"
)

// salesProblems are the responses to errors of promos, contracts and seats.
var salesProblems = []struct {
	err              error
	status           int
	code, detail, at string
}{
	{store.ErrPromoUnknown, http.StatusNotFound, "not_found", "There is no such promo.", "path.promoCode"},
	{store.ErrPromoEnded, http.StatusConflict, "promo_ended", "The promo does not sell: it ended, or its sale has not begun or is over.", "path.promoCode"},
	{store.ErrPromoUsedUp, http.StatusConflict, "promo_used_up", "The promo sold as many contracts as it may.", "path.promoCode"},
	{store.ErrContractEnded, http.StatusConflict, "contract_ended", "The contract has ended: sell or create another one.", ""},
	{store.ErrNoSeat, http.StatusConflict, "no_seat", "The contract has no free seat: withdraw one, or change the number of seats.", ""},
	{store.ErrSeatsTaken, http.StatusConflict, "seats_taken", "Readers have more seats than that: withdraw some first.", "body.seats"},
}

// salesProblem returns the response to an error of promos, contracts or seats, or nil.
func salesProblem(err error) *Problem {
	if conflict, ok := errors.AsType[*store.OrderConflictError](err); ok {
		p := newProblem(http.StatusConflict, "The order has the contract "+conflict.Contract+" with another content: give another order another externalOrderId.")
		p.Code = "order_conflict"
		p.Errors = []FieldError{{Message: "is that of another order", Location: "body.externalOrderId"}}
		return p
	}
	for i := range salesProblems {
		known := &salesProblems[i]
		if !errors.Is(err, known.err) {
			continue
		}
		p := newProblem(known.status, known.detail)
		p.Code = known.code
		if known.at != "" {
			p.Errors = []FieldError{{Message: known.detail, Location: known.at}}
		}
		return p
	}
	return nil
}
