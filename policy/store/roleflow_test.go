package store_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func (b *fixture) giveRole(profile, user, roleType string) (store.GrantedRole, error) {
	return b.GrantRole(b.Context(), vendor, store.RoleGrant{Profile: profile, User: user, Type: roleType})
}

// may shows the roles of a reader as decisions see them, sorted: a star is one that waits.
func (b *fixture) may(user string) string {
	b.Helper()
	records, err := b.ReaderRecords(b.Context(), vendor, policy.Reader{UserID: user})
	b.ok(err)
	var roles []string
	for _, r := range records.Roles {
		name := r.Profile + "/" + r.Type
		if r.Pending {
			name += "*"
		}
		roles = append(roles, name)
	}
	slices.Sort(roles)
	return strings.Join(roles, " ")
}

// lastManager wants a *store.LastManagerError of a profile.
func (b *fixture) lastManager(err error, profile string) {
	b.Helper()
	failed, ok := errors.AsType[*store.LastManagerError](err)
	if !ok || failed.Profile != profile {
		b.Fatalf("the error is %v, want one of the last manager of %s", err, profile)
	}
}

// staff stores the first manager of a profile.
func (b *fixture) staff(profile, user string) {
	b.Helper()
	_, err := b.CreateRole(b.Context(), vendor, store.Role{Profile: profile, User: user, Type: policy.RoleManager})
	b.ok(err)
}

// A manager invites, the user accepts with the key, which was shown once, works once, for
// this user only, and is stored nowhere.
func TestInvitation(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo", "ann bob eve", "")
		invited, err := b.giveRole("abc", "ann", "manager")
		b.ok(err)
		if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(invited.Key) || !invited.Created || invited.Role.GrantKey == invited.Key {
			t.Fatalf("invited: %+v", invited)
		}
		other, err := b.giveRole("zoo", "bob", "manager")
		b.ok(err)
		b.equal(b.may("ann"), "abc/manager*")
		for user, key := range map[string]string{
			"eve": invited.Key, // another user's key, also when they have none
			"bob": invited.Key, // another record's
			"ann": other.Key,
		} {
			_, err := b.AcceptRole(b.Context(), vendor, user, key)
			b.is(err, store.ErrNotFound)
		}
		for _, key := range []string{"", invited.Role.GrantKey, strings.ToUpper(invited.Key), invited.Key[:39]} {
			_, err := b.AcceptRole(b.Context(), vendor, "ann", key)
			b.is(err, store.ErrNotFound)
		}
		stamp := b.versions.Reader(vendor, &policy.Reader{UserID: "ann"})
		accepted, err := b.AcceptRole(b.Context(), vendor, "ann", invited.Key)
		b.ok(err)
		if accepted.Type != "manager" || b.may("ann") != "abc/manager" {
			t.Errorf("accepted %+v: %s", accepted, b.may("ann"))
		}
		if b.versions.Reader(vendor, &policy.Reader{UserID: "ann"}) == stamp {
			t.Error("an accepted role leaves what is cached of the user")
		}
		_, err = b.AcceptRole(b.Context(), vendor, "ann", invited.Key)
		b.is(err, store.ErrNotFound)

		// An invitation may end, and is replaced by one with another key.
		late := b.timeNow().Add(time.Hour)
		first, err := b.GrantRole(b.Context(), vendor, store.RoleGrant{Profile: "zoo", User: "ann", Type: "contributor", InviteEndsAt: &late})
		b.ok(err)
		second, err := b.GrantRole(b.Context(), vendor, store.RoleGrant{Profile: "zoo", User: "ann", Type: "contributor", InviteEndsAt: &late})
		b.ok(err)
		if second.Created || second.Key == first.Key {
			t.Errorf("invited again: %+v", second)
		}
		_, err = b.AcceptRole(b.Context(), vendor, "ann", first.Key)
		b.is(err, store.ErrNotFound)
		b.moveClock(time.Hour)
		_, err = b.AcceptRole(b.Context(), vendor, "ann", second.Key)
		b.is(err, store.ErrNotFound)
		if b.engine != nil && b.records == b.engine && strings.Contains(b.bytes(), invited.Key) {
			t.Error("the database has a key as it is")
		}
	})
}

