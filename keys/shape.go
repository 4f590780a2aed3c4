package keys

import "strings"

// minTokenSize is the length of the shortest token that Scan could accept: a
// header of 15 digits, {"alg":"a"}; a payload of 3, {}; and a signature of 2.
const minTokenSize = 15 + 1 + 3 + 1 + 2

// LooksLikeToken says whether a text could be a token, by what needs no memory
// and no look at what its bytes mean: Scan refuses whatever it refuses. It is for
// whoever would do something dear with a text before it is scanned, as hashing
// it.
func LooksLikeToken(raw string) bool {
	_, _, ok := segments(raw)
	return ok
}

// segments finds the two dots of a token, and judges whatever can be judged
// before anything is decoded. What a few bytes show comes first, then the dots,
// which are found many bytes at a time, and a look at every byte last: rubbish of
// any length is refused sooner than it was sent.
func segments(raw string) (first, second int, ok bool) {
	if len(raw) < minTokenSize || len(raw) > MaxTokenSize || !opens(raw) {
		return 0, 0, false
	}
	first = strings.IndexByte(raw, '.')
	if first < 0 {
		return 0, 0, false
	}
	header, rest := raw[:first], raw[first+1:]
	length := strings.IndexByte(rest, '.')
	if length < 0 {
		return 0, 0, false
	}
	payload, signature := rest[:length], rest[length+1:]
	if strings.IndexByte(signature, '.') >= 0 ||
		!canonical(header) || !canonical(payload) || !canonical(signature) ||
		!closes(header) || !opens(payload) || !closes(payload) || !inAlphabet(raw) {
		return 0, 0, false
	}
	return first, first + 1 + length, true
}

// canonical says whether a segment of digits is the one base64url spelling of its
// bytes: not empty, of a possible length, and without bits behind the last byte.
func canonical(segment string) bool {
	if segment == "" {
		return false
	}
	last := base64Digit[segment[len(segment)-1]]
	switch len(segment) % 4 {
	case 1:
		return false
	case 2:
		return last&0x0f == 0
	case 3:
		return last&0x03 == 0
	default:
		return true
	}
}

// opens and closes say whether the first and the last byte of a segment are ones
// that a JSON object begins and ends with (RFC 8259, section 2). The segment has
// at least two digits; of closes it is canonical.
func opens(segment string) bool {
	high, low := base64Digit[segment[0]], base64Digit[segment[1]]
	return high|low >= 0 && isSpaceOr(byte(high)<<2|byte(low)>>4, '{')
}

func closes(segment string) bool {
	high, low := base64Digit[segment[len(segment)-2]], base64Digit[segment[len(segment)-1]]
	if high|low < 0 {
		return false
	}
	// The bits behind the last byte are none.
	unused := (4 - len(segment)%4) % 4 * 2
	return isSpaceOr(byte((uint(byte(high))<<6|uint(byte(low)))>>unused), '}') //nolint:gosec // the lowest eight bits are meant
}

func isSpaceOr(c, other byte) bool {
	return c == other || c == ' ' || c == '\n' || c == '\r' || c == '\t'
}

// base64Digit holds the value of each base64url digit, -1 for other bytes.
var base64Digit = func() (digits [256]int8) {
	for i := range digits {
		digits[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		digits[c] = int8(i)
	}
	return digits
}()

// inAlphabet says whether a text of at least eight bytes consists of base64url
// digits and dots. It looks at eight bytes at a time; two others that it takes for
// digits are looked for by themselves, which costs next to nothing.
func inAlphabet(text string) bool {
	// In registers, where the compiler would write constants out each time.
	b := bounds
	others := b.others(word(text[len(text)-8:]))
	i := 0
	for ; i+32 <= len(text); i += 32 {
		part := text[i : i+32]
		others |= b.others(word(part)) | b.others(word(part[8:])) | b.others(word(part[16:])) | b.others(word(part[24:]))
	}
	for ; i+8 <= len(text); i += 8 {
		others |= b.others(word(text[i : i+8]))
	}
	return others&highs == 0 && strings.IndexByte(text, '/') < 0 && strings.IndexByte(text, '\x7f') < 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// alphabet holds sums by which a byte below 0x80 reaches 0x80 from a bound
// upwards.
type alphabet struct{ fold, dash, colon, a, brace, del uint64 }

var bounds = alphabet{
	0x20 * ones, (0x80 + '-' - 1) * ones, (0x80 - ':') * ones, (0x80 - 'a') * ones, (0x80 - '{') * ones, (0x80 - 0x7f) * ones,
}

// others sets the highest bit of each of eight bytes that is no digit, no dot, no
// slash and not DEL. The bounds rise, so that the number of them that a byte has
// reached is odd from '-' to '9', and without regard to case from 'a' to 'z' and
// at DEL, which '_' is then. The first is counted where it is not reached.
func (b *alphabet) others(bytes uint64) uint64 {
	lower := bytes | b.fold
	return bytes | ((b.dash - bytes) ^ (bytes + b.colon) ^ (lower + b.a) ^ (lower + b.brace) ^ (lower + b.del))
}

// word returns eight bytes of a text.
func word(text string) uint64 {
	_ = text[7]
	return uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
		uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
}
