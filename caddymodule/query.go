package caddymodule

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/gatefold/gatefold/keys"
)

// takeTokens removes link tokens from a query: the values of LinkParam and ShareParam that
// have the form of a link token. Other values belong to the origin: sites use `?share=mail`
// and a `?token=` of their own. The result share reports whether the first token came in
// ShareParam.
func (h *Handler) takeTokens(query string) (rest string, tokens []string, share bool) {
	rest, tokens = takeParam(query, h.LinkParam, keys.ResemblesLink)
	rest, shared := takeParam(rest, h.ShareParam, isTokenLike)
	if shared == nil {
		return rest, tokens, false
	}
	return rest, append(tokens, shared...), len(tokens) == 0
}

// isTokenLike reports whether a value has the form of a compact JWS: three parts, of
// which the first is a JSON object in base64url.
func isTokenLike(value string) bool {
	return strings.HasPrefix(value, "ey") && strings.Count(value, ".") == 2
}

// takeParam removes the parameters of a name whose value is one of ours from a raw query,
// and returns the values, each once. It reads what mail programs make of them. All other
// bytes of the query stay as the client sent them, unless the program took the whole URL
// for HTML: then `amp;` before their names is removed as well.
func takeParam(query, name string, ours func(string) bool) (rest string, values []string) {
	if !mayHoldParam(query, name) {
		return query, nil
	}
	var kept []string
	escaped := false
	for part := range strings.SplitSeq(query, "&") {
		value, found := paramValue(part, name)
		if value = repairToken(value); !found || !ours(value) {
			kept = append(kept, part)
			continue
		}
		escaped = escaped || strings.HasPrefix(part, ampersand)
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	if values == nil {
		return query, nil
	}
	for i := range kept {
		if escaped {
			kept[i] = strings.TrimPrefix(kept[i], ampersand)
		}
	}
	return strings.Join(kept, "&"), values
}

// mayHoldParam is a fast check: most queries are never split.
func mayHoldParam(query, name string) bool {
	return query != "" && (strings.Contains(query, name) || strings.ContainsAny(query, "%+"))
}

// ampersand is the rest of an ampersand in HTML.
const ampersand = "amp;"

// paramValue returns the value of a raw parameter if it has a name, also behind the rest
// of an HTML ampersand, and with an escaped equals sign.
func paramValue(part, name string) (value string, found bool) {
	key, value, _ := strings.Cut(part, "=")
	key = unescape(key)
	for strings.HasPrefix(key, ampersand) {
		key = key[len(ampersand):]
	}
	key, inKey, _ := strings.Cut(key, "=")
	if key != name {
		return "", false
	}
	return inKey + unescape(value), true
}

// unescape decodes a part of a query. One that cannot be decoded is returned as it is.
func unescape(text string) string {
	if !strings.ContainsAny(text, "%+") {
		return text
	}
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

// maxMailedToken bounds the value of a parameter that is repaired, in bytes: a token of
// keys.MaxOwnTokenSize with 256 of the mail.
const maxMailedToken = 4352

// softBreak removes the line breaks of quoted-printable.
var softBreak = strings.NewReplacer("=\r\n", "", "=\n", "")

// repairToken undoes what mail programs do to a token: blanks and line ends inside it, the
// punctuation of the sentence and quotes around it, and the `3D` of an equals sign in
// quoted-printable (RFC 2045, section 6.7). The result is verified as any other token.
func repairToken(value string) string {
	if len(value) > maxMailedToken || value == "" {
		return value
	}
	value = strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) { // invisible marks break lines as well
			return -1
		}
		return c
	}, softBreak.Replace(value))
	value = strings.TrimFunc(value, func(c rune) bool { return !isTokenByte(c) })
	if rest, found := strings.CutPrefix(value, "3D"); found {
		return rest
	}
	return value
}

// isTokenByte reports whether a token can begin or end with a character.
func isTokenByte(c rune) bool {
	return c == '-' || c == '_' || c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c))
}
