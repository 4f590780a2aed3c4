package keys

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseExpiresIn(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "60s": time.Minute, "15m": 15 * time.Minute, "24h": 24 * time.Hour, "7d": DefaultExpiresIn,
		"366d": MaxExpiresIn, "8784h": MaxExpiresIn, "527040m": MaxExpiresIn, "31622400s": MaxExpiresIn,
		"007d": DefaultExpiresIn, "00000000000000000000007d": DefaultExpiresIn,
	} {
		if got, err := ParseExpiresIn(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseExpiresInRefuses(t *testing.T) {
	const form, length, zero = "digits", "at most 366 days", "more than zero"
	for text, want := range map[string]string{
		"": form, "d": form, "7": form, "604800": form, "-1s": form, "+7d": form, "7 d": form, " 7d": form, "7d ": form, "7d\n": form,
		"7D": form, "7w": form, "7y": form, "7ms": form, "1h30m": form, "1.5d": form, "1e3s": form, "0x7d": form, "1_0d": form,
		"٧d": form, "７d": form, "7ｄ": form, "7\x00d": form, "7d\x00": form, "dd": form, "P7D": form,
		"0s": zero, "0d": zero, "000m": zero,
		"367d": length, "8785h": length, "527041m": length, "31622401s": length,
		"99999999999999999999d": length, "9223372036854775807d": length, "9223372036854775808s": length,
		// Products that overflow to something short.
		"213503982334602d": length, "5124095576030432h": length,
		strings.Repeat("9", 100_000) + "d": length,
	} {
		got, err := ParseExpiresIn(text)
		if err == nil || got != 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: got %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestExpiresInSeconds(t *testing.T) {
	for seconds, want := range map[int64]time.Duration{
		1: time.Second, 31_622_400: MaxExpiresIn,
		0: 0, -1: 0, 31_622_401: 0, math.MaxInt64: 0, math.MinInt64: 0, math.MaxInt64/int64(time.Second) + 1: 0,
	} {
		if got, err := ExpiresInSeconds(seconds); got != want || (err == nil) != (want > 0) {
			t.Errorf("%d: got %v, %v, want %v", seconds, got, err, want)
		}
	}
}
