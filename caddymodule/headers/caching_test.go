package headers

import (
	"net/http"
	"reflect"
	"testing"
	"time"
)

func TestPrivateCacheControl(t *testing.T) {
	for value, want := range map[string]string{
		"":                               "private",
		"public":                         "private",
		"no-store":                       "private, no-store",
		"PUBLIC , s-maxage = 5":          "private",
		`private="Set-Cookie", no-store`: "private, no-store",
		"max-age=1,,max-age=2":           "private, max-age=1, max-age=2",
	} {
		if got := privateCacheControl([]string{value}); got != want {
			t.Errorf("%q becomes %q, want %q", value, got, want)
		}
	}
}

// Words of shared caches go in any spelling; an Expires goes if it is in the future, and
// its time remains for the browser's own cache.
func TestPrivateHeaders(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	soon, past := now.Add(90*time.Second).Format(http.TimeFormat), now.Add(-time.Hour).Format(http.TimeFormat)
	for name, test := range map[string]struct{ received, want http.Header }{
		"nothing":         {http.Header{}, http.Header{"Cache-Control": {"private"}}},
		"nginx":           {http.Header{"X-Accel-Expires": {"300"}, "X-Accel-Buffering": {"no"}}, http.Header{"X-Accel-Buffering": {"no"}, "Cache-Control": {"private"}}},
		"raw names":       {http.Header{"x-accel-expires": {"@9"}, "surrogate-KEY": {"a"}, "EDGE-CONTROL": {"x"}, "": {"x"}}, http.Header{"": {"x"}, "Cache-Control": {"private"}}},
		"targeted":        {http.Header{"Cdn-Cache-Control": {"x"}, "Netlify-Cdn-Cache-Control": {"x"}, "X-Cache-Control": {"x"}, "X-Litespeed-Tag": {"x"}}, http.Header{"Cache-Control": {"private"}}},
		"Expires":         {http.Header{"Expires": {soon}}, http.Header{"Cache-Control": {"private, max-age=90"}}},
		"two of them":     {http.Header{"Expires": {"0", soon}}, http.Header{"Cache-Control": {"private, max-age=90"}}},
		"with a max-age":  {http.Header{"Expires": {soon}, "Cache-Control": {"max-age=5"}}, http.Header{"Cache-Control": {"private, max-age=5"}}},
		"expired":         {http.Header{"Expires": {past}}, http.Header{"Expires": {past}, "Cache-Control": {"private"}}},
		"expired at once": {http.Header{"Expires": {"-1"}}, http.Header{"Expires": {"-1"}, "Cache-Control": {"private"}}},
		"Pragma":          {http.Header{"Pragma": {"public"}}, http.Header{"Cache-Control": {"private"}}},
		"narrowing":       {http.Header{"Pragma": {"No-Cache"}}, http.Header{"Pragma": {"No-Cache"}, "Cache-Control": {"private"}}},
		"no-store":        {http.Header{"Cache-Control": {"public", "no-store"}}, http.Header{"Cache-Control": {"private, no-store"}}},
		"private, public": {http.Header{"Cache-Control": {"private, public"}}, http.Header{"Cache-Control": {"private"}}},
	} {
		for range 2 { // once more changes nothing
			new(Private).Set(test.received, func() time.Time { return now })
			if test.want["Vary"] = []string{"Cookie, Authorization"}; !reflect.DeepEqual(test.received, test.want) {
				t.Errorf("%s: %v, want %v", name, test.received, test.want)
			}
		}
	}
}

// The second word on a response allocates nothing.
func TestPrivateAllocates(t *testing.T) {
	header, second := http.Header{"Vary": {"Accept"}, "Cache-Control": {"max-age=5, public"}}, new(Private)
	new(Private).Set(header, time.Now)
	if n := testing.AllocsPerRun(100, func() { second.Set(header, time.Now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNoStore(t *testing.T) {
	header := http.Header{"Expires": {"0"}, "Pragma": {"no-cache"}, "Surrogate-Control": {"x"}, "Cache-Control": {"public"}, "Etag": {"x"}}
	NoStore(header)
	if want := (http.Header{"Cache-Control": {"no-store"}, "Etag": {"x"}}); !reflect.DeepEqual(header, want) {
		t.Errorf("%v, want %v", header, want)
	}
}
