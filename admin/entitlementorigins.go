package admin

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// entitlementsBySubscription returns what a user has by the subscriptions of the profiles on
// which they have a role: for each SKU of a plan, as long as both last. It decides by the
// records as the policy does.
func (a *api) entitlementsBySubscription(ctx context.Context, c *call, slug string, now time.Time) ([]entitlement, error) {
	user, err := c.store.UserRecord(ctx, c.Vendor, slug)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && user.Inactive:
		return nil, nil
	case err != nil:
		return nil, err
	}
	roles, _, err := c.store.RolesOf(c.Vendor, slug).Page(ctx, 0, maxEntitledRoles)
	if err != nil {
		return nil, err
	}
	j := a.joiner(ctx, c)
	var found []entitlement
	for i := range roles {
		role := &roles[i]
		if role.Type == "" || role.GrantKey != "" || j.profile(role.Profile).Inactive {
			continue
		}
		list, _, err := c.store.ListSubscriptions(c.Vendor, store.SubscriptionQuery{
			Profile: role.Profile, Keep: func(s store.SubscriptionState) bool { return s.Valid() },
		}).Page(ctx, 0, maxEntitledRoles)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			found = append(found, j.entitlements(role, &s, now)...)
		}
	}
	return found, j.err
}

// entitlementsByContract returns what a reader has by contracts: as the owner, and by seats.
func (a *api) entitlementsByContract(ctx context.Context, c *call, reader policy.Reader, now time.Time) ([]entitlement, error) {
	contracts, err := c.store.ContractsOf(ctx, c.Vendor, reader)
	var found []entitlement
	for i := range contracts {
		contract, origin := &contracts[i].Contract, origin{Type: originPayments, ID: contracts[i].Contract.ID, ContractID: contracts[i].Contract.ID, Name: contracts[i].Contract.Name}
		if contract.ConfirmedAt == nil {
			continue
		}
		user := contract.Owner.UserID
		if seat := contracts[i].Seat; seat != nil {
			origin.ID, user = seat.ID, seat.UserID
		}
		start, end := contract.Window()
		for _, item := range contracts[i].Items {
			found = append(found, entitlement{
				ID: origin.ID + "." + item.SKU, SKU: item.SKU, PurchaseOption: item.PurchaseOptionID, Origin: origin, HasAccess: contract.Active(now), user: user,
				CreatedAt: contract.CreatedAt, UpdatedAt: contract.UpdatedAt, StartsAt: &start, ExpiresAt: end,
			})
		}
	}
	return found, err
}

// maxEntitledRoles bounds the roles of a user, and the subscriptions of a profile, of which
// entitlements are listed.
const maxEntitledRoles = 10_000

// entitlements returns what a subscription gives to a user with a role on its profile.
func (j *joiner) entitlements(role *store.Role, s *store.Subscription, now time.Time) (found []entitlement) {
	plan := j.plan(s.Plan)
	if len(plan.RoleTypes) > 0 && !slices.Contains(plan.RoleTypes, role.Type) {
		return nil
	}
	ends := s.EndsAt
	if role.EndsAt != nil && role.EndsAt.Before(ends) {
		ends = *role.EndsAt
	}
	skus := plan.SKUs
	if len(skus) == 0 {
		skus = []string{plan.Slug}
	}
	for _, sku := range skus {
		found = append(found, entitlement{
			ID: s.ID + "." + sku, SKU: sku,
			Origin:    origin{Type: originPayments, ID: s.ID, Name: plan.Title, Profile: s.Profile, Plan: s.Plan},
			HasAccess: !s.BalanceDue && !now.Before(s.StartsAt) && now.Before(ends),
			CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, StartsAt: &s.StartsAt, ExpiresAt: &ends,
		})
	}
	return found
}

// Types of origins, by their published words.
const (
	originExternal = "EXTERNAL"
	originPayments = "PAYMENTS"
)
