package keys

import "strings"

// AppendToken appends a token to a URL as a query parameter, before any
// fragment. Every other byte of the URL stays as it is.
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
