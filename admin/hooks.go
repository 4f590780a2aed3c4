package admin

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	hooksPath = "/management/hooks"
	hookPath  = hooksPath + "/{id}"
)

// HookEntry says what the events of some types do.
type HookEntry struct {
	Event string         `json:"event" minLength:"1" maxLength:"128" doc:"A type of events, or all that begin so: invoice.*. The first entry that matches counts." example:"invoice.paid"`
	When  map[string]any `json:"when,omitempty" doc:"What else the event must have, by JSON Pointer: a text, true, false, or null for nothing. At most 4."`
	Do    string         `json:"do" enum:"sell,confirm,renew,cancel,cancel_at_period_end,resume,end,ignore" doc:"The action: sell the promo; confirm; move the end forward; cancel at a time, or at once; cancel at the end; take that back; end at once; nothing." example:"renew"`

	Contract string `json:"contract,omitempty" maxLength:"255" doc:"The place of the contract's id, as a JSON Pointer (RFC 6901) into the event's body." example:"/data/object/metadata/contract"`
	Order    string `json:"order,omitempty" maxLength:"255" doc:"The place of the order that an event of this hook sold." example:"/data/object/subscription"`
	Email    string `json:"email,omitempty" maxLength:"255" doc:"The place of the reader's address." example:"/data/object/customer_details/email"`
	UserID   string `json:"userId,omitempty" maxLength:"255" doc:"The place of the reader's user id." example:"/data/object/client_reference_id"`
	Quantity string `json:"quantity,omitempty" maxLength:"255" doc:"The place of the quantity. Default: 1." example:"/data/object/quantity"`
	EndsAt   string `json:"endsAt,omitempty" maxLength:"255" doc:"The place of the end of the paid time: RFC 3339 or Unix seconds." example:"/data/object/lines/data/0/period/end"`
	At       string `json:"at,omitempty" maxLength:"255" doc:"The place of the time when a cancellation takes effect." example:"/data/object/cancel_at"`
	Reason   string `json:"reason,omitempty" maxLength:"255" doc:"The place of the reason." example:"/data/object/cancellation_details/reason"`

	Promo           string `json:"promo,omitempty" maxLength:"255" doc:"The promo code of what is sold." example:"DIGITAL-MONTH"`
	PaymentProvider string `json:"paymentProvider,omitempty" enum:"KLARNA,STRIPE,BILLOGRAM,SESAMY" doc:"The payment provider of what the entry sells: itself, not a place in the event. Required if the promo accepts only some." example:"STRIPE"`
	PaymentMethod   string `json:"paymentMethod,omitempty" enum:"BANKGIRO,EXTERNAL,INVOICE,SWISH,CARD,FREE" doc:"The payment method of what the entry sells: itself, not a place in the event. Required if the promo accepts only some." example:"CARD"`
	Confirm         bool   `json:"confirm,omitempty" doc:"Confirms what is sold at once." example:"true"`
}

// Hook is where a billing system sends its events, without its secrets.
type Hook struct {
	ID            string      `json:"id" doc:"The hook's id." example:"hook_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Path          string      `json:"path" doc:"The path of this API to which the provider sends its events by POST. It needs no token." example:"/hooks/hook_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Name          string      `json:"name" doc:"A name for people." example:"Stripe, live"`
	Scheme        string      `json:"scheme" enum:"standard,stripe" doc:"How the provider signs: Standard Webhooks, or as Stripe does." example:"stripe"`
	Status        string      `json:"status" enum:"active,disabled" doc:"Events of a disabled hook are answered with 409, so that the provider sends them again." example:"active"`
	TypeAt        string      `json:"typeAt" doc:"The place of an event's type." example:"/type"`
	TimeAt        string      `json:"timeAt" doc:"The place of the time when an event happened." example:"/created"`
	Table         []HookEntry `json:"table" doc:"What the events do." example:"[{\"event\":\"invoice.paid\",\"do\":\"renew\",\"order\":\"/data/object/subscription\",\"endsAt\":\"/data/object/lines/data/0/period/end\"}]"`
	SecretSince   time.Time   `json:"secretSince" doc:"When the current secret was set." example:"2027-01-01T09:30:00Z"`
	ReplacedUntil *time.Time  `json:"replacedUntil,omitempty" doc:"Until when the replaced secret verifies beside the current one."`
	CreatedAt     time.Time   `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt     time.Time   `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
}

// HookBody creates a hook.
type HookBody struct {
	Name   string      `json:"name,omitempty" maxLength:"255" doc:"A name for people." example:"Stripe, live"`
	Scheme string      `json:"scheme" enum:"standard,stripe" doc:"How the provider signs: Standard Webhooks, or as Stripe does." example:"stripe"`
	Secret string      `json:"secret" minLength:"1" maxLength:"255" doc:"The secret that the provider shows for the endpoint. It cannot be read again." example:"whsec_the_signing_secret_of_the_endpoint"`
	TypeAt string      `json:"typeAt,omitempty" maxLength:"255" doc:"The place of an event's type, as a JSON Pointer. Default: /type." example:"/type"`
	TimeAt string      `json:"timeAt,omitempty" maxLength:"255" doc:"The place of the time when an event happened. Default: /created for stripe, /timestamp for standard." example:"/created"`
	Table  []HookEntry `json:"table" minItems:"1" maxItems:"32" nullable:"false" doc:"What the events do. The first entry that matches counts." example:"[{\"event\":\"invoice.paid\",\"do\":\"renew\",\"order\":\"/data/object/subscription\",\"endsAt\":\"/data/object/lines/data/0/period/end\"}]"`
}

