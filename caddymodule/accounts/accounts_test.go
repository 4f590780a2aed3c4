package accounts_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/accounts"
	"github.com/gatefold/gatefold/policy"
)

// A change by a credential that a browser adds by itself must say that it is from the site's
// own pages; a read need not, and neither need a change by a credential that the client
// wrote itself.
func TestChangesOfOtherSites(t *testing.T) {
	const own = "https://cowork.example.com"
	for _, test := range []struct {
		name, method    string
		origin, fetched []string
		explicit        bool
		allowed         bool
	}{
		{name: "a read of anyone", method: "GET", origin: []string{"https://evil.example"}, fetched: []string{"cross-site"}, allowed: true},
		{name: "the site's own page", method: "POST", origin: []string{own}, fetched: []string{"same-origin"}, allowed: true},
		{name: "an older browser", method: "PUT", origin: []string{own}, allowed: true},
		{name: "a browser without Origin", method: "DELETE", fetched: []string{"same-origin"}, allowed: true},
		{name: "another site", method: "POST", origin: []string{"https://evil.example"}, fetched: []string{"cross-site"}},
		{name: "another site in an older browser", method: "DELETE", origin: []string{"https://evil.example"}},
		{name: "a sandboxed frame", method: "POST", origin: []string{"null"}},
		{name: "a sibling of the domain", method: "POST", origin: []string{"https://blog.example.com"}, fetched: []string{"same-site"}},
		{name: "another scheme", method: "POST", origin: []string{"http://cowork.example.com"}},
		{name: "another port", method: "POST", origin: []string{own + ":8443"}},
		{name: "a longer host", method: "POST", origin: []string{own + ".evil.example"}},
		{name: "two origins", method: "POST", origin: []string{own, "https://evil.example"}},
		{name: "contradictory headers", method: "POST", origin: []string{own}, fetched: []string{"cross-site"}},
		{name: "an address bar", method: "POST", fetched: []string{"none"}},
		{name: "a program with a cookie", method: "PATCH"},
		{name: "a program with its own credential", method: "PATCH", explicit: true, allowed: true},
		{name: "a page of another site with the reader's token", method: "POST", origin: []string{"https://app.example"}, explicit: true, allowed: true},
		{name: "an unknown method", method: "PURGE"},
	} {
		r := httptest.NewRequest(test.method, "/api/legal/terms-of-use/sign", http.NoBody)
		r.Header["Origin"], r.Header["Sec-Fetch-Site"] = test.origin, test.fetched
		r = accounts.With(r, &accounts.Caller{Vendor: "cowork", Reader: policy.Reader{UserID: "xia"}, Origin: own, Explicit: test.explicit})
		caller, err := accounts.Authorize(r)
		if (err == nil) != test.allowed {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil && (caller.Unlimited || caller.Scopes != nil || caller.Vendor != "cowork" || caller.Name != "reader xia" || caller.Reader == nil || caller.Reader.UserID != "xia") {
			t.Errorf("%s: the caller is %+v", test.name, caller)
		}
	}
}

// Without a gate there is no caller.
func TestNoGateNoCaller(t *testing.T) {
	if caller, err := accounts.Authorize(httptest.NewRequest(http.MethodGet, "/api/legal", http.NoBody)); err == nil {
		t.Errorf("the caller is %+v", caller)
	}
}
