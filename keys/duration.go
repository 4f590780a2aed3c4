package keys

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The bounds of a link's lifetime.
const (
	DefaultExpiresIn = 7 * 24 * time.Hour
	MaxExpiresIn     = 366 * 24 * time.Hour
)

var errDuration = errors.New(`must be a number of seconds, or digits with one of s, m, h, d, such as "15m" or "7d"`)

// ParseExpiresIn reads a lifetime such as `7d`: digits and one of s, m, h, d.
func ParseExpiresIn(text string) (time.Duration, error) {
	if len(text) < 2 {
		return 0, errDuration
	}
	digits := text[:len(text)-1]
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, errDuration
		}
	}
	unit := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400}[text[len(text)-1]]
	if unit == 0 {
		return 0, errDuration
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || number > int64(MaxExpiresIn/time.Second) {
		return 0, tooLong() // before the product could overflow
	}
	return ExpiresInSeconds(number * unit)
}

// ExpiresInSeconds checks a lifetime that is given in seconds.
func ExpiresInSeconds(seconds int64) (time.Duration, error) {
	if seconds <= 0 {
		return 0, errors.New("must be more than zero")
	}
	if seconds > int64(MaxExpiresIn/time.Second) {
		return 0, tooLong()
	}
	return time.Duration(seconds) * time.Second, nil
}

func tooLong() error {
	return fmt.Errorf("must be at most %d days", int(MaxExpiresIn/(24*time.Hour)))
}
