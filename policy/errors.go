package policy

import (
	"errors"

	"github.com/gatefold/gatefold/keys"
)

var (
	// ErrNotFound is returned for a record that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrLinkUsedUp is returned when all uses of a link are redeemed.
	ErrLinkUsedUp = errors.New("the link is used up")
	// ErrLinkDeviceLimit is returned when a link was opened by as many devices as it
	// allows.
	ErrLinkDeviceLimit = errors.New("the link has been opened by as many devices as it allows")
	// ErrLinkReused is returned when a publisher signed two links with one id.
	ErrLinkReused = errors.New("the jti belongs to another link of this publisher, which was used before")
	// ErrLinkRevoked is returned when a link was revoked.
	ErrLinkRevoked = errors.New("the link was revoked")
	// ErrUnavailable is wrapped by the error of every record or key that could not be
	// read: the decision is unknown, which is not a denial.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrMeterUsedUp is returned when a reader has no view of a meter left in its period.
	ErrMeterUsedUp = errors.New("no view of the meter is left")
	// ErrStale is wrapped by the error of a decision that the caches are too old for:
	// the store has been unreachable for longer than the configuration allows.
	ErrStale = errors.New("the store has been unreachable for longer than stale_for allows")
)

type unavailableError struct{ err error }

// Error implements error. Keys of another party are not in the store.
func (e *unavailableError) Error() string {
	if errors.Is(e.err, keys.ErrKeysUnavailable) {
		return e.err.Error()
	}
	return ErrUnavailable.Error() + ": " + e.err.Error()
}
func (e *unavailableError) Unwrap() error        { return e.err }
func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }

func unavailable(err error) error { return &unavailableError{err} }

// orUnavailable wraps an error of keys that could not be fetched or tried as
// ErrUnavailable.
func orUnavailable(err error) error {
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return unavailable(err)
	}
	return err
}

// unavailableReason returns the reason for an ErrUnavailable: keys of another party
// that cannot be fetched, or records that cannot be read.
func unavailableReason(err error) Reason {
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return ReasonKeysUnavailable
	}
	return ReasonStoreUnavailable
}
