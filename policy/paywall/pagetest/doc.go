// Package pagetest has the tests that open the page of package paywall in Chromium: what
// axe-core finds by WCAG 2.2, what the console says, and what is reached by keyboard.
//
//	page_test.go     the templates, on phone and desktop, by day and by night, in several languages
//	section_test.go  the same for the section in a page of an origin that the gate cuts
//	picture_test.go  the pictures of the documents
package pagetest
