// Package preflight answers CORS preflights (Fetch standard, section 4.8). A preflight
// carries no credentials, so no rule can deny it; what answers it must therefore never
// be a page. The package imports nothing of this module and nothing of Caddy.
//
//	request.go  what makes a request a preflight, and what of it an origin gets
//	writer.go   a response of which only the headers of a preflight's answer pass
//	policy.go   answers without the origin
package preflight
