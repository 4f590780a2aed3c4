package caddymodule

import (
	"net/url"
	"slices"
	"testing"
)

func TestTakeParam(t *testing.T) {
	for _, test := range []struct {
		query, rest string
		values      []string
	}{
		{"", "", nil},
		{"a=1&b=2", "a=1&b=2", nil},
		{"token=x", "", []string{"x"}},
		{"token", "", []string{""}},
		{"a=1&token=x&b=%zz", "a=1&b=%zz", []string{"x"}},
		{"&&token=x&&", "&&&", []string{"x"}},
		{"token=x&token=y", "", []string{"x", "y"}},
		{"%74oken=x", "", []string{"x"}},
		{"to%6Ben=a%2Eb", "", []string{"a.b"}},
		{"token=%zz", "", []string{"%zz"}},
		{"Token=x", "Token=x", nil},
		{"token[]=x", "token[]=x", nil},
		{"xtoken=1&tokens=2", "xtoken=1&tokens=2", nil},
		{"a=token", "a=token", nil},
		{"q=a+b&token=x", "q=a+b", []string{"x"}},
		{"a=1;token=x", "a=1;token=x", nil},
	} {
		rest, values := takeParam(test.query, "token")
		if rest != test.rest || !slices.Equal(values, test.values) {
			t.Errorf("%q gives %q, %q; want %q, %q", test.query, rest, values, test.rest, test.values)
		}
	}
}

// A server that parses the rest as Go does finds no such parameter in it.
func FuzzTakeParam(f *testing.F) {
	for _, seed := range []string{"a=1&token=x", "%74oken=x&b", "token=%zz", "token;a=1", "+token=1", "&=&"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		rest, values := takeParam(query, "token")
		left, _ := url.ParseQuery(rest)
		if left.Has("token") {
			t.Errorf("%q leaves the token in %q", query, rest)
		}
		if values == nil && rest != query {
			t.Errorf("%q was changed to %q", query, rest)
		}
		if all, err := url.ParseQuery(query); err == nil && len(all["token"]) != len(values) {
			t.Errorf("%q holds %q, taken was %q", query, all["token"], values)
		}
	})
}
