package teaser

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// admitStyle changes the Content-Security-Policies of a page so that they admit the content
// of one style element by its hash (CSP Level 3, section 6.7.3.3), and nothing else. One
// that admits it already is left as it is: a hash would turn 'unsafe-inline' off, and the
// styles of the page with it.
func admitStyle(header http.Header, style string) {
	if style == "" {
		return
	}
	sum := sha256.Sum256([]byte(style))
	hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	for _, name := range []string{"Content-Security-Policy", "Content-Security-Policy-Report-Only"} {
		values := header[name]
		for i, value := range values {
			policies := strings.Split(value, ",")
			for j := range policies {
				policies[j] = withStyle(policies[j], hash)
			}
			values[i] = strings.Join(policies, ",")
		}
	}
}

// withStyle returns one policy with a hash among the sources of styles.
func withStyle(policy, hash string) string {
	directives := strings.Split(policy, ";")
	// The first of these that a policy has decides about a style element, and of several
	// with one name the first one.
	for _, name := range []string{"style-src-elem", "style-src", "default-src"} {
		at := slices.IndexFunc(directives, func(directive string) bool {
			fields := strings.Fields(directive)
			return len(fields) > 0 && strings.EqualFold(fields[0], name)
		})
		if at < 0 {
			continue
		}
		sources := strings.Fields(directives[at])[1:]
		if admitsInline(sources) {
			return policy
		}
		sources = slices.DeleteFunc(sources, func(source string) bool { return strings.EqualFold(source, "'none'") })
		if name == "default-src" {
			// What the page says of its scripts stays as it is.
			return strings.Join(append(directives, " style-src "+strings.Join(append(sources, hash), " ")), ";")
		}
		directives[at] = " " + name + " " + strings.Join(append(sources, hash), " ")
		return strings.TrimLeft(strings.Join(directives, ";"), " ")
	}
	return policy
}

// admitsInline reports whether sources admit every style element: 'unsafe-inline', unless a
// nonce or a hash turns it off.
func admitsInline(sources []string) bool {
	admits := false
	for _, source := range sources {
		source = strings.ToLower(source)
		if strings.HasPrefix(source, "'nonce-") || strings.HasPrefix(source, "'sha") {
			return false
		}
		admits = admits || source == "'unsafe-inline'"
	}
	return admits
}
