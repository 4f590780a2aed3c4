package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// decides returns the reason of a decision about a page, for a user of the co-working site and
// a rule of one operator.
func (b *fixture) decides(user, operator, arguments string) policy.Reason {
	b.Helper()
	allow := policy.Allow{Operator: operator}
	if err := json.Unmarshal([]byte(arguments), &allow.Arguments); err != nil {
		b.Fatal(err)
	}
	rules, err := policy.CompileRules([]policy.Rule{{Rank: 1, Path: "/", Allow: allow}}, b.options.Policy.Operators())
	if err != nil {
		b.Fatal(err)
	}
	decision := b.options.Policy.Decide(b.Context(), &policy.Request{
		Site: &policy.Site{Vendor: "cowork", Rules: rules}, Method: http.MethodGet, EscapedPath: "/", Now: b.clock,
		Reader: policy.Reader{UserID: user},
	})
	return decision.Reason
}

const deskPlan = `{"plan":"open-space"}`

// wants compares the reason of a decision about a page for subscribers.
func (b *fixture) wants(when string, want policy.Reason) {
	b.Helper()
	if got := b.decides("xia", "subscribed", deskPlan); got != want {
		b.Errorf("%s: %v, want %v", when, got, want)
	}
	sku := b.decides("xia", "entitled", `{"sku":"desk"}`)
	if (sku == policy.ReasonEntitled) != (want == policy.ReasonEntitled) {
		b.Errorf("%s: entitled says %v, subscribed %v", when, sku, want)
	}
}

// as calls the API as a reader on the gated site of the vendor.
func (b *fixture) as(user, method, path, body string) answer {
	b.Helper()
	options := b.options
	options.Operator = false
	options.Authorize = func(*http.Request) (admin.Caller, error) {
		reader := &policy.Reader{UserID: user}
		return admin.Caller{Vendor: "cowork", Name: "reader " + user, Reader: reader}, nil
	}
	handler, err := admin.New(options)
	if err != nil {
		b.Fatal(err)
	}
	request := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return answer{t: b.T, code: recorder.Code, head: recorder.Header(), body: recorder.Body.String()}
}

// made is a subscription as the API answers it.
type made struct {
	ID         string
	CreatedAt  time.Time `json:"created_at"`
	EndsAt     time.Time `json:"ends_at"`
	AutoRenew  bool      `json:"auto_renew"`
	BalanceDue bool      `json:"balance_due"`
	GrantKey   *string   `json:"grant_key"`
	RequestKey *string   `json:"request_key"`
	AcceptURL  *string   `json:"accept_request_api_url"`
	Editable   bool
	Profile    struct{ Slug string }
}

// page is a page of subscriptions.
type page struct {
	Count   int
	Next    *string
	Results []made
}

func (b *fixture) site(method, path, body string) answer {
	b.Helper()
	return b.callAs("cowork", method, path, body)
}

// counts are the numbers of subscriptions in the listings of the plan: active, all, churned.
func (b *fixture) counts() string {
	b.Helper()
	var numbers []string
	for _, list := range []string{"", "/all", "/churned"} {
		var p page
		b.site(http.MethodGet, planSubscriptions+list, "").want(http.StatusOK, &p)
		if p.Count != len(p.Results) {
			b.Errorf("%s has %d of %d", list, len(p.Results), p.Count)
		}
		numbers = append(numbers, fmt.Sprint(p.Count))
	}
	return strings.Join(numbers, " ")
}

var keyPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)

