package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
)

// auditKind says how records of one kind are told of in the audit log.
type auditKind struct {
	name string
	// hidden are members that are secret, or say nothing to anybody.
	hidden []string
	// only, when not empty, are the only members that are told.
	only []string
	// text names the member that stands for a value that is not JSON.
	text string
	// sum: where a batch writes such a record, it stands for all others of the
	// batch.
	sum bool
	// unaudited: the record is bookkeeping of others, and is not told.
	unaudited bool
}

// auditKinds has the kinds by their keys' first letter. Of a kind that is not
// here the log tells that a record was changed, and nothing of what is in it: a
// secret must be shown on purpose, never by forgetting.
var auditKinds = map[byte]auditKind{
	prefixList:       {name: "access-list"},
	prefixGrant:      {name: "grant"},
	prefixLink:       {name: "signed-link"},
	prefixRevocation: {name: "signed-link", text: "revokedAt"},
	prefixRule:       {name: "rule"},
	prefixImport:     {name: "grant-import", only: []string{"position", "created", "failed"}, sum: true},
	prefixKey:        {name: "signing-key", hidden: []string{"sealed"}},
	prefixDomain:     {name: "domain"},
	prefixDeniedKey:  {name: "denied-key"},
	prefixClient:     {name: "client", hidden: []string{"secretHash"}},
	prefixProduct:    {name: "product"},
	prefixVendor:     {name: "vendor"},
	prefixForwarding: {name: "proxy"},
	prefixSessionKey: {name: "session-keys", only: []string{""}},

	prefixPurge:       {unaudited: true},
	prefixContainer:   {unaudited: true},
	prefixIndex:       {unaudited: true},
	prefixUses:        {unaudited: true},
	prefixUse:         {unaudited: true},
	prefixRevision:    {unaudited: true},
	prefixCurrentKey:  {unaudited: true},
	prefixAudit:       {unaudited: true},
	prefixIdempotency: {unaudited: true},
	prefixKeySet:      {unaudited: true},
	prefixEngagement:  {unaudited: true},
}

func auditKindOf(k []byte) auditKind {
	kind, known := auditKinds[k[0]]
	if !known {
		return auditKind{name: "record " + string(rune(k[0])), only: []string{""}}
	}
	return kind
}

// auditID returns the parts of a record's key, as they stand in it.
func auditID(k []byte) []string {
	var id []string
	if k[0] == prefixRule && len(k) > 5 {
		rank := binary.BigEndian.Uint32(k[len(k)-4:])
		return []string{string(k[1 : len(k)-5]), strconv.FormatUint(uint64(rank), 10)}
	}
	for part := range bytes.SplitSeq(k[1:], []byte{0}) {
		id = append(id, string(part))
	}
	return id
}

// maxAuditValue bounds how much of a record is told on either side of a change.
const maxAuditValue = 4 << 10

// change tells what became of a record: nil stands for none before, or after. Of
// a record that was altered only the members that differ are told.
func (a *auditKind) change(before, after []byte) (was, is json.RawMessage, truncated bool) {
	old, now := a.members(before), a.members(after)
	if old != nil && now != nil {
		for name, value := range old {
			if bytes.Equal(now[name], value) {
				delete(old, name)
				delete(now, name)
			}
		}
	}
	was, long := auditValue(old)
	is, longer := auditValue(now)
	return was, is, long || longer
}

func (a *auditKind) members(value []byte) map[string]json.RawMessage {
	var members map[string]json.RawMessage
	switch {
	case value == nil:
		return nil
	case a.text != "":
		text, err := json.Marshal(string(value))
		if err != nil {
			return nil
		}
		return map[string]json.RawMessage{a.text: text}
	case json.Unmarshal(value, &members) != nil:
		return nil
	}
	for _, name := range a.hidden {
		delete(members, name)
	}
	if len(a.only) == 0 {
		return members
	}
	told := make(map[string]json.RawMessage, len(a.only))
	for _, name := range a.only {
		if value, ok := members[name]; ok {
			told[name] = value
		}
	}
	return told
}

func auditValue(members map[string]json.RawMessage) (value json.RawMessage, truncated bool) {
	if members == nil {
		return nil, false
	}
	value, err := json.Marshal(members)
	if err != nil || len(value) > maxAuditValue {
		return nil, true
	}
	return value, false
}
