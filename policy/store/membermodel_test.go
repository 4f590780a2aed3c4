package store_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// memberRun does random operations on a small world of one vendor.
type memberRun struct {
	*fixture
	vendor string
	keys   []shownKey
	staff  map[string]bool
	force  bool // the last operation may take the last manager
}

// shownKey is the key of an invitation or a request, and who it was shown to.
type shownKey struct{ key, profile, user string }

var (
	someProfiles = []string{"p1", "p2", "p3"}
	someUsers    = []string{"u1", "u2", "u3"}
	someTypes    = []string{"manager", "contributor", "desk"}
	somePlans    = []string{"p1-gold", "p2-free"}
)

func pick(t *rapid.T, from []string) string { return rapid.SampledFrom(from).Draw(t, "of") }

// act does one operation. What is refused must change nothing, which check sees.
func (m *memberRun) act(t *rapid.T) {
	ctx, profile, user, kind, plan := m.Context(), pick(t, someProfiles), pick(t, someUsers), pick(t, someTypes), pick(t, somePlans)
	m.force = rapid.Bool().Draw(t, "operator")
	keep := func(key string, err error) {
		if err == nil && key != "" {
			m.keys = append(m.keys, shownKey{key, profile, user})
		}
	}
	var shown shownKey
	if len(m.keys) > 0 {
		shown = rapid.SampledFrom(m.keys).Draw(t, "key")
	}
	if rapid.IntRange(0, 3).Draw(t, "other") == 0 { // a key in the hands of another one
		shown.profile, shown.user = profile, user
	}
	operations := map[string]func(){
		"create profile": func() { _, _ = m.CreateProfile(ctx, m.vendor, store.Profile{Slug: profile}) },
		"register": func() {
			_, _ = m.CreateProfileFor(ctx, m.vendor, store.Profile{Slug: profile, Type: store.TypePersonal}, store.User{Slug: user})
		},
		"activity": func() {
			_, _ = m.UpdateProfile(ctx, m.vendor, profile, func(p *store.Profile) error { p.Inactive = !p.Inactive; return nil })
		},
		"user": func() {
			_, _ = m.CreateUser(ctx, m.vendor, store.User{Slug: user, Contact: store.Contact{Email: profile + "@example.org"}})
		},
		"address": func() {
			_, _ = m.UpdateUser(ctx, m.vendor, user, func(u *store.User) error { u.Email = kind + "@example.org"; return nil })
		},
		"type": func() {
			_, _ = m.CreateRoleType(ctx, m.vendor, store.RoleType{Slug: kind, Title: kind, Profile: profile, SkipOptInOnGrant: true})
		},
		"second factor": func() {
			_, _ = m.UpdateRoleType(ctx, m.vendor, profile, kind, func(r *store.RoleType) error { r.OTPRequired = !r.OTPRequired; return nil })
		},
		"grant": func() {
			granted, err := m.GrantRole(ctx, m.vendor, store.RoleGrant{
				Profile: profile, User: user, Type: kind, Replace: func(store.Role) error { return nil }, Operator: m.force,
			})
			keep(granted.Key, err)
		},
		"accept": func() { _, _ = m.AcceptRole(ctx, m.vendor, shown.user, shown.key) },
		"ask": func() {
			asked, err := m.RequestRole(ctx, m.vendor, profile, store.User{Slug: user}, kind, nil)
			keep(asked.Key, err)
		},
		"refuse":      func() { _ = m.RefuseRequest(ctx, m.vendor, profile, user) },
		"remove role": func() { _ = m.RemoveRole(ctx, m.vendor, profile, user, m.force, nil) },
		"leave":       func() { _ = m.DeleteUser(ctx, m.vendor, user, m.force, nil) },
		"plan": func() {
			_, _ = m.CreatePlan(ctx, m.vendor, store.Plan{Slug: plan, Provider: plan[:2], Title: plan, OptInOnRequest: true, SkipOptInOnGrant: m.force})
		},
		"subscribe": func() {
			granted, err := m.GrantSubscription(ctx, m.vendor, store.SubscriptionGrant{Profile: profile, Plan: plan})
			keep(granted.Key, err)
		},
		"request": func() {
			asked, err := m.RequestSubscription(ctx, m.vendor, store.SubscriptionGrant{Profile: profile, Plan: plan})
			keep(asked.Key, err)
		},
		"take":        func() { _, _ = m.AcceptSubscription(ctx, m.vendor, shown.profile, shown.key) },
		"give":        func() { _, _ = m.AcceptSubscriptionRequest(ctx, m.vendor, plan[:2], shown.key) },
		"renew":       func() { _, _ = m.RenewSubscription(ctx, m.vendor, profile, plan, 1) },
		"unsubscribe": func() { _, _ = m.Unsubscribe(ctx, m.vendor, profile, plan) },
		"backdate": func() {
			_, _ = m.ChangeSubscription(ctx, m.vendor, profile, plan, false, func(s *store.Subscription) error {
				s.StartsAt = s.StartsAt.Add(-time.Hour)
				return nil
			})
		},
		"agreement": func() { _, _ = m.CreateAgreement(ctx, m.vendor, store.Agreement{Title: kind}) },
		"sign":      func() { _, _ = m.Sign(ctx, m.vendor, kind, user) },
		"delete":    func() { _ = m.DeleteAgreement(ctx, m.vendor, kind, nil) },
		"remove":    func() { _ = m.DeleteProfile(ctx, m.vendor, profile, nil) },
		"import": func() {
			_, _ = m.ImportRoles(ctx, m.vendor, []store.MemberRow[store.Role]{
				{Record: store.Role{Profile: profile, User: user, Type: kind}, User: new(store.User)},
				{Record: store.Role{Profile: profile, User: pick(t, someUsers), Type: pick(t, someTypes)}, User: new(store.User)},
			}, m.force)
		},
	}
	names := slices.Sorted(maps.Keys(operations))
	operations[rapid.SampledFrom(names).Draw(t, "operation")]()
}

