package store

import (
	"bytes"
	"encoding/json"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// eraser is what the records of one kind keep of a person: where these records are, and how
// they are forgotten. The same table serves erasure and export. A kind of which the table has
// no entry fails a test.
type eraser struct {
	prefix byte
	// kind names the kind of records in an export, and in the counts of an erasure.
	kind string
	// nothing is why the kind keeps nothing of a person by itself. The fields below are not
	// set then.
	nothing string
	// ranges returns where the records are that may be about the person; nil for everything
	// under the prefix.
	ranges func(snapshot engine.Snapshot, p *Person) ([]eraseRange, error)
	// about reports whether a record is about the person; nil if all of the ranges are.
	about func(p *Person, k, value []byte) bool
	// all: forget is called for every record of the ranges, and decides itself.
	all bool
	// forget removes a record, or the person from it. It may be called again for a record
	// that it left.
	forget func(e *erasing, k, value []byte) error
	// hidden: the entry holds no more than another kind exports.
	hidden bool
}

// eraseRange is a range of entries or, with a place, of an index; with exact, the only entry
// of that key.
type eraseRange struct {
	prefix []byte
	exact  bool
	// place returns the key of the record of an entry; rest is its key without the prefix.
	place func(rest string) []byte
}

// within returns ranges that are records by the rest of the key of an index.
func within(record byte, prefixes ...[]byte) []eraseRange {
	ranges := make([]eraseRange, len(prefixes))
	for i, prefix := range prefixes {
		ranges[i] = eraseRange{prefix: prefix, place: func(rest string) []byte { return append([]byte{record}, rest...) }}
	}
	return ranges
}

// byIdentity returns the ranges of an index that has a person by user id and by address.
func byIdentity(record byte, user func(id string) []byte, email func(email string) []byte) func(engine.Snapshot, *Person) ([]eraseRange, error) {
	return func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
		prefixes := append(make([][]byte, 0, 1+len(p.Emails)), user(p.ID))
		for _, address := range p.Emails {
			prefixes = append(prefixes, email(address))
		}
		return within(record, prefixes...), nil
	}
}

// forgetIn returns how records of a kind forget: forget changes the record, or reports that it
// is to be removed.
func forgetIn[T any](k *kind[T], forget func(p *Person, record *T) (remove bool)) func(*erasing, []byte, []byte) error {
	return func(e *erasing, at, stored []byte) error {
		old, next := new(T), new(T)
		if err := decode(at, stored, old); err != nil {
			return err
		}
		if err := decode(at, stored, next); err != nil {
			return err
		}
		if forget(e.person, next) {
			k.write(e.t, old, nil, nil)
			return nil
		}
		return k.rewrite(e.t, old, next)
	}
}

// removeIn is forgetIn for records that are removed.
func removeIn[T any](k *kind[T]) func(*erasing, []byte, []byte) error {
	return forgetIn(k, func(*Person, *T) bool { return true })
}

// aboutIn returns whether a record of a type is about a person.
func aboutIn[T any](about func(p *Person, record *T) bool) func(*Person, []byte, []byte) bool {
	return func(p *Person, _, value []byte) bool {
		record := new(T)
		return json.Unmarshal(value, record) == nil && about(p, record)
	}
}

// scrubs returns an eraser of records that are JSON and name a person somewhere: all of them
// are read, and the person is taken out.
func scrubs(prefix byte, kind string) eraser {
	return eraser{
		prefix: prefix, kind: kind,
		about: func(p *Person, _, value []byte) bool { return p.mentioned(value) },
		forget: func(e *erasing, k, value []byte) error {
			scrubbed, _ := e.person.scrub(value)
			e.t.set(k, scrubbed, e.expiry(k, value))
			return nil
		},
	}
}

// entriesAbout calls found with the records of an eraser that are about a person, from a
// position on: a range and the key after which it starts. It stops when found returns false.
func (d *eraser) entriesAbout(snapshot engine.Snapshot, p *Person, at erasePlace, found func(at erasePlace, k, value []byte, about bool) bool) error {
	ranges := []eraseRange{{prefix: []byte{d.prefix}}}
	if d.ranges != nil {
		var err error
		if ranges, err = d.ranges(snapshot, p); err != nil {
			return err
		}
	}
	for i := at.Range; i < len(ranges); i++ {
		r := ranges[i]
		var after []byte
		if i == at.Range {
			after = at.After
		}
		for entry, err := range r.entries(snapshot, after) {
			if err != nil {
				return err
			}
			here := erasePlace{Range: i, After: bytes.Clone(entry.Key)}
			k, value := entry.Key, entry.Value
			if r.place != nil {
				k = r.place(string(entry.Key[len(r.prefix):]))
				if value, err = snapshot.Get(k); err != nil {
					return err
				}
			}
			about := value != nil && (d.about == nil || d.about(p, k, value))
			if !found(here, k, value, about) {
				return nil
			}
		}
	}
	return nil
}

func (r *eraseRange) entries(snapshot engine.Snapshot, after []byte) func(func(engine.Entry, error) bool) {
	if !r.exact {
		return snapshot.Scan(r.prefix, after)
	}
	return func(yield func(engine.Entry, error) bool) {
		if value, err := snapshot.Get(r.prefix); value != nil || err != nil {
			yield(engine.Entry{Key: r.prefix, Value: value}, err)
		}
	}
}
