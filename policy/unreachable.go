package policy

import (
	"context"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Unreachable returns a policy over a store that fails every call with an error. It
// decides as any other policy does: what the configuration alone makes public is
// allowed, what is refused without a look at records is refused, and everything else
// is store_unavailable. The error is the decision's. It keeps nothing.
func Unreachable(operators *Operators, now func() time.Time, err error) *Policy {
	return &Policy{
		records: unreachable{err}, versions: &noVersions, operators: operators, now: now, domains: new(domainTable),
		fresh: func(string, time.Time) error { return err },
	}
}

// noVersions serves policies that keep nothing: nothing ever bumps it.
var noVersions Versions

// unreachable is the Records, and the KeySource, of a store that does not answer.
type unreachable struct{ err error }

// UnreachableKeys returns a KeySource whose keys cannot be read.
func UnreachableKeys(err error) KeySource { return unreachable{err} }

func (u unreachable) KeySet(context.Context) (keys.KeySet, error) { return keys.KeySet{}, u.err }

func (u unreachable) Grants(context.Context, string, Reader) ([]Grant, error) { return nil, u.err }

func (u unreachable) Containers(context.Context, string, string) ([]string, error) {
	return nil, u.err
}

func (u unreachable) Link(context.Context, string, string, string) (Link, error) {
	return Link{}, u.err
}

func (u unreachable) Redeem(context.Context, string, Redemption) error { return u.err }

func (u unreachable) Rules(context.Context, string, string) ([]Rule, error) { return nil, u.err }

func (u unreachable) Domains(context.Context, string, *Domains) (Domains, error) {
	return Domains{}, u.err
}
