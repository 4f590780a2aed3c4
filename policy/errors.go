package policy

import (
	"errors"

	"github.com/gatefold/gatefold/keys"
)

var (
	// ErrNotFound is returned when there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrLinkUsedUp is returned when a link has been redeemed as often as it may be.
	ErrLinkUsedUp = errors.New("the link is used up")
	// ErrLinkReused is returned when a publisher gave a link's id to another link.
	ErrLinkReused = errReused
	// ErrLinkRevoked is returned when a link was revoked.
	ErrLinkRevoked = errors.New("the link was revoked")
	// ErrUnavailable is wrapped by every error by which something that decides could
	// not be read: the answer is unknown, not no.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrStale is wrapped by the error of a decision that memory is too old for: the
	// store has been away for longer than the configuration allows.
	ErrStale = errors.New("the store is away for longer than stale_for allows")
)

type unavailableError struct{ err error }

func (e *unavailableError) Error() string        { return ErrUnavailable.Error() + ": " + e.err.Error() }
func (e *unavailableError) Unwrap() error        { return e.err }
func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }

func unavailable(err error) error { return &unavailableError{err} }

// orUnavailable marks an error of keys that could not be had or not be tried.
func orUnavailable(err error) error {
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return unavailable(err)
	}
	return err
}

// unavailableReason tells keys of other parties that cannot be fetched from records
// that cannot be read.
func unavailableReason(err error) Reason {
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return ReasonKeysUnavailable
	}
	return ReasonStoreUnavailable
}
