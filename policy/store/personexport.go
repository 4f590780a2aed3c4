package store

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// PersonalRecord is a record that is about a person.
type PersonalRecord struct {
	Kind string `json:"kind" doc:"The kind of the record, such as grant or contract." example:"grant"`
	// ID is the path of the record: parent ids first.
	ID []string `json:"id" doc:"The path of the record: parent ids first." example:"[\"src_default\",\"grant_01kb2m3q4r5s6t7v8w9x0y1z2a\"]"`
	// Record has the record's members, without secrets.
	Record json.RawMessage `json:"record" doc:"The members of the record, without secrets."`
}

// ExportPerson calls send with all records that are about a person, by kind: those that Erase
// would remove, or take the person from. It keeps one snapshot meanwhile, and stops when send
// returns an error. Of a record about several persons, only the part of this one is sent.
func (s *Store) ExportPerson(ctx context.Context, vendor, id string, emails []string, send func(PersonalRecord) error) error {
	if err := checkPerson(id, emails); err != nil {
		return err
	}
	return s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		t := &transaction{snapshot: snapshot, vendor: vendor, now: s.timestamp(), cells: map[string]*cell{}}
		person, err := t.personOf(id, emails)
		if err != nil {
			return err
		}
		all := erasers
		for i := range all {
			if d := &all[i]; d.nothing == "" && !d.hidden {
				if err := d.export(snapshot, person, send); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (d *eraser) export(snapshot engine.Snapshot, person *Person, send func(PersonalRecord) error) (failed error) {
	err := d.entriesAbout(snapshot, person, erasePlace{}, func(_ erasePlace, k, value []byte, about bool) bool {
		if about {
			failed = send(PersonalRecord{d.kind, exportedID(k), exportedValue(k, person.part(k, value))})
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// part returns what is about the person of a record that may be about several: the changes of
// their records in an audit entry or in the log of an import.
func (p *Person) part(k, value []byte) []byte {
	var part any
	switch k[0] {
	case prefixAudit:
		var entry AuditEntry
		if json.Unmarshal(value, &entry) != nil {
			return nil
		}
		entry.Records = slices.DeleteFunc(entry.Records, func(r AuditRecord) bool { return !p.audited(r) })
		if !p.named("actor", entry.Actor) && !strings.HasPrefix(entry.Actor, "client_") {
			entry.Actor = ""
		}
		part = entry
	case prefixImportLog:
		var log importLog
		if json.Unmarshal(value, &log) != nil {
			return nil
		}
		part = slices.DeleteFunc(log, func(g loggedGrant) bool { return !p.mentioned(g.Before) })
	default:
		return value
	}
	encoded, err := json.Marshal(part)
	if err != nil {
		return nil
	}
	return encoded
}

// exportedID returns the path of a record. The places of events have times in bytes.
func exportedID(k []byte) []string {
	if k[0] == prefixDelivery || k[0] == prefixImportLog || k[0] == prefixEngagement && string(k[1:2]) == kindRecent {
		return []string{}
	}
	return auditID(k)
}

// exportedValue returns the members of a record that the audit log may have, too.
func exportedValue(k, value []byte) json.RawMessage {
	if k[0] == prefixEngagement {
		at, err := parseMilli(value)
		if err != nil {
			at = time.Time{}
			if len(k) > 8 && string(k[1:2]) == kindRecent {
				return json.RawMessage(strconv.Quote("index"))
			}
		}
		encoded, _ := json.Marshal(at) // a time has no error
		return encoded
	}
	kind := auditKindOf(k)
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil {
		if json.Valid(value) {
			return value
		}
		return json.RawMessage("null")
	}
	for _, hidden := range kind.hidden {
		delete(members, hidden)
	}
	encoded, _ := json.Marshal(members) // it was JSON
	return encoded
}
