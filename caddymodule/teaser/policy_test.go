package teaser

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The style is admitted, and what a page admits otherwise stays as it is: its own styles,
// and its scripts above all.
func TestPolicyAdmitsTheStyle(t *testing.T) {
	const hash = "'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='" // of a{}
	for policy, want := range map[string]string{
		"":                                    "",
		"script-src 'self'":                   "script-src 'self'",
		"style-src 'self'":                    "style-src 'self' HASH",
		"Style-Src 'self'; img-src *":         "style-src 'self' HASH; img-src *",
		"default-src 'none'":                  "default-src 'none'; style-src HASH",
		"default-src 'self' a.example":        "default-src 'self' a.example; style-src 'self' a.example HASH",
		"style-src 'unsafe-inline'":           "style-src 'unsafe-inline'",
		"default-src * 'unsafe-inline'":       "default-src * 'unsafe-inline'",
		"style-src 'none'; style-src *":       "style-src HASH; style-src *",
		"style-src":                           "style-src HASH",
		"style-src 'unsafe-inline' 'nonce-x'": "style-src 'unsafe-inline' 'nonce-x' HASH",
		"style-src-elem 'self'; style-src 'unsafe-inline'":            "style-src-elem 'self' HASH; style-src 'unsafe-inline'",
		"default-src 'none'; style-src 'unsafe-inline'":               "default-src 'none'; style-src 'unsafe-inline'",
		"img-src *; style-src 'self', style-src b.example":            "img-src *; style-src 'self' HASH,style-src b.example HASH",
		"default-src 'self' 'sha256-x' 'unsafe-inline'; script-src *": "default-src 'self' 'sha256-x' 'unsafe-inline'; script-src *; style-src 'self' 'sha256-x' 'unsafe-inline' HASH",
	} {
		header := http.Header{"Content-Security-Policy": {policy}, "Content-Security-Policy-Report-Only": {policy}}
		admitStyle(header, "a{}")
		for name, values := range header {
			assert.Equal(t, expand(want, hash), values[0], "%s: %s", name, policy)
		}
		header.Set("Content-Security-Policy", policy)
		admitStyle(header, "")
		assert.Equal(t, policy, header.Get("Content-Security-Policy"), "there is no style")
	}
}

func expand(text, hash string) string { return strings.ReplaceAll(text, "HASH", hash) }
