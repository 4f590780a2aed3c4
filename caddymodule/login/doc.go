// Package login logs readers in at the gate: it is the relying party of an OpenID provider
// (OpenID Connect Core 1.0), and has the pages below /.gatefold/ by which a reader logs in and
// out. It knows net/http, keys and the store, but not Caddy.
//
// The provider is called by the fetcher of package keys, which bounds time and size and
// follows no redirect, and its tokens are verified by that package, as all tokens are: what a
// library of OpenID Connect would add is the few lines of exchange.go.
//
//	site.go         a site with a login: settings, routes and answers
//	choice.go       several providers of a site, and the page on which a reader chooses one
//	provider.go     the provider's configuration, fetched when it is needed
//	next.go         the page to which a reader returns
//	attempt.go      an attempt to log in: state, and the cookies that bind it to a browser
//	load.go         bounds: an attempt counts once, and calls to the provider at once
//	begin.go        /.gatefold/login
//	callback.go     /.gatefold/callback
//	stepup.go       logins that a page asks to be stronger or more recent
//	exchange.go     requests of tokens, and pushed authorization requests
//	session.go      the session of a login, and its cookie
//	renew.go        renewal of tokens, and what is written of a session's use
//	logout.go       /.gatefold/logout
//	backchannel.go  /.gatefold/backchannel
//	page.go         pages for the reader
package login
