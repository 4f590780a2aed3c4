package pagecache

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// An anonymous fetch sends one of few values of the headers by which a response may vary,
// so that a page has few variants. What a client sends selects the value.

// encodings are the values of Accept-Encoding. Each offers what those before it offer, and
// more.
var encodings = [...]string{"", "gzip", "br, gzip", "zstd, br, gzip"}

// encodingClass returns the index of the value in encodings that a client accepts.
func encodingClass(header http.Header) uint8 {
	if lines := header["Accept-Encoding"]; len(lines) == 1 {
		switch lines[0] { // of browsers
		case "gzip, deflate, br, zstd":
			return 3
		case "gzip, deflate, br":
			return 2
		case "gzip, deflate", "gzip":
			return 1
		}
	}
	var accepts struct{ gzip, br, zstd bool }
	for _, line := range header["Accept-Encoding"] {
		for part := range strings.SplitSeq(line, ",") {
			coding, parameters, _ := strings.Cut(part, ";")
			if refused(parameters) {
				continue
			}
			switch coding = strings.TrimSpace(coding); {
			case strings.EqualFold(coding, "gzip"):
				accepts.gzip = true
			case strings.EqualFold(coding, "br"):
				accepts.br = true
			case strings.EqualFold(coding, "zstd"):
				accepts.zstd = true
			}
		}
	}
	switch {
	case !accepts.gzip:
		return 0
	case !accepts.br:
		return 1
	case !accepts.zstd:
		return 2
	}
	return 3
}

// refused reports whether parameters have a weight of zero.
func refused(parameters string) bool {
	name, weight, ok := strings.Cut(strings.TrimSpace(parameters), "=")
	return ok && strings.EqualFold(strings.TrimSpace(name), "q") && strings.Trim(strings.TrimSpace(weight), "0.") == "" && strings.TrimSpace(weight) != ""
}

// accepts are the values of Accept.
var accepts = [...]string{
	"*/*",
	"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
	"application/json,*/*;q=0.5",
	"image/webp,image/*;q=0.8,*/*;q=0.5",
	"image/avif,image/webp,image/*;q=0.8,*/*;q=0.5",
}

// acceptClass returns the index of the value in accepts for a client. Browsers name image
// types for pages too, so HTML is looked for first.
func acceptClass(header http.Header) uint8 {
	lines := header["Accept"]
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "*/*" {
		return 0
	}
	contains := func(text string) bool {
		for _, line := range lines {
			if strings.Contains(line, text) {
				return true
			}
		}
		return false
	}
	switch {
	case contains("text/html"):
		return 1
	case contains("json"):
		return 2
	case contains("image/avif"):
		return 4
	case contains("image/webp"):
		return 3
	}
	return 0
}

// varies checks the Vary of a response: it may name only what is in the key, or what no
// fetch ever sends in more than one value and no response can depend on. It reports
// whether the encoding is to be in the key.
func varies(header http.Header, configured []string) (byEncoding bool, why Why) {
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		byEncoding = true
	}
	for _, line := range header["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.TrimSpace(name); {
			case name == "", strings.EqualFold(name, "Accept"):
			case strings.EqualFold(name, "Accept-Encoding"):
				byEncoding = true
			case !httpguts.ValidHeaderFieldName(name), !containsFold(configured, name):
				return false, WhyVary
			}
		}
	}
	return byEncoding, WhyNone
}

func containsFold(list []string, name string) bool {
	for _, one := range list {
		if strings.EqualFold(one, name) {
			return true
		}
	}
	return false
}
