package store

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// aboutAudit reports whether an audit entry names a person.
func aboutAudit(p *Person, _, value []byte) bool {
	var entry AuditEntry
	return json.Unmarshal(value, &entry) == nil && (p.named("actor", entry.Actor) || slices.ContainsFunc(entry.Records, p.audited))
}

// audited reports whether a change in the audit log names the person.
func (p *Person) audited(r AuditRecord) bool {
	return p.inPath(r.Kind, r.ID) >= 0 || p.mentioned(r.Before) || p.mentioned(r.After)
}

// aboutEvent reports whether an event in a queue names a person: in its record, or in the names
// of records.
func aboutEvent(p *Person, _, value []byte) bool {
	if p.mentioned(value) {
		return true
	}
	var event struct {
		Body struct {
			Type string `json:"type"`
			Data struct {
				Name  []string              `json:"name"`
				Names map[string][][]string `json:"names"`
			} `json:"data"`
		} `json:"body"`
	}
	if !p.may(value) || json.Unmarshal(value, &event) != nil {
		return false
	}
	kind, _, _ := strings.Cut(event.Body.Type, ".")
	if kind = strings.ReplaceAll(kind, "_", "-"); p.inPath(kind, event.Body.Data.Name) >= 0 {
		return true
	}
	for _, names := range event.Body.Data.Names {
		if slices.ContainsFunc(names, func(name []string) bool { return p.inPath(kind, name) >= 0 }) {
			return true
		}
	}
	return false
}

// markAudited notes the grants of a person that an audit entry shows, as entries of their
// changes may have no more than a name.
func markAudited(e *erasing, k, value []byte) error {
	var entry AuditEntry
	if err := decode(k, value, &entry); err != nil {
		return err
	}
	for i := range entry.Records {
		record := &entry.Records[i]
		if record.Kind == "grant" && (e.person.mentioned(record.Before) || e.person.mentioned(record.After)) {
			if err := e.mark(record.Kind, record.ID...); err != nil {
				return err
			}
		}
	}
	return nil
}

// profileOwned are the kinds of records whose path begins with a profile.
var profileOwned = map[string]bool{"profile": true, "role": true, "role-type": true, "subscription": true}

// forgetAudit empties what an audit entry shows of a person's records. The entry stays: who
// called what, when, and how many records that changed.
func forgetAudit(e *erasing, k, value []byte) error {
	var entry AuditEntry
	if err := decode(k, value, &entry); err != nil {
		return err
	}
	changed := e.person.named("actor", entry.Actor)
	if changed {
		entry.Actor = ""
	}
	for i := range entry.Records {
		record := &entry.Records[i]
		theirs, err := e.marked(record.Kind, record.ID...)
		if err != nil {
			return err
		}
		if len(record.ID) > 0 && record.ID[0] != "" {
			own, err := e.marked("profile", record.ID[0])
			if err != nil {
				return err
			}
			if own && profileOwned[record.Kind] {
				record.ID[0], theirs = "", true
			}
		}
		for at := e.person.inPath(record.Kind, record.ID); at >= 0; at = e.person.inPath(record.Kind, record.ID) {
			record.ID[at], theirs = "", true
		}
		if theirs || e.person.mentioned(record.Before) || e.person.mentioned(record.After) {
			record.Before, record.After, record.Truncated, record.Erased, changed = nil, nil, false, true, true
		}
	}
	if !changed {
		e.same = true
		return nil
	}
	stored, err := encode(entry)
	if err == nil {
		e.t.set(k, stored, entry.At.Add(AuditRetention))
	}
	return err
}

// aboutAnswer reports whether the stored response of a call, or the record that the call made,
// names a person.
func aboutAnswer(p *Person, _, value []byte) bool {
	var call CompletedCall
	return p.mentioned(value) || p.mentioned(answerOf(value)) || json.Unmarshal(value, &call) == nil && p.inPath(call.Kind, call.Record) >= 0
}

// answerOf returns the body of the stored response of a call.
func answerOf(value []byte) []byte {
	var call struct {
		Answer struct {
			Body string `json:"body"`
		} `json:"answer"`
	}
	_ = json.Unmarshal(value, &call) // another answer has no body
	body, _ := base64.StdEncoding.DecodeString(call.Answer.Body)
	return body
}

// forgetAnswer removes the stored response of a call. The call is still not repeated.
func forgetAnswer(e *erasing, k, value []byte) error {
	var call CompletedCall
	if err := decode(k, value, &call); err != nil {
		return err
	}
	call.Answer, call.Record = nil, nil
	stored, err := encode(call)
	if err == nil {
		e.t.set(k, stored, call.At.Add(IdempotencyRetention))
	}
	return err
}
