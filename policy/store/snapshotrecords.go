package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// stripeSet is a set of stripes, see policy.Stripe. The zero value is empty.
type stripeSet struct {
	bits  [1 << 16 / 64]uint64
	count int
}

func (s *stripeSet) has(stripe uint16) bool { return s.bits[stripe/64]&(1<<(stripe%64)) != 0 }

// add reports whether the stripe is new.
func (s *stripeSet) add(stripe uint16) bool {
	if s.has(stripe) {
		return false
	}
	s.bits[stripe/64] |= 1 << (stripe % 64)
	s.count++
	return true
}

func (s *stripeSet) encode() []byte {
	var list []byte
	for stripe := range 1 << 16 {
		if s.has(uint16(stripe)) {
			list = binary.BigEndian.AppendUint16(list, uint16(stripe))
		}
	}
	return list
}

func (s *stripeSet) decode(list []byte) {
	for ; len(list) >= 2; list = list[2:] {
		s.add(binary.BigEndian.Uint16(list))
	}
}

// keptRecords is the engine.Snapshot of one read from a snapshot of the node.
type keptRecords struct {
	tables  *[snapshotTables]*nodefile.Table
	changed *stripeSet
	// touched reports that records of readers or links were read, checked that they were
	// compared with what changed.
	touched, checked bool
}

// done returns an error if something was read without being compared with what changed.
func (k *keptRecords) done() error {
	if k.touched && !k.checked {
		return errUnchecked
	}
	return nil
}

func (k *keptRecords) table(prefix []byte) (*nodefile.Table, error) {
	table, err := tableOf(prefix)
	if err != nil {
		return nil, err
	}
	k.touched = k.touched || table == readerTable
	return k.tables[table], nil
}

// Get implements engine.Snapshot.
func (k *keptRecords) Get(key []byte) ([]byte, error) {
	table, err := k.table(key)
	if err != nil {
		return nil, err
	}
	value, err := table.Get(key)
	return value, damaged(err)
}

// Scan implements engine.Snapshot.
func (k *keptRecords) Scan(prefix, after []byte) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		table, err := k.table(prefix)
		if err != nil {
			yield(engine.Entry{}, err)
			return
		}
		for entry, err := range table.Scan(prefix, after) {
			if !yield(engine.Entry(entry), damaged(err)) || err != nil {
				return
			}
		}
	}
}

// ScanBack implements engine.Snapshot. No decision reads backwards.
func (k *keptRecords) ScanBack([]byte, []byte) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) { yield(engine.Entry{}, errNotKept) }
}

// Count implements engine.Snapshot. A snapshot has no counters.
func (k *keptRecords) Count([]byte) (int64, error) { return 0, errNotKept }

// damaged returns the error of a table as one that matches ErrAway.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errNotKept, err)
}

// keyBefore returns a key that is less than all keys with a prefix, and greater than nearly all
// others that are.
func keyBefore(prefix string) []byte {
	last := len(prefix) - 1
	return append(append([]byte(prefix[:last]), prefix[last]-1), bytes.Repeat([]byte{0xff}, 9)...)
}

// tableFiles returns the names of the tables, without those that are missing.
func tableFiles(names *[snapshotTables]string) []string {
	return slices.DeleteFunc(slices.Clone(names[:]), func(name string) bool { return name == "" })
}
