package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// The journal of a partition has what changed after its tables were written, and until when
// its change feed was followed. Its first record is the state, the others change it.

// snapshotState is the snapshot of a partition, as its journal describes it.
type snapshotState struct {
	// number is that of the newest record. It only grows, also over several journals.
	number uint64
	tables [snapshotTables]string // names of files; empty for one that is not written yet
	stale  [snapshotTables]bool
	// changed are the stripes whose records changed after the table of readers was begun.
	changed stripeSet
	// heard is when the feed was last followed to its end, up to cursor.
	heard  time.Time
	cursor engine.Cursor
}

type journalRecord struct {
	Number   uint64        `json:"n"`
	Heard    int64         `json:"h,omitempty"` // in Unix milliseconds, with the cursor
	Position uint64        `json:"p,omitempty"`
	Token    string        `json:"t,omitempty"`
	Stale    []int         `json:"a,omitempty"` // tables
	Stripes  []byte        `json:"c,omitempty"` // two bytes each
	State    *journalState `json:"s,omitempty"`
}

type journalState struct {
	Tables [snapshotTables]string `json:"tables"`
}

// first returns the record with the whole state.
func (s *snapshotState) first() journalRecord {
	record := journalRecord{Number: s.number, State: &journalState{s.tables}, Stripes: s.changed.encode()}
	record.setHeard(s)
	for table, stale := range s.stale {
		if stale {
			record.Stale = append(record.Stale, table)
		}
	}
	return record
}

func (r *journalRecord) setHeard(s *snapshotState) {
	if !s.heard.IsZero() {
		r.Heard, r.Position, r.Token = s.heard.UnixMilli(), s.cursor.Position, s.cursor.Token
	}
}

func (r *journalRecord) encode() []byte {
	text, _ := json.Marshal(r) // cannot fail: texts and numbers
	return text
}

// apply applies a record of a journal.
func (s *snapshotState) apply(text []byte) error {
	var record journalRecord
	if err := json.Unmarshal(text, &record); err != nil {
		return nodefile.ErrDamaged
	}
	if record.State != nil {
		*s = snapshotState{tables: record.State.Tables}
	}
	s.number = record.Number
	if record.Heard != 0 {
		s.heard, s.cursor = time.UnixMilli(record.Heard), engine.Cursor{Position: record.Position, Token: record.Token}
	}
	for _, table := range record.Stale {
		if table < 0 || table >= snapshotTables {
			return nodefile.ErrDamaged
		}
		s.stale[table] = true
	}
	s.changed.decode(record.Stripes)
	return nil
}

// change returns the record of an invalidation, false if it changes nothing. Everything
// reports that it is not known what changed.
func (s *snapshotState) change(change *policy.Invalidation, everything bool) (record journalRecord, changed bool) {
	// An event without room for its stripes makes everything shared stale instead, see
	// policy.Invalidation.Encode.
	everything = everything || change.Shared && (change.AllPages || len(change.Pages)+len(change.SoftPages) > 0)
	for table, stale := range [snapshotTables]bool{sharedTable: change.Shared || everything, readerTable: everything} {
		if stale && !s.stale[table] {
			s.stale[table] = true
			record.Stale = append(record.Stale, table)
		}
	}
	var added stripeSet
	for _, stripe := range change.Stripes {
		if s.changed.add(stripe) {
			added.add(stripe)
		}
	}
	if added.count > 0 {
		record.Stripes = added.encode()
	}
	return record, len(record.Stale)+added.count > 0
}

// readSnapshot reads the journal of a partition.
func (s *snapshots) readSnapshot(partition string) (*snapshotState, error) {
	key, err := s.key(partition)
	if err != nil {
		return nil, err
	}
	records, err := nodefile.ReadJournal(s.journalFile(partition), key)
	if err != nil {
		return nil, err
	}
	state := new(snapshotState)
	for _, record := range records {
		if err := state.apply(record); err != nil {
			return nil, err
		}
	}
	if seen := s.seenNumber(partition); state.number < seen {
		return nil, fmt.Errorf("it is not the newest one of this node (record %d, and %d was written): an older copy was put in its place", state.number, seen)
	}
	for _, name := range tableFiles(&state.tables) {
		if filepath.Base(name) != name {
			return nil, nodefile.ErrDamaged
		}
	}
	return state, nil
}

// usable returns why a snapshot must not be used, nil if it may.
func (s *snapshotState) usable(now time.Time, staleFor time.Duration) error {
	age := now.Sub(s.heard)
	switch {
	case s.heard.IsZero() || len(tableFiles(&s.tables)) < snapshotTables:
		return errors.New("it was not complete")
	case age < -maxSnapshotAhead:
		return fmt.Errorf("it is from %v in the future: the clock of this machine was set back", (-age).Round(time.Second))
	case age >= staleFor:
		return fmt.Errorf("it is older than stale_for: the store was last heard %v before", age.Round(time.Second))
	case s.stale[sharedTable], s.stale[readerTable]:
		return errors.New("rules, domains, lists, keys or other shared records changed after it was written")
	}
	return nil
}

// maxSnapshotAhead is how far a snapshot may be ahead of the clock.
const maxSnapshotAhead = 2 * time.Second

// key returns the key of the files of a partition.
func (s *snapshots) key(partition string) (nodefile.Key, error) {
	return s.options.Key.For("node " + s.seen.Node + "\x00" + partition)
}

// name returns the name of the files of a partition, without an ending.
func snapshotName(partition string) string {
	sum := sha256.Sum256([]byte(partition))
	return hex.EncodeToString(sum[:12])
}

func (s *snapshots) journalFile(partition string) string {
	return filepath.Join(s.options.Folder, snapshotName(partition)+".journal")
}
