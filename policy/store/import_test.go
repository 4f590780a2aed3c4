package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func importBatch(position int64, users ...string) store.ImportBatch {
	batch := store.ImportBatch{ID: "one", Position: position}
	for _, user := range users {
		batch.Rows = append(batch.Rows, store.ImportRow{Grant: store.Grant{UserID: user, SKU: "s"}})
	}
	return batch
}

// A batch is one change, which makes stale exactly its readers.
func TestImportIsOneChange(t *testing.T) {
	b := newFixture(t)
	var users []string
	for i := range 1000 {
		users = append(users, fmt.Sprint("user-", i))
	}
	first, stranger := policy.Reader{UserID: "user-0"}, policy.Reader{UserID: "another-reader"}
	stampFirst, stampStranger := b.versions.Reader(vendor, &first), b.versions.Reader(vendor, &stranger)
	before, err := b.FeedPosition(t.Context(), vendor)
	b.ok(err)
	result, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, importBatch(0, users...))
	if err != nil || result.Created != 1000 || result.Position != 1000 {
		t.Fatalf("%+v, %v", result, err)
	}
	after, err := b.FeedPosition(t.Context(), vendor)
	if err != nil || after != before+1 {
		t.Errorf("%d events, %v", after-before, err)
	}
	if b.versions.Reader(vendor, &first) == stampFirst {
		t.Error("a reader of the batch is not stale")
	}
	if b.versions.Reader(vendor, &stranger) != stampStranger {
		t.Error("a stranger is stale")
	}
	if got := b.skus(policy.Reader{UserID: "user-999"}); got != "s+" {
		t.Errorf("the last one has %q", got)
	}
}

// Two processes send the same batch at the same moment: it is done once.
func TestImportRace(t *testing.T) {
	b := newFixture(t)
	var senders sync.WaitGroup
	results := make([]store.ImportResult, 8)
	for i := range results {
		senders.Go(func() {
			var err error
			if results[i], err = b.ImportGrants(t.Context(), vendor, store.DefaultList, importBatch(0, "a", "b", "c")); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	fresh := 0
	for _, result := range results {
		if result.Created != 3 || result.Position != 3 {
			t.Errorf("a sender got %+v", result)
		}
		if !result.Replayed {
			fresh++
		}
	}
	grants, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{})
	if err != nil || len(grants) != 3 || fresh != 1 {
		t.Errorf("%d grants, %d fresh answers, %v", len(grants), fresh, err)
	}
}
