// Package teaser removes the gated part of an HTML document while it is streamed, and
// puts a paywall in its place. It imports nothing of this module and nothing of Caddy.
//
// A document says itself what is gated: between comments,
//
//	<!-- gatefold:premium --> … <!-- /gatefold:premium -->
//
// or in an element with a class or an attribute that the configuration names. A region
// whose end is not certain goes on to the end of the document. A document without a
// region, and one that browsers could read in another way than this package, is refused
// before its first byte is sent.
//
//	cutter.go     Cutter: the bytes outside of regions, in the stream
//	token.go      what each token of the document does
//	region.go     which elements are regions
//	element.go    where the region of an element ends
//	foreign.go    SVG, MathML and select elements, in which readings of raw text differ
//	feed.go       coroutines: readers of what is written
//	response.go   Response: the http.ResponseWriter around a Cutter
//	echo.go       Echo: the same for origins that cut their pages themselves
//	policy.go     the Content-Security-Policy of a page that gets a style
//	card.go       Card: what the head of a page declares for previews of links
//	transport.go  requests, headers, charset and encoding of a response that is cut
package teaser
