package caddymodule

import (
	"net/url"
	"slices"
	"strings"
)

// takeTokens removes link tokens from a query: the values of LinkParam and ShareParam.
// The result share reports whether the first token came in ShareParam. ShareParam
// belongs to the origin unless a value has the form of a token: sites use
// `?share=mail`.
func (h *Handler) takeTokens(query string) (rest string, tokens []string, share bool) {
	rest, tokens = takeParam(query, h.LinkParam)
	without, shared := takeParam(rest, h.ShareParam)
	if !slices.ContainsFunc(shared, isTokenLike) {
		return rest, tokens, false
	}
	return without, append(tokens, shared...), len(tokens) == 0
}

// isTokenLike reports whether a value has the form of a compact JWS: three parts, of
// which the first is a JSON object in base64url.
func isTokenLike(value string) bool {
	return strings.HasPrefix(value, "ey") && strings.Count(value, ".") == 2
}

// takeParam removes every parameter of a name from a raw query, and returns its values.
// All other bytes of the query stay as the client sent them.
func takeParam(query, name string) (rest string, values []string) {
	if !mayHoldParam(query, name) {
		return query, nil
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(part, "=")
		if !isParam(key, name) {
			kept = append(kept, part)
			continue
		}
		// A value that cannot be decoded is returned as it is: a token contains no
		// escape, so that it is refused as malformed.
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		values = append(values, value)
	}
	if values == nil {
		return query, nil
	}
	return strings.Join(kept, "&"), values
}

// mayHoldParam is a fast check: most queries are never split.
func mayHoldParam(query, name string) bool {
	return query != "" && (strings.Contains(query, name) || strings.ContainsAny(query, "%+"))
}

// isParam reports whether a raw parameter name decodes to name.
func isParam(raw, name string) bool {
	if !strings.ContainsAny(raw, "%+") {
		return raw == name
	}
	decoded, err := url.QueryUnescape(raw)
	return err == nil && decoded == name
}