// A provider grants a plan that has to be accepted. It counts from the acceptance on, which
// needs the key that only the grant answered, works once, and for this profile only.
func TestOfferedSubscription(t *testing.T) {
	b := coworkingSite(t, true)
	b.site(http.MethodPut, "/api/profile/cowork/plans/open-space", `{"skip_optin_on_grant":false}`).want(http.StatusOK, nil)
	var offer made
	got := b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, &offer)
	if offer.GrantKey == nil || !keyPattern.MatchString(*offer.GrantKey) || got.head.Get("Location") != "subscriptions/xia" || offer.AcceptURL == nil {
		t.Fatalf("the offer is %s, at %q", got.body, got.head.Get("Location"))
	}
	accept := *offer.AcceptURL
	if accept != "/api/profile/xia/subscriptions/accept/"+*offer.GrantKey {
		t.Errorf("it is accepted at %s", accept)
	}
	b.wants("while it is offered", policy.ReasonNotSubscribed)
	if got := b.counts(); got != "0 1 0" {
		t.Errorf("while it is offered there are %s", got)
	}
	for _, path := range []string{planSubscriptions + "/all", planSubscriptions + "/xia", xiaSubscriptions, "/management/audit"} {
		text := b.site(http.MethodGet, path, "").want(http.StatusOK, nil).body
		if strings.Contains(text, *offer.GrantKey) || !strings.Contains(path, "audit") && !strings.Contains(text, `"grant_key":"1"`) {
			t.Errorf("%s: %s", path, text)
		}
	}
	for _, wrong := range []struct{ vendor, path string }{
		{"cowork", "/api/profile/xia/subscriptions/accept/" + strings.Repeat("0", 40)},
		{"cowork", "/api/profile/xia23/subscriptions/accept/" + *offer.GrantKey},
		{"other", accept},
	} {
		b.send(wrong.vendor, http.MethodPut, wrong.path, "", http.Header{"Content-Type": {"application/json"}}).refused(http.StatusNotFound, "not_found", "")
	}
	b.as("xia23", http.MethodPut, accept, "").refused(http.StatusForbidden, "forbidden", "")
	b.wants("after wrong acceptances", policy.ReasonNotSubscribed)
	b.as("xia", http.MethodPut, accept, "").want(http.StatusOK, &offer)
	b.wants("once it is accepted", policy.ReasonEntitled)
	if offer.GrantKey != nil {
		t.Errorf("the accepted one has the key %s", *offer.GrantKey)
	}
	b.as("xia", http.MethodPut, accept, "").refused(http.StatusNotFound, "not_found", "")
	again := b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusOK, nil)
	if b.counts() != "1 1 0" || !strings.Contains(again.body, offer.ID) {
		t.Errorf("granted again: %s, %s", b.counts(), again.body)
	}
}

