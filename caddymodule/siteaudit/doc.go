// Package siteaudit finds the ways through an adapted Caddy configuration that reach
// content, and the gates that each way passes. It reads the configuration as JSON and
// runs nothing; Live gives a provisioned http app as the same JSON.
//
// The audit follows the routes as a request would, without choosing a request: a way is
// what the matchers on it say. A gate counts as passed only if every request on the way
// must have passed it: each matcher before the gate is implied by those before the
// content, and nothing in between could have changed what they match. What cannot be
// known counts as not passed.
//
//	report.go     the report: sites, ways, gates
//	walk.go       the walk through routes
//	handlers.go   what each handler does with a request
//	condition.go  matchers: what implies what, and their texts
//	findings.go   mistakes that a report shows, with their remedies
//	text.go       the report as text
//	live.go       the routes of a provisioned http app
package siteaudit
