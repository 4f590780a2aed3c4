package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// manyContracts stores n contracts of other readers and n seats of others, in the layout of
// the store, as fast as the engine takes them.
func (b *fixture) manyContracts(n int) {
	b.Helper()
	start := b.clock.Add(-time.Hour)
	end := b.clock.AddDate(1, 0, 0)
	gift := []byte(fmt.Sprintf(`{"skus":["premium"],"from":%d,"to":%d}`, start.UnixMilli(), end.UnixMilli()))
	const page = 20_000
	// Keys in order, so that the pages of the database are written once.
	for _, entry := range []func(i int) (string, any){
		func(i int) (string, any) {
			return fmt.Sprintf("1%032x\x00seat_%026d", 1<<40, i), store.Seat{UserID: seatHolder(i)}
		},
		func(i int) (string, any) {
			return fmt.Sprintf("3U%s\x00%032x\x00seat_%026d", seatHolder(i), 1<<40, i), json.RawMessage("1")
		},
		func(i int) (string, any) {
			return fmt.Sprintf("3u%s\x00%032x", contractOwner(i), i+1), json.RawMessage(gift)
		},
		func(i int) (string, any) {
			return fmt.Sprintf("c%032x", i+1), store.Contract{
				ID: fmt.Sprintf("%032x", i+1), Owner: store.Party{UserID: contractOwner(i), Email: fmt.Sprintf("o%d@example.org", i)}, State: store.StateActive,
				Items: []store.ContractItem{{SKU: "premium"}}, Duration: store.DurationRenewable, StartsAt: start, EndsAt: &end, CreatedAt: start, UpdatedAt: start,
			}
		},
	} {
		for first := 0; first < n; first += page {
			batch := new(engine.Batch)
			for i := first; i < min(first+page, n); i++ {
				k, record := entry(i)
				value, err := json.Marshal(record)
				b.ok(err)
				batch.Puts = append(batch.Puts, engine.Put{Key: []byte(k), Value: value})
			}
			_, err := b.engine.Commit(b.Context(), vendor, batch)
			b.ok(err)
		}
	}
}

func contractOwner(i int) string { return fmt.Sprintf("owner-%08d", i) }
func seatHolder(i int) string    { return fmt.Sprintf("holder-%08d", i) }

// contractsTold is how many contracts the guard stores: a million with
// GATEFOLD_CONTRACTS=1000000.
func contractsTold(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GATEFOLD_CONTRACTS")
	if text == "" {
		return 50_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Reading what decides about a reader costs the same beside many contracts and seats as
// without them: at most 50 allocations more and twice the time, as the tree is deeper. A page of
// contracts in the middle costs what the first one does.
func TestManyContractsCostNothing(t *testing.T) {
	reader := policy.Reader{UserID: "me", Email: "me@example.org"}
	cost := func(b *fixture) (allocations float64, took time.Duration) {
		read := func() {
			records, err := b.ReaderRecords(t.Context(), vendor, reader)
			if err != nil || len(records.Grants) != 2 {
				t.Fatalf("the reader has %+v, %v", records.Grants, err)
			}
		}
		allocations, took = testing.AllocsPerRun(100, read), time.Hour
		for range 20 { // the fastest of several, as others use the machine too
			begun := time.Now()
			for range 50 {
				read()
			}
			took = min(took, time.Since(begun))
		}
		return allocations, took
	}
	mine := func(b *fixture) {
		b.promo(store.Promo{Code: "code", Items: []store.ContractItem{{SKU: "premium", Seats: 2}}})
		b.sell("1", store.Party{UserID: "me"}, true)
		_, _, err := b.AddSeat(t.Context(), vendor, b.sell("2", store.Party{UserID: "other"}, true).ID, store.Seat{Email: "me@example.org"})
		b.ok(err)
	}
	few, many := newFixture(t), newFixture(t)
	n := contractsTold(t)
	many.manyContracts(n)
	mine(few)
	mine(many)
	fewAllocations, fewTime := cost(few)
	manyAllocations, manyTime := cost(many)
	t.Logf("%d contracts and seats: %v and %v allocations, %v and %v", n, fewAllocations, manyAllocations, fewTime/50, manyTime/50)
	if manyAllocations > fewAllocations+50 || manyTime > 2*fewTime {
		t.Errorf("a reader beside %d contracts costs %v allocations and %v, without them %v and %v", n, manyAllocations, manyTime, fewAllocations, fewTime)
	}
	page := func(from string) (took time.Duration) {
		took = time.Hour
		for range 5 {
			begun := time.Now()
			found, _, err := many.FindContracts(t.Context(), vendor, store.ContractQuery{}, store.Page{Limit: 50, From: from})
			if err != nil || len(found) != 50 {
				t.Fatalf("a page after %s has %d contracts, %v", from, len(found), err)
			}
			took = min(took, time.Since(begun))
		}
		return took
	}
	if first, middle := page(""), page(fmt.Sprintf("%032x", n/2)); middle > 5*first {
		t.Errorf("a page in the middle takes %v, the first one %v", middle, first)
	}
	begun := time.Now()
	found, _, err := many.FindContracts(t.Context(), vendor, store.ContractQuery{UserID: contractOwner(n / 3)}, store.Page{})
	if took := time.Since(begun); err != nil || len(found) != 1 || took > 50*time.Millisecond {
		t.Errorf("the contracts of an owner: %d in %v, %v", len(found), took, err)
	}
}