// HookPatch changes the named fields of a hook.
type HookPatch struct {
	Name    *string      `json:"name,omitempty" maxLength:"255" doc:"A name for people." example:"Stripe, live"`
	Status  *string      `json:"status,omitempty" enum:"active,disabled" doc:"Enables or disables the hook." example:"disabled"`
	Secret  *string      `json:"secret,omitempty" minLength:"1" maxLength:"255" doc:"The provider's new secret. The replaced one verifies beside it for the overlap, one replaced earlier no longer." example:"whsec_the_signing_secret_of_the_endpoint"`
	Overlap *int         `json:"overlapSeconds,omitempty" minimum:"0" maximum:"604800" doc:"How long the replaced secret verifies. Default: a day." example:"86400"`
	TypeAt  *string      `json:"typeAt,omitempty" maxLength:"255" doc:"The place of an event's type. Empty: /type." example:"/type"`
	TimeAt  *string      `json:"timeAt,omitempty" maxLength:"255" doc:"The place of the time when an event happened. Empty: as the scheme has it." example:"/created"`
	Table   *[]HookEntry `json:"table,omitempty" minItems:"1" maxItems:"32" doc:"What the events do, in place of the whole table." example:"[{\"event\":\"invoice.paid\",\"do\":\"renew\",\"order\":\"/data/object/subscription\",\"endsAt\":\"/data/object/lines/data/0/period/end\"}]"`
}

// HookEvent is what became of an event.
type HookEvent struct {
	ID       string     `json:"id" doc:"The provider's id of the event." example:"evt_1PqXYZ2eZvKYlo2C"`
	Type     string     `json:"type" doc:"The type of the event." example:"invoice.paid"`
	Do       string     `json:"do,omitempty" doc:"The action of the table; absent if no entry matched." example:"renew"`
	Result   string     `json:"result" enum:"applied,unchanged,older,too_old,contract_ended,order_conflict,no_entry,contract_not_found,contract_unconfirmed,promo_unavailable,invalid" doc:"What became of it. With the last four, the provider sends the event again." example:"applied"`
	Problem  string     `json:"problem,omitempty" doc:"What is wrong with an event that was refused." example:"/data/object/subscription: is not in the event"`
	Contract string     `json:"contract,omitempty" doc:"The contract." example:"0f8fad5bd9cb469fa16570867728950e"`
	At       *time.Time `json:"at,omitempty" doc:"When the event happened." example:"2027-01-01T09:30:00Z"`
	FirstAt  time.Time  `json:"firstAt" doc:"When it first arrived." example:"2027-01-01T09:30:01Z"`
	LastAt   time.Time  `json:"lastAt" doc:"When it arrived last." example:"2027-01-01T10:30:02Z"`
	Attempts int        `json:"attempts" doc:"How often it arrived until its result was final." example:"2"`
}

