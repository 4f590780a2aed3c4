package headers

import (
	"testing"
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
