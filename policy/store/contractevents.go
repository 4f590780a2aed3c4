package store

import "time"

// contractVerbOf returns the verb of a change of a contract. That of its seats is an event of
// the seat, and that it is removed, long after its end, is none.
func contractVerbOf(before, after []byte) (string, error) {
	if after == nil {
		return "", nil
	}
	return verbOf(contractVerb)(before, after)
}

func contractVerb(was, is *Contract) string {
	if was == nil {
		if is.State == StateActive {
			return verbConfirmed
		}
		return ""
	}
	sameTime := func(a, b *time.Time) bool { return (a == nil) == (b == nil) && (a == nil || a.Equal(*b)) }
	switch {
	case was.State != is.State && is.State == StateActive:
		return verbConfirmed
	case was.State != is.State && is.State == StateCanceled:
		return verbCanceled
	case was.ownedBy() != is.ownedBy():
		return verbTransferred
	case !sameTime(was.EndsAt, is.EndsAt) && is.EndsAt != nil && was.EndsAt != nil && is.EndsAt.After(*was.EndsAt):
		return verbRenewed
	case !sameTime(was.WillCancelAt, is.WillCancelAt) && is.WillCancelAt != nil:
		return verbCancelRequested
	case was.SeatsTaken != is.SeatsTaken:
		return verbNone
	}
	return ""
}

func showPromo(_ *eventReader, p *Promo) (map[string]any, error) {
	shown, err := members(p, "ended")
	if err == nil {
		shown["status"] = promoStatus(p)
	}
	return shown, err
}

func promoStatus(p *Promo) string {
	if p.Ended {
		return "ENDED"
	}
	return StatusActive
}

// showContract returns a contract as the API has it. Its status is that of the event, which
// may be read later.
func showContract(_ *eventReader, c *Contract) (map[string]any, error) {
	shown, err := members(c, "orderHash", "state", "renewals", "decidedAt", "cancelAtEnd", "promo", "owner", "payer", "extra")
	if err == nil {
		shown["promoCode"], shown["status"], shown["userId"] = c.Promo, c.Status(c.UpdatedAt), c.Owner.UserID
		shown["ownerData"], shown["userData"] = c.Owner, c.Payer
	}
	return shown, err
}

func showSeat(_ *eventReader, s *Seat) (map[string]any, error) { return members(s, "updatedAt") }