// decisive is all that decisions see of the vendor.
func (m *memberRun) decisive() map[string]any {
	m.Helper()
	seen := map[string]any{}
	for _, user := range someUsers {
		records, err := m.ReaderRecords(m.Context(), m.vendor, policy.Reader{UserID: user})
		m.ok(err)
		seen["user "+user] = records
	}
	for _, slug := range someProfiles {
		found, err := m.Profile(m.Context(), m.vendor, slug)
		m.ok(err)
		seen["profile "+slug] = found
	}
	for _, slug := range somePlans {
		found, err := m.Plan(m.Context(), m.vendor, slug)
		m.ok(err)
		seen["plan "+slug] = found
	}
	for _, slug := range someTypes {
		found, err := m.Agreement(m.Context(), m.vendor, slug)
		m.ok(err)
		seen["agreement "+slug] = found
	}
	return seen
}

// stale returns what the events after a position make stale: the stripes, and whether all
// of the vendor's shared records are.
func (m *memberRun) stale(after uint64) (change policy.Invalidation) {
	m.Helper()
	events, err := m.records.Events(m.Context(), m.vendor, after, 100)
	m.ok(err)
	for _, event := range events {
		more, err := policy.DecodeInvalidation(event.Payload)
		m.ok(err)
		change.Join(more)
	}
	return change
}

// checkStale wants each change of what decides to be invalidated: what is read of a user
// depends on the user and all of their profiles.
func (m *memberRun) checkStale(t *rapid.T, before map[string]any, change policy.Invalidation) {
	after := m.decisive()
	for name, was := range before {
		is := after[name]
		if reflect.DeepEqual(was, is) || change.Shared {
			continue
		}
		kind, slug, _ := strings.Cut(name, " ")
		var stamps []uint16
		switch kind {
		case "user":
			stamps = append(stamps, policy.Stripe(policy.KindUserID, m.vendor, slug))
			records, _ := was.(policy.ReaderRecords)
			for _, role := range records.Roles {
				stamps = append(stamps, policy.Stripe(policy.KindProfile, m.vendor, role.Profile))
			}
		case "profile":
			stamps = append(stamps, policy.Stripe(policy.KindProfile, m.vendor, slug))
		}
		if !slices.ContainsFunc(stamps, func(s uint16) bool { return slices.Contains(change.Stripes, s) }) {
			t.Fatalf("%s was %+v and is %+v, and stays cached", name, was, is)
		}
	}
}

// checkManagers wants profiles that had a manager to have one, unless the operator acts.
func (m *memberRun) checkManagers(t *rapid.T) {
	for _, profile := range someProfiles {
		has := false
		for role, err := range m.RolesOn(m.vendor, profile, "manager").All(m.Context()) {
			m.ok(err)
			state := role.State()
			has = has || state.Type == "manager" && state.Counts(m.timeNow())
		}
		_, err := m.ProfileRecord(m.Context(), m.vendor, profile)
		if gone := errors.Is(err, store.ErrNotFound); m.staff[profile] && !has && !m.force && !gone {
			account, _ := m.ProfileRecord(m.Context(), m.vendor, profile)
			if account.Type != store.TypePersonal { // that of a user who left
				t.Fatalf("%s has no manager any more", profile)
			}
		}
		m.staff[profile] = has
	}
}

