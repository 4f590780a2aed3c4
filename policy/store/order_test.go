package store_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// What was sold last? Grants of all lists are found by their creation, in both directions and
// within a period, whatever else the query selects.
func TestFindGrantsByCreation(t *testing.T) {
	onBoth(t, func(b *fixture) {
		list, err := b.CreateList(b.Context(), vendor, store.AccessList{Name: "Partners"})
		b.ok(err)
		began := b.clock
		for i, g := range []store.Grant{
			{UserID: "a", SKU: "premium"},
			{UserID: "b", SKU: "archive", Email: "Ada@example.org"},
			{UserID: "c", SKU: "premium", Email: "ada@example.org"},
			{UserID: "d", SKU: "premium", PublisherPurchaseID: "p1"},
			{UserID: "e", SKU: "premium", Status: store.StatusInactive},
			{UserID: "a", SKU: "archive"},
		} {
			b.clock = b.clock.Add(time.Second)
			_, err := b.CreateGrant(b.Context(), vendor, []string{store.DefaultList, list.ID}[i%2], g)
			b.ok(err)
		}
		at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
		for name, test := range map[string]struct {
			query store.GrantQuery
			want  string
		}{
			"all":              {store.GrantQuery{}, "a b c d e a"},
			"sku":              {store.GrantQuery{SKU: "premium"}, "a c d e"},
			"list":             {store.GrantQuery{List: list.ID}, "b d a"},
			"sku in a list":    {store.GrantQuery{List: store.DefaultList, SKU: "premium"}, "a c e"},
			"user":             {store.GrantQuery{UserID: "a"}, "a a"}, //nolint:dupword // a has two grants
			"user in a list":   {store.GrantQuery{UserID: "a", List: list.ID}, "a"},
			"e-mail":           {store.GrantQuery{Email: "ADA@example.org"}, "b c"},
			"purchase":         {store.GrantQuery{PublisherPurchaseID: "p1"}, "d"},
			"status":           {store.GrantQuery{Status: store.StatusInactive}, "e"},
			"from":             {store.GrantQuery{Created: store.Created{CreatedFrom: at(3)}}, "c d e a"},
			"from, between":    {store.GrantQuery{Created: store.Created{CreatedFrom: at(2.0001)}}, "c d e a"},
			"to":               {store.GrantQuery{Created: store.Created{CreatedTo: at(3)}}, "a b"},
			"to, between":      {store.GrantQuery{Created: store.Created{CreatedTo: at(3.0001)}}, "a b c"},
			"period":           {store.GrantQuery{Created: store.Created{CreatedFrom: at(2), CreatedTo: at(5)}}, "b c d"},
			"period of a sku":  {store.GrantQuery{SKU: "archive", Created: store.Created{CreatedFrom: at(3), CreatedTo: at(9)}}, "a"},
			"period of a user": {store.GrantQuery{UserID: "a", Created: store.Created{CreatedFrom: at(0), CreatedTo: at(5)}}, "a"},
			"period of a list": {store.GrantQuery{List: list.ID, Created: store.Created{CreatedFrom: at(3), CreatedTo: at(5)}}, "d"},
			"long ago":         {store.GrantQuery{Created: store.Created{CreatedTo: time.Unix(-5, 0)}}, ""},
			"later":            {store.GrantQuery{Created: store.Created{CreatedFrom: at(99)}}, ""},
		} {
			for _, limit := range []int{1, 2, 100} {
				test.query.Limit, test.query.Order = limit, store.OldestFirst
				if got := b.found(test.query); got != test.want {
					t.Errorf("%s, %d a page: %q, want %q", name, limit, got, test.want)
				}
				if test.query.Order = ""; !test.query.CreatedFrom.IsZero() && b.found(test.query) != test.want {
					t.Errorf("%s, without an order: %q", name, b.found(test.query))
				}
				back := strings.Fields(test.want)
				slices.Reverse(back)
				test.query.Order = store.NewestFirst
				if got := b.found(test.query); got != strings.Join(back, " ") {
					t.Errorf("%s backwards, %d a page: %q, want %q", name, limit, got, back)
				}
			}
		}
		_, _, _, err = b.FindGrants(b.Context(), vendor, store.GrantQuery{Created: store.Created{Order: store.NewestFirst}, Page: store.Page{From: list.ID + "/x"}})
		b.names(err, "from")
	})
}

