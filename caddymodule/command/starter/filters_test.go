package starter

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// keySpellings returns a key as clients write it into a URL: as it is, with some or all bytes
// escaped, escaped twice, and in the other case of the escapes.
func keySpellings(key string) []string {
	var all, twice, lower strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&all, "%%%02X", key[i])
		fmt.Fprintf(&twice, "%%25%02X", key[i])
		fmt.Fprintf(&lower, "%%%02x", key[i])
	}
	spellings := []string{key, all.String(), twice.String(), lower.String(), strings.Replace(key, "_", "%5f", 1), strings.Replace(key, "_", "%25255F", 1)}
	for i := range len(key) {
		spellings = append(spellings, fmt.Sprintf("%s%%%02x%s", key[:i], key[i], key[i+1:]))
	}
	return spellings
}

// The filters of the logs that we write for operators leave nothing of the key of a reader, in
// whatever spelling: in the path, the query, a Referer, or user information. What is left is
// looked at without escapes.
func TestFiltersOfKeys(t *testing.T) {
	texts := map[string]string{"starter.go": preamble}
	for _, name := range []string{"Caddyfile.example", "packaging/compose/Caddyfile", "docs/hardening.md"} {
		text, err := os.ReadFile("../../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	const secret = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdEfGhIjKlMnOpQrStUvWxYz"
	for name, text := range texts {
		var filters []func(string) string
		for _, match := range regexp.MustCompile("(?m)^\t*\\{args\\[0\\]\\} regexp `([^`]+)` (\\S+)$").FindAllStringSubmatch(text, -1) {
			filter := regexp.MustCompile(match[1])
			filters = append(filters, func(line string) string { return filter.ReplaceAllString(line, match[2]) })
		}
		if len(filters) < 4 {
			t.Fatalf("%s has %d filters", name, len(filters))
		}
		// The form of a paywall sends the reader's address in the query.
		for _, line := range []string{"/.gatefold/login?login_hint=ann%40example.com&next=%2Fa", "https://news.example.com/.gatefold/login?next=%2Fa&login_hint=ann@example.com"} {
			for _, filter := range filters {
				line = filter(line)
			}
			if strings.Contains(line, "ann") || !strings.Contains(line, "next=%2Fa") {
				t.Errorf("%s leaves %s", name, line)
			}
		}
		for _, prefix := range []string{"gfk_", "gff_"} {
			for _, spelling := range keySpellings(prefix + secret) {
				for _, form := range []string{"/.gatefold/l/%s/feed.xml?a=b", "/feed?key=%s", "/feed?key=%s&a=b", "/feed?a=b%%26key%%3D%s", "https://ann:%s@news.example.com/feed", "https://news.example.com/%s#x"} {
					line := fmt.Sprintf(form, spelling)
					for _, filter := range filters {
						line = filter(line)
					}
					if left := unescaped(line); strings.Contains(left, secret[4:10]) || strings.Contains(left, secret[30:36]) || strings.Contains(left, secret[50:]) {
						t.Errorf("%s leaves %s of %s", name, line, spelling)
					}
				}
			}
		}
	}
}

// unescaped undoes percent-escapes until there are none.
func unescaped(text string) string {
	escape := regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	for escape.MatchString(text) {
		next := escape.ReplaceAllStringFunc(text, func(code string) string {
			var b byte
			if _, err := fmt.Sscanf(code, "%%%02x", &b); err != nil {
				return ""
			}
			return string(rune(b))
		})
		if next == text {
			break
		}
		text = next
	}
	return text
}