// A profile asks for a plan. The provider accepts by the key, or by granting the plan.
func TestRequestedSubscription(t *testing.T) {
	b := coworkingSite(t, true)
	var request made
	b.as("xia", http.MethodPost, xiaSubscriptions, `{"plan":"open-space","message":"A desk, please"}`).want(http.StatusCreated, &request)
	if request.RequestKey == nil || !keyPattern.MatchString(*request.RequestKey) || *request.AcceptURL != "/api/profile/cowork/subscribers/accept/"+*request.RequestKey {
		t.Fatalf("%+v", request)
	}
	b.wants("while it is asked for", policy.ReasonNotSubscribed)
	b.as("xia", http.MethodPost, *request.AcceptURL, "").refused(http.StatusForbidden, "forbidden", "")
	b.site(http.MethodPost, "/api/profile/xia/subscribers/accept/"+*request.RequestKey, "").refused(http.StatusNotFound, "not_found", "")
	b.clock = b.clock.Add(time.Hour)
	b.site(http.MethodPost, *request.AcceptURL, "").want(http.StatusOK, &request)
	b.wants("once it is accepted", policy.ReasonEntitled)
	if !request.CreatedAt.Equal(b.clock) || !request.EndsAt.Equal(b.clock.AddDate(0, 1, 0)) {
		t.Errorf("it lasts from %v to %v", request.CreatedAt, request.EndsAt)
	}
	b.site(http.MethodPost, "/api/profile/cowork/subscribers/accept/"+*b.requested().RequestKey, "").want(http.StatusOK, nil)

	b.site(http.MethodPut, "/api/profile/cowork/plans/open-space", `{"optin_on_request":false}`).want(http.StatusOK, nil)
	b.site(http.MethodPost, "/api/profile/xia23/subscriptions", deskPlan).refused(http.StatusUnprocessableEntity, "validation_failed", "body.plan")
	b.site(http.MethodPost, "/api/profile/xia23/subscriptions", `{"plan":"nothing"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.plan")
	b.site(http.MethodPost, "/api/profile/unknown/subscriptions", deskPlan).refused(http.StatusNotFound, "not_found", "")
}

// requested is a request of another profile.
func (b *fixture) requested() (request made) {
	b.Helper()
	if _, err := b.store.As(store.Actor{}).CreateProfile(b.Context(), "cowork", store.Profile{Slug: "abc"}); err != nil {
		b.Fatal(err)
	}
	b.site(http.MethodPost, "/api/profile/abc/subscriptions", deskPlan).want(http.StatusCreated, &request)
	return request
}

// A subscription ends at a moment, which does not count any more; it counts from its first
// moment on.
func TestSubscriptionAtItsBounds(t *testing.T) {
	b := coworkingSite(t, true)
	var s made
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, &s)
	b.wants("at its first moment", policy.ReasonEntitled)
	b.clock = s.EndsAt.Add(-time.Millisecond)
	b.wants("in its last millisecond", policy.ReasonEntitled)
	if got := b.counts(); got != "1 1 0" {
		t.Errorf("in its last millisecond there are %s", got)
	}
	b.clock = s.EndsAt
	b.wants("when it ends", policy.ReasonNotSubscribed)
	if got := b.counts(); got != "0 1 1" {
		t.Errorf("when it ends there are %s", got)
	}
	b.site(http.MethodGet, planSubscriptions+"/xia", "").refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodPut, planSubscriptions+"/xia", `{"auto_renew":false}`).refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodDelete, xiaSubscriptions+"/open-space", "").refused(http.StatusNotFound, "not_found", "")
	var p page
	for query, want := range map[string]int{
		"": 1, "?start_at=" + s.EndsAt.Format(time.RFC3339): 1, "?ends_at=" + s.EndsAt.Format(time.RFC3339): 0,
		"?start_at=" + s.EndsAt.Add(time.Second).Format(time.RFC3339): 0,
	} {
		b.site(http.MethodGet, xiaSubscriptions+"/expired"+query, "").want(http.StatusOK, &p)
		if p.Count != want {
			t.Errorf("expired%s has %d, want %d", query, p.Count, want)
		}
	}
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, &s)
	b.site(http.MethodPut, planSubscriptions+"/xia", fmt.Sprintf(`{"created_at":%q}`, b.clock.Add(time.Hour).Format(time.RFC3339))).want(http.StatusOK, &s)
	b.wants("before its start", policy.ReasonNotSubscribed)
	b.clock = b.clock.Add(time.Hour)
	b.wants("at its start", policy.ReasonEntitled)
}

// A subscriber can end a subscription earlier, and never extend it; the provider can. Each
// change decides the next request.
func TestSubscriberOnlyShortens(t *testing.T) {
	b := coworkingSite(t, true)
	var s made
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, &s)
	one := xiaSubscriptions + "/open-space"
	put := func(at time.Time) string { return fmt.Sprintf(`{"ends_at":%q}`, at.Format(time.RFC3339Nano)) }
	later := put(s.EndsAt.Add(time.Millisecond))
	b.as("xia", http.MethodPut, one, later).refused(http.StatusUnprocessableEntity, "validation_failed", "body.ends_at")
	b.site(http.MethodPut, one, later).refused(http.StatusUnprocessableEntity, "validation_failed", "body.ends_at")
	b.as("xia", http.MethodPut, one, put(b.clock.Add(-time.Second))).refused(http.StatusUnprocessableEntity, "validation_failed", "body.ends_at")
	b.as("xia", http.MethodPut, one, `{"created_at":"2020-01-01T00:00:00Z"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.created_at")
	b.as("xia", http.MethodPut, one, `{"balance_due":true}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.balance_due")
	b.as("xia", http.MethodPut, planSubscriptions+"/xia", later).refused(http.StatusForbidden, "forbidden", "")
	b.as("xia", http.MethodPut, one, put(b.clock.Add(time.Hour))).want(http.StatusOK, &s)
	if s.Editable {
		t.Error("a subscriber may edit the subscription as its provider")
	}
	b.site(http.MethodPut, planSubscriptions+"/xia", put(b.clock.Add(48*time.Hour))).want(http.StatusOK, &s)
	b.clock = b.clock.Add(24 * time.Hour)
	b.wants("after it was extended", policy.ReasonEntitled)
	b.site(http.MethodPut, planSubscriptions+"/xia", `{"balance_due":true,"extra":{"invoice":17}}`).want(http.StatusOK, &s)
	b.wants("with a balance due", policy.ReasonBalanceDue)
	b.site(http.MethodPut, planSubscriptions+"/xia", `{"balance_due":false}`).want(http.StatusOK, &s)
	b.wants("once it is paid", policy.ReasonEntitled)
	b.site(http.MethodPut, planSubscriptions+"/xia", `{"extra":"`+strings.Repeat("x", 5000)+`"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.extra")
	b.as("xia", http.MethodDelete, one, "").want(http.StatusNoContent, nil)
	b.wants("after it was ended", policy.ReasonNotSubscribed)
	if got := b.counts(); got != "0 1 1" {
		t.Errorf("after it was ended there are %s", got)
	}
}

// A billing system writes with If-Match or an Idempotency-Key: a change of another state is
// refused, and a repetition changes nothing.
func TestSubscriptionPutsOfBillingSystems(t *testing.T) {
	b := coworkingSite(t, true)
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, nil)
	put := func(body string, header http.Header) answer {
		header.Set("Content-Type", "application/json")
		return b.send("cowork", http.MethodPut, planSubscriptions+"/xia", body, header)
	}
	read := b.site(http.MethodGet, planSubscriptions+"/xia", "").want(http.StatusOK, nil).head.Get("ETag")
	first := put(`{"description":"paid"}`, http.Header{"If-Match": {read}, "Idempotency-Key": {"invoice-1"}}).want(http.StatusOK, nil)
	put(`{"description":"late"}`, http.Header{"If-Match": {read}}).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	again := put(`{"description":"paid"}`, http.Header{"If-Match": {read}, "Idempotency-Key": {"invoice-1"}}).want(http.StatusOK, nil)
	if again.body != first.body || again.head.Get("Idempotency-Replayed") != "true" || again.head.Get("ETag") != first.head.Get("ETag") {
		t.Errorf("repeated: %v %s", again.head, again.body)
	}
	put(`{"description":"other"}`, http.Header{"Idempotency-Key": {"invoice-1"}}).refused(http.StatusUnprocessableEntity, "idempotency_key_reused", "")
	put(`{"description":"next"}`, http.Header{"If-Match": {first.head.Get("ETag")}}).want(http.StatusOK, nil)

	grant := func() answer {
		return b.send("cowork", http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia23"}}`, withKey("order-1"))
	}
	b.site(http.MethodPut, "/api/profile/cowork/plans/open-space", `{"skip_optin_on_grant":false}`).want(http.StatusOK, nil)
	var offer, repeated made
	grant().want(http.StatusCreated, &offer)
	got := grant().want(http.StatusCreated, &repeated)
	if repeated.ID != offer.ID || repeated.GrantKey == nil || *repeated.GrantKey != "1" || strings.Contains(got.body, *offer.GrantKey) {
		t.Errorf("the repeated grant: %s", got.body)
	}
}

// Readers call for their profiles what their roles permit: contributors read, managers change,
// others nothing.
func TestSubscriptionsOfReaders(t *testing.T) {
	b := coworkingSite(t, true)
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, nil)
	w := b.store.As(store.Actor{})
	for user, role := range map[string]store.Role{"clerk": {Profile: "xia", Type: "contributor"}, "boss": {Profile: "cowork", Type: "manager"}} {
		if _, err := w.CreateUser(t.Context(), "cowork", store.User{Slug: user}); err != nil {
			t.Fatal(err)
		}
		role.User = user
		if _, err := w.CreateRole(t.Context(), "cowork", role); err != nil {
			t.Fatal(err)
		}
	}
	one := xiaSubscriptions + "/open-space"
	b.as("clerk", http.MethodGet, one, "").want(http.StatusOK, nil)
	b.as("clerk", http.MethodDelete, one, "").refused(http.StatusForbidden, "forbidden", "")
	b.as("xia23", http.MethodGet, one, "").refused(http.StatusForbidden, "forbidden", "")
	b.as("", http.MethodGet, one, "").refused(http.StatusUnauthorized, "unauthorized", "")
	b.as("", http.MethodGet, "/api/pricing", "").want(http.StatusOK, nil)
	b.as("xia", http.MethodGet, planSubscriptions, "").refused(http.StatusForbidden, "forbidden", "")
	b.as("xia", http.MethodPost, "/management/records/roles/import", "").refused(http.StatusForbidden, "forbidden", "")
	var s made
	b.as("boss", http.MethodGet, planSubscriptions+"/xia", "").want(http.StatusOK, &s)
	if !s.Editable {
		t.Error("the provider's manager may not edit the subscription")
	}
	b.as("boss", http.MethodDelete, planSubscriptions+"/xia", "").want(http.StatusNoContent, nil)
	b.wants("after the provider ended it", policy.ReasonNotSubscribed)
}