// A database of an earlier version, on a disk that is full, has no index by creation. Searches
// find the same grants in the same order as with it.
func TestFindGrantsByCreationWithoutIndex(t *testing.T) {
	onBoth(t, func(b *fixture) {
		lists := []string{store.DefaultList}
		for range 3 {
			list, err := b.CreateList(b.Context(), vendor, store.AccessList{Name: "Partners"})
			b.ok(err)
			lists = append(lists, list.ID)
		}
		began := b.clock
		for i := range 60 {
			b.clock = b.clock.Add(time.Second)
			_, err := b.CreateGrant(b.Context(), vendor, lists[i*i%4], store.Grant{
				UserID: fmt.Sprint("u", i%7), SKU: fmt.Sprint("s", i%3), PublisherPurchaseID: fmt.Sprint("p", i%11), Email: fmt.Sprintf("R%d@example.org", i%5),
			})
			b.ok(err)
		}
		var queries []store.GrantQuery
		for _, query := range []store.GrantQuery{
			{},
			{SKU: "s1"},
			{List: lists[1]},
			{List: lists[0], SKU: "s2"},
			{UserID: "u3"},
			{Email: "r4@example.org"},
			{PublisherPurchaseID: "p5"},
			{PublisherPurchaseID: "p5", SKU: "s1"},
			{Created: store.Created{CreatedFrom: began.Add(10 * time.Second), CreatedTo: began.Add(50 * time.Second)}},
		} {
			for _, query.Order = range []string{store.OldestFirst, store.NewestFirst} {
				for _, query.Limit = range []int{1, 7, 100} {
					queries = append(queries, query)
				}
			}
		}
		find := func(s *store.Store, query store.GrantQuery) (ids []string) {
			for more := true; more; {
				var found []store.Grant
				var err error
				found, query.From, more, err = s.FindGrants(b.Context(), vendor, query)
				b.ok(err)
				for _, g := range found {
					ids = append(ids, g.ID)
				}
			}
			return ids
		}
		b.forgetIndex()
		full := store.New(&cutEngine{b.records, 0}, b.versions, b.now)
		without := make([][]string, len(queries))
		for i, query := range queries {
			without[i] = find(full, query)
		}
		b.ok(b.BuildIndexes(b.Context()))
		for i, query := range queries {
			if with := find(b.Store, query); len(with) == 0 || !slices.Equal(with, without[i]) {
				b.Errorf("%+v finds with the index\n%v and without\n%v", query, with, without[i])
			}
		}
	})
}

