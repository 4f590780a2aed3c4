package keys

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// minTokenSize is the length of the shortest token that Scan accepts: a header
// of 15 digits, {"alg":"a"}; a payload of 3, {}; and a signature of 2.
const minTokenSize = 15 + 1 + 3 + 1 + 2

// LooksLikeToken reports whether a text has the form of a token, without
// allocating or decoding. Scan refuses every text for which it returns false, so
// callers use it before costlier work such as hashing.
func LooksLikeToken(raw string) bool {
	_, _, ok := splitSegments(raw)
	return ok
}

// shapeError returns the error of a text for which LooksLikeToken returns false.
func shapeError(raw string) error {
	if len(raw) > MaxTokenSize && startsObject(raw) {
		return ErrTooLarge
	}
	return ErrMalformed
}

// CheckShape returns nil for a text that has the form of a token, as LooksLikeToken does,
// ErrTooLarge for a token that is too long, and ErrMalformed for any other.
func CheckShape(raw string) error {
	if LooksLikeToken(raw) {
		return nil
	}
	return shapeError(raw)
}

// maxLinkHeader is how many digits of a header ResemblesLink decodes.
const maxLinkHeader = 512

// ResemblesLink reports whether a text begins with the header of a link token in our own
// format, whatever follows: a link that was cut or altered resembles one, and a token of
// another kind does not.
func ResemblesLink(raw string) bool {
	header, _, _ := strings.Cut(raw[:min(len(raw), maxLinkHeader)], ".")
	if len(header) < 2 || !startsObject(header) {
		return false
	}
	var decoded [maxLinkHeader]byte
	n, _ := base64.RawURLEncoding.Decode(decoded[:], []byte(header))           // what is decoded before an error counts
	return bytes.Contains(bytes.ToLower(decoded[:n]), []byte("gatefold-link")) // some JSON writers escape the plus sign
}

// splitSegments returns the positions of the two dots of a token after all
// checks that need no decoding. The checks are in order of cost: a few bytes,
// then the search for the dots, then every byte. So malformed text of any length
// is refused at less cost than sending it.
func splitSegments(raw string) (first, second int, ok bool) {
	if len(raw) < minTokenSize || len(raw) > MaxTokenSize || !startsObject(raw) {
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
		!isCanonical(header) || !isCanonical(payload) || !isCanonical(signature) ||
		!endsObject(header) || !startsObject(payload) || !endsObject(payload) || !isBase64URLOrDots(raw) {
		return 0, 0, false
	}
	return first, first + 1 + length, true
}

// isCanonical reports whether a segment has a length that base64url can have,
// not zero, and no bits set after the last byte (RFC 4648, section 3.5).
func isCanonical(segment string) bool {
	if segment == "" {
		return false
	}
	last := base64Value[segment[len(segment)-1]]
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

// startsObject reports whether the first byte that a segment of at least two
// digits encodes can start a JSON object (RFC 8259, section 2).
func startsObject(segment string) bool {
	high, low := base64Value[segment[0]], base64Value[segment[1]]
	return high|low >= 0 && isSpaceOr(byte(high)<<2|byte(low)>>4, '{')
}

// endsObject reports whether the last byte that a canonical segment of at least
// two digits encodes can end a JSON object.
func endsObject(segment string) bool {
	high, low := base64Value[segment[len(segment)-2]], base64Value[segment[len(segment)-1]]
	if high|low < 0 {
		return false
	}
	unused := (4 - len(segment)%4) % 4 * 2
	return isSpaceOr(byte((uint(byte(high))<<6|uint(byte(low)))>>unused), '}') //nolint:gosec // the lowest eight bits are meant
}

func isSpaceOr(c, other byte) bool {
	return c == other || c == ' ' || c == '\n' || c == '\r' || c == '\t'
}

// base64Value holds the value of each base64url digit, and -1 for other bytes.
var base64Value = func() (values [256]int8) {
	for i := range values {
		values[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		values[c] = int8(i)
	}
	return values
}()

// isBase64URLOrDots reports whether a text of at least eight bytes consists of
// base64url digits and dots. It tests eight bytes at a time, which is three to
// four times as fast as base64Value for each byte. The test takes slash and DEL
// for digits, so these two are searched for separately.
func isBase64URLOrDots(text string) bool {
	// A local copy is kept in registers; constants would be reloaded each time.
	c := thresholds
	invalid := c.invalid(load64(text[len(text)-8:]))
	i := 0
	for ; i+32 <= len(text); i += 32 {
		part := text[i : i+32]
		invalid |= c.invalid(load64(part)) | c.invalid(load64(part[8:])) | c.invalid(load64(part[16:])) | c.invalid(load64(part[24:]))
	}
	for ; i+8 <= len(text); i += 8 {
		invalid |= c.invalid(load64(text[i : i+8]))
	}
	return invalid&highBits == 0 && strings.IndexByte(text, '/') < 0 && strings.IndexByte(text, '\x7f') < 0
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x80 * lowBits
)

// byteThresholds holds, for each of eight bytes, the summand with which a byte
// below 0x80 sets its highest bit if it is at or above a threshold.
type byteThresholds struct{ fold, dash, colon, a, brace, del uint64 }

var thresholds = byteThresholds{
	0x20 * lowBits, (0x80 + '-' - 1) * lowBits, (0x80 - ':') * lowBits, (0x80 - 'a') * lowBits, (0x80 - '{') * lowBits, (0x80 - 0x7f) * lowBits,
}

// invalid sets the highest bit of each of eight bytes that is no digit, dot,
// slash or DEL. The thresholds ascend, so the number of them that a byte reaches
// is odd from '-' to '9', and, with case folded, from 'a' to 'z' and at DEL, to
// which '_' folds. The first threshold counts where it is not reached.
func (t *byteThresholds) invalid(bytes uint64) uint64 {
	lower := bytes | t.fold
	return bytes | ((t.dash - bytes) ^ (bytes + t.colon) ^ (lower + t.a) ^ (lower + t.brace) ^ (lower + t.del))
}

// load64 returns the first eight bytes of a text, little endian.
func load64(text string) uint64 {
	_ = text[7]
	return uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
		uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
}
