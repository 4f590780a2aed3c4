package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// withoutOrder is an engine on which the indexes by creation and of links are not written, as
// by earlier versions.
type withoutOrder struct{ engine.Engine }

func (e withoutOrder) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	lesser := *batch
	lesser.Puts = slices.DeleteFunc(slices.Clone(batch.Puts), func(put engine.Put) bool {
		return put.Key[0] == '~' || len(put.Key) > 1 && put.Key[0] == 'I' && (put.Key[1] == 't' || put.Key[1] == 'S')
	})
	return e.Engine.Commit(ctx, partition, &lesser)
}

// What the indexes cost: grants one by one and a batch of rows, and a batch of links, written
// with them and without, in turns, so that both have the same share of the machine. The times
// are logged; what is bounded is the number of keys that a record has.
func TestIndexesCost(t *testing.T) {
	onBoth(t, func(b *fixture) {
		for kind, turns := range map[string]int{"grant": 60, "import": 4, "links": 12} {
			var spent [2][]time.Duration
			for i := range turns {
				for j, backend := range []engine.Engine{b.records, withoutOrder{b.records}} {
					w := store.New(backend, b.versions, b.now).As(store.Actor{})
					began := time.Now()
					b.ok(writeOnce(b.Context(), w, kind, fmt.Sprint("v", j), i))
					spent[j] = append(spent[j], time.Since(began))
				}
			}
			var ratios []float64
			for i := range turns {
				ratios = append(ratios, float64(spent[0][i])/float64(spent[1][i]))
			}
			slices.Sort(ratios)
			slices.Sort(spent[0])
			b.Logf("%s: %v with the indexes, %.2f times as long as without", kind, spent[0][turns/2], ratios[turns/2])
		}
		b.grant(store.Grant{UserID: "u", Email: "r@example.org", SKU: "premium"})
		if n := b.count("G") + b.count("I"); n != 7 {
			b.Errorf("a grant has %d keys, want its record, its user, address, SKU and row, and two by creation", n)
		}
		b.link(keys.LinkClaims{Subject: "u", SKU: "premium", URL: "https://n.example/"})
		if n := b.count("S") + b.count("~"); n != 1 {
			b.Errorf("a new link has %d keys, want its record", n)
		}
		b.ok(b.BuildIndexes(b.Context()))
		if n := b.count("S") + b.count("~u") + b.count("~a"); n != 3 {
			b.Errorf("a link in the index has %d keys, want its record, its user and url", n)
		}
	})
}

// writeOnce writes records of a kind.
func writeOnce(ctx context.Context, w store.Writer, kind, vendor string, i int) error {
	grant := func(n int) store.Grant {
		return store.Grant{UserID: fmt.Sprint("u", n), Email: fmt.Sprintf("r%d@example.org", n), SKU: "premium"}
	}
	switch kind {
	case "grant":
		_, err := w.CreateGrant(ctx, vendor, store.DefaultList, grant(i))
		return err
	case "import":
		batch := store.ImportBatch{ID: fmt.Sprint("i", i)}
		for n := range 1000 {
			batch.Rows = append(batch.Rows, store.ImportRow{Grant: grant(1000*i + n)})
		}
		_, err := w.ImportGrants(ctx, vendor, store.DefaultList, batch)
		return err
	}
	var claims []keys.LinkClaims
	for n := range 250 {
		claims = append(claims, keys.LinkClaims{
			Issuer: keys.VendorIssuer(vendor), ID: w.NewLinkID(), SKU: "premium", Subject: fmt.Sprint("u", n), URL: fmt.Sprint("https://n.example/", n), ExpiresAt: 4e9,
		})
	}
	return w.CreateLinks(ctx, vendor, claims, false)
}
