package caddymodule

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

// clockDoubt returns what is wrong with a clock, if that may be why a request was refused, and
// "" otherwise. The reader is not told.
func (a *App) clockDoubt(reason policy.Reason, err error) string {
	if a == nil || a.shared == nil || a.shared.node == nil || !byTime(reason, err) {
		return ""
	}
	return a.shared.node.ClockDoubt()
}
