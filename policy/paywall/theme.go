package paywall

import "strings"

// scheme are the colours of the page, by day or by night. Ground is behind all, card behind
// the offers. Buttons have the publisher's own colour, and an edge that is seen.
type scheme struct{ ground, card, button, on, edge, accent, ink, soft colour }

// newScheme returns the colours for a main colour. Where one cannot be read, it is moved
// towards black or white until it can. Card and ground must be both light or both dark.
func newScheme(main, card, ground colour) scheme {
	ink := textOn(ground)
	return scheme{
		ground: ground, card: card, button: main, on: textOn(main), edge: readable(main, controlContrast, card, ground), accent: readable(main, textContrast, card, ground),
		ink: readable(ink.mix(ground, 0.06), textContrast, card, ground), soft: readable(ink.mix(ground, 0.3), textContrast, card, ground),
	}
}

// named returns the custom properties of CSS with their values.
func (s *scheme) named() [][2]string {
	return [][2]string{
		{"--ground", s.ground.String()},
		{"--card", s.card.String()},
		{"--button", s.button.String()},
		{"--on", s.on.String()},
		{"--edge", s.edge.String()},
		{"--accent", s.accent.String()},
		{"--ink", s.ink.String()},
		{"--soft", s.soft.String()},
	}
}

func (s *scheme) properties() string {
	named := s.named()
	all := make([]string, len(named))
	for i, property := range named {
		all[i] = property[0] + ":" + property[1]
	}
	return strings.Join(all, ";")
}

// midLuminance is that above which black is read better than white.
const midLuminance = 0.179

// schemes returns the colours of a configuration by day and by night.
func schemes(wall *Paywall) [2]scheme {
	main, _ := parseColour("#1a4d8f")
	card, ground := white, colour{246, 245, 242}
	darkCard, night := colour{24, 25, 28}, colour{15, 16, 18}
	if wall != nil {
		if own, ok := parseColour(wall.MainColor); ok {
			main = own
		}
		if styling := wall.Settings.Styling; styling != nil && styling.ShowBackground {
			switch own, ok := parseColour(styling.BackgroundColor); {
			case ok && own.luminance() > midLuminance:
				ground = own
			case ok: // a dark ground has dark cards, by day as well
				ground, card, night, darkCard = own, own.mix(black, 0.35).rounded(), own, own.mix(black, 0.35).rounded()
			}
		}
	}
	return [2]scheme{newScheme(main, card, ground), newScheme(main, darkCard, night)}
}

// theme returns the custom properties of CSS by which the style has the colours of a
// configuration.
func theme(wall *Paywall) string {
	shadow := ""
	if wall != nil && wall.Settings.Styling != nil && wall.Settings.Styling.DropShadow {
		shadow = ";--shadow:0 .5rem 2rem #0003"
	}
	both := schemes(wall)
	return strings.Join([]string{
		":root{color-scheme:light dark;", both[0].properties(), shadow, "}@media(prefers-color-scheme:dark){:root{", both[1].properties(), shadow, "}}\n",
	}, "")
}
