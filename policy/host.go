package policy

import (
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

// NormalHost returns the host of a request or a URL in the form that is compared:
// ASCII (IDNA2008 with the mapping of UTS #46, for lookup), lower case, without a
// trailing dot and without the ports 80 and 443. Both ports are dropped because the
// scheme is unknown behind a TLS terminator. The error contains no part of the host.
func NormalHost(host string) (string, error) {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
	}
	if port == "80" || port == "443" {
		port = ""
	}
	if isPlainHost(name) {
		if name != "" && port != "" && name[len(name)-1] != '.' {
			return host, nil
		}
	} else {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil && !strings.HasPrefix(name, "[") {
			return "", errors.New("the host name is invalid")
		}
		if err == nil {
			name = ascii
		}
		name = strings.ToLower(name)
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errors.New("the host is empty")
	}
	if port == "" {
		return name, nil
	}
	return name + ":" + port, nil
}

// isPlainHost reports whether a name needs no conversion.
func isPlainHost(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return !strings.Contains(name, "xn--")
}
