package paywall

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// colour is one of sRGB, with components from 0 to 255.
type colour [3]float64

var (
	black = colour{0, 0, 0}
	white = colour{255, 255, 255}
)

// The contrasts of WCAG 2.2, success criteria 1.4.3 and 1.4.11. The page keeps a little
// more, for rounding.
const (
	textContrast    = 4.55
	controlContrast = 3.05
)

// parseColour parses #rgb and #rrggbb.
func parseColour(text string) (c colour, ok bool) {
	digits, found := strings.CutPrefix(text, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	if !found || len(digits) != 6 {
		return c, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return c, false
	}
	return colour{float64(n >> 16), float64(n >> 8 & 255), float64(n & 255)}, true
}

// String returns a colour as CSS has it.
func (c colour) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c[0])), int(math.Round(c[1])), int(math.Round(c[2])))
}

// luminance is the relative luminance (WCAG 2.2, definitions).
func (c colour) luminance() float64 {
	linear := func(v float64) float64 {
		if v /= 255; v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// contrast is the contrast ratio of two colours, from 1 to 21.
func contrast(a, b colour) float64 {
	la, lb := a.luminance(), b.luminance()
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// mix returns a colour that has a part of another one.
func (c colour) mix(other colour, part float64) colour {
	for i := range c {
		c[i] += (other[i] - c[i]) * part
	}
	return c
}

// rounded returns the colour as CSS writes it.
func (c colour) rounded() colour {
	for i := range c {
		c[i] = math.Round(c[i])
	}
	return c
}

// textOn returns black or white, whichever can be read better on a colour. One of them
// always has a contrast of at least 4.58.
func textOn(c colour) colour {
	if contrast(c, white) >= contrast(c, black) {
		return white
	}
	return black
}

// against returns the colour, moved towards black or white as little as it needs to have a
// contrast with a background.
func (c colour) against(background colour, least float64) colour {
	towards := textOn(background)
	for part := 0.0; part <= 1; part += 0.02 {
		if moved := c.mix(towards, part).rounded(); contrast(moved, background) >= least {
			return moved
		}
	}
	return towards
}

// readable returns the colour, moved as against does, with a contrast to both backgrounds.
// They must be of one scheme, both light or both dark.
func readable(c colour, least float64, card, ground colour) colour {
	first, second := card, ground
	if contrast(c, ground) < contrast(c, card) {
		first, second = ground, card
	}
	moved := c.against(first, least)
	if contrast(moved, second) >= least {
		return moved
	}
	return moved.against(second, least)
}
