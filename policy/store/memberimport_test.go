package store_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

func rowsOf[T any](records ...T) []store.MemberRow[T] {
	rows := make([]store.MemberRow[T], len(records))
	for i, record := range records {
		rows[i].Record = record
	}
	return rows
}

// outcomes shows the outcomes of a batch, with the fields of refused rows.
func outcomes(result store.MembersImported) string {
	text := ""
	for _, outcome := range result.Outcomes {
		text += string("=+~!"[outcome])
	}
	for _, err := range result.Errors {
		text += fmt.Sprintf(" %d:%s", err.Row, err.Field)
	}
	return text
}

// position is that of the change feed, which grows with every commit.
func (b *fixture) position() uint64 {
	b.Helper()
	position, err := b.records.Position(b.Context(), vendor)
	b.ok(err)
	return position
}

// Records come in batches. A bad row is named, and takes no other along. What is sent again
// changes nothing, writes nothing and invalidates nothing.
func TestImportingMembers(t *testing.T) {
	onBoth(t, func(b *fixture) {
		now := b.timeNow()
		profiles := rowsOf(store.Profile{Slug: "abc", FullName: "ABC", Extra: json.RawMessage(`{ "a": 1 }`)}, store.Profile{Slug: "no/slug"},
			store.Profile{Slug: "home", Type: store.TypePersonal, Owner: "ann"}, store.Profile{Slug: vendor, FullName: "Acme"})
		profiles[2].User = &store.User{FullName: "Ann"}
		users := rowsOf(store.User{Slug: "bob"}, store.User{}, store.User{Slug: "ann", FullName: "Ann B."})
		plans := rowsOf(store.Plan{Slug: "gold", Title: "Gold", Provider: "abc"}, store.Plan{Slug: "none", Title: "None", Provider: "none"},
			store.Plan{Slug: "free", Title: "Free", Provider: "shop"}, store.Plan{Slug: "gold", Title: "Gold", Provider: vendor})
		plans[2].Profile = &store.Profile{FullName: "The shop"}
		roles := rowsOf(store.Role{Profile: "abc", User: "ann", Type: "manager"}, store.Role{Profile: "abc", User: "none", Type: "manager"},
			store.Role{Profile: "abc", User: "new", Type: "none"}, store.Role{Profile: "club", User: "eve", Type: "contributor", GrantKey: "x"},
			store.Role{Profile: "abc", User: "bob", Type: "contributor"})
		roles[2].User = new(store.User)
		roles[3].User, roles[3].Profile = new(store.User), new(store.Profile)
		subscriptions := rowsOf(
			store.Subscription{Profile: "abc", Plan: "gold", StartsAt: now, EndsAt: now.Add(time.Hour), RequestKey: "x"},
			store.Subscription{Profile: "abc", Plan: "gold", StartsAt: now.Add(-time.Hour), EndsAt: now},
			store.Subscription{Profile: "abc", Plan: "gold", EndsAt: now}, store.Subscription{Profile: "abc", Plan: "none", StartsAt: now, EndsAt: now},
			store.Subscription{Profile: "fan", Plan: "free", StartsAt: now, EndsAt: now.Add(time.Hour)})
		subscriptions[4].Profile = new(store.Profile)

		send := func() string {
			b.Helper()
			text := []string{}
			for _, batch := range []func() (store.MembersImported, error){
				func() (store.MembersImported, error) { return b.ImportProfiles(b.Context(), vendor, profiles) },
				func() (store.MembersImported, error) { return b.ImportUsers(b.Context(), vendor, users) },
				func() (store.MembersImported, error) { return b.ImportPlans(b.Context(), vendor, plans) },
				func() (store.MembersImported, error) { return b.ImportRoles(b.Context(), vendor, roles, false) },
				func() (store.MembersImported, error) {
					return b.ImportSubscriptions(b.Context(), vendor, subscriptions)
				},
			} {
				result, err := batch()
				b.ok(err)
				text = append(text, outcomes(result))
			}
			return strings.Join(text, ", ")
		}
		b.equal(send(), "+!++ 1:slug, +!~ 1:slug, +!+! 1:profile 3:profile, +!!++ 1:user 2:role_description, ++!!+ 2:created_at 3:plan")
		_, err := b.UserRecord(b.Context(), vendor, "new")
		b.is(err, store.ErrNotFound) // of a refused row
		b.equal(b.may("eve")+", "+b.may("ann")+", "+b.has("fan")+", "+b.has("abc"), "club/contributor, abc/manager, shop/free+, abc/gold abc/gold+")
		position := b.position()
		b.moveClock(time.Minute)
		b.equal(send(), "=!== 1:slug, =!= 1:slug, =!=! 1:profile 3:profile, =!!== 1:user 2:role_description, ==!!= 2:created_at 3:plan")
		if b.position() != position {
			b.Error("what was sent again is written again")
		}
		// The rows of a batch have no order: a manager may come after the one who stops
		// being one. The last one stays.
		change := rowsOf(store.Role{Profile: "abc", User: "ann", Type: "contributor"}, store.Role{Profile: "abc", User: "bob", Type: "manager"})
		result, err := b.ImportRoles(b.Context(), vendor, change, false)
		b.ok(err)
		b.equal(outcomes(result), "~~")
		result, err = b.ImportRoles(b.Context(), vendor, rowsOf(store.Role{Profile: "abc", User: "bob", Type: "contributor"}), false)
		b.ok(err)
		b.equal(outcomes(result), "! 0:role_description")
		result, err = b.ImportRoles(b.Context(), vendor, rowsOf(store.Role{Profile: "abc", User: "bob", Type: "contributor"}), true)
		b.ok(err)
		b.equal(outcomes(result), "~")
		_, err = b.ImportRoles(b.Context(), vendor, make([]store.MemberRow[store.Role], store.MaxImportRows+1), false)
		b.names(err, "rows")
	})
}

