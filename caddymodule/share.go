package caddymodule

import (
	"fmt"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// validateShare checks how the site takes what publishers sign, and brings its
// domains into their normal form.
func (h *Handler) validateShare() error {
	if !paramPattern.MatchString(h.ShareParam) {
		return fmt.Errorf("share_param: %q must be letters, digits, - and _", h.ShareParam)
	}
	if h.ShareParam == h.LinkParam {
		return fmt.Errorf("share_param: %q is the link_param as well: give them different names", h.ShareParam)
	}
	for i, domain := range h.ShareDomains {
		normal, err := keys.NormalDomain(domain)
		if err != nil {
			return fmt.Errorf("share_domain: %q %w", domain, err)
		}
		h.ShareDomains[i] = normal
	}
	return nil
}

// takeTokens takes the tokens out of a query: those in the parameter for links,
// and those in the one for what publishers sign. A parameter of that second name
// is the origin's own unless a token stands in it: sites share by `?share=mail`.
func (h *Handler) takeTokens(query string) (rest string, tokens []string, share bool) {
	rest, tokens = takeParam(query, h.LinkParam)
	without, shared := takeParam(rest, h.ShareParam)
	if !anyToken(shared) {
		return rest, tokens, false
	}
	return without, append(tokens, shared...), len(tokens) == 0
}

// anyToken says whether one of some values has the shape of a compact JWS: three
// parts, of which the first is a JSON object in base64url.
func anyToken(values []string) bool {
	for _, value := range values {
		if strings.HasPrefix(value, "ey") && strings.Count(value, ".") == 2 {
			return true
		}
	}
	return false
}
