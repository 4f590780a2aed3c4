// Package denial has the answers to denied requests: the problem for programs, the page
// for browsers, the site's own page, and the request that is made in the denied one's
// place when a handler of the site answers. It imports nothing of this module and
// nothing of Caddy.
//
//	problem.go  RFC 9457 problems, and Accept
//	page.go     the page of a denial: the built-in one and the site's own file
//	target.go   the pages to which a denial leads
//	request.go  the request in the denied one's place, and the denied URL
//	writer.go   a response that gets the status of the denial
package denial
