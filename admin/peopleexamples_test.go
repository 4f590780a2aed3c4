package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// The published examples of accounts, profiles, users, role types, roles and accessibles, as
// they are published.
const (
	publishedAccount = `{"slug":"xia","printable_name":"Xia Lee","picture":null,"type":"personal","credentials":true}`
	publishedProfile = `{"created_at":"2018-01-01T00:00:00Z","email":"xia@locahost.localdomain","full_name":"Xia Lee","printable_name":"Xia Lee","slug":"xia","phone":"555-555-5555",
		"street_address":"185 Berry St #550","locality":"San Francisco","region":"CA","postal_code":"","country":"US","default_timezone":"Europe/Kiev","is_provider":false,
		"is_bulk_buyer":false,"type":"personal"`
	globalManager = `{"created_at":"2023-01-01T00:00:00Z","title":"Profile Manager","slug":"manager","is_global":true}`
	localProfile  = `{"slug":"xia","printable_name":"Xia","picture":null,"type":"personal","credentials":true,"created_at":"2023-01-01T00:00:00Z"}`
	supportRole   = `"skip_optin_on_grant":false,"implicit_create_on_none":false,"is_global":false,"profile":` + localProfile + `}`
	xiaInRole     = `{"slug":"xia","username":"xia","printable_name":"Xia Lee","picture":null}`
	grantedRole   = `{"created_at":"2023-01-01T00:00:00Z","role_description":` + globalManager + `,"user":` + xiaInRole
	coworkInRole  = `{"slug":"cowork","printable_name":"ABC Corp.","type":"organization","credentials":false}`
	noneWait      = `{"count":1,"next":null,"previous":null,"invited_count":0,"requested_count":0,"results":[`
	accessibleIs  = noneWait + `{"profile":` + coworkInRole + `,"role_description":{"slug":"manager","created_at":"2023-01-01T00:00:00Z","title":"Profile manager","is_global":true,"profile":null},
		"request_key":null,"accept_grant_api_url":null,"remove_api_url":"","home_url":"","settings_url":""}]}`
	requestedIs = `{"profile":{"slug":"cowork","full_name":"Cowork","printable_name":"Cowork","picture":null,"type":"organization","credentials":false},"created_at":"2020-06-06T04:55:41.766938Z",
		"request_key":"53a1b0657c7cf738514bf791e6f20f36429e57aa","home_url":"/app/cowork/","settings_url":"/profile/cowork/contact/","accept_grant_api_url":null,
		"remove_api_url":"/api/users/xia/accessibles/manager/cowork"`
	publishedUser = `{"slug":"xia","username":"xia","created_at":"2018-01-01T00:00:00Z","printable_name":"Xia","full_name":"Xia Lee","nick_name":"Xia","email":"xia@locahost.localdomain"}`
)

// peopleExample is an operation with its published example. Before it, the roles of Xia on
// cowork are those of the state.
type peopleExample struct {
	state, method, path, request string
	status                       int
	response                     string
}

// The states of Xia's role on cowork.
const (
	noRole    = "none"
	manages   = "manager"
	invited   = "invited"
	requested = "requested"
	asIs      = ""
)

