package admin

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/webhook"
)

const (
	// providerPath is the path of the events of a provider, without its id.
	providerPath = "/hooks/"
	// maxHookBody bounds the body of an event, in bytes.
	maxHookBody = 256 << 10
)

// HookAnswer is the answer to an event.
type HookAnswer struct {
	Applied bool   `json:"applied" doc:"Whether the event changed a contract." example:"true"`
	Reason  string `json:"reason" enum:"applied,unchanged,duplicate,older,too_old,contract_ended,order_conflict,no_entry,ignored" doc:"Why, or why not." example:"applied"`
}

// The results of events that are not those of a table.
const (
	hookRefused      = "refused" // unknown provider or bad signature
	hookLimited      = "limited"
	hookUnreadable   = "unreadable"
	hookDisabled     = "disabled"
	hookStoreFailure = "error"
)

// HookReport is what became of a request to the path of a provider, for logs and metrics.
// The fields but Result are empty unless the request has a good signature.
type HookReport struct {
	Vendor, Hook, Event, Type, Do, Contract string
	Result                                  string
}

// Failed reports whether the provider was asked to send the event again, or refused.
func (r *HookReport) Failed() bool {
	switch r.Result {
	case hookRefused, hookLimited, hookUnreadable, hookDisabled, hookStoreFailure:
		return true
	}
	return store.HookResult(r.Result).Retry()
}

// hookReceiver takes the events of providers.
type hookReceiver struct {
	*api
	hooks    *store.Hooks
	failures *failureLimit
}

// ServeHTTP serves POST /hooks/{provider}. The signature takes the place of a token: an
// unknown provider and a bad signature have the same answer, after the same work.
func (h *hookReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		newProblem(http.StatusMethodNotAllowed, "Events are sent with POST.").write(w)
		return
	}
	report := new(HookReport)
	problem := h.receive(r, report)
	h.HookReceived(*report)
	if problem != nil {
		problem.write(w)
		return
	}
	serveJSON(w, HookAnswer{Applied: report.Result == string(store.HookApplied), Reason: report.Result})
}

func (h *hookReceiver) receive(r *http.Request, report *HookReport) *Problem {
	id, source := r.PathValue("provider"), sourceOf(h.Authority.Source(r))
	if wait := h.failures.wait(id, source, h.Now()); wait > 0 {
		report.Result = hookLimited
		p := newProblem(http.StatusTooManyRequests, "Too many events with a bad signature from this address: wait as long as Retry-After says.")
		p.retryAfter = secondsOf(wait)
		return p
	}
	report.Result = hookStoreFailure
	vendor, found, secrets, known, err := h.hooks.Provider(r.Context(), id)
	if err != nil {
		return h.problemOf(err)
	}
	body, problem := readHookBody(r, known)
	if problem != nil {
		report.Result = hookUnreadable
		return problem
	}
	event, err := webhook.Verify(found.Scheme, secrets, r.Header, body, h.Now())
	if err != nil || !known {
		h.failures.begin(id, source, h.Now())
		if report.Result = hookRefused; known {
			report.Vendor, report.Hook = vendor, found.ID
		}
		return newProblem(http.StatusUnauthorized, "The provider is unknown, or the signature is missing, wrong or more than five minutes old.")
	}
	report.Vendor, report.Hook = vendor, found.ID
	if found.Disabled {
		report.Result = hookDisabled
		p := newProblem(http.StatusConflict, "The hook is disabled: enable it, and the event is taken when it is sent again.")
		p.Code = "hook_disabled"
		return p
	}
	return h.apply(r, vendor, &found, event, body, report)
}

