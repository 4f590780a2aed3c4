package leakcheck

import (
	"hash/maphash"
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// sequence is how many words in a row are taken for the same text. Fewer are common to
// unrelated texts.
const sequence = 8

// maxExcerpt bounds an excerpt of a leak, in characters.
const maxExcerpt = 80

var seed = maphash.MakeSeed()

// words returns the words of a text, in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) })
}

// sequences are the sequences of words of a text.
type sequences map[uint64]bool

// sequencesOf returns the sequences of some words.
func sequencesOf(all []string) sequences {
	found := sequences{}
	for at := 0; at+sequence <= len(all); at++ {
		found[sum(all[at:at+sequence])] = true
	}
	return found
}

func sum(some []string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, word := range some {
		_, _ = h.WriteString(word)
		_ = h.WriteByte(' ')
	}
	return h.Sum64()
}

// without removes the sequences of another text.
func (s sequences) without(others sequences) {
	for key := range others {
		delete(s, key)
	}
}

// in returns how many words of a text belong to sequences that are in s, and the first of
// them as they are there.
func (s sequences) in(all []string) (count int, excerpt string) {
	counted := 0 // words before this one are counted
	for at := 0; at+sequence <= len(all); at++ {
		if !s[sum(all[at:at+sequence])] {
			continue
		}
		if excerpt == "" {
			excerpt = shorten(strings.Join(all[at:at+sequence], " "))
		}
		count += at + sequence - max(at, counted)
		counted = at + sequence
	}
	return count, excerpt
}

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxExcerpt {
		return string(runes[:maxExcerpt]) + "…"
	}
	return text
}

var (
	tags    = regexp.MustCompile(`<[^<>]*>`)
	escapes = regexp.MustCompile(`\\+u[0-9a-fA-F]{4}|\\+[nrtbf"'/\\]`)
)

// plain returns the text of a document of any kind: without tags, and with the escapes of
// JSON, of JavaScript and of HTML undone, also where HTML is in JSON or in XML.
func plain(document string) string {
	text := escapes.ReplaceAllStringFunc(document, unescape)
	text = html.UnescapeString(html.UnescapeString(text))
	return tags.ReplaceAllString(text, " ")
}

// unescape returns what an escape of JSON means. Surrogates are left out.
func unescape(escape string) string {
	escape = strings.TrimLeft(escape, `\`)
	if len(escape) == 5 && escape[0] == 'u' {
		code, err := strconv.ParseUint(escape[1:], 16, 16)
		if err != nil || utf16.IsSurrogate(rune(code)) {
			return " "
		}
		return string(rune(code))
	}
	if escape == `"` || escape == "'" || escape == "/" {
		return escape
	}
	return " "
}