var peopleExamples = []peopleExample{
	{asIs, "GET", "/api/accounts?q=xia", "", 200, `{"count":1,"results":[` + publishedAccount + `]}`},
	{asIs, "GET", "/api/accounts/profiles?q=xia", "", 200, `{"count":1,"results":[` + publishedAccount + `]}`},
	{
		asIs, "POST", "/api/accounts/profiles", `{"email": "xia@locahost.localdomain", "full_name": "Xia Lee", "type": "personal"}`, 201,
		`{"slug":"xia","email":"xia@locahost.localdomain","full_name":"Xia Lee","printable_name":"Xia Lee","type":"personal","credentials":true,"default_timezone":"America/Los_Angeles",
			"phone":"","street_address":"","locality":"","region":"","postal_code":"","country":"US","is_bulk_buyer":false,"extra":null}`,
	},
	{asIs, "GET", "/api/accounts/profiles/xia", "", 200, `{"slug":"xia","printable_name":"Xia Lee","picture":null,"type":"organization","credentials":true}`},
	{asIs, "GET", "/api/accounts/users?q=xia", "", 200, `{"count":1,"results":[` + xiaInRole + `]}`},
	{asIs, "GET", "/api/profile?q=185", "", 200, pageIs(publishedProfile + `}`)},
	{
		asIs, "GET", "/api/profile/xia", "", 200,
		publishedProfile + `,"subscriptions":[{"created_at":"2018-01-01T00:00:00Z","ends_at":"2019-01-01T00:00:00Z","plan":{"slug":"open-space","title":"Open Space"},"auto_renew":true}]}`,
	},
	{
		asIs, "PUT", "/api/profile/xia", `{"email": "xia@locahost.localdomain", "full_name": "Xia Lee"}`, 200,
		`{"email":"xia@locahost.localdomain","full_name":"Xia Lee","type":"personal"}`,
	},
	{manages, "GET", "/api/profile/cowork/roles", "", 200, `{"count":1,"next":null,"previous":null,"invited_count":0,"requested_count":0,"results":[
		{"created_at":"2022-01-01T00:00:00Z","role_description":{"title":"Manager","slug":"manager","profile":null},"user":` + xiaInRole + `,"request_key":null,"grant_key":null}]}`},
	{requested, "GET", "/api/profile/cowork/roles", "", 200, `{"count":1,"next":null,"previous":null,"invited_count":0,"requested_count":0,"results":[
		{"created_at":"2022-01-01T00:00:00Z","role_description":{"title":"Manager","slug":"manager","profile":null},"user":` + xiaInRole + `,"request_key":"1","grant_key":null}]}`},
	{
		asIs, "POST", "/api/profile/xia/roles/describe", `{"title": "Support"}`, 201,
		`{"created_at":"2023-01-01T00:00:00Z","title":"Support","slug":"support",` + supportRole,
	},
	{asIs, "GET", "/api/profile/xia/roles/describe?q=support,manager&o=-title", "", 200, `{"count":2,"next":null,"previous":null,"results":[
		{"created_at":"2023-01-01T00:00:00Z","slug":"contributor","title":"Contributor","skip_optin_on_grant":true,"implicit_create_on_none":false,"is_global":false,"profile":` + localProfile + `},
		{"created_at":"2023-01-01T00:00:00Z","slug":"manager","title":"Manager","skip_optin_on_grant":false,"implicit_create_on_none":false,"is_global":true}]}`},
	{asIs, "GET", "/api/profile/xia/roles/describe/manager", "", 200, `{"created_at":"2023-01-01T00:00:00Z","slug":"manager","title":"Profile Manager","skip_optin_on_grant":false,"implicit_create_on_none":false,"is_global":true}`},
	{asIs, "PUT", "/api/profile/xia/roles/describe/support", `{"title": "Associate"}`, 200, `{"created_at":"2023-01-01T00:00:00Z","slug":"support","title":"Associate",` + supportRole},
	{asIs, "DELETE", "/api/profile/xia/roles/describe/support", "", 204, ""},
	{requested, "GET", "/api/profile/cowork/roles/manager", "", 200, noneWait + `{"created_at":"2018-01-01T00:00:00Z","role_description":{"name":"Manager","slug":"manager","profile":null},
		"user":{"slug":"alice","printable_name":"Alice Doe","picture":null},"request_key":"1","grant_key":null}]}`},
	{requested, "POST", "/api/profile/cowork/roles/manager", `{"slug": "xia"}`, 200, grantedRole + `,"grant_key":null}`},
	{manages, "POST", "/api/profile/cowork/roles/manager/xia", "", 200, grantedRole + `,"grant_key":null}`},
	{invited, "DELETE", "/api/profile/cowork/roles/manager/xia", "", 204, ""},
	{asIs, "GET", "/api/users?q=xia", "", 200, pageIs(`{"slug":"xia","username":"xia","printable_name":"Xia"}`)},
	{asIs, "POST", "/api/users", `{"full_name": "Xia Lee", "nick_name": "Xia", "email": "xia@locahost.localdomain"}`, 201, publishedUser},
	{
		asIs, "GET", "/api/users/xia", "", 200,
		`{"slug":"donny","username":"donny","created_at":"2018-01-01T00:00:00Z","printable_name":"Donny","full_name":"Donny Smith","email":"donny.smith@locahost.localdomain"}`,
	},
	{asIs, "PUT", "/api/users/xia", `{"email": "xia@locahost.localdomain", "full_name": "Xia Lee", "nick_name": "Xia"}`, 200, publishedUser},
	{manages, "GET", "/api/users/xia/accessibles", "", 200, accessibleIs},
	{noRole, "POST", "/api/users/xia/accessibles", `{"slug": "cowork"}`, 201, requestedIs + `,"role_description":null}`},
	{invited, "PUT", "/api/users/xia/accessibles/accept/{key}", "", 200, `{"created_at":"2023-01-01T00:00:00Z","role_description":` + globalManager + `,"profile":` + coworkInRole + `}`},
	{manages, "GET", "/api/users/xia/accessibles/manager", "", 200, accessibleIs},
	{
		noRole, "POST", "/api/users/xia/accessibles/manager", `{"slug": "cowork"}`, 201,
		requestedIs + `,"role_description":{"slug":"manager","created_at":"2023-01-01T00:00:00Z","title":"Profile manager","is_global":true,"profile":null}}`,
	},
	{
		manages, "POST", "/api/users/xia/accessibles/manager/cowork", "", 200,
		`{"created_at":"2023-01-01T00:00:00Z","role_description":` + globalManager + `,"profile":` + coworkInRole + `,"request_key":null}`,
	},
	{requested, "DELETE", "/api/users/xia/accessibles/manager/cowork", "", 204, ""},
	{asIs, "POST", "/api/users/xia/profiles", `{"slug": "myproject", "full_name": "My Project"}`, 201, `{"slug":"myproject","full_name":"My Project"}`},
	{asIs, "GET", "/api/users/xia/profiles?q=185", "", 200, pageIs(publishedProfile + `}`)},
	{asIs, "DELETE", "/api/profile/myproject", "", 204, ""},
	{asIs, "DELETE", "/api/users/xia", "", 204, ""},
}

