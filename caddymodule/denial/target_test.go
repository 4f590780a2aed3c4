package denial

import (
	"net/url"
	"strings"
	"testing"
)

// The pages to which a denial leads have the values of the denial, each of which stays one
// segment or one value, whatever it contains: no value leads to another host or page.
func TestTargets(t *testing.T) {
	all := []string{"profile", "plan", "agreement", "user", "next"}
	page := "https://news.example/a?b=c&d"
	next := "next=" + url.QueryEscape(page)
	for _, test := range []struct{ target, profile, plan, want string }{
		{"/login", "", "", "/login?" + next},
		{"https://id.example/login?client=news", "", "", "https://id.example/login?client=news&" + next},
		{"https://id.example", "", "", "https://id.example?" + next},
		{"https://id.example/", "", "", "https://id.example/?" + next},
		{"/#/login", "", "", "/?" + next + "#/login"},
		{"/login/?back={next}", "", "", "/login/?back=" + url.QueryEscape(page)},
		{"/billing/{profile}/cart/", "abc", "", "/billing/abc/cart/?" + next},
		{"/billing/{profile}/cart/", "", "", "/billing/cart/?" + next},
		{"/billing/{profile}/balance/{plan}/", "abc", "premium", "/billing/abc/balance/premium/?" + next},
		{"/{profile}/{plan}", "", "", "/?" + next},
		{"/{profile}/{plan}", "", "p", "/p?" + next},
		{"/cart?plan={plan}&profile={profile}&x=1", "", "a b&c=d", "/cart?plan=a+b%26c%3Dd&x=1&" + next},
		{"/{profile}/cart", "/evil.example", "", "/%2Fevil.example/cart?" + next},
		{"/{profile}/cart", `\\evil.example`, "", "/%5C%5Cevil.example/cart?" + next},
		{"/{profile}/cart", "..", "", "/cart?" + next},
		{"/{profile}/cart", ".", "", "/cart?" + next},
		{"/{profile}/cart", "a?b#c%2F\r\n", "", "/a%3Fb%23c%252F%0D%0A/cart?" + next},
		{"/{profile}/cart", "é{plan}", "p", "/%C3%A9%7Bplan%7D/cart?" + next},
		{"https://pay.example/{profile}", "@evil.example", "", "https://pay.example/@evil.example?" + next},
		{"/caf%C3%A9/a%2Fb/{plan}", "", "p", "/caf%C3%A9/a%2Fb/p?" + next},
	} {
		target, err := ParseTarget(test.target, all...)
		if err != nil {
			t.Errorf("%s: %v", test.target, err)
			continue
		}
		got := target.URL(Values{"profile": test.profile, "plan": test.plan, "next": page})
		if got != test.want {
			t.Errorf("%s with %q and %q gives\n%s, want\n%s", test.target, test.profile, test.plan, got, test.want)
		}
	}
}

// What can only be a mistake in the URL of a page is refused, with the remedy.
func TestMistakesOfTargets(t *testing.T) {
	for text, want := range map[string]string{
		"login":                     "must be an http or https URL, or a path",
		"ftp://id.example/login":    "must be an http or https URL, or a path",
		"//id.example/login":        "must be an http or https URL, or a path",
		"javascript:alert(1)":       "must be an http or https URL, or a path",
		"/{porfile}/cart":           `"{porfile}" has no value for this page; known are {profile}, {next}`,
		"/{plan}/cart":              "has no value for this page",
		"/p-{profile}/cart":         "must be a whole segment",
		"/{profile}{next}":          "must be a whole segment",
		"/{profile":                 "must be a whole segment",
		"/cart?p=x{profile}":        "a whole value",
		"/cart?{profile}=1":         "cannot be the name of a parameter",
		"/cart#{profile}":           "in the fragment",
		"/{profile}//cart":          "empty segment",
		"///id.example/login":       "empty segment",
		"https://{profile}.example": "invalid character",
		"/%zz":                      "invalid URL escape",
	} {
		if target, err := ParseTarget(text, "profile", "next"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, %v; want %q", text, target, err, want)
		}
	}
}
