package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Readers log out as often as they like: the removals of operators are remembered besides.
// Neither are they displaced by the grants of a list, of which one entry is enough.
func TestRemovalsAreNotDisplaced(t *testing.T) {
	var kept removals
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	remove := func(keys ...[]byte) {
		kept.add("acme", kept.of("acme", &engine.Batch{Deletes: keys}, now))
	}
	remove(key(prefixRole, "abc", "bob"))
	remove(key(prefixList, "src"))
	for i := range maxRemovedLogins + maxRemovals {
		remove(key(prefixLogin, fmt.Sprint("session", i)))
		kept.add("acme", kept.of("acme", &engine.Batch{Puts: []engine.Put{{Key: tokensEndedKey(fmt.Sprint("reader", i)), Value: []byte{1}}}}, now))
		remove(key(prefixGrant, "src", fmt.Sprint("grant", i)))
	}
	if list := kept.list("acme", now); len(list) != 2+maxRemovedLogins || string(list[0].Key) != "rabc\x00bob" || string(list[1].Key) != "Lsrc" {
		t.Errorf("%d removals are remembered: %q, %q", len(list), list[0].Key, list[1].Key)
	}
	if list := kept.list("acme", now.Add(Retention)); len(list) != 0 {
		t.Errorf("%d removals are remembered after their retention", len(list))
	}
}

// What a nearly full store removes early closes nothing: it displaces no removal.
func TestShedRecordsAreNotRemembered(t *testing.T) {
	gone := [][]byte{key(prefixGrant, "src", "grant")}
	var kept removals
	if found := kept.of("acme", &engine.Batch{Deletes: gone, Spares: true}, time.Time{}); len(found) != 0 {
		t.Errorf("remembered: %v", found)
	}
	if found := kept.of("acme", &engine.Batch{Deletes: gone}, time.Time{}); len(found) != 1 {
		t.Errorf("a removal is not remembered: %v", found)
	}
}

// A link is revoked, given back, and much later revoked again: that is a new removal, and not the
// first to be forgotten.
func TestRemovalThatIsMadeAgainIsTheNewest(t *testing.T) {
	var kept removals
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	revoke := func(id string) {
		kept.add("acme", []Removal{{Key: key(prefixRevocation, "i", id), Value: []byte{1}, At: now}})
	}
	revoke("first")
	for i := range maxRemovals - 1 {
		revoke(fmt.Sprint("other", i))
	}
	revoke("first")
	revoke("last")
	list := kept.list("acme", now)
	if len(list) != maxRemovals || string(list[0].Key) != string(key(prefixRevocation, "i", "other1")) || kept.get("acme", key(prefixRevocation, "i", "first")) == nil {
		t.Errorf("of %d removals the oldest is %q", len(list), list[0].Key)
	}
}

// What is remembered of a change is what closes the record: the address of a reader is neither
// sent to all nodes nor written into the file of one.
func TestRemovalsHaveNothingOfAPerson(t *testing.T) {
	var kept removals
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	before := Contract{
		ID: "c1", State: StateActive, Duration: DurationRecurring, StartsAt: now, Items: []ContractItem{{SKU: "premium"}},
		Owner: Party{Email: "ada@example.org", FullName: "Ada"}, Payer: Party{Email: "ada@example.org"},
	}
	after := before
	after.endNow(now, "the reader asked")
	renewed := before
	later := now.AddDate(1, 0, 0)
	before.EndsAt = &now
	renewed.EndsAt = &later
	batch := func(was, is *Contract) *engine.Batch {
		k := contractKind.key("c1")
		return &engine.Batch{Checks: []engine.Check{{Key: k, Value: mustEncode(was)}}, Puts: []engine.Put{{Key: k, Value: mustEncode(is)}}}
	}
	if found := kept.of("acme", batch(&before, &renewed), now); len(found) != 0 {
		t.Errorf("a renewal is remembered: %s", found[0].Value)
	}
	found := kept.of("acme", batch(&renewed, &after), now)
	if len(found) != 1 || !strings.Contains(string(found[0].Value), StateCanceled) || strings.Contains(strings.ToLower(string(found[0].Value)), "ada") {
		t.Fatalf("of a cancellation is remembered: %+v", found)
	}
	event := withRemovals([]byte("event"), found)
	inner, read, err := cutRemovals(event)
	if err != nil || string(inner) != "event" || len(read) != 1 || string(read[0].Value) != string(found[0].Value) || !read[0].At.Equal(now) {
		t.Errorf("other nodes read %+v, %v", read, err)
	}
	// A removal says so to other nodes: it has no value there either.
	if _, read, err := cutRemovals(withRemovals(nil, []Removal{{Key: []byte("rx")}})); err != nil || read[0].Value != nil {
		t.Errorf("of a removal other nodes read %+v, %v", read, err)
	}
}

// The room that is reserved for removals is not for those that make new records as well: a
// reader who logs in again and again ends a session each time.
func TestReservedRoomIsNotForNewRecords(t *testing.T) {
	var kept removals
	now := time.Now()
	login := &engine.Batch{
		Deletes: [][]byte{key(prefixLogin, "old")}, Puts: []engine.Put{{Key: key(prefixLogin, "new"), Value: []byte("{}")}},
		Checks: []engine.Check{{Key: key(prefixLogin, "new")}},
	}
	if closes(login, kept.of("acme", login, now)) {
		t.Error("a login has the room of removals")
	}
	logout := &engine.Batch{Deletes: [][]byte{key(prefixLogin, "old")}}
	if !closes(logout, kept.of("acme", logout, now)) {
		t.Error("a logout has not the room of removals")
	}
}
