package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const webhooksPath = "/management/webhooks"

// Webhook is an endpoint to which events are delivered, without its secret.
type Webhook struct {
	ID            string     `json:"id" doc:"The webhook's id." example:"webhook_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	URL           string     `json:"url" doc:"Where events are sent by POST." example:"https://hooks.example.com/gatefold"`
	Types         []string   `json:"types" doc:"The wanted types of events; role.* are all of a kind. Empty: all." example:"[\"role.*\",\"agreement.changed\"]"`
	Description   string     `json:"description" doc:"A description for people." example:"Mailer"`
	Status        string     `json:"status" enum:"active,disabled,gone,failing" doc:"active; or why nothing is queued and sent: disabled by a client, gone (it answered 410), failing (nothing could be delivered for 5 days)." example:"active"`
	DisabledAt    *time.Time `json:"disabledAt,omitempty" doc:"When the webhook was disabled."`
	SecretSince   time.Time  `json:"secretSince" doc:"When the current secret was made." example:"2027-01-01T09:30:00Z"`
	ReplacedUntil *time.Time `json:"replacedUntil,omitempty" doc:"Until when the replaced secret signs beside the current one."`
	CreatedAt     time.Time  `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt     time.Time  `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
}

// WebhookStatus is a webhook with how its deliveries go.
type WebhookStatus struct {
	Webhook
	FailingSince *time.Time `json:"failingSince,omitempty" doc:"Since when every attempt failed; absent if the last one did not."`
	NextAt       *time.Time `json:"nextAt,omitempty" doc:"When a failing webhook is tried again."`
	LastError    string     `json:"lastError,omitempty" doc:"Why the last attempt failed that did." example:"it answered with the status 500"`
	DeliveredAt  *time.Time `json:"deliveredAt,omitempty" doc:"The time of the last delivery."`
}

// CreatedWebhook is a webhook with its new secret.
type CreatedWebhook struct {
	Webhook
	Secret string `json:"secret" doc:"The secret with which events are signed (Standard Webhooks). It is shown only once." example:"whsec_…"`
}

// WebhookBody creates a webhook.
type WebhookBody struct {
	URL         string   `json:"url" minLength:"1" maxLength:"2048" doc:"Where events are sent by POST: an https URL." example:"https://hooks.example.com/gatefold"`
	Types       []string `json:"types,omitempty" maxItems:"64" doc:"The wanted types of events; role.* are all of a kind. Default: all." example:"[\"role.*\",\"agreement.changed\"]"`
	Description string   `json:"description,omitempty" maxLength:"255" doc:"A description for people." example:"Mailer"`
}

// WebhookPatch changes the named fields of a webhook.
type WebhookPatch struct {
	URL         *string   `json:"url,omitempty" minLength:"1" maxLength:"2048" doc:"Where events are sent by POST: an https URL." example:"https://hooks.example.com/gatefold"`
	Types       *[]string `json:"types,omitempty" maxItems:"64" doc:"The wanted types of events. Empty: all." example:"[\"role.*\"]"`
	Description *string   `json:"description,omitempty" maxLength:"255" doc:"A description for people." example:"Mailer"`
	Status      *string   `json:"status,omitempty" enum:"active,disabled" doc:"Enables or disables the webhook. What happens while it is disabled is not queued." example:"active"`
}

// Delivery is an event in the queue of a webhook.
type Delivery struct {
	ID       string     `json:"id" doc:"The event's id: webhook-id, the same for every attempt." example:"evt_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Type     string     `json:"type" doc:"The type of the event." example:"role.invited"`
	At       time.Time  `json:"at" doc:"The time of the change." example:"2027-01-01T09:30:00Z"`
	Attempts int        `json:"attempts" doc:"The number of attempts." example:"1"`
	Status   int        `json:"status,omitempty" doc:"The HTTP status of the last answer." example:"500"`
	Error    string     `json:"error,omitempty" doc:"Why the last attempt failed." example:"it answered with the status 500"`
	TriedAt  *time.Time `json:"triedAt,omitempty" doc:"The time of the last attempt."`
	NextAt   *time.Time `json:"nextAt,omitempty" doc:"The time of the next attempt."`
}

