// Package paywall has the configuration of a paywall, its checks, and the page that a
// refused reader gets. It imports nothing of this module: policy/store keeps the
// configurations, admin changes and previews them, and the gate serves the page.
//
//	record.go     Paywall: the configuration, with its bounds
//	check.go      checking a configuration, and sanitising its HTML
//	colour.go     colours, and the contrast of WCAG 2.2
//	theme.go      the colours of a page, by day and by night
//	money.go      prices as text
//	texts.go      the texts of the page, by language
//	page.go       Page: a compiled page, and rendering it
//	section.go    the same as an element of a page of the origin
//	offers.go     the offers of a page, with their URLs
//	texts/        the built-in texts, one file a language
//	page.html     the template
//	page.css      its style
//	section.html  the template of the section
//	section.css   its style
package paywall
