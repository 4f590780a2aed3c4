package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// MemberRow is a row of an import: a record as it should be stored.
type MemberRow[T any] struct {
	Record T
	// User and Profile, unless nil, are stored if there are none of the slugs that the
	// record names. Their own slugs are ignored.
	User    *User
	Profile *Profile
	// Keep, unless nil, gives the record what the row leaves as it is in the stored one.
	Keep func(next, old *T)
}

// Outcome is what a row of an import did.
type Outcome byte

// The outcomes of rows.
const (
	RowUnchanged Outcome = iota
	RowCreated
	RowChanged
	RowRefused
)

// MembersImported is the result of a batch of an import.
type MembersImported struct {
	// Outcomes has the outcome of each row, Errors the errors of those that were refused.
	Outcomes []Outcome
	Errors   []RowError
}

// memberImport is how the rows of one kind are imported.
type memberImport[T any] struct {
	kind *kind[T]
	// user and profile return the slugs that a record names; nil for a kind without one.
	user, profile func(*T) string
	// prepare changes a record by the one that is stored; old is nil for none.
	prepare func(t *transaction, next, old *T) error
}

// ImportProfiles stores the profiles of a batch of at most MaxImportRows in one commit, in
// place of those with the same slugs. A row that cannot be stored is reported, and does not
// affect the others. Rows that are stored already are not written, so that a batch can be
// sent again.
func (w Writer) ImportProfiles(ctx context.Context, vendor string, rows []MemberRow[Profile]) (MembersImported, error) {
	return importMembersOf(ctx, w, vendor, rows, profileImport)
}

var profileImport = &memberImport[Profile]{kind: profileKind, user: func(p *Profile) string { return p.Owner }}

// ImportUsers stores users as ImportProfiles does profiles.
func (w Writer) ImportUsers(ctx context.Context, vendor string, rows []MemberRow[User]) (MembersImported, error) {
	return importMembersOf(ctx, w, vendor, rows, userImport)
}

var userImport = &memberImport[User]{kind: userKind}

// ImportPlans stores plans as ImportProfiles does profiles. A plan stays with its provider.
func (w Writer) ImportPlans(ctx context.Context, vendor string, rows []MemberRow[Plan]) (MembersImported, error) {
	return importMembersOf(ctx, w, vendor, rows, planImport)
}

var planImport = &memberImport[Plan]{
	kind: planKind, profile: func(p *Plan) string { return p.Provider },
	prepare: func(_ *transaction, next, old *Plan) error {
		if old != nil && old.Provider != next.Provider {
			return &FieldError{"profile", "is not the provider of the plan"}
		}
		return nil
	},
}

// ImportSubscriptions stores subscriptions as ImportProfiles does profiles. A subscription
// is recognized by its profile, plan and start. It needs no acceptance.
func (w Writer) ImportSubscriptions(ctx context.Context, vendor string, rows []MemberRow[Subscription]) (MembersImported, error) {
	return importMembersOf(ctx, w, vendor, rows, subscriptionImport)
}

var subscriptionImport = &memberImport[Subscription]{
	kind: subscriptionKind, profile: func(s *Subscription) string { return s.Profile },
	prepare: func(_ *transaction, next, _ *Subscription) error {
		next.GrantKey, next.RequestKey = "", ""
		return nil
	},
}

// ImportRoles stores roles as ImportProfiles does profiles. They count at once; a request
// stays beside them. The last manager of a profile gets no other role, unless the operator
// imports it or the batch has another manager.
func (w Writer) ImportRoles(ctx context.Context, vendor string, rows []MemberRow[Role], operator bool) (MembersImported, error) {
	return importMembersOf(ctx, w, vendor, rows, roleImport(rows, w.timestamp(), operator))
}

// roleImport returns how the roles of a batch are imported.
func roleImport(rows []MemberRow[Role], now time.Time, operator bool) *memberImport[Role] {
	managers := map[string]string{} // a manager of the batch, by profile
	for i := range rows {
		if role := &rows[i].Record; role.Type == policy.RoleManager {
			state := role.State()
			if state.Counts(now) {
				managers[role.Profile] = role.User
			}
		}
	}
	return &memberImport[Role]{
		kind: roleKind, profile: func(r *Role) string { return r.Profile }, user: func(r *Role) string { return r.User },
		prepare: func(t *transaction, next, old *Role) error {
			next.GrantKey, next.InviteEndsAt, next.RequestKey, next.Requested = "", nil, "", ""
			if old == nil {
				return nil
			}
			if old.Requested != next.Type {
				next.RequestKey, next.Requested = old.RequestKey, old.Requested
			}
			if other := managers[next.Profile]; next.Type == policy.RoleManager && next.EndsAt == nil || other != "" && other != next.User {
				return nil
			}
			return t.keepManager(old, operator)
		},
	}
}

