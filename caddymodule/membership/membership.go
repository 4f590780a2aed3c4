// Package membership explains which roles, subscriptions and signatures of a reader count
// for a decision, and why the others do not. It imports nothing of Caddy.
package membership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// maxExplained bounds the roles and the subscriptions of an explanation.
const maxExplained = 100

// explainer explains one decision.
type explainer struct {
	ctx      context.Context
	store    *store.Store
	vendor   string
	reader   *policy.Reader
	decision *policy.Decision
	now      time.Time
	result   *admin.Explanation
}

// Explain adds the records of the access model to the explanation of a decision, if it
// is by one of its reasons.
func Explain(ctx context.Context, records *store.Store, reader *policy.Reader, decision *policy.Decision, now time.Time, result *admin.Explanation) error {
	e := explainer{ctx, records, result.Vendor, reader, decision, now, result}
	switch decision.Reason {
	case policy.ReasonAgreementRequired:
		return e.addSignature()
	case policy.ReasonRole, policy.ReasonRoleRequired, policy.ReasonRolePending:
		return e.addRoles()
	case policy.ReasonNotSubscribed, policy.ReasonBalanceDue, policy.ReasonEntitled, policy.ReasonNotEntitled:
		if err := e.addRoles(); err != nil {
			return err
		}
		return e.addSubscriptions()
	default:
		return nil
	}
}

func (e *explainer) addRoles() error {
	user, err := e.store.UserRecord(e.ctx, e.vendor, e.reader.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for role, err := range e.store.RolesOf(e.vendor, e.reader.UserID).All(e.ctx) {
		if err != nil {
			return err
		}
		if len(e.result.Roles) == maxExplained {
			break
		}
		profile, err := e.store.ProfileRecord(e.ctx, e.vendor, role.Profile)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		why := e.whyNoRole(&role, user.Inactive, profile.Inactive)
		e.result.Roles = append(e.result.Roles, admin.ExplainedRole{
			Profile: role.Profile, Role: cmp.Or(role.Type, role.Requested), EndsAt: role.EndsAt, Counts: why == "", Why: why,
		})
	}
	return nil
}

// whyNoRole returns why a role does not count.
func (e *explainer) whyNoRole(role *store.Role, inactiveUser, inactiveProfile bool) string {
	state := role.State()
	demand := &e.decision.Demand
	switch {
	case inactiveUser:
		return "the user is not active"
	case inactiveProfile:
		return "the profile is not active"
	case state.Invited && role.InviteEndsAt != nil && !e.now.Before(*role.InviteEndsAt):
		return "the invitation has ended"
	case state.Invited:
		return "the reader has not accepted the invitation"
	case state.Type == "" && state.RequestWaits:
		return "the request waits for a manager of the profile"
	case !state.Counts(e.now):
		return "it has ended"
	case e.decision.Reason != policy.ReasonRoleRequired && e.decision.Reason != policy.ReasonRolePending:
		return ""
	case demand.Profile != "" && role.Profile != demand.Profile:
		return fmt.Sprintf("it gives nothing on %s for %s: it must be on that profile, or on a profile that the rule accepts in its place", demand.Profile, e.result.Method)
	default:
		return "the rule does not accept this role for " + e.result.Method
	}
}

func (e *explainer) addSubscriptions() error {
	for _, role := range e.result.Roles {
		if !role.Counts {
			continue
		}
		for found, err := range e.store.ListSubscriptions(e.vendor, store.SubscriptionQuery{Profile: role.Profile}).All(e.ctx) {
			if err != nil {
				return err
			}
			if len(e.result.Subscriptions) == maxExplained {
				return nil
			}
			why := e.whyNoSubscription(&found)
			e.result.Subscriptions = append(e.result.Subscriptions, admin.ExplainedSubscription{
				Profile: found.Profile, Plan: found.Plan, Provider: found.Provider, StartsAt: found.StartsAt, EndsAt: found.EndsAt, Counts: why == "", Why: why,
			})
		}
	}
	return nil
}

// whyNoSubscription returns why a subscription does not count.
func (e *explainer) whyNoSubscription(found *store.Subscription) string {
	state, demand := found.State(), &e.decision.Demand
	switch {
	case state.Invited:
		return "the profile has not accepted it"
	case state.RequestWaits:
		return "the provider has not accepted the request"
	case state.StartsAt > e.now.UnixMilli():
		return "it has not started"
	case state.EndsAt <= e.now.UnixMilli():
		return "it has ended"
	case demand.Profile != "" && demand.Profile != found.Profile:
		return "the rule asks for one of the profile " + demand.Profile
	case demand.Plan != "" && demand.Plan != found.Plan:
		return "the rule asks for the plan " + demand.Plan
	case state.BalanceDue:
		return "the profile owes money for it"
	case e.decision.Reason == policy.ReasonNotSubscribed:
		return "the rule asks for another plan"
	default:
		return ""
	}
}

func (e *explainer) addSignature() error {
	slug := e.decision.Demand.Agreement
	result := &admin.ExplainedSignature{Agreement: slug}
	e.result.Signature = result
	agreement, err := e.store.AgreementRecord(e.ctx, e.vendor, slug)
	if errors.Is(err, store.ErrNotFound) {
		result.Why = "there is no such agreement"
		return nil
	}
	if err != nil {
		return err
	}
	result.UpdatedAt = &agreement.UpdatedAt
	signature, err := e.store.SignatureRecord(e.ctx, e.vendor, slug, e.reader.UserID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		result.Why = "the reader has not signed it"
		return nil
	case err != nil:
		return err
	}
	result.SignedAt = &signature.SignedAt
	if result.Counts = !signature.SignedAt.Before(agreement.UpdatedAt); !result.Counts {
		result.Why = "it was updated since, at " + agreement.UpdatedAt.Format(time.RFC3339)
	}
	return nil
}