// SecretRotation requests a new secret of a webhook.
type SecretRotation struct {
	Overlap *int `json:"overlapSeconds,omitempty" minimum:"0" maximum:"604800" doc:"How many seconds events are signed with both secrets. Default: a day." example:"86400"`
}

// ReplayBody names the dead letter that is sent again.
type ReplayBody struct {
	Event string `json:"event,omitempty" maxLength:"128" doc:"The id of a dead letter. Default: all dead letters, at most 500."`
}

// Replayed is the result of a replay.
type Replayed struct {
	Replayed int `json:"replayed" doc:"The number of dead letters that are delivered again." example:"2"`
}

var webhookStatuses = map[string]string{
	"": "active", store.DisabledByClient: "disabled", store.DisabledGone: "gone", store.DisabledFailing: "failing",
}

func (a *api) wireWebhook(h store.Webhook) Webhook {
	shown := Webhook{
		ID: h.ID, URL: h.URL, Types: append([]string{}, h.Types...), Description: h.Description, Status: webhookStatuses[h.Disabled],
		DisabledAt: timeOrNil(h.DisabledAt), CreatedAt: h.CreatedAt, UpdatedAt: h.UpdatedAt,
	}
	since, until := h.SecretsSince(a.Now())
	shown.SecretSince, shown.ReplacedUntil = since, timeOrNil(until)
	return shown
}

// webhookTag is what the ETag of a webhook covers: what a client can change.
func (a *api) webhookTag(h store.Webhook) Webhook {
	shown := a.wireWebhook(h)
	shown.ReplacedUntil = nil // ends by itself
	return shown
}

