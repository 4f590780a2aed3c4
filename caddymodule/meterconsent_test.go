package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

// consentRules ask for the answer of a consent dialog, which is part of the value of a cookie.
var consentRules = strings.Replace(meterRules, "time_zone", "meter_consent choices statistics:true\n\t\ttime_zone", 1)

// A stranger who has not agreed to cookies, or who refused them, gets no cookie of the meter and
// no page by it, and is not sent to look for one. Who agrees reads on; who takes the word back
// loses the cookie. A reader who is logged in needs no cookie.
func TestMeterCookieNeedsConsent(t *testing.T) {
	s := newTestSite(t, consentRules)
	for _, choices := range []string{"", "choices=", "choices={necessary:true}", "choices=statistics:true; choices=no", "Choices=statistics:true"} {
		for _, headers := range [][]string{{}, navigation} {
			got := s.get("/articles/a1", append([]string{"Cookie", choices}, headers...)...)
			if got.StatusCode != http.StatusUnauthorized || len(got.Cookies()) != 0 {
				t.Errorf("%q: %d sets %v", choices, got.StatusCode, got.Cookies())
			}
		}
	}
	s.origin.WantNone(t)
	const yes = "choices={necessary:true,statistics:true}"
	begun := s.get("/articles/a1", append([]string{"Cookie", yes}, navigation...)...)
	if begun.StatusCode != http.StatusSeeOther || len(begun.Cookies()) != 1 {
		t.Fatalf("%d sets %v", begun.StatusCode, begun.Cookies())
	}
	name, _, _ := strings.Cut(begun.Header.Get("Set-Cookie"), "=")
	kept := name + "=" + begun.Cookies()[0].Value
	page := s.get("/articles/a1", "Cookie", yes+"; "+kept).page()
	kept = name + "=" + page.Cookies()[0].Value
	// What the reader opened before does not count without their word, and goes.
	got := s.get("/articles/a1", append([]string{"Cookie", "choices={necessary:true}; " + kept}, navigation...)...)
	if got.StatusCode != http.StatusUnauthorized || len(got.Cookies()) != 1 || got.Cookies()[0].Name != name || got.Cookies()[0].MaxAge >= 0 {
		t.Errorf("%d sets %v", got.StatusCode, got.Cookies())
	}
	// A cookie that is not the gate's is left alone.
	if got := s.get("/articles/a1", "Cookie", name+"=forged"); len(got.Cookies()) != 0 {
		t.Errorf("a forged one: %v", got.Cookies())
	}
	if got := s.get("/articles/a1", s.bearer("ann")...).page(); len(got.Cookies()) != 0 || len(s.viewsOf("ann")) != 1 {
		t.Errorf("a reader who is logged in gets %v, and has %d views", got.Cookies(), len(s.viewsOf("ann")))
	}
}

func TestMistakesOfMeterConsent(t *testing.T) {
	s := newTestSite(t, standardRules)
	for option, want := range map[string]string{
		"meter_consent": "write `meter_consent", "meter_consent a b c": "write `meter_consent", "meter_consent a;b": "no name of a cookie", "meter_consent __Host-gatefold-meter-x": "one of the site's own",
		"meter_consent {$NO_SUCH_NAME:a=b}": "no name of a cookie", "meter_consent {env.NO_SUCH_NAME}": "is not set, or empty",
	} {
		if err := load(s.config("", option+"\nrule / any", "")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", option, err, want)
		}
	}
}
