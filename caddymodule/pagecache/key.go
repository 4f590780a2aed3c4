package pagecache

import (
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
)

// Target is what a page is asked for by, apart from its headers.
type Target struct {
	// Vendor and Site are those of the gate that decided.
	Vendor, Site string
	// Secure reports whether the client uses https.
	Secure bool
	// Host, Path and Query are what the origin is asked for. Path is escaped, Query raw.
	Host, Path, Query string
	// Received is the escaped path as the client sent it, if a handler rewrote it before the
	// cache; otherwise empty or as Path. Purges name a page by either of them.
	Received string
	// Place distinguishes the caches of a site that have the same settings; empty for its only
	// one.
	Place string
	// Root is the folder of a static site, as Caddy's directive root sets it.
	Root string
}

// maxKey bounds a key in bytes. Longer URLs are not stored.
const maxKey = 4096

// appendKey appends the encoded key of a page without its encoding: each text with its
// length, so that no two keys have the same bytes. It returns false if a header is longer
// than maxKeyHeader.
func appendKey(key []byte, target *Target, accept uint8, header http.Header, configured []string) ([]byte, bool) {
	flags := byte(0)
	if target.Secure {
		flags = 1
	}
	key = append(key, flags, accept)
	for _, text := range [...]string{target.Vendor, target.Site, target.Host, target.Path, target.Query, target.Root, target.received(), target.Place} {
		key = appendText(key, text)
	}
	for _, name := range configured {
		value := strings.Join(header[name], ", ")
		if len(value) > maxKeyHeader {
			return key, false
		}
		key = appendText(key, value)
	}
	return key, len(key) <= maxKey
}

// received returns the received path if it differs from the one that the origin is asked for.
func (t *Target) received() string {
	if t.Received == t.Path {
		return ""
	}
	return t.Received
}

// maxKeyHeader bounds the value of a header in the key, in bytes.
const maxKeyHeader = 256

func appendText(key []byte, text string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(text))), text...)
}

// ignoreQuery returns a raw query without the parameters that the origin does not need. It
// changes nothing else: neither the order nor the spelling. A pattern that ends in * ignores
// all that begin with the rest. A query with `;` is left as it is, because servers differ
// on where its parameters end.
func ignoreQuery(query string, ignored []string) string {
	if query == "" || len(ignored) == 0 || strings.Contains(query, ";") {
		return query
	}
	found := false
	for part := range strings.SplitSeq(query, "&") {
		found = found || isIgnored(part, ignored)
	}
	if !found {
		return query
	}
	kept := make([]string, 0, 8)
	for part := range strings.SplitSeq(query, "&") {
		if !isIgnored(part, ignored) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

func isIgnored(part string, ignored []string) bool {
	name, _, _ := strings.Cut(part, "=")
	for _, pattern := range ignored {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if name == pattern || wild && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// URL returns the path and query of a target as an URL. It returns an error if they are none.
func (t *Target) URL() (*url.URL, error) {
	target := t.Path
	if t.Query != "" {
		target += "?" + t.Query
	}
	return url.ParseRequestURI(target)
}
