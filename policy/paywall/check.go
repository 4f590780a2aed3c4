package paywall

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/microcosm-cc/bluemonday"
)

// FieldError is a field of a configuration that cannot be used.
type FieldError struct{ Field, Problem string }

// Error implements error.
func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

var (
	idPattern       = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)
	pricePattern    = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$`)
)

// htmlPolicy admits what a description needs: paragraphs, emphasis, lists and links.
var htmlPolicy = sync.OnceValue(func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "b", "strong", "i", "em", "ul", "ol", "li")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("https", "http", "mailto")
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(false)
	return p
})

// Check fills in defaults, sanitises the HTML of descriptions and checks the
// configuration. The error is a *FieldError that names the field as the API has it. A
// configuration that was checked is not changed by another check.
func Check(p *Paywall) error {
	if p.Status == "" {
		p.Status = StatusActive
	}
	if p.Settings.Template == "" {
		p.Settings.Template = TemplateBoxes
	}
	c := &checker{}
	c.require("id", idPattern.MatchString(p.ID), "must be letters, digits, hyphens and underscores, at most 64")
	c.require("status", p.Status == StatusActive || p.Status == StatusCanceled, "must be ACTIVE or CANCELED")
	c.require("settings.template", slices.Contains([]string{TemplateBoxes, TemplateArticle, TemplateLogin}, p.Settings.Template), "must be BOXES, ARTICLE or LOGIN")
	c.require("currency", p.Currency == "" || currencyPattern.MatchString(p.Currency), "must be three capital letters (ISO 4217)")
	c.text("name", p.Name, MaxName)
	c.text("headline", p.Headline, MaxHeadline)
	c.address("logoUrl", p.LogoURL)
	c.colour("mainColor", p.MainColor)
	c.features("features", p.Features)
	if styling := p.Settings.Styling; styling != nil {
		c.colour("settings.styling.backgroundColor", styling.BackgroundColor)
	}
	c.subscriptions(p)
	if single := p.SinglePurchase; single != nil {
		c.text("singlePurchase.title", single.Title, MaxTitle)
		single.Description = c.html("singlePurchase.description", single.Description)
		c.text("singlePurchase.discountCode", single.DiscountCode, MaxText)
	}
	c.require("footerPaymentMethods", len(p.PaymentMethods) <= MaxMethods, fmt.Sprintf("are more than %d", MaxMethods))
	for i, method := range p.PaymentMethods {
		c.require(fmt.Sprintf("footerPaymentMethods[%d]", i), slices.Contains(Methods, method), "must be one of "+strings.Join(Methods, ", "))
	}
	return c.err()
}

// checker keeps the first problem.
type checker struct{ found *FieldError }

func (c *checker) err() error {
	if c.found == nil {
		return nil
	}
	return c.found
}

func (c *checker) require(field string, ok bool, problem string) {
	if !ok && c.found == nil {
		c.found = &FieldError{field, problem}
	}
}

// text checks a text of one line.
func (c *checker) text(field, text string, size int) {
	c.require(field, len(text) <= size, fmt.Sprintf("is longer than %d bytes", size))
	c.require(field, utf8.ValidString(text) && !strings.ContainsFunc(text, isControl), "holds a control character or invalid UTF-8")
}

// isControl reports whether a character changes how others are shown: controls, and the
// marks that override the direction of a text.
func isControl(c rune) bool {
	return c < 0x20 || 0x7f <= c && c < 0xa0 || c == utf8.RuneError || 0x202a <= c && c <= 0x202e || 0x2066 <= c && c <= 0x2069
}

// html sanitises a text with markup.
func (c *checker) html(field, text string) string {
	c.require(field, len(text) <= maxMarkup, fmt.Sprintf("is longer than %d bytes", maxMarkup))
	text = strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(text)
	c.require(field, utf8.ValidString(text) && !strings.ContainsFunc(text, isControl), "holds a control character or invalid UTF-8")
	if c.found != nil {
		return text
	}
	clean := Sanitise(text)
	c.require(field, len(clean) <= MaxDescription, fmt.Sprintf("is longer than %d bytes once its markup is cleaned", MaxDescription))
	return clean
}

// Sanitise returns the allowed markup of a description: p, br, b, strong, i, em, ul, ol, li,
// and a with an absolute http, https or mailto URL.
func Sanitise(text string) string {
	if text == "" {
		return ""
	}
	return strings.TrimSpace(htmlPolicy().Sanitize(text))
}

// address checks an absolute URL.
func (c *checker) address(field, text string) {
	c.text(field, text, MaxURL)
	if text == "" || c.found != nil {
		return
	}
	parsed, err := url.Parse(text)
	c.require(field, err == nil && parsed.Host != "" && parsed.User == nil && (parsed.Scheme == "https" || parsed.Scheme == "http"), "must be an absolute http or https URL")
}

func (c *checker) colour(field, text string) {
	if text == "" {
		return
	}
	_, ok := parseColour(text)
	c.require(field, ok, "must be a colour such as #3377fe or #fff")
}

func (c *checker) features(field string, features []string) {
	c.require(field, len(features) <= MaxFeatures, fmt.Sprintf("are more than %d", MaxFeatures))
	for i, feature := range features {
		name := fmt.Sprintf("%s[%d]", field, i)
		c.require(name, strings.TrimSpace(feature) != "", "is empty")
		c.text(name, feature, MaxFeature)
	}
}

func (c *checker) subscriptions(p *Paywall) {
	c.require("subscriptions", len(p.Subscriptions) <= MaxSubscriptions, fmt.Sprintf("are more than %d", MaxSubscriptions))
	selected, ids := false, map[string]bool{}
	for i := range p.Subscriptions {
		s, at := &p.Subscriptions[i], fmt.Sprintf("subscriptions[%d].", i)
		c.require(at+"id", idPattern.MatchString(s.ID), "must be letters, digits, hyphens and underscores, at most 64")
		c.require(at+"id", !ids[s.ID], "is that of another subscription: give each its own")
		c.require(at+"sku", s.SKU != "", "is required")
		c.require(at+"title", strings.TrimSpace(s.Title) != "", "is required")
		c.require(at+"selected", !s.Selected || !selected, "is true for another subscription: only one can be selected")
		ids[s.ID], selected = true, selected || s.Selected
		c.text(at+"sku", s.SKU, 255)
		c.text(at+"poId", s.POID, 255)
		c.text(at+"title", s.Title, MaxTitle)
		c.text(at+"periodText", s.PeriodText, MaxText)
		c.text(at+"tag", s.Tag, MaxText)
		c.text(at+"discountCode", s.DiscountCode, MaxText)
		c.text(at+"buttonText", s.ButtonText, MaxText)
		c.text(at+"readMoreText", s.ReadMoreText, MaxText)
		c.address(at+"readMoreLink", s.ReadMoreLink)
		c.address(at+"url", s.URL)
		c.features(at+"features", s.Features)
		s.Description = c.html(at+"description", s.Description)
		const problem = "must be an amount such as 99 or 9.90: not negative, at most 15 digits and 4 decimals"
		c.require(at+"price", s.Price == "" || pricePattern.MatchString(s.Price), problem)
		c.require(at+"discountPrice", s.DiscountPrice == "" || pricePattern.MatchString(s.DiscountPrice), problem)
		c.require(at+"discountPrice", s.DiscountPrice == "" || s.Price != "", "needs the price that it reduces")
	}
}