// Whatever the order of the rows of a file is, the same is stored.
func TestImportOrder(t *testing.T) {
	var want string
	for range 5 {
		b := newFixture(t)
		var rows []store.MemberRow[store.Role]
		for i := range 60 {
			rows = append(rows, store.MemberRow[store.Role]{
				Record: store.Role{Profile: fmt.Sprint("p", i%7), User: fmt.Sprint("u", i%11), Type: []string{"manager", "contributor"}[i%2]},
				User:   new(store.User), Profile: new(store.Profile),
			})
		}
		rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		for batch := range slices.Chunk(rows, 17) {
			result, err := b.ImportRoles(t.Context(), vendor, batch, false)
			b.ok(err)
			if len(result.Errors) > 0 {
				b.Fatal(result.Errors)
			}
		}
		got := ""
		for i := range 11 {
			got += b.may(fmt.Sprint("u", i)) + "; "
		}
		if want == "" {
			want = got
		}
		b.equal(got, want)
	}
}

const (
	// importedRoles is how many roles, and subscriptions, the test imports.
	importedRoles = 10_000
	// importedBatch is the rows of a batch.
	importedBatch = 2000
	// memberImportMemory bounds the memory in use, whatever the number of rows.
	memberImportMemory = 128 << 20
)

// A site brings its roles and subscriptions by the million. Memory does not grow with them,
// and what is read of one reader takes as long as among few.
func TestRolesAndSubscriptionsByTheMillion(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("seller", "", "seller/gold")
		runtime.GC()
		var peak uint64
		var roles, subscriptions time.Duration
		for first := 0; first < importedRoles; first += importedBatch {
			var batch []store.MemberRow[store.Role]
			var sold []store.MemberRow[store.Subscription]
			for i := first; i < first+importedBatch; i++ {
				profile := fmt.Sprintf("profile-%06d", i/2)
				batch = append(batch, store.MemberRow[store.Role]{
					Record: store.Role{Profile: profile, User: fmt.Sprintf("user-%06d", i%(importedRoles/2)), Type: []string{"manager", "contributor"}[i%2]},
					User:   new(store.User), Profile: new(store.Profile),
				})
				start := b.clock.AddDate(0, -(i % 2), 0)
				sold = append(sold, store.MemberRow[store.Subscription]{
					Record: store.Subscription{Profile: profile, Plan: "gold", StartsAt: start, EndsAt: start.AddDate(0, 1, 0)},
				})
			}
			began := time.Now()
			result, err := b.ImportRoles(b.Context(), vendor, batch, false)
			b.ok(err)
			roles += time.Since(began)
			began = time.Now()
			more, err := b.ImportSubscriptions(b.Context(), vendor, sold)
			b.ok(err)
			subscriptions += time.Since(began)
			if len(result.Errors)+len(more.Errors) > 0 {
				b.Fatalf("%d rows were refused: %+v", len(result.Errors)+len(more.Errors), append(result.Errors, more.Errors...)[0])
			}
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapInuse)
		}
		if peak > memberImportMemory {
			b.Errorf("%d MiB in use", peak>>20)
		}
		began := time.Now()
		query := store.SubscriptionQuery{Provider: "seller", Keep: store.ActiveAt(b.clock)}
		page, count, err := b.ListSubscriptions(vendor, query).Page(b.Context(), importedRoles/4, 25)
		b.ok(err)
		if count != importedRoles/2 || len(page) != 25 {
			b.Errorf("%d active subscriptions, a page of %d", count, len(page))
		}
		counted := time.Since(began)
		began = time.Now()
		for i := range 100 {
			reader := policy.Reader{UserID: fmt.Sprintf("user-%06d", i*importedRoles/200)}
			records, err := b.ReaderRecords(b.Context(), vendor, reader)
			b.ok(err)
			if len(records.Roles) == 0 || len(records.Subscriptions) == 0 {
				b.Fatalf("%+v: %+v", reader, records)
			}
		}
		b.Logf("%d roles in %v, %d subscriptions in %v, at most %d MiB in use; counted in %v, a reader is read in %v",
			importedRoles, roles, importedRoles, subscriptions, peak>>20, counted, time.Since(began)/100)
	})
}

