package policy_test

import (
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/gatefold/gatefold/policy"
)

// A requirement is read as RFC 9651 says, and what is not known is refused: it may restrict.
func TestParseRequirement(t *testing.T) {
	for text, readable := range map[string]bool{
		"any": true, " any ": true, "authenticated": true, `entitled=("a")`: true, `entitled=("a" "b"), teaser`: true, `teaser=?0, entitled=("a")`: true,
		`subscribed=("digital")`: true, `subscribed=("digital"), profile="acme"`: true,
		"": false, "any, any=?0": false, "any=?0": false, "any;x": false, "Any": false, "any x": false, "any,": false, "teaser": false, `"any"`: false,
		"entitled": false, "entitled=()": false, `entitled="a"`: false, `entitled=("a");x`: false, `entitled=("a";x)`: false, `entitled=(a)`: false,
		`entitled=("")`: false, `entitled=("{id}")`: false, `entitled=("a"), any`: false, `any, profile="x"`: false, `entitled=("a"), profile="x"`: false,
		`entitled=("` + strings.Repeat("a", 1100) + `")`: false,
	} {
		for range 2 { // parsed, and from memory
			parsed, err := policy.ParseRequirement([]string{text})
			if (err == nil) != readable || (parsed != nil) != readable {
				t.Errorf("%.60q: %v, want readable %v", text, err, readable)
			}
			if parsed != nil && (parsed.Text != text || parsed.Teases() == strings.Contains(text, "teaser=?0")) {
				t.Errorf("%q is %+v", text, parsed)
			}
		}
	}
	if _, err := policy.ParseRequirement(nil); err == nil {
		t.Error("no header is readable")
	}
	if _, err := policy.ParseRequirement([]string{"any", "authenticated"}); err == nil {
		t.Error("two headers that differ are readable")
	}
}

// Whatever an origin sends, a requirement is a short dictionary with one of the steps and no member
// that is not known, is the same when it is read again, and is not read with another one beside it.
func FuzzParseRequirement(f *testing.F) {
	for _, seed := range []string{
		`entitled=("a" "b");q=1, teaser=?0`, `subscribed=("digital"), profile="acme"`, "any, any=?0", "authenticated", "teaser, any", `entitled=("\"\\")`, "any;a", "any, authenticated", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := policy.ParseRequirement([]string{text})
		if (parsed == nil) != (err != nil) {
			t.Fatalf("%q: %v, %v", text, parsed, err)
		}
		if err != nil {
			return
		}
		said, err := httpsfv.UnmarshalDictionary([]string{text})
		if err != nil || len(text) > 1024 || parsed.Text != text {
			t.Fatalf("%q is read as %+v: %v", text, parsed, err)
		}
		steps := 0
		for _, name := range said.Names() {
			switch name {
			case "any", "authenticated", "entitled", "subscribed":
				steps++
			case "profile", "teaser":
			default:
				t.Errorf("%q: %s is not known", text, name)
			}
		}
		if steps != 1 {
			t.Errorf("%q has %d steps", text, steps)
		}
		again, err := policy.ParseRequirement([]string{text, text})
		if err != nil || again.Text != parsed.Text || again.Teases() != parsed.Teases() {
			t.Errorf("%q is read again as %+v: %v", text, again, err)
		}
		if _, err := policy.ParseRequirement([]string{text, text + ", teaser"}); err == nil {
			t.Errorf("%q is read with another one", text)
		}
	})
}
