package caddymodule

import (
	"net/url"
	"strings"
)

// takeParam removes every parameter of a name from a raw query, and returns the
// values that it had. All other bytes of the query stay as they are: what the
// origin reads is what the client sent.
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
		// A value that cannot be decoded is passed on as it stands: no token
		// holds an escape, so it is refused as malformed.
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

// mayHoldParam is a quick look, so that most queries are never split.
func mayHoldParam(query, name string) bool {
	return query != "" && (strings.Contains(query, name) || strings.ContainsAny(query, "%+"))
}

// isParam says whether a raw parameter name is the given one once decoded.
func isParam(raw, name string) bool {
	if raw == name {
		return true
	}
	if !strings.ContainsAny(raw, "%+") {
		return false
	}
	decoded, err := url.QueryUnescape(raw)
	return err == nil && decoded == name
}
