package store

import (
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ListProfiles lists the profiles by slug, the broker included.
func (s *Store) ListProfiles(vendor string) Listing[Profile] {
	return listOf(s, vendor, profileKind, []byte{prefixProfile}, vendor)
}

// ListUsers lists the users by slug.
func (s *Store) ListUsers(vendor string) Listing[User] {
	return listOf(s, vendor, userKind, []byte{prefixUser})
}

// ListRoleTypes lists the role types of a profile, or those of the whole site if profile is
// empty.
func (s *Store) ListRoleTypes(vendor, profile string) Listing[RoleType] {
	if profile != "" {
		return listOf(s, vendor, roleTypeKind, keyPrefix(prefixRoleType, profile))
	}
	return listOf(s, vendor, roleTypeKind, keyPrefix(prefixRoleType, ""), "\x00"+policy.RoleManager, "\x00"+policy.RoleContributor)
}

// RolesOn lists the roles on a profile by user: those of a type, or asked for it, unless it
// is empty. It includes invitations, requests, and roles that ended.
func (s *Store) RolesOn(vendor, profile, roleType string) Listing[Role] {
	if roleType == "" {
		return listOf(s, vendor, roleKind, keyPrefix(prefixRole, profile))
	}
	return indexed(s, vendor, roleKind, memberPrefix(memberType, roleType, profile), func(user string) []string {
		return []string{profile, user}
	})
}

// RolesOf lists the roles of a user by profile. It includes invitations, requests, and roles
// that ended.
func (s *Store) RolesOf(vendor, user string) Listing[Role] {
	return indexed(s, vendor, roleKind, memberPrefix(memberUser, user), func(profile string) []string {
		return []string{profile, user}
	})
}

// UsersWithEmail lists the users with an e-mail address. Capitals do not matter.
func (s *Store) UsersWithEmail(vendor, email string) Listing[User] {
	return indexed(s, vendor, userKind, memberPrefix(memberUserEmail, policy.LowerEmail(email)), func(slug string) []string {
		return []string{slug}
	})
}

// ProfilesWithEmail lists the profiles with an e-mail address. Capitals do not matter.
func (s *Store) ProfilesWithEmail(vendor, email string) Listing[Profile] {
	return indexed(s, vendor, profileKind, memberPrefix(memberProfileEmail, policy.LowerEmail(email)), func(slug string) []string {
		return []string{slug}
	})
}

// ListPlans lists the plans of a provider, or all if provider is empty, by slug.
func (s *Store) ListPlans(vendor, provider string) Listing[Plan] {
	if provider == "" {
		return listOf(s, vendor, planKind, []byte{prefixPlan})
	}
	return indexed(s, vendor, planKind, memberPrefix(memberProvider, provider), func(slug string) []string {
		return []string{slug}
	})
}

// ListAgreements lists the agreements by slug.
func (s *Store) ListAgreements(vendor string) Listing[Agreement] {
	return listOf(s, vendor, agreementKind, []byte{prefixAgreement})
}

// SignaturesOf lists the signatures of a user by agreement.
func (s *Store) SignaturesOf(vendor, user string) Listing[Signature] {
	return listOf(s, vendor, signatureKind, keyPrefix(prefixSignature, user))
}

// SignaturesOn lists the signatures of an agreement by user.
func (s *Store) SignaturesOn(vendor, agreement string) Listing[Signature] {
	return indexed(s, vendor, signatureKind, memberPrefix(memberAgreement, agreement), func(user string) []string {
		return []string{user, agreement}
	})
}

// SubscriptionQuery selects subscriptions: those of a profile, to a plan, to the plans of a
// provider, or of a profile and either. Without any of them it selects all.
type SubscriptionQuery struct {
	Profile, Plan, Provider string
	// Keep, unless nil, selects by the state.
	Keep func(SubscriptionState) bool
}

// ActiveAt selects the subscriptions that are active at a time.
func ActiveAt(at time.Time) func(SubscriptionState) bool {
	return func(s SubscriptionState) bool { return s.Active(at) }
}

// ListSubscriptions lists subscriptions: of a profile by plan and start, others by plan,
// profile and start. The subscriptions to a plan or provider are selected in the index,
// without reading their records.
func (s *Store) ListSubscriptions(vendor string, query SubscriptionQuery) Listing[Subscription] {
	list := Listing[Subscription]{store: s, vendor: vendor, kind: subscriptionKind}
	if query.Profile != "" {
		prefix := keyPrefix(prefixSubscription, query.Profile)
		if query.Plan != "" {
			prefix = keyPrefix(prefixSubscription, query.Profile, query.Plan)
		}
		list.ranges = func(engine.Snapshot) ([]listingRange, error) { return []listingRange{{prefix: prefix}}, nil }
		return list.Where(func(s *Subscription) bool {
			return (query.Keep == nil || query.Keep(s.State())) && (query.Provider == "" || query.Provider == s.Provider)
		})
	}
	list.ranges = func(snapshot engine.Snapshot) ([]listingRange, error) {
		plans, err := query.plans(snapshot)
		ranges := make([]listingRange, len(plans))
		for i, plan := range plans {
			ranges[i] = query.planRange(plan)
		}
		return ranges, err
	}
	return list
}

// plans returns the plans whose subscriptions are listed.
func (q *SubscriptionQuery) plans(snapshot engine.Snapshot) (plans []string, err error) {
	switch {
	case q.Plan != "" && q.Provider == "":
		return []string{q.Plan}, nil
	case q.Provider == "":
		for entry, err := range snapshot.Scan([]byte{prefixPlan}, nil) {
			if err != nil {
				return nil, err
			}
			plans = append(plans, string(entry.Key[1:]))
		}
		return plans, nil
	}
	prefix := memberPrefix(memberProvider, q.Provider)
	for entry, err := range snapshot.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		if plan := string(entry.Key[len(prefix):]); q.Plan == "" || q.Plan == plan {
			plans = append(plans, plan)
		}
	}
	return plans, nil
}

func (q *SubscriptionQuery) planRange(plan string) listingRange {
	r := listingRange{prefix: memberPrefix(memberPlan, plan), place: func(rest string) []string {
		profile, id, _ := strings.Cut(rest, "\x00")
		return []string{profile, plan, id}
	}}
	if q.Keep != nil {
		r.keep = func(value []byte) (bool, error) {
			state, err := subscriptionState(value)
			return err == nil && q.Keep(state), err
		}
	}
	return r
}
