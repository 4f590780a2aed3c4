package policy

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// PlainJSON reads JSON of the plain kind that programs write: a part of the
// grammar, in one pass and without reflection. Of ten thousand rules a library
// takes ten times as long.
//
// It has no errors. Whatever it does not take ends in Failed, be it wrong or only
// unusual: whoever uses it then has a library read the text from the beginning,
// which knows what to make of it. So it decides nothing, and must only never read
// anything otherwise than a library does.
type PlainJSON struct {
	text    []byte
	at      int
	begun   bool // the array or object that is read has an element already
	failed  bool
	scratch []byte
}

// NewPlainJSON returns a reader of a text, which must not change meanwhile.
func NewPlainJSON(text []byte) *PlainJSON { return &PlainJSON{text: text} }

// Failed says whether the text held something that is not read here.
func (p *PlainJSON) Failed() bool { return p.failed }

func (p *PlainJSON) fail() { p.failed, p.at = true, len(p.text) }

// next returns the next byte that is not white space, zero at the end.
func (p *PlainJSON) next() byte {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return c
		}
	}
	return 0
}

func (p *PlainJSON) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

// Open begins an array or an object, by its bracket.
func (p *PlainJSON) Open(bracket byte) {
	p.begun = false
	if !p.take(bracket) {
		p.fail()
	}
}

// More says whether another element follows, and takes the closing bracket where
// none does.
func (p *PlainJSON) More(closing byte) bool {
	switch {
	case p.failed:
		return false
	case p.take(closing):
		p.begun = true // so has what this one is an element of
		return false
	case p.begun && !p.take(','):
		p.fail()
		return false
	}
	p.begun = true
	return true
}

// End wants the end of the text.
func (p *PlainJSON) End() {
	if p.next() != 0 || p.at != len(p.text) {
		p.fail()
	}
}

// Name reads the name of a member, with its colon. The bytes are valid until the
// next call.
func (p *PlainJSON) Name() []byte {
	name := p.Text()
	if !p.take(':') {
		p.fail()
	}
	return name
}

// Text reads a string. The bytes are valid until the next call.
func (p *PlainJSON) Text() []byte {
	raw, escaped := p.string()
	if !escaped {
		return raw
	}
	p.scratch = p.scratch[:0]
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			p.scratch = append(p.scratch, raw...)
			return p.scratch
		}
		p.scratch = append(p.scratch, raw[:i]...)
		switch c := raw[i+1]; c {
		case '"', '\\', '/':
			p.scratch = append(p.scratch, c)
		default:
			p.fail() // a library knows all of them
			return nil
		}
		raw = raw[i+2:]
	}
}

// string returns what stands between the quotes of a string, and whether it holds
// an escape.
func (p *PlainJSON) string() (raw []byte, escaped bool) {
	if !p.take('"') {
		p.fail()
		return nil, false
	}
	begin, plain := p.at, true
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			raw = p.text[begin:p.at:p.at]
			p.at++
			if !plain && !utf8.Valid(raw) {
				p.fail()
				return nil, false
			}
			return raw, escaped
		case c == '\\':
			escaped = true
			if p.at++; !isEscape(p.text[min(p.at, len(p.text)):]) {
				p.fail()
				return nil, false
			}
		case c < 0x20:
			p.fail()
			return nil, false
		case c >= utf8.RuneSelf:
			plain = false
		}
		p.at++
	}
	p.fail()
	return nil, false
}

// isEscape says whether a backslash before a text begins an escape (RFC 8259,
// section 7).
func isEscape(text []byte) bool {
	switch {
	case len(text) == 0:
		return false
	case text[0] != 'u':
		return strings.IndexByte(`"\/bfnrt`, text[0]) >= 0
	case len(text) < 5:
		return false
	}
	for _, c := range text[1:5] {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// Raw reads a string or a whole number that is not negative, and returns it as it
// is written. The bytes are part of the text.
func (p *PlainJSON) Raw() []byte {
	if p.next() == '"' {
		begin := p.at
		if p.string(); p.failed {
			return nil
		}
		return p.text[begin:p.at:p.at]
	}
	begin := p.at
	if p.Number(); p.failed {
		return nil
	}
	return p.text[begin:p.at:p.at]
}

// maxDigits keeps numbers within an int of 32 bits.
const maxDigits = 9

// Number reads a whole number that is not negative.
func (p *PlainJSON) Number() int {
	p.next()
	begin, n := p.at, 0
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		n = n*10 + int(p.text[p.at]-'0')
		if p.at++; p.at-begin > maxDigits {
			p.fail()
			return 0
		}
	}
	zeros := p.at-begin > 1 && p.text[begin] == '0'
	if p.at == begin || zeros || p.at < len(p.text) && !endsNumber(p.text[p.at]) {
		p.fail()
		return 0
	}
	return n
}

func endsNumber(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// Bool reads true or false.
func (p *PlainJSON) Bool() bool {
	p.next()
	rest := p.text[p.at:]
	for _, word := range [...]string{"true", "false"} {
		if len(rest) >= len(word) && string(rest[:len(word)]) == word {
			p.at += len(word)
			return word == "true"
		}
	}
	p.fail()
	return false
}

// Texts reads an array of strings; an empty one is not nil.
func (p *PlainJSON) Texts() []string {
	texts := []string{}
	for p.Open('['); p.More(']'); {
		texts = append(texts, string(p.Text()))
	}
	return texts
}

// Once says whether a member comes for the first time, by its number among those
// that are known; a second time is not taken.
func (p *PlainJSON) Once(seen *uint32, member uint) {
	if *seen&(1<<member) != 0 {
		p.fail()
	}
	*seen |= 1 << member
}
