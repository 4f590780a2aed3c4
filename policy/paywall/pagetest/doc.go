// Package pagetest has the tests that open the page of package paywall in Chromium: what
// axe-core finds by WCAG 2.2, what the console says, and what is reached by keyboard, for the
// page itself, for the section in a page that the gate cuts, and for the pictures of the
// documents. Other packages use its fixtures.
//
//	axe.go     axe-core: the script, and the rules
//	arabic.go  texts of a language that is written from the right
package pagetest
