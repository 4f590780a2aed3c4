package keys

import "strings"

// AppendToken appends a query parameter with a token to a URL, before any
// fragment. All other bytes of the URL stay unchanged.
func AppendToken(rawURL, param, token string) string {
	address, fragment, hasFragment := strings.Cut(rawURL, "#")
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
		if strings.HasSuffix(address, "?") || strings.HasSuffix(address, "&") {
			separator = ""
		}
	}
	signed := address + separator + param + "=" + token
	if hasFragment {
		signed += "#" + fragment
	}
	return signed
}