// roleState makes Xia's role on cowork what an example needs, and returns the key of an
// invitation.
func (b *fixture) roleState(state string) (key string) {
	b.Helper()
	if state == asIs {
		return ""
	}
	b.callAs("cowork", http.MethodDelete, "/api/profile/cowork/roles/manager/xia", "")
	if state == requested {
		b.callAs("cowork", http.MethodPost, "/api/users/xia/accessibles/manager", `{"slug":"cowork"}`).want(http.StatusCreated, nil)
		return ""
	}
	if state == noRole {
		return ""
	}
	var made struct {
		GrantKey string `json:"grant_key"`
	}
	b.callAs("cowork", http.MethodPost, "/api/profile/cowork/roles/manager", `{"slug":"xia"}`).want(http.StatusCreated, &made)
	if state == manages {
		b.callAs("cowork", http.MethodPut, "/api/users/xia/accessibles/accept/"+made.GrantKey, "").want(http.StatusOK, nil)
	}
	return made.GrantKey
}

// The published requests are sent as they are, and each field of the published answers comes
// back with its type and the value that was sent.
func TestPublishedPeopleExamples(t *testing.T) {
	b := coworkingSite(t, true)
	w := b.store.As(store.Actor{})
	if _, err := w.UpdateProfile(t.Context(), "cowork", "xia", func(p *store.Profile) error {
		p.StreetAddress = "185 Berry St #550"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateSubscription(t.Context(), "cowork", store.Subscription{Profile: "xia", Plan: "open-space", StartsAt: b.clock, EndsAt: b.clock.AddDate(1, 0, 0)}); err != nil {
		t.Fatal(err)
	}
	for _, e := range peopleExamples {
		t.Run(e.state+" "+e.method+" "+e.path, func(t *testing.T) {
			b.clock = b.clock.Add(time.Second)
			key := b.roleState(e.state)
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
			compare(t, "", want, answer, sent)
		})
	}
	// Two of the 32 operations have an example more, for the role that they are called on.
	if len(peopleExamples) != 34 {
		t.Errorf("there are %d examples", len(peopleExamples))
	}
}