// What needs no acceptance counts at once: a type that skips it, and the manager of the
// user's own personal profile. A profile named like the user is not their own.
func TestRolesThatNeedNoAcceptance(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc ann", "ann bob", "")
		_, err := b.CreateRoleType(b.Context(), vendor, store.RoleType{Title: "Desk", Profile: "abc", SkipOptInOnGrant: true})
		b.ok(err)
		_, err = b.CreateProfile(b.Context(), vendor, store.Profile{Slug: "ann-home", Type: store.TypePersonal, Owner: "ann"})
		b.ok(err)
		for _, c := range []struct {
			profile, user, kind string
			waits               bool
		}{
			{"abc", "ann", "desk", false},
			{"ann-home", "ann", "manager", false},
			{"ann-home", "bob", "manager", true},
			{"ann", "ann", "manager", true},
			{"abc", "bob", "contributor", true},
		} {
			granted, err := b.giveRole(c.profile, c.user, c.kind)
			b.ok(err)
			if (granted.Key != "") != c.waits {
				t.Errorf("%+v: %+v", c, granted)
			}
		}
		b.equal(b.may("ann"), "abc/desk ann-home/manager ann/manager*")
		// A user who is made with the grant has to accept, whatever the type.
		granted, err := b.GrantRole(b.Context(), vendor, store.RoleGrant{
			Profile: "abc", User: "new", Type: "desk", NewUser: &store.User{Contact: store.Contact{Email: "new@example.org"}},
		})
		b.ok(err)
		if granted.Key == "" || b.may("new") != "abc/desk*" {
			t.Errorf("%+v: %s", granted, b.may("new"))
		}
		_, err = b.giveRole("abc", "nobody", "desk")
		b.names(err, "user")
		_, err = b.giveRole("none", "ann", "manager")
		b.names(err, "profile")
		_, err = b.giveRole("zoo", "ann", "desk")
		b.names(err, "profile")
	})
}

// A role that counts is replaced only when the caller says so, at once, and the answer has
// what it replaced.
func TestReplacingARole(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc", "ann bob", "")
		b.staff("abc", "ann")
		b.staff("abc", "bob")
		_, err := b.giveRole("abc", "bob", "contributor")
		b.is(err, store.ErrReplacesRole)
		b.equal(b.may("bob"), "abc/manager")
		refused := errors.New("the condition does not hold")
		grant := store.RoleGrant{Profile: "abc", User: "bob", Type: "contributor", Replace: func(store.Role) error { return refused }}
		_, err = b.GrantRole(b.Context(), vendor, grant)
		b.is(err, refused)
		grant.Replace = func(store.Role) error { return nil }
		granted, err := b.GrantRole(b.Context(), vendor, grant)
		b.ok(err)
		if granted.Key != "" || granted.Created || granted.Replaced == nil || granted.Replaced.Type != "manager" || b.may("bob") != "abc/contributor" {
			t.Errorf("%+v: %s", granted, b.may("bob"))
		}
		// The last manager is not demoted, nor given an end, but by the operator.
		grant.User = "ann"
		_, err = b.GrantRole(b.Context(), vendor, grant)
		b.lastManager(err, "abc")
		soon := b.timeNow().Add(time.Hour)
		ends := store.RoleGrant{Profile: "abc", User: "ann", Type: "manager", EndsAt: &soon}
		_, err = b.GrantRole(b.Context(), vendor, ends)
		b.lastManager(err, "abc")
		b.lastManager(b.RemoveRole(b.Context(), vendor, "abc", "ann", false, nil), "abc")
		b.lastManager(b.DeleteUser(b.Context(), vendor, "ann", false, nil), "abc")
		b.equal(b.may("ann"), "abc/manager")
		// Granting the same again changes nothing.
		stamp := b.versions.Reader(vendor, &policy.Reader{UserID: "ann"})
		granted, err = b.giveRole("abc", "ann", "manager")
		if err != nil || granted.Created || granted.Key != "" || b.versions.Reader(vendor, &policy.Reader{UserID: "ann"}) != stamp {
			t.Errorf("%+v, %v", granted, err)
		}
		grant.Operator = true
		_, err = b.GrantRole(b.Context(), vendor, grant)
		b.ok(err)
		b.equal(b.may("ann"), "abc/contributor")
	})
}

