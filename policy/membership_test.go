package policy

import (
	"cmp"
	"context"
	"slices"
)

// fakeMembership are the records of the access model of the vendor acme.
type fakeMembership struct {
	roles         []fakeRole
	subscriptions []Subscription
	signatures    []fakeSignature
	profiles      map[string]bool // by slug: whether it is active
	plans         map[string]Plan
	agreements    map[string]Agreement
	inactiveUsers map[string]bool
}

type fakeRole struct {
	user string
	Role
}

type fakeSignature struct {
	user string
	Signature
}

// of returns the records of a user.
func (m *fakeMembership) of(user string) (records ReaderRecords) {
	if user == "" || m.inactiveUsers[user] {
		return records
	}
	for _, role := range m.roles {
		if role.user == user && m.profiles[role.Profile] {
			records.Roles = append(records.Roles, role.Role)
		}
	}
	for _, subscription := range m.subscriptions {
		if slices.ContainsFunc(records.Roles, func(r Role) bool { return r.Profile == subscription.Profile && !r.Pending }) {
			records.Subscriptions = append(records.Subscriptions, subscription)
		}
	}
	for _, signature := range m.signatures {
		if signature.user == user {
			records.Signatures = append(records.Signatures, signature.Signature)
		}
	}
	return records
}

func (f *fakeRecords) Profile(_ context.Context, vendor, profile string) (Profile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	found := Profile{Exists: vendor == "acme" && f.members.profiles[profile]}
	if found.Exists {
		for _, subscription := range f.members.subscriptions {
			if subscription.Profile == profile {
				found.Subscriptions = append(found.Subscriptions, subscription)
			}
		}
	}
	return found, cmp.Or(f.down, f.profilesDown)
}

func (f *fakeRecords) Plan(_ context.Context, vendor, plan string) (Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if vendor != "acme" {
		return Plan{}, f.down
	}
	return f.members.plans[plan], cmp.Or(f.down, f.profilesDown)
}

func (f *fakeRecords) Agreement(_ context.Context, vendor, agreement string) (Agreement, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if vendor != "acme" {
		return Agreement{}, f.down
	}
	return f.members.agreements[agreement], cmp.Or(f.down, f.profilesDown)
}
