package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// maxRolesOfReader bounds the roles of one reader that are read.
const maxRolesOfReader = 10_000

// ReaderRecords implements policy.Records.
func (s *Store) ReaderRecords(ctx context.Context, vendor string, reader policy.Reader) (records policy.ReaderRecords, err error) {
	err = s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		if err := notChanged(snapshot, readerStripes(vendor, &reader)...); err != nil {
			return err
		}
		if err := prefetchReader(snapshot, reader); err != nil {
			return err
		}
		found, err := grantsIn(snapshot, reader)
		if err != nil {
			return err
		}
		records = policy.ReaderRecords{Grants: make([]policy.Grant, len(found))}
		for i := range found {
			records.Grants[i] = found[i].Grant.decides(found[i].List.Status == StatusActive)
		}
		now := s.now().UnixMilli()
		if err := ownedContracts(snapshot, &reader, now, &records); err != nil {
			return err
		}
		if err := seatedContracts(snapshot, &reader, &records); err != nil {
			return err
		}
		m := memberships{snapshot: snapshot, vendor: vendor, now: now, also: contractKeys(records.Contracts)}
		if reader.UserID != "" {
			if err := m.of(reader.UserID, &records); err != nil {
				return err
			}
		} else if err := engine.Prefetch(snapshot, m.also...); err != nil {
			return err
		}
		if err := seatGrants(snapshot, now, &records); err != nil {
			return err
		}
		return notChanged(snapshot, records.Stripes(vendor)...)
	})
	return records, err
}

// readerStripes returns the stripes of a reader's identifiers, as policy.Versions has them.
func readerStripes(vendor string, reader *policy.Reader) []uint16 {
	var stripes policy.Invalidation
	stripes.Add(policy.KindUserID, vendor, reader.UserID)
	stripes.Add(policy.KindEmail, vendor, reader.Email)
	stripes.Add(policy.KindPublisherUserID, vendor, reader.PublisherUserID)
	return stripes.Stripes
}

// prefetchReader reads the indexes of a reader in one round trip.
func prefetchReader(snapshot engine.Snapshot, reader policy.Reader) error {
	var ranges [][]byte
	for kind, identifier := range map[string]string{
		indexUserID: reader.UserID, indexPublisherUserID: reader.PublisherUserID, indexEmail: reader.Email,
	} {
		if identifier != "" {
			ranges = append(ranges, indexPrefix(kind, identifier))
		}
	}
	if reader.UserID != "" {
		ranges = append(ranges, memberPrefix(memberUser, reader.UserID), keyPrefix(prefixSignature, reader.UserID))
	}
	owned, seated := contractRanges(&reader)
	ranges = append(append(ranges, owned...), seated...)
	return engine.PrefetchRanges(snapshot, ranges...)
}

// memberships reads what decides of roles and subscriptions.
type memberships struct {
	snapshot engine.Snapshot
	vendor   string
	now      int64 // in Unix milliseconds
	// also are keys that are read in the same round trip as what is needed of the roles.
	also [][]byte
}

// indexedRole is a role as the index of a user has it.
type indexedRole struct {
	profile string
	RoleState
}

// of adds the roles, subscriptions and signatures of a user.
func (m *memberships) of(user string, found *policy.ReaderRecords) error {
	roles, err := m.indexed(user)
	if err != nil {
		return err
	}
	account, err := stored(m, userKind, user)
	if err != nil || account != nil && account.Inactive {
		return err
	}
	for signature, err := range records[Signature](m.snapshot, keyPrefix(prefixSignature, user), "") {
		if err != nil {
			return err
		}
		found.Signatures = append(found.Signatures, policy.Signature{
			Agreement: signature.Agreement, SignedAt: signature.SignedAt.UnixMilli(),
		})
	}
	if account == nil {
		return nil
	}
	var profiles []string
	for i := range roles {
		added, err := m.addRole(&roles[i], found)
		if err != nil {
			return err
		}
		if added {
			profiles = append(profiles, roles[i].profile)
		}
	}
	found.Subscriptions, err = m.subscriptions(profiles)
	return err
}

// indexed returns the roles of a user, and reads the user and what is needed of the roles
// in one round trip.
func (m *memberships) indexed(user string) (roles []indexedRole, err error) {
	prefix := memberPrefix(memberUser, user)
	keys := append([][]byte{userKind.key(user)}, m.also...)
	for entry, err := range m.snapshot.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		if len(roles) == maxRolesOfReader {
			return nil, errors.New("a reader has more roles than can be looked at")
		}
		state, err := roleState(entry.Value)
		if err != nil {
			return nil, err
		}
		role := indexedRole{string(entry.Key[len(prefix):]), state}
		roles = append(roles, role)
		keys = append(keys, profileKind.key(role.profile))
		if role.Type != "" {
			keys = append(keys, roleTypeKind.key(role.profile, role.Type), roleTypeKind.key("", role.Type))
		}
	}
	return roles, engine.Prefetch(m.snapshot, keys...)
}

