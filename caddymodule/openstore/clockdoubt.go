package openstore

import (
	"errors"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// byTime reports whether a request was refused for the time in a token or a link.
func byTime(reason policy.Reason, err error) bool {
	return reason == policy.ReasonLinkExpired || reason == policy.ReasonLinkNotYetValid ||
		errors.Is(err, keys.ErrExpired) || errors.Is(err, keys.ErrNotYetValid)
}

// ClockDoubt returns what is wrong with a clock, if that may be why a request was refused, and
// "" otherwise. The reader is not told.
func (s *Shared) ClockDoubt(reason policy.Reason, err error) string {
	if s == nil || !byTime(reason, err) {
		return ""
	}
	return s.Node.ClockDoubt()
}