// importMembersOf stores the rows of a batch.
func importMembersOf[T any](ctx context.Context, w Writer, vendor string, rows []MemberRow[T], m *memberImport[T]) (result MembersImported, err error) {
	if len(rows) > MaxImportRows {
		return result, &FieldError{"rows", fmt.Sprintf("are more than %d: send them in several batches", MaxImportRows)}
	}
	err = w.transact(ctx, vendor, func(t *transaction) (err error) {
		result, err = m.batch(t, rows)
		return err
	})
	return result, err
}

// batch stores the rows of a batch.
func (m *memberImport[T]) batch(t *transaction, rows []MemberRow[T]) (MembersImported, error) {
	result := MembersImported{Outcomes: make([]Outcome, len(rows))}
	if err := m.prefetch(t, rows); err != nil {
		return result, err
	}
	for i := range rows {
		writes, stripes := len(t.written), len(t.change.Stripes)
		outcome, err := m.row(t, &rows[i])
		if err != nil {
			refused := rowProblem(err)
			if refused == nil {
				return result, err
			}
			t.undo(writes)
			t.change.Stripes = t.change.Stripes[:stripes]
			result.Errors = append(result.Errors, newRowError(i, refused))
			outcome = RowRefused
		}
		result.Outcomes[i] = outcome
	}
	return result, nil
}

// rowProblem returns the error of a row, or nil for one of the store.
func rowProblem(err error) *FieldError {
	// An error of the engine that is joined to one of a field leaves the row undecided.
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 1 {
		return nil
	}
	if field, ok := errors.AsType[*FieldError](err); ok {
		return field
	}
	if last, ok := errors.AsType[*LastManagerError](err); ok {
		return &FieldError{"role_description", last.Error()}
	}
	if errors.Is(err, ErrReserved) {
		return &FieldError{"slug", err.Error()}
	}
	return nil
}

// row stores one row.
func (m *memberImport[T]) row(t *transaction, row *MemberRow[T]) (Outcome, error) {
	next := row.Record
	if err := m.kind.normalize(&next); err != nil {
		return RowRefused, err
	}
	path := m.kind.path(&next)
	before, err := t.load(m.kind.key(path...))
	if err != nil {
		return RowRefused, err
	}
	old, err := m.kind.decode(t.vendor, before, path)
	if err != nil {
		return RowRefused, err
	}
	if old != nil && row.Keep != nil {
		row.Keep(&next, old)
	}
	if err := m.needs(t, row, &next); err != nil {
		return RowRefused, err
	}
	if m.prepare != nil {
		if err := m.prepare(t, &next, old); err != nil {
			return RowRefused, err
		}
	}
	if err := m.kind.put(t, &next); err != nil {
		return RowRefused, err
	}
	after, err := t.load(m.kind.key(path...))
	switch {
	case before == nil && after != nil:
		return RowCreated, err
	case bytes.Equal(before, after):
		return RowUnchanged, err
	}
	return RowChanged, err
}

// needs stores the user and the profile that a row brings.
func (m *memberImport[T]) needs(t *transaction, row *MemberRow[T], record *T) error {
	if m.user != nil && row.User != nil && m.user(record) != "" {
		made := *row.User
		made.Slug = m.user(record)
		if ok, err := userKind.exists(t, made.Slug); err != nil {
			return err
		} else if !ok {
			if err := userKind.put(t, &made); err != nil {
				return err
			}
		}
	}
	if m.profile == nil || row.Profile == nil {
		return nil
	}
	made := *row.Profile
	made.Slug = m.profile(record)
	if ok, err := profileKind.exists(t, made.Slug); ok || err != nil {
		return err
	}
	return profileKind.put(t, &made)
}

// prefetch reads what the rows need in few round trips.
func (m *memberImport[T]) prefetch(t *transaction, rows []MemberRow[T]) error {
	var keys [][]byte
	seen := map[string]bool{}
	need := func(k []byte) {
		if !seen[string(k)] {
			seen[string(k)] = true
			keys = append(keys, k)
		}
	}
	for i := range rows {
		record := rows[i].Record
		if m.kind.normalize(&record) != nil {
			continue
		}
		need(m.kind.key(m.kind.path(&record)...))
		if m.user != nil && m.user(&record) != "" {
			need(userKind.key(m.user(&record)))
			need(removedKey(removedUser, m.user(&record)))
		}
		if m.profile != nil {
			need(profileKind.key(m.profile(&record)))
			need(removedKey(removedProfile, m.profile(&record)))
		}
		switch record := any(record).(type) {
		case Subscription:
			need(planKind.key(record.Plan))
		case Profile:
			need(removedKey(removedProfile, record.Slug))
		case User:
			need(removedKey(removedUser, record.Slug))
		}
	}
	return engine.Prefetch(t.snapshot, keys...)
}
