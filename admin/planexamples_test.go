package admin_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// The published examples of plans, subscriptions and agreements: each request as it is
// published, and each field of its answer.
const (
	publishedTerms     = `{"slug":"terms-of-use","title":"Terms of Use","updated_at":"2023-08-16T00:00:00Z"}`
	publishedTermsText = `{"slug":"terms-of-use","title":"Terms of Use","updated_at":"2023-08-16T00:00:00Z","text":"..."}`
	publishedPlan      = `{"slug":"managed","title":"Managed","description":"Ideal for growing businesses","is_active":true,"setup_amount":0,"period_amount":2900,
		"period_length":1,"period_type":"monthly","unit":"usd","is_not_priced":false,"renewal_type":"auto-renew","created_at":"2019-01-01T00:00:00Z","profile":"cowork",
		"extra":null,"skip_optin_on_grant":false,"optin_on_request":false}`
	publishedPlanIs = `{"title":"Open Space","description":"A desk in our coworking space","is_active":false,"period_amount":12000,"period_type":"monthly"}`
	xiaShort        = `{"slug":"xia","printable_name":"Xia Lee"}`
	xiaListed       = `{"slug":"xia","printable_name":"Xia Lee","type":"personal","credentials":true}`
	xiaFull         = `{"slug":"xia","printable_name":"Xia Lee","picture":null,"type":"personal","credentials":true}`
	openSpace       = `{"slug":"open-space","title":"Open Space"}`
	openSpaceFull   = `{"slug":"open-space","title":"Open Space","description":"open space desk, High speed internet- Ethernet or WiFi, Unlimited printing,Unlimited scanning, Unlimited fax service(send and receive)",
		"is_active":true,"setup_amount":0,"period_amount":17999,"period_type":"monthly"}`
	subscribedTimes = `"created_at":"2016-01-14T23:16:55Z","ends_at":"2017-01-14T23:16:55Z"`
	oneSubscription = `{"created_at":"2019-01-01T00:00:00Z","ends_at":"2020-01-01T00:00:00Z","description":null,"profile":` + xiaFull + `,"plan":` + openSpace +
		`,"auto_renew":true,"extra":null,"grant_key":null,"request_key":null`
	activeListed  = `{` + subscribedTimes + `,"description":null,"profile":` + xiaListed + `,"plan":` + openSpace + `,"auto_renew":true}`
	grantedIs     = `{` + subscribedTimes + `,"description":null,"profile":` + xiaShort + `,"plan":` + openSpaceFull + `,"auto_renew":true}`
	presentListed = `{` + subscribedTimes + `,"description":null,"profile":` + xiaFull + `,"plan":` + openSpace + `,"auto_renew":true,"app_url":""}`
	engagedIs     = `{"created_at":"2022-01-01T00:00:00Z","user":{"slug":"xia23","username":"xia23","printable_name":"Xia23","picture":null},
		"role_description":{"created_at":"2022-01-01T00:00:00Z","slug":"manager","title":"Profile Manager","skip_optin_on_grant":false,"implicit_create_on_none":false,"is_global":true,"profile":null,"extra":null},
		"profile":{"slug":"xia23","printable_name":"Xia23","picture":null,"type":"organization","credentials":false}}`

	planSubscriptions     = "/api/profile/cowork/plans/open-space/subscriptions"
	providerSubscriptions = "/api/profile/cowork/subscribers/subscriptions"
	xiaSubscriptions      = "/api/profile/xia/subscriptions"
)

func pageIs(result string) string {
	return `{"count":1,"next":null,"previous":null,"results":[` + result + `]}`
}

// planExample is an operation with its published example.
type planExample struct {
	method, path, request string
	status                int
	response              string
	// changed are fields of the response that the request sets, which the published
	// response does not show.
	changed []string
}

