package keys

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Default and maximum lifetime of a link.
const (
	DefaultExpiresIn = 7 * 24 * time.Hour
	MaxExpiresIn     = 366 * 24 * time.Hour
)

const maxExpiresInSeconds = int64(MaxExpiresIn / time.Second)

var (
	errDuration = errors.New(`must be a number of seconds, or digits with one of s, m, h, d, such as "15m" or "7d"`)
	errTooLong  = fmt.Errorf("must be at most %d days", MaxExpiresIn/(24*time.Hour))
)

// ParseExpiresIn parses a lifetime of digits and a unit, one of s, m, h and d,
// such as `7d`. It returns an error unless the lifetime is more than zero and at
// most MaxExpiresIn.
func ParseExpiresIn(text string) (time.Duration, error) {
	digits := strings.TrimRight(text, "smhd")
	if digits == "" || len(text) != len(digits)+1 || strings.Trim(digits, "0123456789") != "" {
		return 0, errDuration
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || number > maxExpiresInSeconds { // before the product can overflow
		return 0, errTooLong
	}
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400}
	return ExpiresInSeconds(number * units[text[len(digits)]])
}

// ExpiresInSeconds returns a lifetime given in seconds, or an error unless it is
// more than zero and at most MaxExpiresIn.
func ExpiresInSeconds(seconds int64) (time.Duration, error) {
	switch {
	case seconds <= 0:
		return 0, errors.New("must be more than zero")
	case seconds > maxExpiresInSeconds:
		return 0, errTooLong
	}
	return time.Duration(seconds) * time.Second, nil
}
