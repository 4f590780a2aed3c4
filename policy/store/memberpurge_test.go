package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// left shows the keys of the access model that are stored and name a slug, with NUL as a
// slash.
func (b *fixture) left(slug string) string {
	b.Helper()
	var keys []string
	b.ok(b.records.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
		for _, prefix := range "oprtysaxi" {
			for entry, err := range snapshot.Scan([]byte{byte(prefix)}, nil) {
				if err != nil {
					return err
				}
				if key := string(entry.Key); strings.Contains(key, slug) && !strings.HasPrefix(key, "ih") { // the turn expires
					if strings.HasPrefix(key, "ic") { // a time
						key = "ic\x00" + key[len("ic")+8:]
					}
					keys = append(keys, strings.ReplaceAll(key, "\x00", "/"))
				}
			}
		}
		return nil
	}))
	return strings.Join(keys, " ")
}

// A removed profile ends everything on both sides at once, and leaves no record. Its slug is
// not free for 30 days; who takes it then inherits nothing.
func TestRemovedProfile(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("seller buyer", "ann bob", "seller/gold acme/site")
		b.staff("seller", "ann")
		b.staff("buyer", "ann")
		_, err := b.CreateRoleType(b.Context(), vendor, store.RoleType{Title: "Desk", Profile: "seller"})
		b.ok(err)
		_, err = b.giveRole("seller", "bob", "desk")
		b.ok(err)
		for _, text := range []string{"buyer gold", "seller site", "buyer site"} {
			profile, plan, _ := strings.Cut(text, " ")
			_, err := b.AcceptSubscription(b.Context(), vendor, profile, b.subscribe(profile, plan).Key)
			b.ok(err)
		}
		b.equal(b.may("ann")+", "+b.has("buyer")+", "+b.has("seller"), "buyer/manager seller/manager, acme/site+ seller/gold+, acme/site+")
		invited, err := b.giveRole("seller", "bob", "contributor")
		b.ok(err)
		stamp := b.versions.Shared()
		b.ok(b.DeleteProfile(b.Context(), vendor, "seller", nil))
		if b.versions.Shared() == stamp {
			b.Error("a removed profile leaves what is cached")
		}
		b.equal(b.may("ann")+", "+b.has("buyer")+", "+b.has("seller"), "buyer/manager, acme/site+, -")
		b.equal(b.left("seller"), "")
		if plan, err := b.Plan(b.Context(), vendor, "gold"); err != nil || plan.Exists {
			b.Errorf("%+v, %v", plan, err)
		}
		_, err = b.AcceptRole(b.Context(), vendor, "bob", invited.Key)
		b.is(err, store.ErrNotFound)

		_, err = b.CreateProfile(b.Context(), vendor, store.Profile{Slug: "seller"})
		b.is(err, store.ErrReserved)
		_, err = b.CreateProfileFor(b.Context(), vendor, store.Profile{Slug: "seller"}, store.User{Slug: "eve"})
		b.is(err, store.ErrReserved)
		b.moveClock(store.Retention - time.Millisecond)
		_, err = b.Sweep(b.Context())
		b.ok(err)
		_, err = b.CreateProfile(b.Context(), vendor, store.Profile{Slug: "seller"})
		b.is(err, store.ErrReserved)
		b.moveClock(time.Millisecond)
		_, err = b.CreateProfileFor(b.Context(), vendor, store.Profile{Slug: "seller"}, store.User{Slug: "eve"})
		b.ok(err)
		b.world("", "", "seller/gold")
		b.equal(b.may("ann")+", "+b.may("bob")+", "+b.may("eve")+", "+b.has("seller"), "buyer/manager, , seller/manager, ")
		b.equal(b.has("buyer"), "acme/site")
	})
}

// A crash between the removal and that of the records leaves nothing that counts: Sweep
// removes the records, and until then neither the slug nor the user comes back.
func TestInterruptedRemoval(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("seller buyer", "ann bob", "seller/gold")
		b.staff("seller", "ann")
		b.staff("buyer", "bob")
		_, err := b.AcceptSubscription(b.Context(), vendor, "buyer", b.subscribe("buyer", "gold").Key)
		b.ok(err)
		cut := store.New(&oneCommit{Engine: b.records}, b.versions, b.now).As(store.Actor{})
		b.ok(cut.DeleteProfile(b.Context(), vendor, "seller", nil))
		cut = store.New(&oneCommit{Engine: b.records}, b.versions, b.now).As(store.Actor{})
		b.ok(cut.DeleteUser(b.Context(), vendor, "bob", true, nil))
		if b.left("seller") == "" || b.left("bob") == "" {
			b.Fatal("nothing is left to be removed")
		}
		b.equal(b.may("ann")+b.may("bob")+b.has("buyer"), "")
		_, err = b.CreateUser(b.Context(), vendor, store.User{Slug: "bob"}) // removes what is left of the earlier one
		b.ok(err)
		b.equal(b.may("bob"), "")
		b.moveClock(store.Retention)
		_, err = b.CreateProfile(b.Context(), vendor, store.Profile{Slug: "seller"})
		b.is(err, store.ErrReserved)
		_, err = b.Sweep(b.Context())
		b.ok(err)
		b.equal(b.left("seller"), "")
		_, err = b.CreateProfile(b.Context(), vendor, store.Profile{Slug: "seller"})
		b.ok(err)
	})
}

// oneCommit is an engine of a process that dies after one commit.
type oneCommit struct {
	engine.Engine
	done bool
}

func (o *oneCommit) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if o.done {
		return engine.Committed{}, engine.ErrUnavailable
	}
	o.done = true
	return o.Engine.Commit(ctx, partition, batch)
}