// Links are found by creation, by their user, sku, content and url, in both directions.
func TestFindLinksByCreation(t *testing.T) {
	onBoth(t, func(b *fixture) {
		began := b.clock
		for _, claims := range []keys.LinkClaims{
			{SKU: "a", URL: "https://n.example/1", Subject: "u1"},
			{SKU: "b", URL: "https://n.example/2", Subject: "u2"},
			{SKU: "a", PublisherContentID: "hello", Subject: "u1"},
			{SKU: "b", URL: "https://n.example/1", Subject: "u1", ExpiresAt: b.clock.Unix() + 5},
		} {
			b.link(claims)
		}
		b.clock = b.clock.Add(10 * time.Second)
		at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
		for name, test := range map[string]struct {
			query store.LinkQuery
			want  string
		}{
			"all":              {store.LinkQuery{}, "a b a b"},
			"user":             {store.LinkQuery{UserID: "u1"}, "a a b"}, //nolint:dupword // skus of three links
			"user and sku":     {store.LinkQuery{UserID: "u1", SKU: "b"}, "b"},
			"sku":              {store.LinkQuery{SKU: "b"}, "b b"}, //nolint:dupword // skus of two links
			"content":          {store.LinkQuery{PublisherContentID: "hello"}, "a"},
			"url":              {store.LinkQuery{URL: "https://n.example/1"}, "a b"},
			"beginning":        {store.LinkQuery{URL: "https://n.example/*"}, "a b b"}, //nolint:dupword // skus of three links
			"expired":          {store.LinkQuery{UserID: "u1", Status: store.LinkExpired}, "b"},
			"period":           {store.LinkQuery{Created: store.Created{CreatedFrom: at(2), CreatedTo: at(4)}}, "b a"},
			"period of a user": {store.LinkQuery{UserID: "u1", Created: store.Created{CreatedFrom: at(2), CreatedTo: at(4)}}, "a"},
		} {
			for _, limit := range []int{1, 2, 100} {
				test.query.Limit, test.query.Order = limit, store.OldestFirst
				if got := b.links(test.query); got != test.want {
					t.Errorf("%s, %d a page: %q, want %q", name, limit, got, test.want)
				}
				back := strings.Fields(test.want)
				slices.Reverse(back)
				test.query.Order = store.NewestFirst
				if got := b.links(test.query); got != strings.Join(back, " ") {
					t.Errorf("%s backwards, %d a page: %q, want %q", name, limit, got, back)
				}
			}
		}
	})
}

// walk is a walk over the grants of a vendor, whose partition is empty at its beginning.
type walk struct {
	*fixture
	vendor string
	lists  []string
	live   map[string]bool // ids
	mu     sync.Mutex
}

func (w *walk) create(user, sku, list int) {
	made, err := w.CreateGrant(w.Context(), w.vendor, w.lists[list], store.Grant{UserID: fmt.Sprint("u", user), SKU: fmt.Sprint("s", sku)})
	if err != nil {
		w.Error(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[made.Source+"/"+made.ID] = true
}

// remove removes one of the grants, and reports which.
func (w *walk) remove(n int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]string, 0, len(w.live))
	for place := range w.live {
		all = append(all, place)
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	place := all[n%len(all)]
	delete(w.live, place)
	list, id, _ := strings.Cut(place, "/")
	if err := w.DeleteGrant(w.Context(), w.vendor, list, id, nil); err != nil {
		w.Error(err)
	}
	return id
}

// While others create and remove grants, between pages and during them, a walk sees each grant
// that is there all the time exactly once, in the order of the query.
func TestOrderStaysWhileOthersWrite(t *testing.T) {
	onBoth(t, func(b *fixture) {
		runs := 0
		rapid.Check(b.T, func(t *rapid.T) {
			runs++
			w := &walk{fixture: b, vendor: fmt.Sprint("v", runs), lists: []string{store.DefaultList}, live: map[string]bool{}}
			for range 2 {
				list, err := w.CreateList(w.Context(), w.vendor, store.AccessList{Name: "x"})
				b.ok(err)
				w.lists = append(w.lists, list.ID)
			}
			write := func(create bool) string {
				b.moved.Add(int64(rapid.IntRange(0, 2).Draw(t, "ms")) * int64(time.Millisecond))
				if !create {
					return w.remove(rapid.IntRange(0, 100).Draw(t, "which"))
				}
				w.create(rapid.IntRange(0, 2).Draw(t, "user"), rapid.IntRange(0, 1).Draw(t, "sku"), rapid.IntRange(0, 2).Draw(t, "list"))
				return ""
			}
			for range rapid.IntRange(0, 25).Draw(t, "grants") {
				write(true)
			}
			query := store.GrantQuery{Page: store.Page{Limit: rapid.IntRange(1, 5).Draw(t, "limit")}}
			query.Order = rapid.SampledFrom([]string{"", store.OldestFirst, store.NewestFirst}).Draw(t, "order")
			query.UserID = rapid.SampledFrom([]string{"", "", "u0"}).Draw(t, "by user")
			query.SKU = rapid.SampledFrom([]string{"", "", "s0"}).Draw(t, "by sku")
			query.List = rapid.SampledFrom(append(w.lists, "", "", "")).Draw(t, "of list")
			stay := map[string]bool{}
			for _, g := range w.all(t, query) {
				stay[g.ID] = true
			}
			done := make(chan struct{})
			var others sync.WaitGroup
			others.Go(func() { // their grants may be missing or present
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
						made, err := w.CreateGrant(w.Context(), w.vendor, w.lists[i%3], store.Grant{UserID: fmt.Sprint("u", i%3), SKU: fmt.Sprint("s", i%2)})
						if err == nil {
							err = w.DeleteGrant(w.Context(), w.vendor, made.Source, made.ID, nil)
						}
						if err != nil {
							w.Error(err)
							return
						}
					}
				}
			})
			seen := map[string]int{}
			var order []store.Grant
			for more := true; more; {
				var found []store.Grant
				var err error
				found, query.From, more, err = w.FindGrants(w.Context(), w.vendor, query)
				b.ok(err)
				for _, g := range found {
					seen[g.ID]++
					order = append(order, g)
				}
				for range rapid.IntRange(0, 3).Draw(t, "writes") {
					delete(stay, write(rapid.Bool().Draw(t, "create")))
				}
			}
			close(done)
			others.Wait()
			for id := range stay {
				if seen[id] != 1 {
					t.Fatalf("%s was there all the time, and seen %d times", id, seen[id])
				}
			}
			for id, n := range seen {
				if n > 1 {
					t.Fatalf("%s was seen %d times", id, n)
				}
			}
			if query.Order == "" {
				return
			}
			if !slices.IsSortedFunc(order, func(a, b store.Grant) int {
				if query.Order == store.NewestFirst {
					a, b = b, a
				}
				return a.CreatedAt.Compare(b.CreatedAt)
			}) {
				t.Fatalf("the order is not %s: %v", query.Order, order)
			}
		})
	})
}