// checkIndex wants the index to be what the records say, entry by entry.
func (m *memberRun) checkIndex(t *rapid.T) {
	want, got := map[string]string{}, map[string]string{}
	m.ok(m.records.View(m.Context(), m.vendor, func(snapshot engine.Snapshot) error {
		for _, prefix := range "oprsyxi" {
			for entry, err := range snapshot.Scan([]byte{byte(prefix)}, nil) {
				if err != nil {
					return err
				}
				if prefix == 'i' {
					if entry.Key[1] != 'h' {
						got[string(entry.Key)] = string(entry.Value)
					}
					continue
				}
				expectIndex(want, byte(prefix), entry.Value)
			}
		}
		return nil
	}))
	if !maps.Equal(want, got) {
		t.Fatalf("the index is %q, want %q", got, want)
	}
}

// expectIndex adds the entries of a record, as layout.go describes them.
func expectIndex(want map[string]string, prefix byte, value []byte) {
	var r struct {
		Slug, Profile, User, Type, Requested, Plan, ID, Provider, Email, Agreement string
		GrantKey                                                                   string    `json:"grant_key"`
		RequestKey                                                                 string    `json:"request_key"`
		StartsAt                                                                   time.Time `json:"starts_at"`
		EndsAt                                                                     time.Time `json:"ends_at"`
		AutoRenew                                                                  bool      `json:"auto_renew"`
		FullName                                                                   string    `json:"full_name"`
		CreatedAt                                                                  time.Time `json:"created_at"`
	}
	_ = json.Unmarshal(value, &r)
	flags := byte(0)
	for bit, is := range []bool{r.GrantKey != "", r.RequestKey != "", r.AutoRenew} {
		if is {
			flags |= 1 << bit
		}
	}
	milli := func(to []byte, at time.Time) []byte {
		if at.IsZero() {
			return binary.BigEndian.AppendUint64(to, 0)
		}
		return binary.BigEndian.AppendUint64(to, uint64(at.UnixMilli()))
	}
	add := func(value string, parts ...string) { want["i"+strings.Join(parts, "\x00")] = value }
	switch prefix {
	case 'o', 'p':
		if r.Email != "" {
			add("", map[byte]string{'o': "f", 'p': "e"}[prefix]+strings.ToLower(r.Email), r.Slug)
		}
		if prefix == 'p' {
			for _, text := range []string{r.Slug, r.Email, r.FullName} {
				if text != "" {
					add("", "n"+strings.ToLower(text), r.Slug)
				}
			}
			add("", string(binary.BigEndian.AppendUint64([]byte("c"), uint64(r.CreatedAt.UnixMicro())))+r.Slug)
		}
	case 'r':
		state := string(milli([]byte{flags}, r.EndsAt)) + r.Type + "\x00" + r.Requested
		add(state, "u"+r.User, r.Profile)
		for _, kind := range []string{r.Type, r.Requested} {
			if kind != "" {
				add(state, "t"+kind, r.Profile, r.User)
			}
		}
	case 'y':
		add("", "o"+r.Provider, r.Slug)
	case 's':
		add(string(milli(milli([]byte{flags}, r.StartsAt), r.EndsAt)), "p"+r.Plan, r.Profile, r.ID)
		if r.RequestKey != "" {
			add(r.Profile+"\x00"+r.Plan+"\x00"+r.ID, "k"+r.Provider, r.RequestKey)
		}
	case 'x':
		add("", "s"+r.Agreement, r.User)
	}
}

// Whatever is done, in any order: the index is what the records say, each change of what
// decides is invalidated, and no profile loses its last manager but by the operator.
func TestMemberModel(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *fixture{"Bolt": newFixture, "Redis": onRedis} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			runs := 0
			rapid.Check(t, func(t *rapid.T) {
				runs++
				m := &memberRun{fixture: b, vendor: fmt.Sprint("vendor-", runs), staff: map[string]bool{}}
				for _, slug := range someProfiles {
					_, err := m.CreateProfileFor(b.Context(), m.vendor, store.Profile{Slug: slug}, store.User{Slug: pick(t, someUsers)})
					b.ok(err)
				}
				for _, slug := range somePlans {
					_, err := m.CreatePlan(b.Context(), m.vendor, store.Plan{Slug: slug, Provider: slug[:2], Title: slug, SkipOptInOnGrant: slug[1] == '1'})
					b.ok(err)
				}
				for range rapid.IntRange(1, 20).Draw(t, "operations") {
					b.clock = b.clock.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "wait")) * time.Minute)
					before := m.decisive()
					position, err := b.records.Position(b.Context(), m.vendor)
					b.ok(err)
					m.act(t)
					m.checkStale(t, before, m.stale(position))
					m.checkManagers(t)
					m.checkIndex(t)
				}
			})
		})
	}
}
