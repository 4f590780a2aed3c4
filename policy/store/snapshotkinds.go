package store

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// A node's snapshot has two tables: of the records on which all readers depend, which a
// change of them makes stale as a whole, and of the records of readers and links, which
// change stripe by stripe, see policy.Invalidation.
const (
	sharedTable = iota
	readerTable
	snapshotTables
)

// snapshotPrefixes are the prefixes of the keys that each table has, in order. Whatever
// decisions do not read is not kept, and neither are counters.
var snapshotPrefixes = [snapshotTables][]string{
	sharedTable: prefixes(
		string(prefixList), string(prefixSpace), string(prefixRule), string(prefixDomain), string(prefixDeniedKey), string(prefixForwarding),
		string(prefixSessionKey), string(prefixKey), string(prefixCurrentKey), string(prefixContainer), string(prefixRoleType),
		string(prefixPlan), string(prefixAgreement), string(prefixProfile), string(prefixContractIndex)+contractSite, string(prefixKeySet),
	),
	readerTable: prefixes(
		string(prefixIndex)+indexUserID, string(prefixIndex)+indexEmail, string(prefixIndex)+indexPublisherUserID, string(prefixGrant),
		string(prefixLink), string(prefixRevocation), string(prefixMember)+memberUser, string(prefixUser), string(prefixSubscription),
		string(prefixSignature), string(prefixContract), string(prefixSeat), string(prefixLogin),
		string(prefixContractIndex)+contractUser, string(prefixContractIndex)+contractEmail,
		string(prefixContractIndex)+contractHolder, string(prefixContractIndex)+contractMailed,
	),
}

func prefixes(list ...string) []string {
	slices.Sort(list)
	return list
}

// errNotKept is returned for what is read from a snapshot that does not have it. It matches
// ErrAway, so that nothing is decided by its absence.
var errNotKept error = &snapshotError{"the store is unavailable, and its snapshot on this node does not have this record"}

// errChanged is returned for what changed after it was written to the snapshot.
var errChanged error = &snapshotError{"the store is unavailable, and this record changed after the snapshot of this node was written"}

type snapshotError struct{ text string }

func (e *snapshotError) Error() string { return e.text }

// Is implements the interface of errors.Is.
func (e *snapshotError) Is(target error) bool {
	return target == ErrAway || target == engine.ErrUnavailable
}

// tableOf returns the table that has all keys with a prefix.
func tableOf(prefix []byte) (table int, err error) {
	for table, list := range snapshotPrefixes {
		for _, kept := range list {
			if bytes.HasPrefix(prefix, []byte(kept)) {
				return table, nil
			}
		}
	}
	return 0, errNotKept
}

type deciding struct{}

// decides returns a context for reads that decide about requests. Only they are answered by
// a snapshot of the node: listings and searches of the management API are not.
func decides(ctx context.Context) context.Context { return context.WithValue(ctx, deciding{}, true) }

// notChanged returns an error if a snapshot is one of the node, and one of the stripes changed
// after it was written. Each read of records of readers and links must call it.
func notChanged(snapshot engine.Snapshot, stripes ...uint16) error {
	kept, ok := snapshot.(*keptRecords)
	if !ok {
		return nil
	}
	kept.checked = true
	if slices.ContainsFunc(stripes, kept.changed.has) {
		return errChanged
	}
	return nil
}

// errUnchecked is returned for a read that did not call notChanged.
var errUnchecked = errors.Join(errChanged, errors.New("it was not compared with what changed"))
