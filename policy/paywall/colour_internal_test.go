package paywall

import (
	"testing"

	"golang.org/x/text/language"
	"pgregory.net/rapid"
)

// Whatever colour a publisher configures, texts have a contrast of 4.5 and the edges of buttons one of 3
// (WCAG 2.2, 1.4.3 and 1.4.11), on cards and on the ground, by day and by night.
func TestContrastProperty(t *testing.T) {
	drawn := func(t *rapid.T, name string) colour {
		v := rapid.Uint32Range(0, 0xffffff).Draw(t, name)
		return colour{float64(v >> 16), float64(v >> 8 & 255), float64(v & 255)}
	}
	rapid.Check(t, func(t *rapid.T) {
		wall := &Paywall{MainColor: drawn(t, "main").String()}
		wall.Settings.Styling = &Styling{BackgroundColor: drawn(t, "ground").String(), ShowBackground: rapid.Bool().Draw(t, "shown")}
		for _, scheme := range schemes(wall) {
			for _, background := range []colour{scheme.card, scheme.ground} {
				for name, c := range map[string]colour{"ink": scheme.ink, "soft": scheme.soft, "accent": scheme.accent} {
					if got := contrast(c, background); got < 4.5 {
						t.Fatalf("%s %s on %s has %.2f", name, c, background, got)
					}
				}
				if got := contrast(scheme.edge, background); got < 3 {
					t.Fatalf("the edge of buttons %s on %s has %.2f", scheme.edge, background, got)
				}
			}
			if got := contrast(scheme.on, scheme.button); got < 4.5 {
				t.Fatalf("the text %s on the button %s has %.2f", scheme.on, scheme.button, got)
			}
		}
	})
}

// A colour that can be read stays as it is.
func TestGoodColourIsKept(t *testing.T) {
	wall := &Paywall{MainColor: "#0b5394"}
	if light := schemes(wall)[0]; light.button.String() != "#0b5394" || light.accent.String() != "#0b5394" || light.edge != light.button || light.on != white {
		t.Errorf("the scheme is %+v", light)
	}
}

func TestMoney(t *testing.T) {
	for _, test := range []struct{ amount, currency, tag, want string }{
		{"99", "SEK", "sv", "99\u00a0kr"},
		{"9.9", "EUR", "de", "9,90\u00a0€"},
		{"9.90", "EUR", "en", "€9.90"},
		{"99.00", "DKK", "da", "99\u00a0kr"},
		{"12345.5", "USD", "en", "$12,345.50"},
		{"12345", "NOK", "nb", "12\u00a0345\u00a0kr"},
		{"1234567", "EUR", "es", "1.234.567\u00a0€"},
		{"999999999999999.9999", "CHF", "fr", "999\u00a0999\u00a0999\u00a0999\u00a0999,9999\u00a0CHF"},
		{"0", "SEK", "en", "0\u00a0kr"},
		{"99", "", "en", ""},
		{"", "SEK", "en", ""},
	} {
		if got := money(test.amount, test.currency, language.MustParse(test.tag)); got != test.want {
			t.Errorf("%s %s in %s is %q, want %q", test.amount, test.currency, test.tag, got, test.want)
		}
	}
}