// all returns what a query finds at once.
func (w *walk) all(t *rapid.T, query store.GrantQuery) []store.Grant {
	query.Limit = store.MaxLimit
	found, _, more, err := w.FindGrants(w.Context(), w.vendor, query)
	if err != nil || more {
		t.Fatalf("%v, more %v", err, more)
	}
	return found
}

// readCounter is an engine that counts the keys that are read.
type readCounter struct {
	engine.Engine
	keys int
}

func (e *readCounter) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	return e.Engine.View(ctx, partition, func(s engine.Snapshot) error { return fn(countedReads{s, e}) })
}

type countedReads struct {
	engine.Snapshot
	counter *readCounter
}

func (s countedReads) Get(key []byte) ([]byte, error) {
	s.counter.keys++
	return s.Snapshot.Get(key)
}

func (s countedReads) Count(key []byte) (int64, error) {
	s.counter.keys++
	return s.Snapshot.Count(key)
}

func (s countedReads) count(entries iter.Seq2[engine.Entry, error]) iter.Seq2[engine.Entry, error] {
	return func(yield func(engine.Entry, error) bool) {
		for entry, err := range entries {
			if s.counter.keys++; !yield(entry, err) {
				return
			}
		}
	}
}

func (s countedReads) Scan(prefix, after []byte) iter.Seq2[engine.Entry, error] {
	return s.count(s.Snapshot.Scan(prefix, after))
}

func (s countedReads) ScanBack(prefix, before []byte) iter.Seq2[engine.Entry, error] {
	return s.count(s.Snapshot.ScanBack(prefix, before))
}