// A profile with more records than one step removes goes as a whole.
func TestRemovingALargeProfile(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc", "ann", "abc/gold")
		const many = 1203
		roles := make([]store.MemberRow[store.Role], many)
		for i := range roles {
			roles[i] = store.MemberRow[store.Role]{
				Record: store.Role{Profile: "abc", User: fmt.Sprintf("user-%04d", i), Type: "manager"}, User: new(store.User),
			}
		}
		result, err := b.ImportRoles(b.Context(), vendor, roles, false)
		b.ok(err)
		if len(result.Errors) > 0 {
			b.Fatalf("%+v", result.Errors)
		}
		if count, err := b.RolesOn(vendor, "abc", "").Count(b.Context()); err != nil || count != many {
			b.Fatalf("%d roles, %v", count, err)
		}
		b.ok(b.DeleteProfile(b.Context(), vendor, "abc", nil))
		b.equal(b.left("abc"), "")
	})
}

// A user who leaves takes their roles, signatures and personal data along. A user of the
// same id who comes later has nothing of it.
func TestRemovedUser(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc", "bob", "")
		home, err := b.CreateProfileFor(b.Context(), vendor, store.Profile{
			Slug: "ann-home", Type: store.TypePersonal, FullName: "Ann", Contact: store.Contact{Email: "ann@example.org"},
		}, store.User{Slug: "ann", FullName: "Ann", Contact: store.Contact{Email: "Ann@example.org"}})
		b.ok(err)
		b.equal(home.Owner+" "+b.may("ann"), "ann ann-home/manager")
		b.staff("abc", "bob")
		_, err = b.CreateRole(b.Context(), vendor, store.Role{Profile: "abc", User: "ann", Type: "contributor"})
		b.ok(err)
		_, err = b.CreateAgreement(b.Context(), vendor, store.Agreement{Title: "Terms of Use"})
		b.ok(err)
		_, err = b.Sign(b.Context(), vendor, "terms-of-use", "ann")
		b.ok(err)
		slug := func(u store.User) string { return u.Slug }
		b.equal(listed(b, b.UsersWithEmail(vendor, "ANN@example.org"), slug), "ann")
		b.ok(b.DeleteUser(b.Context(), vendor, "ann", false, nil))
		b.equal(b.may("ann")+b.left("\x00ann")+b.left("xann")+b.left("pann")+b.left("ann@"), "")
		home, err = b.ProfileRecord(b.Context(), vendor, "ann-home")
		if err != nil || !home.Inactive || home.FullName != "" || home.Email != "" || home.Owner != "" {
			b.Errorf("%+v, %v", home, err)
		}
		_, err = b.CreateUser(b.Context(), vendor, store.User{Slug: "ann"})
		b.ok(err)
		records, err := b.ReaderRecords(b.Context(), vendor, policy.Reader{UserID: "ann"})
		if err != nil || len(records.Roles)+len(records.Signatures) != 0 {
			b.Errorf("%+v, %v", records, err)
		}
	})
}

// A reader who registers a profile becomes its manager; the broker's slug, one that is taken
// and that of the reader's own id give nothing.
func TestRegisteringAProfile(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc", "", "")
		register := func(slug, user string) error {
			_, err := b.CreateProfileFor(b.Context(), vendor, store.Profile{Slug: slug, FullName: slug}, store.User{Slug: user})
			return err
		}
		b.is(register(vendor, "eve"), store.ErrExists)
		b.is(register("abc", "eve"), store.ErrExists)
		b.names(register("no/slug", "eve"), "slug")
		b.equal(b.may("eve")+b.may("abc")+b.may(vendor), "")
		_, err := b.UserRecord(b.Context(), vendor, "eve")
		b.is(err, store.ErrNotFound) // a refused one leaves nothing
		b.ok(register("eves", "eve"))
		b.equal(b.may("eve"), "eves/manager")
		// The broker has managers from the start, by the operator.
		_, err = b.CreateRole(b.Context(), vendor, store.Role{Profile: vendor, User: "eve", Type: "manager"})
		b.ok(err)
		b.equal(b.may("eve"), "acme/manager eves/manager")
		other, err := b.ReaderRecords(b.Context(), "other", policy.Reader{UserID: "eve"})
		if err != nil || len(other.Roles) != 0 {
			b.Errorf("another vendor has %+v, %v", other, err)
		}
	})
}

// A role that ended is kept for 30 days, then it goes with its index; a subscription stays.
func TestEndedRecordsAreSwept(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo", "ann", "abc/gold")
		ends := b.timeNow().Add(time.Hour)
		_, err := b.CreateRole(b.Context(), vendor, store.Role{Profile: "abc", User: "ann", Type: "contributor", EndsAt: &ends})
		b.ok(err)
		_, err = b.CreateSubscription(b.Context(), vendor, store.Subscription{Profile: "zoo", Plan: "gold", StartsAt: b.timeNow(), EndsAt: ends})
		b.ok(err)
		b.moveClock(time.Hour)
		b.equal(b.may("ann"), "")
		sweep := func() string {
			_, err := b.Sweep(b.Context())
			b.ok(err)
			return b.left("ann")
		}
		b.equal(sweep(), "pann rabc/ann ic/ann inann/ann itcontributor/abc/ann iuann/abc")
		b.moveClock(store.Retention + time.Second)
		b.equal(sweep(), "pann ic/ann inann/ann")
		b.moveClock(10 * 365 * 24 * time.Hour)
		sweep()
		b.equal(b.has("zoo"), "abc/gold")
	})
}
