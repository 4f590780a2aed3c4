// Package ruleconfig has the rules of a configuration: their settings, their form in a Caddyfile,
// and what is probably not meant in them.
//
//	rule.go       configured rules, and their compilation
//	caddyfile.go  rule, in the site directive
package ruleconfig
