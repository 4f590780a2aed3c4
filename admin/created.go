package admin

import (
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// PeriodOfCreation selects records by the time of their creation.
type PeriodOfCreation struct {
	DateFrom string `query:"dateFrom" maxLength:"64" doc:"Only those that were created at this time or later: a time or a date (UTC)." example:"2027-01-01"`
	DateTo   string `query:"dateTo" maxLength:"64" doc:"Only those that were created up to this time, or on this day (UTC) or earlier." example:"2027-01-31"`
}

// period returns the period: from <= creation < to; zero for no bound.
func (p *PeriodOfCreation) period() (from, to time.Time, err error) {
	if from, err = parseMoment("dateFrom", p.DateFrom); err != nil {
		return from, to, err
	}
	if to, err = parseMoment("dateTo", p.DateTo); err != nil || to.IsZero() {
		return from, to, err
	}
	// Both ends are part of the period, in the precision that they are given in.
	if _, notDate := time.Parse(time.DateOnly, p.DateTo); notDate == nil {
		to = to.AddDate(0, 0, 1)
	} else {
		to = to.Truncate(time.Millisecond).Add(time.Millisecond)
	}
	if !from.Before(to) {
		return from, to, invalidAt("query.dateTo", "is before dateFrom")
	}
	return from, to, nil
}

// OrderParams order records by the time of their creation, and select them by it.
type OrderParams struct {
	Sort string `query:"sort" enum:"createdAt,-createdAt" doc:"The order: createdAt for the oldest first, -createdAt for the newest first. from is a position in the same order."`
	PeriodOfCreation
}

func (p *OrderParams) created() (store.Created, error) {
	from, to, err := p.period()
	order := p.Sort
	if order == "" && p.ordered() {
		order = store.OldestFirst
	}
	return store.Created{Order: order, CreatedFrom: from, CreatedTo: to}, err
}

// ordered reports whether the records are in the order of their creation, instead of the own
// order of the list.
func (p *OrderParams) ordered() bool { return p.Sort != "" || p.DateFrom != "" || p.DateTo != "" }