// HookPath identifies a hook in a path.
type HookPath struct {
	ID string `path:"id" maxLength:"128" doc:"The hook's id." example:"hook_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

func (a *api) wireHook(h store.Hook) Hook {
	typeAt, timeAt := hook.Defaults(h.Scheme)
	shown := Hook{
		ID: h.ID, Path: providerPath + h.ID, Name: h.Name, Scheme: h.Scheme, Status: "active", TypeAt: cmp.Or(h.TypeAt, typeAt), TimeAt: cmp.Or(h.TimeAt, timeAt),
		Table: wireAll(h.Table, func(e hook.Entry) HookEntry { return HookEntry(e) }), CreatedAt: h.CreatedAt, UpdatedAt: h.UpdatedAt,
	}
	if h.Disabled {
		shown.Status = "disabled"
	}
	since, until := h.SecretsSince(a.Now())
	shown.SecretSince, shown.ReplacedUntil = since, timeOrNil(until)
	return shown
}

// hookTag is what the ETag of a hook covers: what a client can change.
func (a *api) hookTag(h store.Hook) Hook {
	shown := a.wireHook(h)
	shown.ReplacedUntil = nil // ends by itself
	return shown
}

func (a *api) hookRecord(h store.Hook, err error) (*record[Hook], error) {
	if err != nil {
		return nil, err
	}
	return &record[Hook]{ETag: etagOf(a.hookTag(h)), Body: a.wireHook(h)}, nil
}

func entriesOf(wire []HookEntry) []hook.Entry {
	entries := make([]hook.Entry, len(wire))
	for i, e := range wire {
		entries[i] = hook.Entry(e)
	}
	return entries
}

func (a *api) registerHooks() {
	hooks, tags := store.NewHooks(a.Keyring), []string{"Events of billing systems"}
	register(a, huma.Operation{
		OperationID: "list-hooks", Method: http.MethodGet, Path: hooksPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Lists where billing systems send their events",
	}, func(ctx context.Context, c *call, _ *struct{}) (*body[[]Hook], error) {
		found, err := hooks.Hooks(ctx, c.Vendor)
		return &body[[]Hook]{Body: wireAll(found, a.wireHook)}, err
	})
	register(a, huma.Operation{
		OperationID: "create-hook", Method: http.MethodPost, Path: hooksPath, Tags: tags, Security: needs("contracts:write"),
		Summary:     "Takes the signed events of a billing system from now on",
		Description: "The answer has the path for the provider. What can only be a mistake in the table is refused with the remedy.", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *body[HookBody]) (*created[Hook], error) {
		b := &in.Body
		made, err := hooks.CreateHook(ctx, c.store, c.Vendor, store.Hook{
			Name: b.Name, Scheme: b.Scheme, TypeAt: b.TypeAt, TimeAt: b.TimeAt, Table: entriesOf(b.Table),
		}, b.Secret)
		return newCreated(hooksPath, made.ID, a.wireHook(made), err)
	})
	register(a, huma.Operation{
		OperationID: "get-hook", Method: http.MethodGet, Path: hookPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Returns a hook",
	}, func(ctx context.Context, c *call, in *HookPath) (*record[Hook], error) {
		return a.hookRecord(a.Store.Hook(ctx, c.Vendor, in.ID))
	})
	register(a, huma.Operation{
		OperationID: "update-hook", Method: http.MethodPatch, Path: hookPath, Tags: tags, Security: needs("contracts:write"),
		Summary: "Changes fields of a hook, enables or disables it, or sets the provider's new secret",
	}, func(ctx context.Context, c *call, in *struct {
		HookPath
		IfMatch
		Body HookPatch
	},
	) (*record[Hook], error) {
		changed, err := c.store.UpdateHook(ctx, c.Vendor, in.ID, func(h *store.Hook) error {
			if err := in.check(a.hookTag(*h)); err != nil {
				return err
			}
			return in.Body.apply(hooks, c.Vendor, h)
		})
		return a.hookRecord(changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "remove-hook", Method: http.MethodDelete, Path: hookPath, Tags: tags, Security: needs("contracts:write"),
		Summary: "Removes a hook: further events of the provider are refused. The contracts stay as they are", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		HookPath
		IfMatch
	},
	) (*empty, error) {
		err := hooks.DeleteHook(ctx, c.store, c.Vendor, in.ID, func(h store.Hook) error { return in.check(a.hookTag(h)) })
		return &empty{}, in.changed(err)
	})
	register(a, huma.Operation{
		OperationID: "list-hook-events", Method: http.MethodGet, Path: hookPath + "/events", Tags: tags, Security: needs("contracts:read"),
		Summary:     "Lists the last events of a hook with what became of them, the newest first",
		Description: "They are kept for 14 days, without their bodies. Events whose signature is wrong, and those that the table ignores, are not listed.",
	}, func(ctx context.Context, c *call, in *struct {
		HookPath
		Limit int `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"The maximum number of events to return."`
	},
	) (*body[[]HookEvent], error) {
		if _, err := a.Store.Hook(ctx, c.Vendor, in.ID); err != nil {
			return nil, err
		}
		found, err := a.Store.HookEvents(ctx, c.Vendor, in.ID, in.Limit)
		return &body[[]HookEvent]{Body: wireAll(found, wireHookEvent)}, err
	})
	a.describeHookEvents(tags)
}

func wireHookEvent(e store.HookEvent) HookEvent {
	return HookEvent{
		ID: e.ID, Type: e.Type, Do: e.Do, Result: string(e.Result), Problem: e.Problem, Contract: e.Contract,
		At: timeOrNil(e.At), FirstAt: e.FirstAt, LastAt: e.LastAt, Attempts: e.Attempts,
	}
}

func (p *HookPatch) apply(hooks *store.Hooks, vendor string, h *store.Hook) error {
	for _, text := range []struct{ from, to *string }{{p.Name, &h.Name}, {p.TypeAt, &h.TypeAt}, {p.TimeAt, &h.TimeAt}} {
		if text.from != nil {
			*text.to = *text.from
		}
	}
	if p.Status != nil {
		h.Disabled = *p.Status == "disabled"
	}
	if p.Table != nil {
		h.Table = entriesOf(*p.Table)
	}
	overlap := defaultSecretOverlap
	switch {
	case p.Overlap != nil && p.Secret == nil:
		return invalid("overlapSeconds", "has a meaning only with a new secret")
	case p.Overlap != nil:
		overlap = time.Duration(*p.Overlap) * time.Second
	}
	if p.Secret == nil {
		return nil
	}
	return hooks.SetSecret(vendor, h, *p.Secret, overlap)
}
