package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// An erasure goes through the kinds of records in steps. Its marker has how far it came, so
// that a later call, or Sweep, continues one that was cut. While there is a marker, no user of
// this id is created. The last step removes the marker, and writes an audit entry that has
// counts only.
const (
	erasedPerson = "e"
	erasedRecord = "r"
)

// Bounds of one step of an erasure.
const (
	eraseRecords = 100
	eraseReads   = 10_000
	eraseBytes   = 4 << 20
)

// erasePlace is how far an erasure came in the ranges of a kind.
type erasePlace struct {
	Range int    `json:"range,omitempty"`
	After []byte `json:"after,omitempty"`
}

// erasure is the marker of an erasure.
type erasure struct {
	Person
	At        time.Time `json:"at"`
	Actor     string    `json:"actor,omitempty"`
	Operation string    `json:"operation,omitempty"`
	// Stage is the number of the eraser, and erasePlace where it is.
	Stage int `json:"stage"`
	erasePlace
	Counts Erased `json:"counts,omitempty"`
}

// Erased has the numbers of records that an erasure removed, or took the person from, by kind.
type Erased map[string]int64

// erasing is one step of an erasure.
type erasing struct {
	t      *transaction
	person *Person
	again  bool // the record is not done
	same   bool // the record was not changed
}

func (e *erasing) markKey(kind string, id []string) []byte {
	digest := sha256.Sum256([]byte(kind + "\x00" + strings.Join(id, "\x00")))
	return append(keyPrefix(prefixRemoved, erasedRecord+e.person.ID), digest[:]...)
}

// mark notes a record of the person that is removed, so that the audit log is known to show it.
func (e *erasing) mark(kind string, id ...string) error {
	e.t.set(e.markKey(kind, id), []byte{1}, time.Time{})
	return nil
}

func (e *erasing) marked(kind string, id ...string) (bool, error) {
	stored, err := e.t.snapshot.Get(e.markKey(kind, id))
	return stored != nil, err
}

// Erase removes a person's data from all records: those of a user id and of the user's e-mail
// address, unless another user has the same, and of further addresses. Records that are of the
// person only are removed, the others stay without the person. It continues an erasure that
// was cut, and may be repeated. It returns how many records it changed, by kind.
//
// The user's roles and grants are gone at the next decision. Events of the removal are not
// queued, as those that wait are removed.
func (w Writer) Erase(ctx context.Context, vendor, id string, emails ...string) (Erased, error) {
	if err := checkPerson(id, emails); err != nil {
		return nil, err
	}
	err := w.erasureTransact(ctx, vendor, func(t *transaction) error { return w.beginErasure(t, id, emails) })
	if err != nil {
		return nil, err
	}
	return w.erase(ctx, vendor, id)
}

// checkPerson checks how a caller names a person.
func checkPerson(id string, emails []string) error {
	err := checkUser("user_id", id)
	for _, email := range emails {
		err = cmp.Or(err, required("email", email), checkEmail(email))
	}
	return err
}

func required(field, text string) error {
	if text == "" {
		return &FieldError{field, "is required"}
	}
	return nil
}

// beginErasure writes the marker, or adds addresses to one that is there.
func (w Writer) beginErasure(t *transaction, id string, emails []string) error {
	k := removedKey(erasedPerson, id)
	stored, err := t.load(k)
	if err != nil {
		return err
	}
	next := erasure{Person: Person{ID: id}, At: t.now, Actor: w.actor.Name, Operation: w.actor.Operation, Counts: Erased{}}
	if stored != nil {
		if err := decode(k, stored, &next); err != nil {
			return err
		}
	}
	found, err := t.personOf(id, emails)
	if err != nil {
		return err
	}
	if stored == nil {
		next.OtherProfile = found.OtherProfile
	}
	for _, email := range found.Emails {
		if !next.hasEmail(email) {
			next.Emails, next.Stage, next.erasePlace = append(next.Emails, email), 0, erasePlace{}
		}
	}
	t.endTokens(id)
	value, err := encode(next)
	t.set(k, value, time.Time{})
	return err
}

