package caddymodule

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// cutLink is what a mail program left of a link token.
const cutLink = "eyJhbGciOiJFUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJnYXRlZm9sZC1saW5rK2p3dCJ9.eyJpc3Mi"

func TestTakeParam(t *testing.T) {
	const token = cutLink
	folded := token[:30] + "%0D%0A+" + token[30:]
	for _, test := range []struct {
		query, rest string
		values      []string
	}{
		{"", "", nil},
		{"a=1&b=2", "a=1&b=2", nil},
		{"token=T", "", []string{token}},
		{"a=1&token=T&b=%zz", "a=1&b=%zz", []string{token}},
		{"&&token=T&&", "&&&", []string{token}},
		{"token=T&token=Ty", "", []string{token, token + "y"}},
		{"%74oken=T", "", []string{token}},
		{"token=T%zz", "", []string{token + "%zz"}},
		{"a=token", "a=token", nil},
		{"q=a+b&token=T", "q=a+b", []string{token}},
		{"a=1;token=" + token, "a=1;token=" + token, nil},
		// The origin's own parameter.
		{"token", "token", nil},
		{"token=x&token=y", "token=x&token=y", nil},
		{"token=x&token=T", "token=x", []string{token}},
		{"token=%zz", "token=%zz", nil},
		{"token=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AA", "token=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AA", nil},
		{"token=+a.", "token=+a.", nil},
		{"amp;b=1&token=T", "amp;b=1", []string{token}},
		{"token[]=" + token, "token[]=" + token, nil},
		{"xtoken=" + token + "&tokens=" + token, "xtoken=" + token + "&tokens=" + token, nil},
		// What mail programs do.
		{"token=T&token=T", "", []string{token}},
		{"token=T.&token=T", "", []string{token}},
		{"token=T.", "", []string{token}},
		{"token=T,", "", []string{token}},
		{"token=T)", "", []string{token}},
		{"token=T%3E", "", []string{token}},
		{"token=T%22", "", []string{token}},
		{"token=T'", "", []string{token}},
		{"token=T%E2%80%9D.", "", []string{token}},
		{"token=T+", "", []string{token}},
		{"token=T%20%0D%0A", "", []string{token}},
		{"token=%3CT%3E)", "", []string{token}},
		{"token=" + folded, "", []string{token}},
		{"token=" + token[:9] + "=%0D%0A" + token[9:], "", []string{token}},
		{"token=" + token[:9] + "%E2%80%8B" + token[9:], "", []string{token}},
		{"a=1&amp;token=T", "a=1", []string{token}},
		{"a=1&amp;b=2&amp;token=T", "a=1&b=2", []string{token}},
		{"a=1&amp%3Btoken=T", "a=1", []string{token}},
		{"amp;amp;token=T", "", []string{token}},
		{"token=3DT", "", []string{token}},
		{"token=%3DT", "", []string{token}},
		{"token%3DT", "", []string{token}},
		{"a=1&amp;token%3DT.", "a=1", []string{token}},
	} {
		query := replaceToken(test.query)
		rest, values := takeParam(query, "token", keys.ResemblesLink)
		if rest != test.rest || !slices.Equal(values, test.values) {
			t.Errorf("%q gives %q, %q; want %q, %q", query, rest, values, test.rest, test.values)
		}
	}
}

// replaceToken writes cutLink for the letter T of a query.
func replaceToken(query string) string {
	if strings.Contains(query, "eyJ") {
		return query
	}
	return strings.ReplaceAll(query, "T", cutLink)
}

// A value that is longer than any mailed token is not repaired, but verified as it is.
func TestLongTokenIsNotRepaired(t *testing.T) {
	long := cutLink + strings.Repeat(".", maxMailedToken)
	if _, values := takeParam("token="+long, "token", keys.ResemblesLink); len(values) != 1 || values[0] != long {
		t.Errorf("%d values", len(values))
	}
}

// No server that parses the rest as Go does finds a token in it, and neither does the gate.
func FuzzTakeParam(f *testing.F) {
	for _, seed := range []string{
		"a=1&token=T", "%74oken=T&b", "token=%zz", "token;a=1", "+token=T", "&=&", "token=x&token=T", "a&amp;token=T.", "token%3DT", "token=3DT%0D%0A",
		"amp;amp;amp;token=T&amp;x", "token=T&token=T)", "amp%3Btoken%3D%22T", "token%3Dtoken%3DT", "amp;amp%3Btoken=T",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		query = strings.ReplaceAll(query, "T", cutLink)
		rest, values := takeParam(query, "token", keys.ResemblesLink)
		left, _ := url.ParseQuery(rest)
		for _, value := range left["token"] {
			if keys.ResemblesLink(value) {
				t.Errorf("%q leaves the token in %q", query, rest)
			}
		}
		if again, others := takeParam(rest, "token", keys.ResemblesLink); others != nil || again != rest {
			t.Errorf("%q leaves %q, in which %q is found", query, rest, others)
		}
		if values == nil && rest != query {
			t.Errorf("%q was changed to %q", query, rest)
		}
		for _, value := range values {
			if !keys.ResemblesLink(value) {
				t.Errorf("%q of %q is not ours", value, query)
			}
		}
	})
}