// A request waits beside a role that counts, and is granted by granting, or with its key.
func TestRequests(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo", "ann bob", "")
		b.staff("abc", "ann")
		ask := func(profile, user, kind string) store.GrantedRole {
			b.Helper()
			asked, err := b.RequestRole(b.Context(), vendor, profile, store.User{Slug: user}, kind, nil)
			b.ok(err)
			return asked
		}
		asked := ask("abc", "new", "contributor")
		if asked.Key == "" || !asked.Created || b.may("new") != "abc/contributor*" {
			t.Errorf("%+v: %s", asked, b.may("new"))
		}
		// The key of a request accepts nothing for the user who asked.
		_, err := b.AcceptRole(b.Context(), vendor, "new", asked.Key)
		b.is(err, store.ErrNotFound)
		_, err = b.GrantRole(b.Context(), vendor, store.RoleGrant{Profile: "abc", User: "new", RequestKey: "00" + asked.Key[2:]})
		b.is(err, store.ErrNotFound)
		_, err = b.GrantRole(b.Context(), vendor, store.RoleGrant{Profile: "abc", User: "new", RequestKey: asked.Key})
		b.ok(err)
		b.equal(b.may("new"), "abc/contributor")
		_, err = b.GrantRole(b.Context(), vendor, store.RoleGrant{Profile: "abc", User: "new", RequestKey: asked.Key})
		b.is(err, store.ErrNotFound)

		// A role that counts stays while more is asked for, and if that is refused.
		ask("abc", "new", "manager")
		b.equal(b.may("new"), "abc/contributor abc/manager*")
		b.ok(b.RefuseRequest(b.Context(), vendor, "abc", "new"))
		b.is(b.RefuseRequest(b.Context(), vendor, "abc", "new"), store.ErrNotFound)
		b.equal(b.may("new"), "abc/contributor")
		_, err = b.RequestRole(b.Context(), vendor, "abc", store.User{Slug: "new"}, "", nil)
		b.is(err, store.ErrExists)
		ask("zoo", "bob", "")
		b.equal(b.may("bob"), "zoo/*")
		b.ok(b.RefuseRequest(b.Context(), vendor, "zoo", "bob"))
		_, err = b.RoleRecord(b.Context(), vendor, "zoo", "bob")
		b.is(err, store.ErrNotFound)

		// An invitation to what is asked for is accepted; one to another type waits on.
		_, err = b.giveRole("zoo", "bob", "contributor")
		b.ok(err)
		ask("zoo", "bob", "manager")
		b.equal(b.may("bob"), "zoo/contributor* zoo/manager*")
		if accepted := ask("zoo", "bob", "contributor"); accepted.Key != "" || b.may("bob") != "zoo/contributor zoo/manager*" {
			t.Errorf("%+v: %s", accepted, b.may("bob"))
		}
		for _, profile := range []string{"none", "shut"} {
			if profile == "shut" {
				_, err := b.CreateProfile(b.Context(), vendor, store.Profile{Slug: profile, Inactive: true})
				b.ok(err)
			}
			_, err := b.RequestRole(b.Context(), vendor, profile, store.User{Slug: "ann"}, "", nil)
			b.names(err, "profile")
		}
	})
}

// Of two that accept one key, one does. Of two grants of a role, one creates it. Managers
// who remove each other leave one, whatever the order, and so does one who is removed while
// another leaves the site.
func TestRolesConcurrently(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc", "ann bob", "")
		b.staff("abc", "ann")
		both := func(one, two func() error) (done int) {
			var group sync.WaitGroup
			errs := make([]error, 2)
			group.Go(func() { errs[0] = one() })
			group.Go(func() { errs[1] = two() })
			group.Wait()
			for _, err := range errs {
				if err == nil {
					done++
				}
			}
			return done
		}
		for i := range 10 {
			user := fmt.Sprint("user-", i)
			b.world("", user, "")
			created := make(chan bool, 2)
			grant := func() error {
				granted, err := b.giveRole("abc", user, "contributor")
				created <- granted.Created
				return err
			}
			if both(grant, grant) != 2 || <-created == <-created {
				t.Fatal("both or none of two grants created the role")
			}
			invited, err := b.giveRole("abc", user, "contributor")
			b.ok(err)
			accept := func() error {
				_, err := b.AcceptRole(b.Context(), vendor, user, invited.Key)
				return err
			}
			if done := both(accept, accept); done != 1 {
				t.Fatalf("one key was accepted %d times", done)
			}
		}
		remove := func(user string) func() error {
			return func() error { return b.RemoveRole(b.Context(), vendor, "abc", user, false, nil) }
		}
		demote := func() error {
			_, err := b.GrantRole(b.Context(), vendor, store.RoleGrant{
				Profile: "abc", User: "ann", Type: "contributor", Replace: func(store.Role) error { return nil },
			})
			return err
		}
		for i := range 12 {
			for _, user := range []string{"ann", "bob"} {
				_, err := b.CreateUser(b.Context(), vendor, store.User{Slug: user})
				if err != nil && !errors.Is(err, store.ErrExists) {
					t.Fatal(err)
				}
				b.is(ignoring(b.RemoveRole(b.Context(), vendor, "abc", user, true, nil), store.ErrNotFound), nil)
				b.staff("abc", user)
			}
			one := []func() error{remove("ann"), demote, remove("ann")}[i%3]
			two := []func() error{remove("bob"), remove("bob"), func() error {
				return b.DeleteUser(b.Context(), vendor, "bob", false, nil)
			}}[i%3]
			if done := both(one, two); done != 1 {
				t.Fatalf("%d of two managers were removed", done)
			}
		}
	})
}

func ignoring(err, ignored error) error {
	if errors.Is(err, ignored) {
		return nil
	}
	return err
}
