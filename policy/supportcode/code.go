package supportcode

import (
	"crypto/rand"
	"errors"
	"strings"
)

// Size is the number of characters of a code: 7 random ones, which are 35 bits, and one that
// checks them and says whether the refusal is kept.
const Size = 8

// alphabet is that of Crockford's Base 32, without I, L, O and U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// notKept is added to the check of the code of a refusal that is not kept.
const notKept = 16

// newCode returns a random code.
func newCode(kept bool) string {
	var digits [Size]byte
	_, _ = rand.Read(digits[:Size-1]) // never fails, see crypto/rand
	for i := range Size - 1 {
		digits[i] %= 32
	}
	digits[Size-1] = check(digits[:Size-1])
	if !kept {
		digits[Size-1] += notKept
	}
	for i, digit := range digits {
		digits[i] = alphabet[digit]
	}
	return string(digits[:])
}

// check returns a number below 16, which differs for most of the codes that differ in one
// digit, or in which two neighbours are exchanged.
func check(digits []byte) byte {
	var sum byte
	for i, digit := range digits {
		sum += digit*byte(2*i+1) + digit>>4*byte(i+3) //nolint:gosec // G115: i is below 8
	}
	return sum % notKept
}

// ErrForm is the error of a text that is no code.
var ErrForm = errors.New("a support code has 8 letters and digits, such as 7KQ2M4X9: read it again, one character is wrong")

// Parse returns the code that a person typed, in any case, with or without hyphens and spaces,
// with O for 0 and I or L for 1. Kept reports whether its refusal was to be kept. The error is
// ErrForm.
func Parse(text string) (code string, kept bool, err error) {
	var digits [Size]byte
	var normal strings.Builder
	for _, c := range strings.ToUpper(text) {
		switch c {
		case ' ', '-':
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		digit := strings.IndexRune(alphabet, c)
		if digit < 0 || normal.Len() == Size {
			return "", false, ErrForm
		}
		digits[normal.Len()] = byte(digit) //nolint:gosec // G115: below 32
		normal.WriteRune(c)
	}
	if normal.Len() != Size || digits[Size-1]%notKept != check(digits[:Size-1]) {
		return "", false, ErrForm
	}
	return normal.String(), digits[Size-1] < notKept, nil
}
