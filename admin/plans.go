package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	profilePath = "/api/profile/{profile}"
	plansPath   = profilePath + "/plans"
	planPath    = plansPath + "/{plan}"
	pricingPath = "/api/pricing"
)

// Plan is a stored plan of a provider.
type Plan struct {
	Slug             string          `json:"slug" doc:"The plan's id in URLs and rules." example:"open-space"`
	Title            string          `json:"title" doc:"The plan's title." example:"Open Space"`
	Description      string          `json:"description" doc:"What the plan offers." example:"A desk in our coworking space"`
	IsActive         bool            `json:"is_active" doc:"Whether profiles can subscribe to the plan. Subscriptions to an inactive plan go on." example:"true"`
	IsNotPriced      bool            `json:"is_not_priced" doc:"Whether the price is given on request only." example:"false"`
	SetupAmount      int64           `json:"setup_amount" doc:"The amount that is paid once, in the smallest unit of the currency. Amounts are data: the gate moves no money." example:"0"`
	PeriodAmount     int64           `json:"period_amount" doc:"The amount that is paid every period, in the smallest unit of the currency." example:"17999"`
	Unit             string          `json:"unit" doc:"The currency (ISO 4217)." example:"usd"`
	PeriodType       string          `json:"period_type" enum:"hourly,daily,weekly,monthly,yearly" doc:"The unit of a period." example:"monthly"`
	PeriodLength     int             `json:"period_length" doc:"The number of those units in a period." example:"1"`
	RenewalType      string          `json:"renewal_type" enum:"one-time,auto-renew,repeat" doc:"What happens at the end of a period." example:"auto-renew"`
	SkipOptInOnGrant bool            `json:"skip_optin_on_grant" doc:"Whether a subscription that the provider grants counts at once, without an acceptance." example:"false"`
	OptInOnRequest   bool            `json:"optin_on_request" doc:"Whether a profile can ask for a subscription, which the provider must accept." example:"true"`
	Profile          string          `json:"profile" doc:"The slug of the provider." example:"cowork"`
	SKUs             []string        `json:"skus" doc:"The SKUs that a subscription gives to readers with a role on the subscribed profile; none means the plan's slug." example:"[\"premium\"]"`
	RoleTypes        []string        `json:"role_types" doc:"The role types of which such a reader needs one; none means any." example:"[]"`
	Extra            json.RawMessage `json:"extra" doc:"The provider's own data: any JSON value, or null."`
	CreatedAt        time.Time       `json:"created_at" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
}

func wirePlan(p store.Plan) Plan {
	return Plan{
		Slug: p.Slug, Title: p.Title, Description: p.Description, IsActive: !p.Inactive, IsNotPriced: p.IsNotPriced,
		SetupAmount: p.SetupAmount, PeriodAmount: p.PeriodAmount, Unit: p.Unit, PeriodType: p.PeriodType, PeriodLength: p.PeriodLength,
		RenewalType: p.RenewalType, SkipOptInOnGrant: p.SkipOptInOnGrant, OptInOnRequest: p.OptInOnRequest, Profile: p.Provider,
		SKUs: orEmpty(p.SKUs), RoleTypes: orEmpty(p.RoleTypes), Extra: orNull(p.Extra), CreatedAt: p.CreatedAt,
	}
}

// orNull returns a JSON value, null for none.
func orNull(value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		return json.RawMessage("null")
	}
	return value
}

// PlanFields are the fields of a plan that callers set. A field that is left out keeps its
// value or, in a new plan, has its default.
type PlanFields struct {
	Description      *string         `json:"description,omitempty" maxLength:"4096" doc:"What the plan offers." example:"A desk in our coworking space"`
	IsActive         *bool           `json:"is_active,omitempty" doc:"Whether profiles can subscribe to the plan. Default: false." example:"true"`
	IsNotPriced      *bool           `json:"is_not_priced,omitempty" doc:"Whether the price is given on request only. Default: false." example:"false"`
	SetupAmount      *int64          `json:"setup_amount,omitempty" minimum:"0" doc:"The amount that is paid once, in the smallest unit of the currency. Default: 0." example:"0"`
	PeriodAmount     *int64          `json:"period_amount,omitempty" minimum:"0" doc:"The amount that is paid every period, in the smallest unit of the currency. Default: 0." example:"12000"`
	Unit             *string         `json:"unit,omitempty" pattern:"^[A-Za-z]{3}$" doc:"The currency (ISO 4217). Default: usd." example:"usd"`
	PeriodType       *string         `json:"period_type,omitempty" enum:"hourly,daily,weekly,monthly,yearly" doc:"The unit of a period. Default: monthly." example:"monthly"`
	PeriodLength     *int            `json:"period_length,omitempty" minimum:"1" maximum:"1000" doc:"The number of those units in a period. Default: 1." example:"1"`
	RenewalType      *string         `json:"renewal_type,omitempty" enum:"one-time,auto-renew,repeat" doc:"What happens at the end of a period. Default: auto-renew." example:"auto-renew"`
	SkipOptInOnGrant *bool           `json:"skip_optin_on_grant,omitempty" doc:"Whether a granted subscription counts at once, without an acceptance. Default: false." example:"false"`
	OptInOnRequest   *bool           `json:"optin_on_request,omitempty" doc:"Whether a profile can ask for a subscription, which the provider must accept. Default: false." example:"true"`
	SKUs             *[]string       `json:"skus,omitempty" maxItems:"64" doc:"The SKUs that a subscription gives to readers with a role on the subscribed profile. Default: the plan's slug." example:"[\"premium\"]"`
	RoleTypes        *[]string       `json:"role_types,omitempty" maxItems:"64" doc:"The role types of which such a reader needs one. Default: any." example:"[]"`
	Extra            json.RawMessage `json:"extra,omitempty" doc:"The provider's own data: any JSON value of at most 4 KiB."`
}

// planBody creates a plan.
type planBody struct {
	Slug  string `json:"slug,omitempty" maxLength:"128" doc:"The plan's id in URLs and rules. Default: the title in lower case with hyphens." example:"open-space"`
	Title string `json:"title" minLength:"1" maxLength:"255" doc:"The plan's title." example:"Open Space"`
	PlanFields
}

// planChange changes the named fields of a plan.
type planChange struct {
	Slug  *string `json:"slug,omitempty" maxLength:"128" doc:"Read-only: must equal the plan of the path."`
	Title *string `json:"title,omitempty" minLength:"1" maxLength:"255" doc:"The plan's title." example:"Open Space"`
	PlanFields
}

// set stores a value that was given.
func set[T any](to, value *T) {
	if value != nil {
		*to = *value
	}
}

func (f *PlanFields) apply(p *store.Plan) {
	set(&p.Description, f.Description)
	if f.IsActive != nil {
		p.Inactive = !*f.IsActive
	}
	set(&p.IsNotPriced, f.IsNotPriced)
	set(&p.SetupAmount, f.SetupAmount)
	set(&p.PeriodAmount, f.PeriodAmount)
	set(&p.Unit, f.Unit)
	set(&p.PeriodType, f.PeriodType)
	set(&p.PeriodLength, f.PeriodLength)
	set(&p.RenewalType, f.RenewalType)
	set(&p.SkipOptInOnGrant, f.SkipOptInOnGrant)
	set(&p.OptInOnRequest, f.OptInOnRequest)
	set(&p.SKUs, f.SKUs)
	set(&p.RoleTypes, f.RoleTypes)
	setExtra(&p.Extra, f.Extra)
}

// setExtra stores an extra that was given; null removes it.
func setExtra(to *json.RawMessage, value json.RawMessage) {
	switch {
	case string(value) == "null":
		*to = nil
	case len(value) > 0:
		*to = value
	}
}

// newPlan returns the plan that a body creates, with the defaults.
func (b *planBody) plan(provider string) store.Plan {
	wanted := store.Plan{
		Slug: b.Slug, Provider: provider, Title: b.Title, Inactive: true, Unit: "usd",
		PeriodType: "monthly", PeriodLength: 1, RenewalType: "auto-renew",
	}
	b.apply(&wanted)
	return wanted
}

// ProfilePath identifies a profile in a path.
type ProfilePath struct {
	Profile string `path:"profile" maxLength:"128" doc:"The profile's slug." example:"cowork"`
}

// PlanPath identifies a plan of a provider in a path.
type PlanPath struct {
	ProfilePath
	Plan string `path:"plan" maxLength:"128" doc:"The plan's slug." example:"open-space"`
}

// planFinder searches and sorts plans.
var planFinder = &finder[store.Plan]{
	search: []field[store.Plan]{
		{"slug", func(p *store.Plan) string { return p.Slug }},
		{"title", func(p *store.Plan) string { return p.Title }},
		{"description", func(p *store.Plan) string { return p.Description }},
	},
	order: []field[store.Plan]{
		{"title", func(p *store.Plan) string { return p.Title }},
		{"period_amount", func(p *store.Plan) string { return sortedAmount(p.PeriodAmount) }},
		{"is_active", func(p *store.Plan) string { return strconv.FormatBool(!p.Inactive) }},
		{"created_at", func(p *store.Plan) string { return sorted(p.CreatedAt) }},
	},
	at: func(p *store.Plan) time.Time { return p.CreatedAt },
}

// sortedAmount returns an amount as a text that sorts by it.
func sortedAmount(amount int64) string { return fmt.Sprintf("%020d", amount) }

// PlanListing are the parameters of a listing of plans.
type PlanListing struct {
	FindParams
	PeriodParams
}

func (a *api) registerPlans() {
	tags := []string{"Plans"}
	list := huma.Operation{
		OperationID: "list-plans", Method: http.MethodGet, Path: plansPath, Tags: tags, Security: needs("subscriptions:read"),
		Summary: "Lists a provider's plans", Metadata: readers(readersOfProfile),
	}
	register(a, list, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		PlanListing
	},
	) (*body[NumberedPage[Plan]], error) {
		if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
			return nil, err
		}
		page, err := findPage(c, planFinder, in.FindParams, in.PeriodParams, readListing(ctx, c.store.ListPlans(c.Vendor, in.Profile), itself), wirePlan)
		return &body[NumberedPage[Plan]]{Body: page}, err
	})
	describeFind(a, list, planFinder)
	pricing := huma.Operation{
		OperationID: "list-pricing", Method: http.MethodGet, Path: pricingPath, Tags: tags, Security: needs("subscriptions:read"),
		Summary: "Lists the active plans of all providers, for a page of prices", Metadata: readers(readersAny),
	}
	register(a, pricing, func(ctx context.Context, c *call, in *PlanListing) (*body[NumberedPage[Plan]], error) {
		active := c.store.ListPlans(c.Vendor, "").Where(func(p *store.Plan) bool { return !p.Inactive })
		page, err := findPage(c, planFinder, in.FindParams, in.PeriodParams, readListing(ctx, active, itself), wirePlan)
		return &body[NumberedPage[Plan]]{Body: page}, err
	})
	describeFind(a, pricing, planFinder)
	register(a, huma.Operation{
		OperationID: "create-plan", Method: http.MethodPost, Path: plansPath, Tags: tags, Security: needs("subscriptions:write"),
		Summary: "Creates a plan", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{readersKey: readersOfProfile, repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			found, err := a.Store.PlanRecord(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: below(plansPath, found.Slug), body: wirePlan(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		Body planBody
	},
	) (*created[Plan], error) {
		if err := reservedPlan(in.Body.Slug); err != nil {
			return nil, err
		}
		if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
			return nil, err
		}
		made, err := c.store.CreatePlan(ctx, c.Vendor, in.Body.plan(in.Profile))
		return newCreated(plansPath, made.Slug, wirePlan(made), err)
	})
	a.registerPlan(tags)
}

// registerPlan adds the operations on one plan.
func (a *api) registerPlan(tags []string) {
	register(a, huma.Operation{
		OperationID: "get-plan", Method: http.MethodGet, Path: planPath, Tags: tags, Security: needs("subscriptions:read"),
		Summary: "Returns a plan", Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *PlanPath) (*record[Plan], error) {
		found, err := c.plan(ctx, in)
		return newRecord(wirePlan(found), err)
	})
	register(a, huma.Operation{
		OperationID: "update-plan", Method: http.MethodPut, Path: planPath, Tags: tags, Security: needs("subscriptions:write"),
		Summary:     "Changes the named fields of a plan",
		Description: "A change of `skus` or `role_types` applies to all subscriptions to the plan, from the next request on.", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		PlanPath
		IfMatch
		Body planChange
	},
	) (*record[Plan], error) {
		if err := sameSlug(in.Body.Slug, in.Plan); err != nil {
			return nil, err
		}
		changed, err := c.store.UpdatePlan(ctx, c.Vendor, in.Plan, func(plan *store.Plan) error {
			if err := in.owns(*plan); err != nil {
				return err
			}
			if err := in.check(wirePlan(*plan)); err != nil {
				return err
			}
			set(&plan.Title, in.Body.Title)
			in.Body.apply(plan)
			return nil
		})
		return newRecord(wirePlan(changed), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-plan", Method: http.MethodDelete, Path: planPath, Tags: tags, Security: needs("subscriptions:write"),
		Summary:     "Removes a plan that has no subscriptions",
		Description: "A plan that has or had a subscription is refused with 409: make it inactive instead.", DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		PlanPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeletePlan(ctx, c.Vendor, in.Plan, func(plan store.Plan) error {
			if err := in.owns(plan); err != nil {
				return err
			}
			return in.check(wirePlan(plan))
		})
		return &empty{}, in.changed(err)
	})
}

// plan returns the plan of a path. A plan of another provider is not there.
func (c *call) plan(ctx context.Context, in *PlanPath) (store.Plan, error) {
	found, err := c.store.PlanRecord(ctx, c.Vendor, in.Plan)
	if err == nil {
		err = in.owns(found)
	}
	return found, err
}

// owns returns ErrNotFound for a plan of another provider.
func (p *PlanPath) owns(plan store.Plan) error {
	if plan.Provider != p.Profile {
		return store.ErrNotFound
	}
	return nil
}

// reservedPlan returns a problem for a slug that paths use for something else.
func reservedPlan(slug string) error {
	if slug == "expired" {
		return invalid("slug", "must not be expired, which is the path of the expired subscriptions")
	}
	return nil
}

func itself[T any](record T) T { return record }
