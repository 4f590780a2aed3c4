package admin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/policy/store"
)

// ProfileRow is a profile in a stream of profiles.
type ProfileRow struct {
	Slug     string `json:"slug" minLength:"1" maxLength:"128" doc:"The profile's slug: the key of the row." example:"xia"`
	Type     string `json:"type,omitempty" enum:"organization,personal" default:"organization" doc:"The kind of profile." example:"organization"`
	Owner    string `json:"owner,omitempty" maxLength:"255" doc:"The user whose personal profile it is."`
	FullName string `json:"full_name,omitempty" maxLength:"255" doc:"The profile's name." example:"Xia Lee"`
	ContactRow
	DefaultTimezone string          `json:"default_timezone,omitempty" maxLength:"64" doc:"The time zone of reports." example:"Europe/Stockholm"`
	IsProvider      bool            `json:"is_provider,omitempty" doc:"Whether the profile can have plans." example:"false"`
	IsBulkBuyer     bool            `json:"is_bulk_buyer,omitempty" doc:"Whether the profile can buy for others." example:"false"`
	IsActive        *bool           `json:"is_active,omitempty" doc:"Whether roles on the profile count. Default: what it is, true for a new one." example:"true"`
	Extra           json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// ContactRow is how to reach a profile or a user in a stream.
type ContactRow struct {
	Email         string `json:"email,omitempty" maxLength:"254" doc:"The e-mail address." example:"xia@example.com"`
	Phone         string `json:"phone,omitempty" maxLength:"64" doc:"The phone number." example:"555-555-5555"`
	StreetAddress string `json:"street_address,omitempty" maxLength:"255" doc:"Street and number." example:"185 Berry St #550"`
	Locality      string `json:"locality,omitempty" maxLength:"255" doc:"City." example:"San Francisco"`
	Region        string `json:"region,omitempty" maxLength:"255" doc:"State or region." example:"CA"`
	PostalCode    string `json:"postal_code,omitempty" maxLength:"64" doc:"Postal code." example:"94107"`
	Country       string `json:"country,omitempty" maxLength:"64" doc:"Country." example:"US"`
	Language      string `json:"lang,omitempty" maxLength:"64" doc:"The preferred language." example:"en"`
}

// UserRow is a user in a stream of users.
type UserRow struct {
	Slug     string `json:"slug" minLength:"1" maxLength:"255" doc:"The reader's id as their issuer gives it: the key of the row." example:"user-123"`
	FullName string `json:"full_name,omitempty" maxLength:"255" doc:"The user's name." example:"Xia Lee"`
	NickName string `json:"nick_name,omitempty" maxLength:"255" doc:"The name by which the user is addressed." example:"Xia"`
	ContactRow
	IsActive *bool           `json:"is_active,omitempty" doc:"Whether the user's roles count. Default: what it is, true for a new one." example:"true"`
	Extra    json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// PlanRow is a plan in a stream of plans.
type PlanRow struct {
	Slug    string `json:"slug" minLength:"1" maxLength:"128" doc:"The plan's slug: the key of the row." example:"open-space"`
	Profile string `json:"profile" minLength:"1" maxLength:"128" doc:"The slug of the provider." example:"cowork"`
	Title   string `json:"title" minLength:"1" maxLength:"255" doc:"The plan's title." example:"Open Space"`
	PlanFields
}

// RoleRow is a role in a stream of roles.
type RoleRow struct {
	Profile string          `json:"profile" minLength:"1" maxLength:"128" doc:"The profile: the key of the row, with user." example:"xia"`
	User    string          `json:"user" minLength:"1" maxLength:"255" doc:"The user who has the role." example:"user-123"`
	Role    string          `json:"role" minLength:"1" maxLength:"128" doc:"The slug of the role type." example:"manager"`
	EndsAt  *time.Time      `json:"ends_at,omitempty" doc:"The end of the role (exclusive). Default: what it is, none for a new one." example:"2037-01-01T00:00:00Z"`
	Extra   json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// SubscriptionRow is a subscription in a stream of subscriptions.
type SubscriptionRow struct {
	Profile     string          `json:"profile" minLength:"1" maxLength:"128" doc:"The subscribed profile: the key of the row, with plan and created_at." example:"xia"`
	Plan        string          `json:"plan" minLength:"1" maxLength:"128" doc:"The slug of the plan." example:"open-space"`
	StartsAt    time.Time       `json:"created_at" doc:"The start of the subscription (inclusive)." example:"2027-01-01T00:00:00Z"`
	EndsAt      time.Time       `json:"ends_at" doc:"The end of the subscription (exclusive)." example:"2028-01-01T00:00:00Z"`
	AutoRenew   bool            `json:"auto_renew,omitempty" doc:"Whether the billing system renews the subscription." example:"true"`
	BalanceDue  *bool           `json:"balance_due,omitempty" doc:"Whether the profile owes money for the subscription, which then gives nothing. Default: what it is, false for a new one." example:"false"`
	Description string          `json:"description,omitempty" maxLength:"1024" doc:"A text about the subscription." example:"moved from the old system"`
	Extra       json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// rowKind is how a stream has the records of one kind.
type rowKind struct {
	name, scope string // of store, and the resource of scopes
	about       string
	row         reflect.Type
	// record returns the record of a row, and wire the row of a record.
	record func(raw []byte) (store.RecordRow, error)
	wire   func(record any) any
}

// newRowKind returns a kind whose rows are R and whose records are T. Keep, unless nil, gives
// next the states of old that deny access and that the row does not name, see keepClosed.
func newRowKind[R, T any](name, scope, about string, record func(*R) *T, wire func(*T) R, keep func(r *R, next, old *T)) rowKind {
	return rowKind{
		name: name, scope: scope, about: about, row: reflect.TypeFor[R](),
		record: func(raw []byte) (store.RecordRow, error) {
			row := new(R)
			if err := strict.Unmarshal(raw, row); err != nil {
				return store.RecordRow{}, err
			}
			stored := store.RecordRow{Record: record(row)}
			if keep != nil {
				stored.Keep = func(next, old any) { keep(row, next.(*T), old.(*T)) }
			}
			return stored, nil
		},
		wire: func(record any) any { return wire(record.(*T)) },
	}
}

// rowKinds are the kinds of records that streams have.
var rowKinds = []rowKind{
	newRowKind(store.RecordProfiles, "accounts", "A row whose slug a profile has replaces that profile; any other row creates one.", profileOf, profileRow,
		func(r *ProfileRow, next, old *store.Profile) { keepInactive(r.IsActive, &next.Inactive, old.Inactive) }),
	newRowKind(store.RecordUsers, "accounts", "A row whose slug a user has replaces that user; any other row creates one.", userOf, userRow,
		func(r *UserRow, next, old *store.User) { keepInactive(r.IsActive, &next.Inactive, old.Inactive) }),
	newRowKind(store.RecordPlans, "subscriptions", "A row whose slug a plan has replaces that plan, which stays with its provider; any other row creates one. Providers come first.", planFromRow, planRow,
		func(r *PlanRow, next, old *store.Plan) {
			if r.OptInOnRequest == nil {
				next.OptInOnRequest = old.OptInOnRequest
			}
		}),
	newRowKind(store.RecordRoles, "accounts", "A row replaces the user's role on the profile, which then counts at once, and grants what the user asked for. Profiles and users come first. "+
		"The last manager of a profile is not demoted, except by the operator.", roleOf, roleRow,
		func(r *RoleRow, next, old *store.Role) {
			if r.EndsAt == nil {
				next.EndsAt = old.EndsAt
			}
		}),
	newRowKind(store.RecordSubscriptions, "subscriptions", "A row replaces the profile's subscription to the plan with the same `created_at`, which then waits for no acceptance; "+
		"any other row creates one. Profiles and plans come first.", subscriptionOf, subscriptionRow,
		func(r *SubscriptionRow, next, old *store.Subscription) {
			if r.BalanceDue == nil {
				next.BalanceDue = old.BalanceDue
			}
		}),
	newRowKind(store.RecordBills, "bills", "A row whose id a bill has replaces that bill; any other row creates one. Contracts stay as they are.", billOf, billRow, nil),
	newRowKind(store.RecordTransactions, "bills", "A row whose id a transaction has replaces that transaction; any other row creates one.", transactionOf, transactionRow, nil),
	newRowKind(store.RecordFulfilments, "bills", "A row whose sku and id a fulfilment has replaces that fulfilment; any other row creates one.", fulfilmentOf, fulfilmentRow, nil),
}

func (c *ContactRow) contact() store.Contact {
	return store.Contact(*c)
}

// keepInactive keeps a record inactive unless its row says otherwise.
func keepInactive(active, next *bool, old bool) {
	if active == nil {
		*next = old
	}
}

func inactive(active *bool) bool { return active != nil && !*active }

func profileOf(r *ProfileRow) *store.Profile {
	return &store.Profile{
		Slug: r.Slug, Type: r.Type, Owner: r.Owner, FullName: r.FullName, Contact: r.contact(), DefaultTimezone: r.DefaultTimezone,
		IsProvider: r.IsProvider, IsBulkBuyer: r.IsBulkBuyer, Inactive: inactive(r.IsActive), Extra: r.Extra,
	}
}

func profileRow(p *store.Profile) ProfileRow {
	return ProfileRow{
		Slug: p.Slug, Type: p.Type, Owner: p.Owner, FullName: p.FullName, ContactRow: ContactRow(p.Contact), DefaultTimezone: p.DefaultTimezone,
		IsProvider: p.IsProvider, IsBulkBuyer: p.IsBulkBuyer, IsActive: new(!p.Inactive), Extra: p.Extra,
	}
}

func userOf(r *UserRow) *store.User {
	return &store.User{Slug: r.Slug, FullName: r.FullName, NickName: r.NickName, Contact: r.contact(), Inactive: inactive(r.IsActive), Extra: r.Extra}
}

func userRow(u *store.User) UserRow {
	return UserRow{Slug: u.Slug, FullName: u.FullName, NickName: u.NickName, ContactRow: ContactRow(u.Contact), IsActive: new(!u.Inactive), Extra: u.Extra}
}

func planFromRow(r *PlanRow) *store.Plan {
	body := planBody{Slug: r.Slug, Title: r.Title, PlanFields: r.PlanFields}
	plan := body.plan(r.Profile)
	return &plan
}

func planRow(p *store.Plan) PlanRow {
	return PlanRow{Slug: p.Slug, Profile: p.Provider, Title: p.Title, PlanFields: PlanFields{
		Description: &p.Description, IsActive: new(!p.Inactive), IsNotPriced: &p.IsNotPriced, SetupAmount: &p.SetupAmount, PeriodAmount: &p.PeriodAmount,
		Unit: &p.Unit, PeriodType: &p.PeriodType, PeriodLength: &p.PeriodLength, RenewalType: &p.RenewalType,
		SkipOptInOnGrant: &p.SkipOptInOnGrant, OptInOnRequest: &p.OptInOnRequest, SKUs: new(orEmpty(p.SKUs)), RoleTypes: new(orEmpty(p.RoleTypes)), Extra: p.Extra,
	}}
}

func roleOf(r *RoleRow) *store.Role {
	return &store.Role{Profile: r.Profile, User: r.User, Type: r.Role, EndsAt: r.EndsAt, Extra: r.Extra}
}

func roleRow(r *store.Role) RoleRow {
	return RoleRow{Profile: r.Profile, User: r.User, Role: r.Type, EndsAt: r.EndsAt, Extra: r.Extra}
}

func subscriptionOf(r *SubscriptionRow) *store.Subscription {
	return &store.Subscription{
		Profile: r.Profile, Plan: r.Plan, StartsAt: r.StartsAt, EndsAt: r.EndsAt, AutoRenew: r.AutoRenew, BalanceDue: r.BalanceDue != nil && *r.BalanceDue,
		Description: r.Description, Extra: r.Extra,
	}
}

func subscriptionRow(s *store.Subscription) SubscriptionRow {
	return SubscriptionRow{
		Profile: s.Profile, Plan: s.Plan, StartsAt: s.StartsAt, EndsAt: s.EndsAt, AutoRenew: s.AutoRenew, BalanceDue: &s.BalanceDue,
		Description: s.Description, Extra: s.Extra,
	}
}

// ndjsonRecord returns a line with a JSON object.
func ndjsonRecord(text []byte) (json.RawMessage, error) {
	switch {
	case !utf8.Valid(text):
		return nil, errNotUTF8
	case text[0] != '{' || !json.Valid(text):
		return nil, errNotObject
	}
	return bytes.Clone(text), nil
}

// rowReader reads the rows of a kind as the API reads bodies.
type recordReader struct {
	registry huma.Registry
	schema   *huma.Schema
	kind     *rowKind
}

// row returns the row of a line; its error is noted in it.
func (r *recordReader) row(raw []byte) store.RecordRow {
	var value any
	if err := strict.Unmarshal(raw, &value); err != nil {
		return store.RecordRow{Refused: &store.FieldError{Problem: unreadableRow}}
	}
	if raw = completeDates(value, raw, "created_at", "ends_at", "createdAt", "updatedAt", "deliversAt"); raw == nil {
		return store.RecordRow{Refused: &store.FieldError{Problem: unreadableRow}}
	}
	found := new(huma.ValidateResult)
	huma.Validate(r.registry, r.schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, value, found)
	if len(found.Errors) > 0 {
		return store.RecordRow{Refused: firstError(found.Errors)}
	}
	row, err := r.kind.record(raw)
	if err != nil {
		return store.RecordRow{Refused: &store.FieldError{Problem: unreadableRow}}
	}
	return row
}
