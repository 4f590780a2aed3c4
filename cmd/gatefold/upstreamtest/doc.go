// Package upstreamtest puts the gatefold binary before real origins, and compares
// what an origin serves with what the gate judged, for some thousand spellings of
// protected pages. It has tests only.
//
//	process_test.go       processes: the binary, the origins, and where they are found
//	origins_test.go       the list of origins
//	originserver_test.go  Go, nginx, Apache and Caddy's own files
//	originphp_test.go     PHP: its own server, and FPM behind Caddy, nginx and Apache
//	originapp_test.go     Express, Fastify, Koa, Django, Flask and Tomcat
//	gate_test.go          the gate: the README's site block before each origin, and variants of it
//	corpus_test.go        what is sent: the list of requests
//	corpuspath_test.go    spellings of paths
//	corpusquery_test.go   spellings of queries that a link binds
//	client_test.go        HTTP/1.1, byte for byte
//	http2_test.go         HTTP/2, frame by frame
//	differential_test.go  what must hold of each answer
//	init_test.go          the Caddyfile of gatefold init before each kind of origin
//	cachetests_test.go    docs/cache.md: the tests of http-cache-tests
//	walk_test.go          docs/getting-started.md: its commands, an identity provider
//	recipes_test.go       docs/recipes.md: origins, identity providers and forward_auth
//	browser_test.go       docs/links.md: a gift link in Chromium
//	login_test.go         docs/login.md: a login in Chromium, at a certified provider
//	loginwalk_test.go     docs/login.md: tabs, late forms, the back button, a narrow screen
//	loginrenewal_test.go  docs/login.md: tokens are renewed while a reader reads in Chromium
//	thirdparty_test.go    whether Chromium blocks the cookies of third parties
//	teaser_test.go        docs/teaser.md: what Chromium reads of generated documents
//	cowork_test.go        docs/proxy.md: a day of a co-working site, by curl and in Chromium
//	linkparts_test.go     docs/links.md: a file in parts by a link
//	recipepaywall_test.go docs/paywall.md: Express, Django, WordPress and a static site behind a paywall
//	paywallwalk_test.go   docs/paywall.md: refused readers in Chromium, by keyboard, to the article
//	recipelinks_test.go   docs/recipes.md: CDN, crawlers, podcasts and newsletters
package upstreamtest