// addRole adds a role, if its profile is active. Counts reports whether it counts, now or
// later.
func (m *memberships) addRole(role *indexedRole, records *policy.ReaderRecords) (counts bool, err error) {
	profile, err := stored(m, profileKind, role.profile)
	if err != nil || profile == nil || profile.Inactive {
		return false, err
	}
	if role.RequestWaits {
		records.Roles = append(records.Roles, policy.Role{Profile: role.profile, Type: role.Requested, Pending: true})
	}
	if role.Type == "" || role.EndsAt != 0 && role.EndsAt <= m.now {
		return false, nil
	}
	described, err := stored(m, roleTypeKind, role.profile, role.Type)
	if err == nil && described == nil {
		described, err = stored(m, roleTypeKind, "", role.Type)
	}
	records.Roles = append(records.Roles, policy.Role{
		Profile: role.profile, Type: role.Type, EndsAt: role.EndsAt, Pending: role.Invited,
		SecondFactor: described != nil && described.OTPRequired,
	})
	return !role.Invited, err
}

// subscriptions returns the valid subscriptions of profiles. Of those to one plan that
// ended, only the last one is returned, as the others make no difference.
func (m *memberships) subscriptions(profiles []string) (list []policy.Subscription, err error) {
	ranges := make([][]byte, len(profiles))
	for i, profile := range profiles {
		ranges[i] = keyPrefix(prefixSubscription, profile)
	}
	if err := engine.PrefetchRanges(m.snapshot, ranges...); err != nil {
		return nil, err
	}
	var valid []Subscription
	var keys [][]byte
	for _, prefix := range ranges {
		first := len(valid)
		for subscription, err := range records[Subscription](m.snapshot, prefix, "") {
			if err != nil {
				return nil, err
			}
			if state := subscription.State(); state.Valid() {
				valid = append(valid, subscription)
				keys = append(keys, planKind.key(subscription.Plan), profileKind.key(subscription.Provider))
			}
		}
		valid = append(valid[:first], m.lastEnded(valid[first:])...)
	}
	if err := engine.Prefetch(m.snapshot, keys...); err != nil {
		return nil, err
	}
	for i := range valid {
		plan, err := m.plan(valid[i].Plan)
		if err != nil {
			return nil, err
		}
		// A plan of the same name and another provider is another plan.
		if plan != nil && plan.Provider == valid[i].Provider {
			list = append(list, valid[i].decides(plan))
		}
	}
	return list, nil
}

// lastEnded removes the subscriptions that ended before another one to the same plan that
// ended.
func (m *memberships) lastEnded(list []Subscription) []Subscription {
	last := map[string]int64{}
	for i := range list {
		if ends := list[i].EndsAt.UnixMilli(); ends <= m.now {
			last[list[i].Plan] = max(last[list[i].Plan], ends)
		}
	}
	return slices.DeleteFunc(list, func(s Subscription) bool { return s.EndsAt.UnixMilli() < last[s.Plan] && s.EndsAt.UnixMilli() <= m.now })
}

// plan returns a plan, nil if there is none or its provider was removed.
func (m *memberships) plan(slug string) (*Plan, error) {
	plan, err := stored(m, planKind, slug)
	if err != nil || plan == nil {
		return nil, err
	}
	provider, err := stored(m, profileKind, plan.Provider)
	if provider == nil {
		plan = nil
	}
	return plan, err
}

// decides returns the part of the subscription that decisions use.
func (s *Subscription) decides(plan *Plan) policy.Subscription {
	skus := plan.SKUs
	if len(skus) == 0 {
		skus = []string{plan.Slug}
	}
	return policy.Subscription{
		Profile: s.Profile, Plan: s.Plan, Provider: plan.Provider, Locked: s.BalanceDue, SKUs: skus, RoleTypes: plan.RoleTypes,
		StartsAt: s.StartsAt.UnixMilli(), EndsAt: cmp.Or(s.EndsAt.UnixMilli(), 1), // zero means no end
	}
}

// stored returns a stored or built-in record, nil for none.
func stored[T any](m *memberships, k *kind[T], path ...string) (*T, error) {
	value, err := m.snapshot.Get(k.key(path...))
	if err != nil {
		return nil, err
	}
	return k.decode(m.vendor, value, path)
}

// Profile implements policy.Records.
func (s *Store) Profile(ctx context.Context, vendor, slug string) (found policy.Profile, err error) {
	err = s.members(ctx, vendor, func(m *memberships) error {
		if err := notChanged(m.snapshot, policy.Stripe(policy.KindProfile, vendor, slug)); err != nil {
			return err
		}
		profile, err := stored(m, profileKind, slug)
		if err != nil || profile == nil || profile.Inactive {
			return err
		}
		found.Exists = true
		found.Subscriptions, err = m.subscriptions([]string{slug})
		return err
	})
	return found, err
}

// Plan implements policy.Records.
func (s *Store) Plan(ctx context.Context, vendor, slug string) (found policy.Plan, err error) {
	err = s.members(ctx, vendor, func(m *memberships) error {
		plan, err := m.plan(slug)
		if plan != nil {
			found = policy.Plan{Exists: true, Provider: plan.Provider, NotPriced: plan.IsNotPriced}
		}
		return err
	})
	return found, err
}

// Agreement implements policy.Records.
func (s *Store) Agreement(ctx context.Context, vendor, slug string) (found policy.Agreement, err error) {
	err = s.members(ctx, vendor, func(m *memberships) error {
		agreement, err := stored(m, agreementKind, slug)
		if agreement != nil {
			found = policy.Agreement{Exists: true, UpdatedAt: agreement.UpdatedAt.UnixMilli()}
		}
		return err
	})
	return found, err
}

// members calls fn with a snapshot.
func (s *Store) members(ctx context.Context, vendor string, fn func(*memberships) error) error {
	return s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		return fn(&memberships{snapshot: snapshot, vendor: vendor, now: s.now().UnixMilli()})
	})
}