// planExamples are in an order in which they can be sent. {key} is the key of the request of
// a subscription that waits.
var planExamples = []planExample{
	{"POST", "/api/agreements", `{"title": "Terms of Use"}`, 201, publishedTerms, nil},
	{"GET", "/api/agreements", "", 200, pageIs(publishedTerms), nil},
	{"GET", "/api/agreements/terms-of-use", "", 200, publishedTermsText, nil},
	{"PUT", "/api/agreements/terms-of-use", `{"title": "Terms of Use", "updated_at": "2023-08-16T00:00:00Z"}`, 200, publishedTermsText, nil},
	{"GET", "/api/legal", "", 200, pageIs(publishedTerms), nil},
	{"GET", "/api/legal/terms-of-use", "", 200, publishedTermsText, nil},
	{"POST", "/api/legal/terms-of-use/sign?user=xia", `{"read_terms": true}`, 200, `{"read_terms":true,"last_signed":"2019-01-01T00:00:00Z"}`, nil},
	{"DELETE", "/api/agreements/privacy", "", 204, "", nil},

	{
		"POST", "/api/profile/cowork/plans", `{"title": "Popup Desk", "description": "A desk in our coworking space", "is_active": false, "period_amount": 12000, "period_type": "monthly"}`, 201,
		`{"title":"Popup Desk","description":"A desk in our coworking space","is_active":false,"period_amount":12000,"period_type":"monthly"}`, nil,
	},
	{"GET", "/api/profile/cowork/plans", "", 200, `{"count":2,"next":null,"previous":null,"results":[` + publishedPlan + `]}`, nil},
	{"GET", "/api/profile/cowork/plans/open-space", "", 200, publishedPlanIs, nil},
	{"PUT", "/api/profile/cowork/plans/open-space", `{"title": "Open Space"}`, 200, publishedPlanIs, nil},
	{"GET", "/api/pricing", "", 200, pageIs(publishedPlan), nil},

	{"POST", planSubscriptions, `{"profile": {"slug": "xia", "full_name": "Xia Lee"}}`, 201, grantedIs, nil},
	{"GET", planSubscriptions, "", 200, pageIs(activeListed), nil},
	{"GET", planSubscriptions + "/all", "", 200, pageIs(`{"slug":"xia","full_name":"Xia Lee",` + subscribedTimes + `}`), nil},
	{"GET", planSubscriptions + "/xia", "", 200, oneSubscription + `}`, nil},
	{"PUT", planSubscriptions + "/xia", `{"ends_at": "2027-12-31T00:00:00Z", "description": "extended after call with customer"}`, 200, oneSubscription + `}`, []string{"description"}},
	{"GET", "/api/profile/cowork/subscribers", "", 200, pageIs(xiaFull), nil},
	{"GET", "/api/profile/cowork/subscribers/engaged", "", 200, pageIs(engagedIs), nil},
	{"GET", "/api/profile/cowork/subscribers/unengaged", "", 200, pageIs(`{"slug":"xia","printable_name":"Xia Lee",` + subscribedTimes + `}`), nil},
	{"GET", providerSubscriptions, "", 200, pageIs(activeListed), nil},
	{"GET", providerSubscriptions + "/all", "", 200, pageIs(grantedIs), nil},
	{"GET", xiaSubscriptions, "", 200, pageIs(presentListed), nil},
	{"GET", xiaSubscriptions + "/open-space", "", 200, oneSubscription + `,"app_url":"","editable":true}`, nil},
	{"PUT", xiaSubscriptions + "/open-space", `{"ends_at": "2027-06-01T00:00:00Z"}`, 200, oneSubscription + `,"editable":true}`, nil},
	{"DELETE", xiaSubscriptions + "/open-space", "", 204, "", nil},
	{"GET", planSubscriptions + "/churned", "", 200, pageIs(grantedIs), nil},
	{"GET", providerSubscriptions + "/churned", "", 200, pageIs(grantedIs), nil},
	{"GET", xiaSubscriptions + "/expired", "", 200, pageIs(presentListed), nil},
	{"POST", "/api/profile/cowork/subscribers/accept/{key}", "", 200, oneSubscription + `}`, nil},
	{"DELETE", planSubscriptions + "/xia", "", 204, "", nil},
	{"DELETE", "/api/profile/cowork/plans/popup-desk", "", 204, "", nil},
}

