package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Plans are made, changed and removed by their provider only, and not while a profile is or
// was subscribed.
func TestPlans(t *testing.T) {
	b := coworkingSite(t, true)
	plans := "/api/profile/cowork/plans"
	var plan struct {
		Slug                                       string
		IsActive                                   bool `json:"is_active"`
		Unit, PeriodType, RenewalType, Description string
		PeriodLength                               int `json:"period_length"`
		SKUs                                       []string
		Extra                                      json.RawMessage
	}
	got := b.site(http.MethodPost, plans, `{"title":"Night Desk!","skus":["night","desk"],"extra":{"floor":2}}`).want(http.StatusCreated, &plan)
	if plan.Slug != "night-desk" || plan.IsActive || plan.Unit != "usd" || plan.PeriodLength != 1 || !slices.Equal(plan.SKUs, []string{"desk", "night"}) ||
		string(plan.Extra) != `{"floor":2}` || got.head.Get("Location") != "plans/night-desk" {
		t.Errorf("%+v at %q: %s", plan, got.head.Get("Location"), got.body)
	}
	b.site(http.MethodPost, plans, `{"title":"Night desk"}`).refused(http.StatusConflict, "conflict", "")
	b.site(http.MethodPost, plans, `{"title":"Old","slug":"expired"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.slug")
	b.site(http.MethodPost, plans, `{"title":"Bad","slug":"no slug"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.slug")
	b.site(http.MethodPost, plans, `{"title":"Bad","period_type":"often"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.period_type")
	b.site(http.MethodPost, plans, `{"title":"Bad","discount":1}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.discount")
	b.site(http.MethodPost, "/api/profile/unknown/plans", `{"title":"Bad"}`).refused(http.StatusNotFound, "not_found", "")
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		b.site(method, "/api/profile/xia/plans/night-desk", "").refused(http.StatusNotFound, "not_found", "")
		b.site(method, plans+"/unknown", "").refused(http.StatusNotFound, "not_found", "")
	}
	b.site(http.MethodPut, "/api/profile/xia/plans/night-desk", `{"title":"Mine"}`).refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodPut, plans+"/night-desk", `{"slug":"day-desk"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.slug")
	b.send("cowork", http.MethodPut, plans+"/night-desk", `{"title":"Late"}`, http.Header{"Content-Type": {"application/json"}, "If-Match": {`"old"`}}).
		refused(http.StatusPreconditionFailed, "precondition_failed", "")

	grant := plans + "/night-desk/subscriptions"
	b.site(http.MethodPost, grant, `{"profile":{"slug":"xia"}}`).refused(http.StatusConflict, "conflict", "")
	b.site(http.MethodPut, plans+"/night-desk", `{"is_active":true,"extra":null}`).want(http.StatusOK, &plan)
	if !plan.IsActive || string(plan.Extra) != "null" || len(plan.SKUs) != 2 {
		t.Errorf("changed: %+v", plan)
	}
	b.site(http.MethodPost, grant, `{"profile":{"slug":"unknown"}}`).refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodPost, grant, `{"profile":{"full_name":"New Co"}}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.profile.slug")
	b.site(http.MethodPost, grant+"?force=true", `{"profile":{"full_name":"New Co"}}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.profile.email")
	b.site(http.MethodPost, grant+"?force=true", `{"profile":{"full_name":"New Co","email":"new@example.com"}}`).want(http.StatusCreated, nil)
	if made, err := b.store.ProfileRecord(t.Context(), "cowork", "new-co"); err != nil || made.Email != "new@example.com" {
		t.Errorf("the forced profile is %+v, %v", made, err)
	}
	b.site(http.MethodDelete, plans+"/night-desk", "").refused(http.StatusConflict, "conflict", "")
	b.site(http.MethodPost, plans, `{"title":"Brief"}`).want(http.StatusCreated, nil)
	b.site(http.MethodDelete, plans+"/brief", "").want(http.StatusNoContent, nil)
	b.site(http.MethodDelete, plans+"/brief", "").refused(http.StatusNotFound, "not_found", "")
}

// Listings are searched, sorted and paged, and their counts are exact.
func TestSubscriptionListings(t *testing.T) {
	b := coworkingSite(t, true)
	w := b.store.As(store.Actor{})
	for i := range 30 {
		slug := fmt.Sprintf("profile-%02d", i)
		_, err := w.CreateProfile(t.Context(), "cowork", store.Profile{Slug: slug, FullName: fmt.Sprintf("Company %c", 'a'+29-i), Contact: store.Contact{Locality: []string{"Lund", "Oslo"}[i%2]}})
		if err != nil {
			t.Fatal(err)
		}
		start := b.clock.AddDate(0, 0, -i)
		if _, err := w.CreateSubscription(t.Context(), "cowork", store.Subscription{Profile: slug, Plan: "open-space", StartsAt: start, EndsAt: start.AddDate(0, 0, 20)}); err != nil {
			t.Fatal(err)
		}
	}
	day := func(n int) string { return b.clock.AddDate(0, 0, n).Format("2006-01-02T15:04:05Z") }
	for path, want := range map[string]string{
		"":                               "20 profile-00",
		"?page_size=7&page=3":            "20 profile-14",
		"?o=-created_at":                 "20 profile-00",
		"?o=created_at":                  "20 profile-19",
		"?o=profile__full_name":          "20 profile-19",
		"?q=oslo":                        "10 profile-01",
		"?q=oslo&q_f=profile__full_name": "0 ",
		"?q=company%20d,company%20e&o=profile__full_name": "0 ",
		"/all?q=company%20c,company%20b":                  "2 profile-27",
		"/all":                                            "30 profile-00",
		"/churned":                                        "10 profile-20",
		"?start_at=" + day(-3):                            "4 profile-00",
		"?ends_at=" + day(-3):                             "16 profile-04",
		"?start_at=" + day(-3) + "&ends_at=" + day(-1):    "2 profile-02",
		"/churned?start_at=" + day(-1):                    "2 profile-20",
		"/churned?ends_at=" + day(-1):                     "8 profile-22",
		"/all?ends_at=" + day(-28):                        "1 profile-29",
		"/all?start_at=" + day(19):                        "1 profile-00",
		"/all?start_at=" + day(20):                        "0 ",
	} {
		for _, base := range []string{planSubscriptions, providerSubscriptions} {
			var p page
			b.site(http.MethodGet, base+path, "").want(http.StatusOK, &p)
			first := ""
			if len(p.Results) > 0 {
				first = p.Results[0].Profile.Slug
			}
			if got := fmt.Sprintf("%d %s", p.Count, first); got != want {
				t.Errorf("%s%s is %q, want %q", base, path, got, want)
			}
		}
	}
	b.site(http.MethodGet, planSubscriptions+"?page=2", "").refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodGet, planSubscriptions+"?o=price", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.o")
	b.site(http.MethodGet, planSubscriptions+"?start_at=soon", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.start_at")
	b.site(http.MethodGet, "/api/profile/xia/plans/open-space/subscriptions", "").refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodGet, "/api/profile/unknown/subscriptions", "").refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodGet, "/api/profile/unknown/subscribers", "").refused(http.StatusNotFound, "not_found", "")
	var p page
	b.site(http.MethodGet, "/api/profile/cowork/subscribers?q=lund&o=-full_name&page_size=3", "").want(http.StatusOK, &p)
	if p.Count != 15 || p.Next == nil || !strings.Contains(*p.Next, "page=2") {
		t.Errorf("subscribers in Lund: %+v", p)
	}
}

// Only visits in the period engage a user, and only roles that count.
func TestEngagedSubscribers(t *testing.T) {
	b := coworkingSite(t, true)
	b.engage(t)
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, nil)
	numbers := func(query string) string {
		var engaged, unengaged page
		b.site(http.MethodGet, "/api/profile/cowork/subscribers/engaged"+query, "").want(http.StatusOK, &engaged)
		b.site(http.MethodGet, "/api/profile/cowork/subscribers/unengaged"+query, "").want(http.StatusOK, &unengaged)
		return fmt.Sprintf("%d %d", engaged.Count, unengaged.Count)
	}
	at := b.clock.Format("2006-01-02T15:04:05Z")
	later := b.clock.Add(time.Second).Format("2006-01-02T15:04:05Z")
	for query, want := range map[string]string{"": "1 1", "?start_at=" + at: "1 1", "?ends_at=" + at: "0 2", "?start_at=" + later: "0 2", "?site=other": "0 2"} {
		if got := numbers(query); got != want {
			t.Errorf("engaged and unengaged%s are %s, want %s", query, got, want)
		}
	}
	if err := b.store.As(store.Actor{}).RemoveRole(t.Context(), "cowork", "xia23", "xia23", true, nil); err != nil {
		t.Fatal(err)
	}
	if got := numbers(""); got != "0 2" {
		t.Errorf("without the role they are %s", got)
	}
}

// entitled are the entitlements of a user as the API lists them.
func (b *fixture) listEntitled(query string) string {
	b.Helper()
	var list []struct {
		SKU       string
		HasAccess bool
		Token     string
		Origin    struct{ Type, ID, ListID, Name, Profile, Plan string }
	}
	b.site(http.MethodGet, "/management/entitlements?"+query, "").want(http.StatusOK, &list)
	var shown []string
	for _, e := range list {
		shown = append(shown, fmt.Sprintf("%s %v %s %s/%s", e.SKU, e.HasAccess, e.Origin.Type, e.Origin.Profile, e.Origin.Plan))
		if e.Origin.ID == "" || e.Origin.Name == "" || e.HasAccess != (e.Token != "") || (e.Origin.ListID == "") != (e.Origin.Type == "PAYMENTS") {
			b.Errorf("%+v", e)
		}
	}
	return strings.Join(shown, ", ")
}

// Entitlements by grants and by subscriptions are in one list, which agrees with the decision.
func TestEntitlementsOfBothOrigins(t *testing.T) {
	b := coworkingSite(t, true)
	b.site(http.MethodPost, defaultPath, `{"userId":"xia","sku":"paper"}`).want(http.StatusCreated, nil)
	var s made
	b.site(http.MethodPost, planSubscriptions, `{"profile":{"slug":"xia"}}`).want(http.StatusCreated, &s)
	agree := func(when, want string) {
		t.Helper()
		got := b.listEntitled("userId=xia")
		if got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
		if decided := b.decides("xia", "entitled", `{"sku":"desk"}`) == policy.ReasonEntitled; decided != strings.Contains(got, "desk true") {
			t.Errorf("%s: the decision is %v, the list %s", when, decided, got)
		}
	}
	const paper, desk = "paper true EXTERNAL /", "desk true PAYMENTS xia/open-space"
	const gone = "desk false PAYMENTS xia/open-space"
	agree("subscribed", paper+", "+desk)
	if got := b.listEntitled("userId=xia&sku=desk"); got != desk {
		t.Errorf("for the sku: %s", got)
	}
	if got := b.listEntitled("userId=xia&limit=1"); got != paper {
		t.Errorf("the first page: %s", got)
	}
	b.site(http.MethodPut, planSubscriptions+"/xia", `{"balance_due":true}`).want(http.StatusOK, nil)
	agree("with a balance due", paper+", "+gone)
	b.site(http.MethodPut, planSubscriptions+"/xia", `{"balance_due":false}`).want(http.StatusOK, nil)
	b.site(http.MethodPut, "/api/profile/cowork/plans/open-space", `{"role_types":["contributor"]}`).want(http.StatusOK, nil)
	agree("for contributors only", paper)
	b.site(http.MethodPut, "/api/profile/cowork/plans/open-space", `{"role_types":["contributor","manager"]}`).want(http.StatusOK, nil)
	agree("for managers too", paper+", "+desk)
	w := b.store.As(store.Actor{})
	end := b.clock.Add(time.Hour)
	change := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ends := func(at *time.Time) {
		t.Helper()
		role, err := w.RoleRecord(t.Context(), "cowork", "xia", "xia")
		change(err)
		_, err = w.GrantRole(t.Context(), "cowork", store.RoleGrant{Profile: "xia", User: "xia", Type: role.Type, EndsAt: at, Operator: true})
		change(err)
	}
	ends(&end)
	b.clock = end.Add(-time.Millisecond)
	agree("in the last millisecond of the role", paper+", "+desk)
	b.clock = end
	agree("when the role ends", paper+", "+gone)
	ends(nil)
	agree("with the role again", paper+", "+desk)
	_, err := w.UpdateUser(t.Context(), "cowork", "xia", func(u *store.User) error { u.Inactive = true; return nil })
	change(err)
	agree("while the user is not active", paper)
	_, err = w.UpdateUser(t.Context(), "cowork", "xia", func(u *store.User) error { u.Inactive = false; return nil })
	change(err)
	_, err = w.UpdateProfile(t.Context(), "cowork", "xia", func(p *store.Profile) error { p.Inactive = true; return nil })
	change(err)
	agree("while the profile is not active", paper)
	_, err = w.UpdateProfile(t.Context(), "cowork", "xia", func(p *store.Profile) error { p.Inactive = false; return nil })
	change(err)
	b.clock = s.EndsAt
	agree("when the subscription ends", paper+", "+gone)
}
