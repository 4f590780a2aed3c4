package policy

import "math/bits"

// Eight bytes that are all the same.
const (
	eachByte   = 0x0101010101010101
	eachHigh   = 0x80 * eachByte
	eachLow    = 0x7f * eachByte
	eachSlash  = '/' * eachByte
	eachLetter = 'a' * eachByte
)

// splitPlain cuts a path of the kind that nearly all are: of visible ASCII, with
// none of the bytes that need a second look, no segment that is empty or begins
// with a dot or a blank, and no more segments than there is room for. It says no to
// any other, of which it has judged nothing. The path begins with a slash.
//
// It reads the path once, eight bytes at a time.
func splitPlain(room *[pathRoom]string, path string) (n int, ok bool) {
	begin := 1
	for at := 0; at < len(path); at += 8 {
		word := wordAt(path, at)
		if oddBytes(word) {
			return 0, false
		}
		slashes := slashesIn(word)
		if at == 0 {
			slashes &^= 0x80 // the first one begins the path
		}
		for ; slashes != 0; slashes &= slashes - 1 {
			end := at + bits.TrailingZeros64(slashes)/8
			if n, ok = appendPlain(room, n, path[begin:end]); !ok {
				return 0, false
			}
			begin = end + 1
		}
	}
	if begin == len(path) { // a trailing slash makes no difference
		return n, true
	}
	return appendPlain(room, n, path[begin:])
}

func appendPlain(room *[pathRoom]string, n int, segment string) (int, bool) {
	if n == len(room) || segment == "" || segment[0] == '.' || segment[0] == ' ' {
		return 0, false
	}
	room[n] = segment
	return n + 1, true
}

// wordAt returns eight bytes of a text from an index on, filled up with letters.
func wordAt(text string, at int) uint64 {
	rest := text[at:]
	if len(rest) >= 8 {
		return load64(rest)
	}
	missing := uint(8 * (8 - len(rest))) //nolint:gosec // 8 to 56 bits
	if at > 0 {                          // there are eight before its end
		return load64(text[len(text)-8:])>>missing | eachLetter<<(64-missing)
	}
	word := uint64(eachLetter) << (64 - missing)
	for i := range len(rest) {
		word |= uint64(rest[i]) << (8 * i)
	}
	return word
}

// oddBytes says whether one of eight bytes is not visible ASCII or a blank, or
// is a percent sign, a backslash or a semicolon.
func oddBytes(word uint64) bool {
	// Each term has the high bit of a byte set that is one of these. It may have
	// that of others too, if a lower byte is one.
	return (word|
		(word-' '*eachByte)|
		(word+eachByte)| // 0x7f
		((word^'%'*eachByte)-eachByte)|
		((word^'\\'*eachByte)-eachByte)|
		((word^';'*eachByte)-eachByte))&eachHigh != 0
}

// slashesIn has the high bit set of each byte, all of them ASCII, that is a slash.
func slashesIn(word uint64) uint64 {
	return ^((word ^ eachSlash) + eachLow) & eachHigh
}
