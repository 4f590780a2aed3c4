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

func (f *fakeRecords) SiteLicences(_ context.Context, vendor string) ([]SiteLicence, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.licenceReads++
	return slices.Clone(f.licences[vendor]), cmp.Or(f.down, f.licencesDown)
}

// setLicences replaces the site licences of a vendor.
func (f *fakeRecords) setLicences(vendor string, list ...SiteLicence) {
	f.commit(Invalidation{Shared: true, SameDomains: true}, func() { f.licences[vendor] = list })
}

// The writes of the access model bump the stripes that the store bumps.

func (f *fakeRecords) setProfile(slug string, active bool) {
	f.commit(Invalidation{Shared: true, SameDomains: true}, func() {
		if f.members.profiles == nil {
			f.members.profiles = map[string]bool{}
		}
		f.members.profiles[slug] = active
	})
}

func (f *fakeRecords) setPlan(slug string, plan Plan) {
	f.commit(Invalidation{Shared: true, SameDomains: true}, func() {
		if f.members.plans == nil {
			f.members.plans = map[string]Plan{}
		}
		plan.Exists = true
		f.members.plans[slug] = plan
	})
}

func (f *fakeRecords) setAgreement(slug string, updatedAt int64) {
	f.commit(Invalidation{Shared: true, SameDomains: true}, func() {
		if f.members.agreements == nil {
			f.members.agreements = map[string]Agreement{}
		}
		f.members.agreements[slug] = Agreement{Exists: true, UpdatedAt: updatedAt}
	})
}

func (f *fakeRecords) setRole(user string, role Role) {
	var change Invalidation
	change.Add(KindUserID, "acme", user)
	change.Add(KindProfile, "acme", role.Profile)
	f.commit(change, func() {
		f.members.dropRole(user, role.Profile, role.Pending)
		f.members.roles = append(f.members.roles, fakeRole{user, role})
	})
}

func (f *fakeRecords) removeRole(user, profile string) {
	var change Invalidation
	change.Add(KindUserID, "acme", user)
	change.Add(KindProfile, "acme", profile)
	f.commit(change, func() { f.members.dropRole(user, profile, false) })
}

func (m *fakeMembership) dropRole(user, profile string, pending bool) {
	m.roles = slices.DeleteFunc(m.roles, func(r fakeRole) bool { return r.user == user && r.Profile == profile && r.Pending == pending })
}

// setSubscription replaces the subscription of a profile to a plan.
func (f *fakeRecords) setSubscription(s Subscription) {
	var change Invalidation
	change.Add(KindProfile, "acme", s.Profile)
	f.commit(change, func() {
		f.members.subscriptions = slices.DeleteFunc(f.members.subscriptions, func(old Subscription) bool { return old.Profile == s.Profile && old.Plan == s.Plan })
		f.members.subscriptions = append(f.members.subscriptions, s)
	})
}

func (f *fakeRecords) sign(user, agreement string, at int64) {
	var change Invalidation
	change.Add(KindUserID, "acme", user)
	f.commit(change, func() {
		f.members.signatures = slices.DeleteFunc(f.members.signatures, func(s fakeSignature) bool { return s.user == user && s.Agreement == agreement })
		f.members.signatures = append(f.members.signatures, fakeSignature{user, Signature{agreement, at}})
	})
}

func (f *fakeRecords) setUserActive(user string, active bool) {
	var change Invalidation
	change.Add(KindUserID, "acme", user)
	f.commit(change, func() {
		if f.members.inactiveUsers == nil {
			f.members.inactiveUsers = map[string]bool{}
		}
		f.members.inactiveUsers[user] = !active
	})
}