// A copy into the other engine has all records, with their index and when they end.
func TestMembersAreCopied(t *testing.T) {
	from, to := newFixture(t), onRedis(t)
	from.world("abc zoo", "ann bob", "abc/gold")
	from.staff("abc", "ann")
	ends := from.timeNow().Add(time.Hour)
	_, err := from.CreateRole(t.Context(), vendor, store.Role{Profile: "zoo", User: "bob", Type: "contributor", EndsAt: &ends})
	from.ok(err)
	granted := from.subscribe("zoo", "gold")
	target, ok := to.records.(engine.Dumper)
	if !ok {
		t.Fatal("the engine cannot be copied to")
	}
	_, err = store.Copy(t.Context(), from.engine, target, store.CopyOptions{})
	from.ok(err)
	_, err = to.AcceptSubscription(t.Context(), vendor, "zoo", granted.Key)
	to.ok(err)
	to.equal(to.may("ann")+", "+to.may("bob")+", "+to.has("zoo"), "abc/manager, zoo/contributor, abc/gold+")
	query := store.SubscriptionQuery{Provider: "abc", Keep: store.ActiveAt(to.timeNow())}
	to.equal(listed(to, to.ListSubscriptions(vendor, query), func(s store.Subscription) string { return s.Profile }), "zoo")
	to.moveClock(time.Hour + store.Retention + time.Second)
	_, err = to.Sweep(t.Context())
	to.ok(err)
	to.equal(to.left("bob"), "pbob ic/bob inbob/bob")
}
