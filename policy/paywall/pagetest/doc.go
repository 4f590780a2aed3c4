// Package pagetest has the tests that open the page of package paywall in Chromium: what
// axe-core finds by WCAG 2.2, what the console says, and what is reached by keyboard. Other
// packages use its fixtures.
//
//	axe.go           axe-core: the script, and the rules
//	arabic.go        texts of a language that is written from the right
//	page_test.go     the templates, on phone and desktop, by day and by night, in several languages
//	section_test.go  the same for the section in a page of an origin that the gate cuts
//	picture_test.go  the pictures of the documents
package pagetest