// readHookBody reads the body of an event. That of an unknown provider is read and hashed
// as the other, but not kept.
func readHookBody(r *http.Request, known bool) ([]byte, *Problem) {
	if known {
		body, problem := readAll(r.Body, maxHookBody)
		if problem != nil && problem.Status == http.StatusBadRequest {
			problem = cutHookBody()
		}
		return body, problem
	}
	n, err := io.Copy(hmac.New(sha256.New, nil), io.LimitReader(r.Body, maxHookBody+1))
	switch {
	case err != nil:
		return nil, cutHookBody()
	case n > maxHookBody:
		return nil, newProblem(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	return nil, nil
}

func cutHookBody() *Problem {
	return newProblem(http.StatusBadRequest, "The body did not arrive whole, or not in time.")
}

// apply reads a verified event by the table, and applies it.
func (h *hookReceiver) apply(r *http.Request, vendor string, found *store.Hook, id string, body []byte, report *HookReport) *Problem {
	source := hook.Source{Scheme: found.Scheme, Type: found.TypeAt, Time: found.TimeAt, Table: found.Table}
	act, err := source.Read(id, body)
	report.Event, report.Type, report.Do = act.Event, act.Type, act.Do
	if errors.Is(err, hook.ErrUnreadable) {
		report.Result = hookUnreadable
		return newProblem(http.StatusBadRequest, "The body is not the JSON object of an event with an id and a type; see typeAt of the hook.")
	}
	if act.Do == hook.Ignore {
		report.Result = string(store.HookIgnored)
		return nil
	}
	writer, done := h.Store.As(store.Actor{}), store.HookEvent{}
	problem, invalid := errors.AsType[*hook.Error](err)
	switch {
	case invalid:
		done, err = writer.RecordHookEvent(r.Context(), vendor, found, act, store.HookInvalid, problem.Error())
	case act.Do == "":
		done, err = writer.RecordHookEvent(r.Context(), vendor, found, act, store.HookNoEntry, "")
	default:
		done, err = writer.ApplyHookEvent(r.Context(), vendor, found, act)
	}
	if err != nil {
		return h.problemOf(err)
	}
	report.Result, report.Contract = string(done.Result), done.Contract
	return retryProblem(&done, problem)
}

// retryProblem returns the answer that makes the provider send an event again, nil if that
// cannot help.
func retryProblem(done *store.HookEvent, at *hook.Error) *Problem {
	var p *Problem
	switch done.Result {
	case store.HookNoContract:
		p = newProblem(http.StatusConflict, "There is no such contract yet: send the event again.")
	case store.HookUnconfirmed:
		p = newProblem(http.StatusConflict, "The contract is not confirmed yet: send the event again.")
	case store.HookNoPromo:
		p = newProblem(http.StatusConflict, "The promo sells nothing at the moment: "+done.Problem+". Change it, and let the event be sent again.")
	case store.HookInvalid:
		p = invalidAt("body", cmp.Or(done.Problem, "has a value that cannot be used"))
		if at != nil {
			p = invalidAt("body"+strings.ReplaceAll(at.Field, "/", "."), at.Problem)
		}
		return p
	default:
		return nil
	}
	p.Code = string(done.Result)
	return p
}

// wait returns the time until a client may fail again at a source, zero if it may now. It
// counts nothing.
func (l *failureLimit) wait(client, source string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := l.bucket(attemptOf("", source), perSource, now).wait(perSource); wait > 0 {
		return wait
	}
	return l.bucket(attemptOf(client, source), perClientAndSource, now).wait(perClientAndSource)
}

// describeHookEvents describes the operation that huma does not serve.
func (a *api) describeHookEvents(tags []string) {
	if a.Authority == nil {
		return
	}
	document := a.huma.OpenAPI()
	problem := func(description string) *huma.Response {
		return &huma.Response{Description: description, Content: map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}}}
	}
	document.AddOperation(&huma.Operation{
		OperationID: "receive-event", Method: http.MethodPost, Path: providerPath + "{provider}", Tags: tags, Security: []map[string][]string{},
		Summary: "Takes a signed event of a billing system",
		Description: "The signature takes the place of a token: that of Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature) or of Stripe (Stripe-Signature), " +
			"by the scheme of the hook. The same event again changes nothing. With an answer 409 or 422 the event may be applied when it is sent again.",
		Parameters: []*huma.Param{{
			Name: "provider", In: "path", Required: true, Description: "The hook's id.", Example: "hook_01kb2m3q4r5s6t7v8w9x0y1z2a", Schema: &huma.Schema{Type: huma.TypeString},
		}},
		RequestBody: &huma.RequestBody{Required: true, Description: "The event, as the provider has it; at most 256 KiB.", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
		}},
		Responses: map[string]*huma.Response{
			"200":     {Description: "The event needs not be sent again.", Content: map[string]*huma.MediaType{"application/json": {Schema: document.Components.Schemas.Schema(reflect.TypeFor[HookAnswer](), true, "HookAnswer")}}},
			"401":     problem("The provider is unknown, or the signature is missing, wrong or too old."),
			"409":     problem("The event may be applied when it is sent again: contract_not_found, contract_unconfirmed, promo_unavailable, hook_disabled."),
			"422":     problem("The event does not have what the table needs."),
			"default": {Ref: "#/components/responses/Error"},
		},
	})
}
