package policy

import (
	"cmp"
	"context"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Unreachable returns a policy over a store that fails every call with an error. It
// decides as any other policy does: what the configuration makes public is allowed,
// what is refused without records is refused, and everything else is
// store_unavailable, with the error. It caches nothing.
func Unreachable(operators *Operators, now func() time.Time, err error) *Policy {
	return &Policy{
		records: emptyRecords{err}, versions: &noVersions, operators: operators, now: now, domains: new(domainTable), licences: new(licenceTables),
		fresh: func(string, time.Time) error { return err },
	}
}

// UnreachableKeys returns a KeySource that fails with an error.
func UnreachableKeys(err error) KeySource { return emptyRecords{err} }

// noVersions serves policies that cache nothing. It is never bumped.
var noVersions Versions

// emptyRecords are the Records and the KeySource of a store that is empty or, with an
// error, does not answer.
type emptyRecords struct{ err error }

func (e emptyRecords) KeySet(context.Context) (keys.KeySet, error) { return keys.KeySet{}, e.err }

func (e emptyRecords) ReaderRecords(context.Context, string, Reader) (ReaderRecords, error) {
	return ReaderRecords{}, e.err
}

func (e emptyRecords) Profile(context.Context, string, string) (Profile, error) {
	return Profile{}, e.err
}

func (e emptyRecords) Plan(context.Context, string, string) (Plan, error) { return Plan{}, e.err }

func (e emptyRecords) Agreement(context.Context, string, string) (Agreement, error) {
	return Agreement{}, e.err
}

func (e emptyRecords) Containers(context.Context, string, string) ([]string, error) {
	return nil, e.err
}

func (e emptyRecords) Link(context.Context, string, string, string) (Link, error) {
	return Link{}, cmp.Or(e.err, ErrNotFound)
}

func (e emptyRecords) DefaultSpace(context.Context, string) (string, error) { return "", e.err }

func (e emptyRecords) Uses(context.Context, string, string, string, []string, string) (Uses, error) {
	return Uses{}, e.err
}

func (e emptyRecords) Refund(context.Context, string, Redemption) error { return e.err }

func (e emptyRecords) Redeem(context.Context, string, Redemption) error {
	return cmp.Or(e.err, ErrNotFound)
}

func (e emptyRecords) MeterViews(context.Context, string, MeterReader) ([]MeterView, error) {
	return nil, e.err
}

func (e emptyRecords) CountView(context.Context, string, MeterSpend) error { return e.err }

func (e emptyRecords) Rules(context.Context, string, string) ([]Rule, error) { return nil, e.err }

func (e emptyRecords) Domains(context.Context, string, *Domains) (Domains, error) {
	return Domains{}, e.err
}

func (e emptyRecords) SiteLicences(context.Context, string) ([]SiteLicence, error) { return nil, e.err }