func timeOrNil(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func wireDelivery(d store.Delivery) Delivery {
	return Delivery{
		ID: d.ID, Type: d.Type, At: d.At, Attempts: d.Attempts, Status: d.Status, Error: d.Error,
		TriedAt: timeOrNil(d.TriedAt), NextAt: timeOrNil(d.NextAt),
	}
}

// WebhookPath identifies a webhook in a path.
type WebhookPath struct {
	ID string `path:"id" maxLength:"128" doc:"The webhook's id." example:"webhook_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

func (a *api) registerWebhooks() {
	hooks, tags := store.NewWebhooks(a.Keyring), []string{"Webhooks"}
	one := webhooksPath + "/{id}"
	register(a, huma.Operation{
		OperationID: "list-webhooks", Method: http.MethodGet, Path: webhooksPath, Tags: tags, Security: needs("webhooks:read"),
		Summary: "Lists where events are sent",
	}, func(ctx context.Context, c *call, _ *struct{}) (*body[[]Webhook], error) {
		found, err := hooks.Store.Webhooks(ctx, c.Vendor)
		return &body[[]Webhook]{Body: wireAll(found, a.wireWebhook)}, err
	})
	register(a, huma.Operation{
		OperationID: "create-webhook", Method: http.MethodPost, Path: webhooksPath, Tags: tags, Security: needs("webhooks:write"),
		Summary: "Sends events to a URL from now on, and returns the secret that signs them, once", DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, c *call, in *body[WebhookBody]) (*created[CreatedWebhook], error) {
		if err := a.checkWebhook(ctx, in.Body.URL); err != nil {
			return nil, err
		}
		made, secret, err := hooks.CreateWebhook(ctx, c.store, c.Vendor, store.Webhook{URL: in.Body.URL, Types: in.Body.Types, Description: in.Body.Description})
		answer, err := newCreated(webhooksPath, made.ID, CreatedWebhook{a.wireWebhook(made), secret}, err)
		if err == nil {
			answer.ETag = etagOf(a.webhookTag(made))
		}
		return answer, err
	})
	register(a, huma.Operation{
		OperationID: "get-webhook", Method: http.MethodGet, Path: one, Tags: tags, Security: needs("webhooks:read"),
		Summary: "Returns a webhook and how its deliveries go",
	}, func(ctx context.Context, c *call, in *WebhookPath) (*record[WebhookStatus], error) {
		found, err := a.Store.Webhook(ctx, c.Vendor, in.ID)
		if err != nil {
			return nil, err
		}
		state, err := a.Store.WebhookState(ctx, c.Vendor, in.ID)
		return &record[WebhookStatus]{ETag: etagOf(a.webhookTag(found)), Body: WebhookStatus{
			Webhook: a.wireWebhook(found), FailingSince: timeOrNil(state.Failing), NextAt: timeOrNil(state.PausedUntil),
			LastError: state.Error, DeliveredAt: timeOrNil(state.DeliveredAt),
		}}, err
	})
	register(a, huma.Operation{
		OperationID: "update-webhook", Method: http.MethodPatch, Path: one, Tags: tags, Security: needs("webhooks:write"),
		Summary: "Changes fields of a webhook, enables or disables it", Description: "Null resets types and description to their defaults.",
		Metadata: map[string]any{computedKey: []string{"failingSince", "nextAt", "lastError", "deliveredAt"}},
	}, func(ctx context.Context, c *call, in *struct {
		WebhookPath
		IfMatch
		RawBody []byte
		Body    WebhookPatch
	},
	) (*record[Webhook], error) {
		sent := namedIn(in.RawBody)
		if err := refuseNull(sent, "url", "status"); err != nil {
			return nil, err
		}
		if sent.null("types") {
			in.Body.Types = &[]string{}
		}
		if sent.null("description") {
			in.Body.Description = new("")
		}
		if in.Body.URL != nil {
			if err := a.checkWebhook(ctx, *in.Body.URL); err != nil {
				return nil, err
			}
		}
		changed, err := hooks.UpdateWebhook(ctx, c.store, c.Vendor, in.ID, func(h *store.Webhook) error {
			if err := in.check(a.webhookTag(*h)); err != nil {
				return err
			}
			in.Body.apply(h)
			return nil
		})
		if err != nil {
			return nil, in.changed(err)
		}
		return &record[Webhook]{ETag: etagOf(a.webhookTag(changed)), Body: a.wireWebhook(changed)}, nil
	})
	register(a, huma.Operation{
		OperationID: "remove-webhook", Method: http.MethodDelete, Path: one, Tags: tags, Security: needs("webhooks:write"),
		Summary: "Removes a webhook; what waits for it is not sent", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		WebhookPath
		IfMatch
	},
	) (*empty, error) {
		err := hooks.DeleteWebhook(ctx, c.store, c.Vendor, in.ID, func(h store.Webhook) error { return in.check(a.webhookTag(h)) })
		return &empty{}, in.changed(err)
	})
	a.registerWebhookSecret(hooks, tags)
	a.registerDeliveries(tags)
}

func (p *WebhookPatch) apply(h *store.Webhook) {
	if p.URL != nil {
		h.URL = *p.URL
	}
	if p.Types != nil {
		h.Types = slices.Clone(*p.Types)
	}
	if p.Description != nil {
		h.Description = *p.Description
	}
	switch {
	case p.Status == nil:
	case *p.Status == "active":
		h.Disabled = ""
	case h.Disabled == "":
		h.Disabled = store.DisabledByClient
	}
}

// checkWebhook refuses a URL to which the gate must not send.
func (a *api) checkWebhook(ctx context.Context, text string) error {
	address, err := url.Parse(text)
	if err != nil || strings.ContainsAny(text, " \t") {
		return invalid("url", "must be an https URL")
	}
	if a.CheckWebhook == nil {
		return nil
	}
	if err := a.CheckWebhook(ctx, address); err != nil {
		return invalid("url", err.Error())
	}
	return nil
}

func (a *api) registerWebhookSecret(hooks *store.Webhooks, tags []string) {
	register(a, huma.Operation{
		OperationID: "rotate-webhook-secret", Method: http.MethodPost, Path: webhooksPath + "/{id}/rotate-secret", Tags: tags, Security: needs("webhooks:write"),
		Summary: "Creates a new secret and returns it once; the replaced one signs beside it for the overlap", DefaultStatus: http.StatusOK,
	}, func(ctx context.Context, c *call, in *struct {
		WebhookPath
		Body *SecretRotation
	},
	) (*body[CreatedWebhook], error) {
		overlap := defaultSecretOverlap
		if in.Body != nil && in.Body.Overlap != nil {
			overlap = time.Duration(*in.Body.Overlap) * time.Second
		}
		hook, secret, err := hooks.RotateWebhookSecret(ctx, c.store, c.Vendor, in.ID, overlap)
		if err != nil {
			return nil, err
		}
		return &body[CreatedWebhook]{Body: CreatedWebhook{a.wireWebhook(hook), secret}}, nil
	})
	register(a, huma.Operation{
		OperationID: "test-webhook", Method: http.MethodPost, Path: webhooksPath + "/{id}/test", Tags: tags, Security: needs("webhooks:write"),
		Summary: "Sends an event of the type webhook.test now, and returns the answer", DefaultStatus: http.StatusOK,
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *WebhookPath) (*body[Delivery], error) {
		if _, err := a.Store.Webhook(ctx, c.Vendor, in.ID); err != nil {
			return nil, err
		}
		if a.TestWebhook == nil {
			return nil, newProblem(http.StatusNotImplemented, "This server delivers no events: send the test from one that does.")
		}
		done, err := a.TestWebhook(ctx, c.Vendor, in.ID)
		return &body[Delivery]{Body: wireDelivery(done)}, err
	})
}

// defaultSecretOverlap is the default time to give a receiver its new secret.
const defaultSecretOverlap = 24 * time.Hour

func (a *api) registerDeliveries(tags []string) {
	const path = webhooksPath + "/{id}/deliveries"
	register(a, huma.Operation{
		OperationID: "list-deliveries", Method: http.MethodGet, Path: path, Tags: tags, Security: needs("webhooks:read"),
		Summary:     "Lists events of a webhook by their state",
		Description: "Dead letters are kept for 14 days, and delivered events for a day. Delivered events are listed newest first, the others in the order in which they are sent.",
	}, func(ctx context.Context, c *call, in *struct {
		WebhookPath
		State string `query:"state" enum:"waiting,retrying,dead,delivered" default:"dead" doc:"waiting: not attempted yet; retrying: attempted again; dead: attempted ten times, or until the webhook was gone; delivered: answered with a status 2xx." example:"dead"`
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"The maximum number of events to return."`
	},
	) (*body[[]Delivery], error) {
		if _, err := a.Store.Webhook(ctx, c.Vendor, in.ID); err != nil {
			return nil, err
		}
		found, err := a.Store.Deliveries(ctx, c.Vendor, in.ID, in.State, in.Limit)
		return &body[[]Delivery]{Body: wireAll(found, wireDelivery)}, err
	})
	register(a, huma.Operation{
		OperationID: "replay-deliveries", Method: http.MethodPost, Path: path + "/replay", Tags: tags, Security: needs("webhooks:write"),
		Summary: "Sends a dead letter again, or all of them, 500 at a time", DefaultStatus: http.StatusOK,
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		WebhookPath
		Body *ReplayBody
	},
	) (*body[Replayed], error) {
		if _, err := a.Store.Webhook(ctx, c.Vendor, in.ID); err != nil {
			return nil, err
		}
		event := ""
		if in.Body != nil {
			event = in.Body.Event
		}
		n, err := c.store.Replay(ctx, c.Vendor, in.ID, event)
		if errors.Is(err, store.ErrNotFound) {
			return nil, newProblem(http.StatusNotFound, "There is no such dead letter: only these can be replayed.")
		}
		return &body[Replayed]{Body: Replayed{n}}, err
	})
}
