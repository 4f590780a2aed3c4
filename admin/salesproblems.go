package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gatefold/gatefold/policy/store"
)

// promoProblems are the responses to sales that a promo does not make.
var promoProblems = map[store.PromoProblem]struct {
	status       int
	code, detail string
}{
	store.PromoUnknown: {http.StatusNotFound, "not_found", "There is no such promo."},
	store.PromoEnded:   {http.StatusConflict, "promo_ended", "The promo has ended: it sells nothing."},
	store.PromoNotYet:  {http.StatusConflict, "promo_not_yet", "The sale of the promo has not begun."},
	store.PromoUsedUp:  {http.StatusConflict, "promo_used_up", "The promo has sold as many contracts as it may."},
}

// salesProblem returns the response to an error of promos, contracts or seats, or nil.
func salesProblem(err error) *Problem {
	if promo, ok := errors.AsType[*store.PromoError](err); ok {
		known := promoProblems[promo.Problem]
		return conflictAt(known.status, known.code, known.detail, "path.promoCode")
	}
	if order, ok := errors.AsType[*store.OrderConflictError](err); ok {
		return conflictAt(http.StatusConflict, "order_conflict",
			"The order has the contract "+order.Contract+" with another content: give another order another externalOrderId.", "body.externalOrderId")
	}
	if seats, ok := errors.AsType[*store.SeatsError](err); ok {
		return conflictAt(http.StatusConflict, "seats_taken", fmt.Sprintf(
			"The contract has %d seats, of which %d are taken, %d too few: withdraw some, or change the number of seats.", seats.Seats, seats.Taken, seats.Missing), "body.seats")
	}
	if state, ok := errors.AsType[*store.ContractStateError](err); ok {
		if errors.Is(err, store.ErrContractEnded) {
			return conflictAt(http.StatusConflict, "contract_ended", "It cannot be done, because "+state.Error()+".", "")
		}
		return conflictAt(http.StatusConflict, "contract_unconfirmed", "It cannot be done, because "+state.Error()+".", "")
	}
	return nil
}

// conflictAt returns a problem about a part of the request, if there is one.
func conflictAt(status int, code, detail, location string) *Problem {
	p := newProblem(status, detail)
	if p.Code = code; location != "" {
		p.Errors = []FieldError{{Message: detail, Location: location}}
	}
	return p
}