// coworkingSite is a site whose broker sells desks: Xia, who comes by no page, and another
// company, whose manager xia23 visited the site.
func coworkingSite(t *testing.T, operator bool) *fixture {
	t.Helper()
	b := newFixture(t, operator)
	w := b.store.As(store.Actor{})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for slug, name := range map[string]string{"xia": "Xia Lee", "xia23": "Xia23"} {
		_, err := w.CreateUser(t.Context(), "cowork", store.User{Slug: slug, FullName: name})
		must(err)
	}
	_, err := w.CreateProfile(t.Context(), "cowork", store.Profile{Slug: "xia", Type: store.TypePersonal, Owner: "xia", FullName: "Xia Lee", Contact: store.Contact{Email: "xia@example.com"}})
	must(err)
	_, err = w.CreateProfile(t.Context(), "cowork", store.Profile{Slug: "xia23", FullName: "Xia23"})
	must(err)
	_, err = w.CreateRole(t.Context(), "cowork", store.Role{Profile: "xia", User: "xia", Type: "manager"})
	must(err)
	_, err = w.CreatePlan(t.Context(), "cowork", store.Plan{
		Slug: "open-space", Provider: "cowork", Title: "Open Space", Description: "A desk in our coworking space", PeriodAmount: 17999,
		SkipOptInOnGrant: true, OptInOnRequest: true, SKUs: []string{"desk"},
	})
	must(err)
	return b
}

// The published requests are sent as they are, and each field of the published answers comes
// back with its type and the value that was sent.
func TestPublishedPlanExamples(t *testing.T) {
	b := coworkingSite(t, true)
	b.callAs("cowork", http.MethodPost, "/api/agreements", `{"title":"Privacy"}`).want(http.StatusCreated, nil)
	key := ""
	for _, e := range planExamples {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			b.clock = b.clock.Add(time.Second)
			switch {
			case strings.HasSuffix(e.path, "/engaged"):
				b.engage(t)
			case strings.Contains(e.path, "{key}"):
				var made struct {
					RequestKey string `json:"request_key"`
				}
				b.callAs("cowork", http.MethodPost, xiaSubscriptions, `{"plan":"open-space"}`).want(http.StatusCreated, &made)
				key = made.RequestKey
			}
			got := b.callAs("cowork", e.method, strings.ReplaceAll(e.path, "{key}", key), e.request)
			got.t = t
			got.want(e.status, nil)
			if e.response == "" {
				return
			}
			var want, answer, sent any
			parse(t, e.response, &want)
			parse(t, got.body, &answer)
			if e.request != "" {
				parse(t, e.request, &sent)
			}
			for _, name := range e.changed {
				maps.DeleteFunc(want.(map[string]any), func(field string, _ any) bool { return field == name })
				if value := answer.(map[string]any)[name]; value != sent.(map[string]any)[name] {
					t.Errorf("%s is %v", name, value)
				}
			}
			compare(t, "", want, answer, sent)
			if len(e.changed) > 0 { // later answers are published without it
				b.callAs("cowork", e.method, e.path, `{"description":""}`).want(http.StatusOK, nil)
			}
		})
	}
	if len(planExamples) != 33 {
		t.Errorf("there are %d examples", len(planExamples))
	}
}

// engage subscribes a company whose manager visits the site.
func (b *fixture) engage(t *testing.T) {
	t.Helper()
	w := b.store.As(store.Actor{})
	if _, err := w.CreateRole(t.Context(), "cowork", store.Role{Profile: "xia23", User: "xia23", Type: "manager"}); err != nil {
		t.Fatal(err)
	}
	_, err := w.CreateSubscription(t.Context(), "cowork", store.Subscription{Profile: "xia23", Plan: "open-space", StartsAt: b.clock, EndsAt: b.clock.AddDate(1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.RecordVisits(t.Context(), "cowork", []store.Visit{{Site: "cowork", UserID: "xia23", At: b.clock}}); err != nil {
		t.Fatal(err)
	}
}
