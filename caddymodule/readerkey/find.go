package readerkey

import (
	"encoding/base64"
	"strings"

	"github.com/gatefold/gatefold/policy"
)

// The kinds of keys, as metrics and explain name them.
const (
	KindAPIKey = "api_key"
	KindFeed   = "feed"
)

// maxBasic is the length of Basic credentials that are read, in bytes.
const maxBasic = 1024

// Credential is a key in the header Authorization. Its key is empty if the request has several
// such headers.
type Credential struct {
	Key string
	// Bearer reports whether it is of the scheme Bearer (RFC 6750), which browsers do not send
	// by themselves.
	Bearer bool
}

// Is reports whether a text has the form of a key, of either kind.
func Is(text string) bool {
	return strings.HasPrefix(text, policy.PrefixAPIKey) || strings.HasPrefix(text, policy.PrefixFeed)
}

// Find returns the key in the headers Authorization of a request: as a bearer token, or as the
// password or the user of Basic credentials (RFC 7617). Found reports whether any of the
// headers has one, so that no origin may get them.
func Find(authorization []string) (credential Credential, found bool) {
	for _, value := range authorization {
		if one, ok := find(value); ok {
			credential, found = one, true
		}
	}
	if found && len(authorization) > 1 {
		credential.Key = "" // servers differ on which of them counts
	}
	return credential, found
}

func find(value string) (Credential, bool) {
	if token, bearer := strings.CutPrefix(value, "Bearer "); bearer && token != "" && token[0] > ' ' && !Is(token) {
		return Credential{}, false // the token of a reader, which most requests have
	}
	scheme, rest, _ := strings.Cut(strings.TrimLeft(value, " \t"), " ")
	rest = strings.Trim(rest, " \t")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return Credential{Key: rest, Bearer: true}, Is(rest)
	case strings.EqualFold(scheme, "Basic") && len(rest) <= maxBasic:
		var space [maxBasic]byte
		n, err := base64.RawStdEncoding.Decode(space[:], []byte(strings.TrimRight(rest, "=")))
		if err != nil {
			return Credential{}, false
		}
		user, password, _ := strings.Cut(string(space[:n]), ":")
		if Is(password) {
			return Credential{Key: password}, true
		}
		return Credential{Key: user}, Is(user)
	}
	return Credential{}, false
}
