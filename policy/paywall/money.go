package paywall

import (
	"strings"

	"golang.org/x/text/language"
)

// symbols are the signs of currencies whose code readers do not know them by.
var symbols = map[string]string{"EUR": "€", "USD": "$", "GBP": "£", "SEK": "kr", "NOK": "kr", "DKK": "kr", "ISK": "kr", "PLN": "zł", "CZK": "Kč", "JPY": "¥", "INR": "₹"}

// nbsp keeps an amount and its sign on one line.
const nbsp = "\u00a0"

// money returns an amount of decimal text as a language writes it. The digits are those of
// the configuration: it is never read as a number.
func money(amount, currency string, tag language.Tag) string {
	if amount == "" || currency == "" {
		return ""
	}
	whole, fraction, _ := strings.Cut(amount, ".")
	if strings.Trim(fraction, "0") == "" {
		fraction = ""
	} else if len(fraction) == 1 {
		fraction += "0"
	}
	base, _ := tag.Base()
	english := base.String() == "en"
	separator, group := ",", nbsp
	if english {
		separator, group = ".", ","
	} else if b := base.String(); b == "de" || b == "da" || b == "es" {
		group = "."
	}
	text := grouped(whole, group)
	if fraction != "" {
		text += separator + fraction
	}
	sign := symbols[currency]
	switch {
	case sign == "":
		return text + nbsp + currency
	case english && sign != "kr" && sign != "zł" && sign != "Kč":
		return sign + text
	default:
		return text + nbsp + sign
	}
}

// grouped puts a separator before each three digits of a number of at least five.
func grouped(digits, separator string) string {
	if len(digits) < 5 {
		return digits
	}
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString(separator)
		}
		b.WriteRune(digit)
	}
	return b.String()
}