// A search reads as many keys as its page has, and not more beside more records: the newest
// grants, those of a reader, of a sku, of a period, and the links of a user or a url.
func TestSearchesReadAPage(t *testing.T) {
	b := newFixture(t)
	counter := &readCounter{Engine: b.engine}
	s := store.New(counter, b.versions, b.now)
	const limit = 10
	queries := map[string]func(from string) (int, string){}
	grants := func(query store.GrantQuery) func(string) (int, string) {
		return func(from string) (int, string) {
			query.Page = store.Page{Limit: limit, From: from}
			found, next, _, err := s.FindGrants(t.Context(), vendor, query)
			b.ok(err)
			return len(found), next
		}
	}
	links := func(query store.LinkQuery) func(string) (int, string) {
		return func(from string) (int, string) {
			query.Page = store.Page{Limit: limit, From: from}
			found, next, _, err := s.FindLinks(t.Context(), vendor, keys.VendorIssuer(vendor), query)
			b.ok(err)
			return len(found), next
		}
	}
	newest := store.Created{Order: store.NewestFirst}
	queries["newest"] = grants(store.GrantQuery{Created: newest})
	queries["oldest"] = grants(store.GrantQuery{Created: store.Created{Order: store.OldestFirst}})
	queries["newest of a sku"] = grants(store.GrantQuery{SKU: "premium", Created: newest})
	queries["newest of a rare sku"] = grants(store.GrantQuery{SKU: "rare", Created: newest})
	queries["newest of a list"] = grants(store.GrantQuery{List: store.DefaultList, Created: newest})
	queries["newest of a sku in a list"] = grants(store.GrantQuery{List: store.DefaultList, SKU: "premium", Created: newest})
	queries["newest of an address"] = grants(store.GrantQuery{Email: "r7@example.org", Created: newest})
	queries["newest of a user"] = grants(store.GrantQuery{UserID: "u7", Created: newest})
	queries["of a day"] = grants(store.GrantQuery{Created: store.Created{CreatedFrom: b.clock.Add(time.Second), CreatedTo: b.clock.Add(time.Hour)}})
	queries["newest links"] = links(store.LinkQuery{Created: newest})
	queries["links of a user"] = links(store.LinkQuery{UserID: "u7"})
	queries["newest links of a sku"] = links(store.LinkQuery{SKU: "premium", Created: newest})
	queries["links of a url"] = links(store.LinkQuery{URL: "https://n.example/7"})
	read := map[string]int{}
	fill := func(from, to int) {
		b.clock = b.clock.Add(time.Minute)
		batch := store.ImportBatch{ID: fmt.Sprint("fill-", from)}
		var claims []keys.LinkClaims
		for i := from; i < to; i++ {
			sku := "premium"
			if i < 20 {
				sku = "rare"
			}
			batch.Rows = append(batch.Rows, store.ImportRow{Grant: store.Grant{UserID: fmt.Sprint("u", i), Email: fmt.Sprintf("r%d@example.org", i), SKU: sku}})
			claims = append(claims, keys.LinkClaims{
				Issuer: keys.VendorIssuer(vendor), ID: b.NewLinkID(), IssuedAt: b.clock.Unix(), ExpiresAt: b.clock.Unix() + 3600,
				SKU: "premium", Subject: fmt.Sprint("u", i), URL: fmt.Sprint("https://n.example/", i),
			})
		}
		_, err := b.ImportGrants(t.Context(), vendor, store.DefaultList, batch)
		b.ok(err)
		b.ok(b.CreateLinks(t.Context(), vendor, claims, false))
	}
	measure := func(name string) int {
		total, from := 0, ""
		for range 2 { // a first page, and one from a position on
			counter.keys = 0
			found, next := queries[name](from)
			if found == 0 && from == "" {
				t.Errorf("%s finds nothing", name)
			}
			total, from = max(total, counter.keys), next
		}
		return total
	}
	fill(0, 500)
	_, err := s.Sweep(t.Context())
	b.ok(err)
	for name := range queries {
		read[name] = measure(name)
	}
	fill(500, 5500)
	b.ok(s.BuildIndexes(t.Context()))
	for name, few := range read {
		// A page of entries, the records of a hundred, and the use of each link.
		if many := measure(name); many > few+2 || many > 230 {
			t.Errorf("%s reads %d keys, beside ten times as many records %d", name, few, many)
		}
	}
}
