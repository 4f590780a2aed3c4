package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// auditKind is how the audit log shows the records of one kind.
type auditKind struct {
	name string
	// hidden are members that are left out: secrets, and internal ones.
	hidden []string
	// only, unless empty, are the only members that are shown.
	only []string
	// text is the member that shows a value that is not JSON, cause the one that shows
	// what is behind a space in it.
	text, cause string
	// summary: the record is shown in place of all others of its batch.
	summary bool
	// unaudited: the record is an index or bookkeeping, and is not shown.
	unaudited bool
}

// importMembers are the members of an import that the audit log shows.
var importMembers = []string{"position", "created", "changed", "unchanged", "removed", "failed", "undone"}

// memberKeys are the members with the hashes of the keys that accept a role or subscription.
var memberKeys = []string{"grant_key", "request_key"}

// auditKinds has the kinds by the first byte of their keys. Of a kind that is not
// listed, the log shows the key and no members, so that a new kind cannot leak a
// secret by omission.
var auditKinds = map[byte]auditKind{
	prefixList:         {name: "access-list"},
	prefixGrant:        {name: "grant"},
	prefixLink:         {name: "signed-link"},
	prefixRevocation:   {name: "signed-link", text: "revokedAt", cause: "revokedFor"},
	prefixNetworks:     {name: "signed-link", only: []string{"networks", "limit", "reportedAt"}},
	prefixRule:         {name: "rule"},
	prefixImport:       {name: "grant-import", only: importMembers, summary: true},
	prefixKey:          {name: "signing-key", hidden: []string{"sealed"}},
	prefixDomain:       {name: "domain"},
	prefixDeniedKey:    {name: "denied-key"},
	prefixClient:       {name: "client", hidden: []string{"secretHash"}},
	prefixProduct:      {name: "product"},
	prefixPaywall:      {name: "paywall"},
	prefixPaywallWas:   {unaudited: true},
	prefixRefusal:      {unaudited: true},
	prefixRefusalIndex: {unaudited: true},
	prefixVendor:       {name: "vendor"},
	prefixForwarding:   {name: "proxy"},
	prefixSpace:        {name: "content-space"},
	prefixPagePurge:    {name: "page-purge"},
	prefixSessionKey:   {name: "session-keys", only: []string{""}},

	prefixProfile:      {name: "profile"},
	prefixUser:         {name: "user"},
	prefixReader:       {name: "reader"},
	prefixRoleType:     {name: "role-type"},
	prefixRole:         {name: "role", hidden: memberKeys},
	prefixPlan:         {name: "plan"},
	prefixSubscription: {name: "subscription", hidden: memberKeys},
	prefixAgreement:    {name: "agreement"},
	prefixSignature:    {name: "signature"},
	prefixWebhook:      {name: "webhook", hidden: []string{"secrets"}},
	prefixRecordImport: {name: "record-import", only: importMembers, summary: true},

	prefixPromo:    {name: "promo"},
	prefixContract: {name: "contract", hidden: []string{"orderHash"}},
	prefixSeat:     {name: "seat"},

	prefixBill:           {name: "bill"},
	prefixTransaction:    {name: "transaction"},
	prefixFulfilment:     {name: "fulfilment"},
	prefixPurchaseOption: {name: "purchase-option"},

	prefixPromoUses:     {unaudited: true},
	prefixOrder:         {unaudited: true},
	prefixContractIndex: {unaudited: true},

	prefixHook:      {name: "hook", hidden: []string{"secrets"}},
	prefixHookEvent: {unaudited: true},

	prefixLogin:      {name: "session", hidden: []string{"tokens"}},
	prefixLoginIndex: {unaudited: true},

	prefixReaderKey:      {name: "reader-key"},
	prefixReaderKeyIndex: {unaudited: true},

	prefixRoute:        {unaudited: true},
	prefixWebhookState: {unaudited: true},
	prefixDelivery:     {unaudited: true},

	prefixRemoved:     {unaudited: true},
	prefixMember:      {unaudited: true},
	prefixPurge:       {unaudited: true},
	prefixGrantIndex:  {unaudited: true},
	prefixImportMark:  {unaudited: true},
	prefixImportTurn:  {unaudited: true},
	prefixImportLog:   {unaudited: true},
	prefixContainer:   {unaudited: true},
	prefixIndex:       {unaudited: true},
	prefixLinkIndex:   {unaudited: true},
	prefixMeter:       {unaudited: true},
	prefixUses:        {unaudited: true},
	prefixUse:         {unaudited: true},
	prefixDevices:     {unaudited: true},
	prefixDevice:      {unaudited: true},
	prefixHistory:     {unaudited: true},
	prefixKept:        {unaudited: true},
	prefixRevision:    {unaudited: true},
	prefixCurrentKey:  {unaudited: true},
	prefixAudit:       {unaudited: true},
	prefixIdempotency: {unaudited: true},
	prefixKeySet:      {unaudited: true},
	prefixEngagement:  {unaudited: true},
}

// AuditKinds returns the names of the kinds of records that the audit log has, sorted.
func AuditKinds() []string {
	names := map[string]bool{}
	for _, kind := range auditKinds {
		if !kind.unaudited {
			names[kind.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func auditKindOf(k []byte) auditKind {
	kind, known := auditKinds[k[0]]
	if !known {
		return auditKind{name: "record " + string(rune(k[0])), only: []string{""}}
	}
	return kind
}

// auditID returns the path of a record, which is in its key.
func auditID(k []byte) []string {
	if k[0] == prefixRule && len(k) > 5 {
		rank := binary.BigEndian.Uint32(k[len(k)-4:])
		return []string{string(k[1 : len(k)-5]), strconv.FormatUint(uint64(rank), 10)}
	}
	return strings.Split(string(k[1:]), "\x00")
}

// maxAuditValue bounds the length of Before and After, in bytes.
const maxAuditValue = 4 << 10

// change returns both sides of a change; nil is a record that does not exist. Of a
// changed record only the members that differ are returned.
func (a *auditKind) change(before, after []byte) (was, is json.RawMessage, truncated bool) {
	old, next := a.members(before), a.members(after)
	if old != nil && next != nil {
		for name, value := range old {
			if bytes.Equal(next[name], value) {
				delete(old, name)
				delete(next, name)
			}
		}
	}
	was, long := auditValue(old)
	is, longer := auditValue(next)
	return was, is, long || longer
}

// members returns the members of a record that are shown.
func (a *auditKind) members(value []byte) map[string]json.RawMessage {
	var members map[string]json.RawMessage
	switch {
	case value == nil:
		return nil
	case a.text != "":
		text, cause, found := strings.Cut(string(value), " ")
		encoded, _ := json.Marshal(text) // a string has no error
		members = map[string]json.RawMessage{a.text: encoded}
		if found {
			members[a.cause], _ = json.Marshal(cause)
		}
		return members
	case json.Unmarshal(value, &members) != nil:
		return nil
	}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool {
		return slices.Contains(a.hidden, name) || len(a.only) > 0 && !slices.Contains(a.only, name)
	})
	return members
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
