package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

func (b *fixture) keep(vendor string, refusals ...store.Refusal) (kept int, full []store.FullHour) {
	b.Helper()
	for len(refusals) > 0 {
		n := min(len(refusals), store.MaxRefusals)
		stored, more, err := b.RecordRefusals(b.Context(), vendor, refusals[:n])
		b.ok(err)
		kept, full, refusals = kept+stored, append(full, more...), refusals[n:]
	}
	return kept, full
}

func (b *fixture) refusals(prefix string, n int, anonymous bool) (list []store.Refusal) {
	for i := range n {
		r := store.Refusal{Code: fmt.Sprintf("%s%05d", prefix, i), At: b.now(), Site: "news", Method: "GET", Host: "news.example", Path: "/a", Reason: "not_entitled", Anonymous: anonymous}
		if !anonymous {
			r.UserID = fmt.Sprint("user-", i)
		}
		list = append(list, r)
	}
	return list
}

// A refusal is found by its code for 30 days, by its own vendor only, and is removed then with
// its entry in the index. No other refusal takes its code.
func TestRefusalIsKeptFor30Days(t *testing.T) {
	onBoth(t, func(b *fixture) {
		first := b.refusals("AAA", 1, false)[0]
		first.Explanation = json.RawMessage(`{"site":"news"}`)
		if kept, _ := b.keep(vendor, first); kept != 1 {
			b.Fatal("it is not kept")
		}
		other := first
		other.UserID, other.Path = "another", "/other"
		if kept, full := b.keep(vendor, other); kept != 0 || full != nil {
			b.Errorf("a second refusal with its code: %d kept, full %v", kept, full)
		}
		found, err := b.Refusal(b.Context(), vendor, first.Code)
		b.ok(err)
		if found.UserID != "user-0" || found.Path != "/a" || string(found.Explanation) != `{"site":"news"}` || !found.At.Equal(first.At) {
			b.Errorf("it is %+v", found)
		}
		_, err = b.Refusal(b.Context(), "rival", first.Code)
		b.is(err, store.ErrNotFound)
		b.moveClock(store.RefusalKept - time.Second)
		_, err = b.Refusal(b.Context(), vendor, first.Code)
		b.ok(err)
		b.moveClock(time.Second)
		_, err = b.Refusal(b.Context(), vendor, first.Code)
		b.is(err, store.ErrNotFound)
		b.moveClock(time.Minute)
		_, err = b.Sweep(b.Context())
		b.ok(err)
		for k := range b.entries() {
			if strings.ContainsAny(k[:1], ":;") {
				b.Errorf("%q is left", k)
			}
		}
	})
}

// A flood of anonymous refusals of two nodes fills what is kept of anonymous readers in an hour,
// and nothing else: readers are kept, until there are too many of them as well. The next hour
// begins at none.
func TestRefusalsOfAnHourAreBounded(t *testing.T) {
	onBoth(t, func(b *fixture) {
		kept, full := b.keep(vendor, b.refusals("AAA", 2*store.MaxAnonymousPerHour, true)...)
		if kept != store.MaxAnonymousPerHour || len(full) != store.MaxAnonymousPerHour || !full[0].Anonymous {
			b.Errorf("%d anonymous refusals are kept, %d are too many", kept, len(full))
		}
		if kept, full = b.keep(vendor, b.refusals("BBB", store.MaxRefusalsPerHour+7, false)...); kept != store.MaxRefusalsPerHour || len(full) != 7 || full[0].Anonymous {
			b.Errorf("%d refusals of readers are kept, %d are too many", kept, len(full))
		}
		if kept, _ = b.keep("rival", b.refusals("AAA", 1, true)...); kept != 1 {
			b.Error("another vendor's refusal is not kept")
		}
		b.moveClock(time.Hour)
		if kept, _ = b.keep(vendor, b.refusals("CCC", 2, true)...); kept != 2 {
			b.Errorf("in the next hour, %d are kept", kept)
		}
	})
}

// The bytes of an hour are bounded too, and an explanation that is too large is left out.
func TestRefusalsAreBoundedInBytes(t *testing.T) {
	b := newFixture(t)
	large := b.refusals("AAA", 200, false)
	for i := range large {
		large[i].Explanation = json.RawMessage(`"` + strings.Repeat("x", 7<<10) + `"`)
	}
	kept, full := b.keep(vendor, large...)
	if kept < 60 || kept > 75 || len(full) != 200-kept {
		t.Errorf("%d refusals of 7 KiB are kept, %d are too many", kept, len(full))
	}
	b.moveClock(time.Hour)
	huge := b.refusals("BBB", 1, false)
	huge[0].Explanation = json.RawMessage(`"` + strings.Repeat("x", 9<<10) + `"`)
	b.keep(vendor, huge...)
	found, err := b.Refusal(b.Context(), vendor, huge[0].Code)
	b.ok(err)
	if found.Explanation != nil || found.Reason != "not_entitled" {
		t.Errorf("it is %+v", found)
	}
}

// While a person is erased, nothing is kept of them. See TestErasedPersonIsInNoRecord for what
// was kept before.
func TestNoRefusalOfAPersonWhoIsErased(t *testing.T) {
	b := newFixture(t)
	b.keep(vendor, b.refusals("AAA", 3, false)...)
	writer := store.New(&cutEngine{Engine: b.engine, left: 1}, b.versions, b.now).As(store.Actor{})
	if _, err := writer.Erase(b.Context(), vendor, "user-1"); err == nil {
		t.Fatal("the erasure was not cut")
	}
	again := b.refusals("BBB", 3, false)
	if kept, full := b.keep(vendor, again...); kept != 2 || full != nil {
		t.Errorf("%d are kept, full %v", kept, full)
	}
	_, err := b.Erase(b.Context(), vendor, "user-1")
	b.ok(err)
	if held := b.holding("user-1"); held != "" {
		t.Errorf("records with %q hold the reader", held)
	}
	for _, code := range []string{"AAA00000", "AAA00002", "BBB00000"} {
		_, err := b.Refusal(b.Context(), vendor, code)
		b.ok(err)
	}
}
