package admin

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const licensesPath = contractPath + "/licenses"

// License is a seat of a reader in a contract, by one of its SKUs.
type License struct {
	UserID        string `json:"userId" doc:"The reader's user id; empty while the reader is known by e-mail address only." example:"user-123"`
	Email         string `json:"email" doc:"The reader's e-mail address, which their login must have verified; empty if the seat is by user id." example:"reader@example.com"`
	FullName      string `json:"fullName" doc:"The reader's name." example:"Ada Lovelace"`
	SKU           string `json:"sku" doc:"The SKU that the seat gives." example:"premium"`
	Status        string `json:"status" enum:"ACTIVE,INACTIVE" doc:"Whether the contract gives access now." example:"ACTIVE"`
	EntitlementID string `json:"entitlementId" doc:"The id of the reader's entitlement, which names the seat." example:"seat_01kb2m3q4r5s6t7v8w9x0y1z2a.premium"`
}

// LicenseBody gives a seat.
type LicenseBody struct {
	Email    string `json:"email,omitempty" maxLength:"254" doc:"The reader's e-mail address. It, or userId, is required." example:"reader@example.com"`
	UserID   string `json:"userId,omitempty" maxLength:"255" doc:"The reader's user id." example:"user-123"`
	FullName string `json:"fullName,omitempty" maxLength:"255" doc:"The reader's name." example:"Ada Lovelace"`
}

// SeatsBody changes the number of seats.
type SeatsBody struct {
	Seats int `json:"seats" minimum:"0" maximum:"1000000" doc:"The number of seats." example:"50"`
}

// LicensePath identifies a seat in a path.
type LicensePath struct {
	ContractPath
	EntitlementID string `path:"entitlementId" maxLength:"400" doc:"The id of an entitlement that the seat gives." example:"seat_01kb2m3q4r5s6t7v8w9x0y1z2a.premium"`
}

// LicensePage are the query parameters of a listing of seats.
type LicensePage struct {
	Q string `query:"q" maxLength:"254" doc:"Only seats whose e-mail address, user id or name contains this text, ignoring case." example:"ada"`
	WholeParams
}

// wireSeat returns the licences of a seat: one for each SKU that it gives.
func wireSeat(c *store.Contract, seat *store.Seat, active bool) []License {
	status := "INACTIVE"
	if active {
		status = "ACTIVE"
	}
	return wireAll(c.SeatItems(), func(item store.ContractItem) License {
		return License{
			UserID: seat.UserID, Email: seat.Email, FullName: seat.FullName, SKU: item.SKU, Status: status, EntitlementID: seat.ID + "." + item.SKU,
		}
	})
}

func (a *api) registerLicenses(tags []string) {
	register(a, huma.Operation{
		OperationID: "list-licenses", Method: http.MethodGet, Path: licensesPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Lists the readers with seats in a contract, by their seats",
	}, a.listLicenses)
	register(a, huma.Operation{
		OperationID: "assign-license", Method: http.MethodPost, Path: licensesPath, Tags: tags, Security: needs("contracts:write"),
		Summary:     "Gives a seat to a reader, effective from the next request on",
		Description: "Assigning a seat to a reader who has one answers it again. Without a free seat the call is refused with 409, `no_seat`.",
		Metadata:    map[string]any{repetitionKey: repeatCall}, DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, c *call, in *struct {
		ContractPath
		Body LicenseBody
	},
	) (*struct {
		Status int
		Body   []License
	}, error,
	) {
		if in.Body.Email == "" && in.Body.UserID == "" {
			return nil, invalid("email", "is required, or userId")
		}
		if err := (&Party{Email: in.Body.Email}).check("", a.Now()); err != nil {
			return nil, invalid("email", "is not an e-mail address")
		}
		contract, seat, err := c.store.AddSeat(ctx, c.Vendor, in.ID, store.Seat{
			UserID: in.Body.UserID, Email: strings.TrimSpace(in.Body.Email), FullName: in.Body.FullName,
		})
		if err != nil {
			return nil, err
		}
		answer := &struct {
			Status int
			Body   []License
		}{http.StatusOK, wireSeat(&contract, &seat.Seat, contract.Active(a.Now()))}
		if seat.Created {
			answer.Status = http.StatusCreated
		}
		return answer, nil
	})
	register(a, huma.Operation{
		OperationID: "withdraw-license", Method: http.MethodDelete, Path: licensesPath + "/{entitlementId}", Tags: tags, Security: needs("contracts:write"),
		Summary: "Withdraws a reader's seat with all that it gives, effective from the next request on", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *LicensePath) (*empty, error) {
		seat, _, _ := strings.Cut(in.EntitlementID, ".")
		_, err := c.store.RemoveSeat(ctx, c.Vendor, in.ID, seat)
		return &empty{}, err
	})
	register(a, huma.Operation{
		OperationID: "change-seats", Method: http.MethodPut, Path: contractPath + "/seats", Tags: tags, Security: needs("contracts:write"),
		Summary:     "Changes the number of seats of a contract",
		Description: "Fewer seats than readers have is refused with 409, `seats_taken`: withdraw some first. No reader loses a seat silently.",
	}, func(ctx context.Context, c *call, in *struct {
		ContractPath
		IfMatch
		Body SeatsBody
	},
	) (*record[Contract], error) {
		changed, err := c.store.SetSeats(ctx, c.Vendor, in.ID, in.Body.Seats, in.contractCheck())
		return a.contractRecord(changed, in.changed(err))
	})
}

func (a *api) listLicenses(ctx context.Context, c *call, in *struct {
	ContractPath
	LicensePage
},
) (*wholeListing[License], error) {
	contract, err := c.store.ContractRecord(ctx, c.Vendor, in.ID)
	if err != nil {
		return nil, err
	}
	from, _, _ := strings.Cut(in.From, ".")
	if err := checkFrom(from, "seat_"); err != nil {
		return nil, err
	}
	in.From = from
	active := contract.Active(a.Now())
	return newWholeListing(ctx, a, c, in.WholeParams, func(ctx context.Context, page store.Page) (found []License, next string, more bool, err error) {
		seats, next, err := c.store.FindSeats(ctx, c.Vendor, in.ID, in.Q, page)
		for i := range seats {
			found = append(found, wireSeat(&contract, &seats[i], active)...)
		}
		return found, next, next != "", err
	}, func(l License) License { return l })
}