// personOf returns a person by their id, their record and further addresses.
func (t *transaction) personOf(id string, emails []string) (*Person, error) {
	user, err := userKind.get(t, id)
	if err != nil {
		return nil, err
	}
	profile, err := profileKind.get(t, id)
	if err != nil {
		return nil, err
	}
	p := &Person{ID: id, OtherProfile: profile != nil && (profile.Type != TypePersonal || profile.Owner != id)}
	if user != nil && user.Email != "" {
		shared, err := t.scan(memberPrefix(memberUserEmail, lowerEmail(user.Email)), 2)
		if err != nil {
			return nil, err
		}
		if len(shared) < 2 {
			p.Emails = append(p.Emails, lowerEmail(user.Email))
		}
	}
	for _, email := range emails {
		email = lowerEmail(email)
		others, err := t.scan(memberPrefix(memberUserEmail, email), 2)
		if err != nil {
			return nil, err
		}
		for _, other := range others {
			if other != id {
				return nil, &FieldError{"email", "is the address of another user"}
			}
		}
		if !p.hasEmail(email) {
			p.Emails = append(p.Emails, email)
		}
	}
	return p, nil
}

// erase does the steps of an erasure. It returns no counts if there is none.
func (s *Store) erase(ctx context.Context, vendor, id string) (counts Erased, err error) {
	for done := false; !done; {
		if err := s.erasureTransact(ctx, vendor, func(t *transaction) error {
			counts, done, err = s.eraseStep(t, id)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// erasureTransact is Writer.transact without events and audit entries, which would have what
// is erased.
func (s *Store) erasureTransact(ctx context.Context, vendor string, change func(*transaction) error) error {
	return s.transact(ctx, vendor, change, s.commit)
}

// eraseStep does one step. Done reports that the erasure is finished, or that there is none.
func (s *Store) eraseStep(t *transaction, id string) (counts Erased, done bool, err error) {
	k := removedKey(erasedPerson, id)
	stored, err := t.load(k)
	if err != nil || stored == nil {
		return Erased{}, true, err
	}
	var state erasure
	if err := decode(k, stored, &state); err != nil {
		return nil, true, err
	}
	if state.Counts == nil {
		state.Counts = Erased{}
	}
	all := erasers
	changed := false
	for err == nil && !changed && state.Stage < len(all) {
		if d := &all[state.Stage]; d.nothing != "" {
			state.Stage++
		} else {
			changed, err = t.eraseSome(d, &state)
		}
	}
	if err == nil && !changed {
		return state.Counts, true, s.endErasure(t, k, &state)
	}
	if err != nil {
		return nil, true, err
	}
	value, err := encode(state)
	t.set(k, value, time.Time{})
	return state.Counts, false, err
}

// eraseSome forgets the next records of a kind. Changed reports that the step has done enough.
func (t *transaction) eraseSome(d *eraser, state *erasure) (changed bool, err error) {
	e := &erasing{t: t, person: &state.Person}
	read, size, count, ended := 0, 0, 0, true
	var failed error
	err = d.entriesAbout(t.snapshot, e.person, state.erasePlace, func(at erasePlace, k, value []byte, about bool) bool {
		read++
		if about || d.all && value != nil {
			e.again, e.same = false, false
			current, err := t.load(k)
			if err == nil && current != nil { // else an earlier record took it along
				err = d.forget(e, k, current)
			}
			if failed = err; err != nil {
				return false
			}
			if e.again {
				ended = false
				return false
			}
			if !e.same && current != nil {
				count++
				size += len(current)
			}
		}
		state.erasePlace = at
		ended = count < eraseRecords && read < eraseReads && size < eraseBytes
		return ended
	})
	if !d.hidden && count > 0 {
		state.Counts[d.kind] += int64(count)
	}
	if ended {
		state.Stage, state.erasePlace = state.Stage+1, erasePlace{}
	}
	return count > 0 || !ended, errors.Join(err, failed)
}

// endErasure removes the marker, and writes the audit entry.
func (s *Store) endErasure(t *transaction, k []byte, state *erasure) error {
	t.set(k, nil, time.Time{})
	after, err := json.Marshal(state.Counts)
	if err != nil {
		return err
	}
	entry := AuditEntry{At: s.timestamp(), Actor: state.Actor, Operation: state.Operation, Records: []AuditRecord{{Kind: auditErasure, ID: []string{""}, After: after}}}
	stored, err := encode(entry)
	if err == nil && state.Actor+state.Operation != "" {
		t.set(key(prefixAudit, s.newAuditID()), stored, entry.At.Add(AuditRetention))
	}
	return err
}

// auditErasure is the kind of the record that an audit entry of an erasure has.
const auditErasure = "erasure"
