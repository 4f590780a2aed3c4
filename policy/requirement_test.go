package policy_test

import (
	"strings"
	"testing"

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

func FuzzParseRequirement(f *testing.F) {
	f.Add(`entitled=("a" "b");q=1, teaser=?0`)
	f.Fuzz(func(t *testing.T, text string) {
		if parsed, err := policy.ParseRequirement([]string{text}); (parsed == nil) != (err != nil) {
			t.Errorf("%q: %v, %v", text, parsed, err)
		}
	})
}
