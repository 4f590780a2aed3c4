package membership_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/membership"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// desk is a store with the records of a reader, xia, of whom each counts or does not for
// another cause.
type desk struct {
	testing.TB
	*store.Store
	writer store.Writer
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	s := store.New(backend, new(policy.Versions), func() time.Time { return noon })
	d := &desk{t, s, s.As(store.Actor{})}
	for _, slug := range []string{"abc", "asked", "invited", "ended", "closed", "prov"} {
		must(d, d.writer.CreateProfile, store.Profile{Slug: slug, Type: store.TypeOrganization})
	}
	for _, plan := range []string{"premium", "basic", "ended", "later", "offered", "asked", "due"} {
		must(d, d.writer.CreatePlan, store.Plan{Slug: plan, Provider: "prov", Title: plan, PeriodType: "monthly", PeriodLength: 1, RenewalType: "one-time"})
	}
	must(d, d.writer.CreateUser, store.User{Slug: "xia"})
	past := noon.Add(-time.Minute)
	for _, role := range []store.Role{
		{Profile: "abc", Type: policy.RoleContributor},
		{Profile: "asked", RequestKey: strings.Repeat("a", 64), Requested: policy.RoleManager},
		{Profile: "invited", Type: policy.RoleManager, GrantKey: strings.Repeat("b", 64)},
		{Profile: "ended", Type: policy.RoleManager, EndsAt: &past},
		{Profile: "closed", Type: policy.RoleManager},
	} {
		role.User = "xia"
		must(d, d.writer.CreateRole, role)
	}
	if _, err := d.writer.UpdateProfile(t.Context(), "cowork", "closed", func(p *store.Profile) error {
		p.Inactive = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []store.Subscription{
		{Plan: "premium"},
		{Plan: "basic"},
		{Plan: "ended", StartsAt: noon.Add(-2 * time.Hour), EndsAt: noon},
		{Plan: "later", StartsAt: noon.Add(time.Second)},
		{Plan: "offered", GrantKey: strings.Repeat("c", 64)},
		{Plan: "asked", RequestKey: strings.Repeat("d", 64)},
		{Plan: "due", BalanceDue: true},
	} {
		s.Profile = "abc"
		if s.StartsAt.IsZero() {
			s.StartsAt = noon.Add(-time.Hour)
		}
		if s.EndsAt.IsZero() {
			s.EndsAt = noon.Add(time.Hour)
		}
		must(d, d.writer.CreateSubscription, s)
	}
	return d
}

// must makes a record.
func must[T any](d *desk, create func(ctx context.Context, vendor string, record T) (T, error), record T) {
	d.Helper()
	if _, err := create(d.Context(), "cowork", record); err != nil {
		d.Fatalf("%+v: %v", record, err)
	}
}

// explain explains a decision about xia.
func (d *desk) explain(decision policy.Decision) *admin.Explanation {
	d.Helper()
	result := &admin.Explanation{Vendor: "cowork", Method: "POST"}
	if err := membership.Explain(d.Context(), d.Store, &policy.Reader{UserID: "xia"}, &decision, noon, result); err != nil {
		d.Fatal(err)
	}
	return result
}

// An explanation lists the reader's roles and the subscriptions of their profiles, and says
// of each that does not count why.
func TestExplainedRecords(t *testing.T) {
	d := newDesk(t)
	compare := func(what string, counts bool, why, want string) {
		t.Helper()
		if counts != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s counts %v because %q, want %q", what, counts, why, want)
		}
	}
	demand := policy.Demand{Profile: "abc", Plan: "premium"}
	got := d.explain(policy.Decision{Reason: policy.ReasonNotSubscribed, Demand: policy.Demand{Profile: "abc", Plan: "gold"}})
	if len(got.Roles) != 5 || len(got.Subscriptions) != 7 {
		t.Fatalf("%+v", got)
	}
	for _, role := range got.Roles {
		compare(role.Profile, role.Counts, role.Why, map[string]string{
			"asked": "waits for a manager", "invited": "not accepted the invitation", "ended": "has ended", "closed": "profile is not active",
		}[role.Profile])
	}
	for _, s := range got.Subscriptions {
		compare(s.Plan, s.Counts, s.Why, map[string]string{
			"premium": "asks for the plan gold", "basic": "asks for the plan gold", "due": "asks for the plan gold", "ended": "it has ended", "later": "has not started",
			"offered": "the profile has not accepted", "asked": "the provider has not accepted",
		}[s.Plan])
	}
	for _, s := range d.explain(policy.Decision{Reason: policy.ReasonEntitled, Demand: demand}).Subscriptions {
		if s.Plan == "premium" {
			compare(s.Plan, s.Counts, s.Why, "")
		}
	}
	for _, s := range d.explain(policy.Decision{Reason: policy.ReasonBalanceDue, Demand: policy.Demand{Profile: "abc", Plan: "due"}}).Subscriptions {
		if s.Plan == "due" {
			compare(s.Plan, s.Counts, s.Why, "owes money")
		}
	}
	for _, role := range d.explain(policy.Decision{Reason: policy.ReasonRoleRequired, Demand: demand}).Roles {
		if role.Profile == "abc" {
			compare(role.Profile, role.Counts, role.Why, "does not accept this role for POST")
		}
	}
	for _, role := range d.explain(policy.Decision{Reason: policy.ReasonRoleRequired, Demand: policy.Demand{Profile: "other"}}).Roles {
		if role.Profile == "abc" {
			compare(role.Profile, role.Counts, role.Why, "it gives nothing on other for POST")
		}
	}
}

// An explanation says whether the reader signed the agreement, and whether that is since it
// was updated.
func TestExplainedSignature(t *testing.T) {
	d := newDesk(t)
	missing := policy.Decision{Reason: policy.ReasonAgreementRequired, Demand: policy.Demand{Agreement: "terms"}}
	step := func(want string) {
		t.Helper()
		signature := d.explain(missing).Signature
		if signature == nil || signature.Agreement != "terms" || signature.Counts != (want == "") || !strings.Contains(signature.Why, want) {
			t.Errorf("%+v, want %q", signature, want)
		}
	}
	step("no such agreement")
	must(d, d.writer.CreateAgreement, store.Agreement{Slug: "terms", Title: "Terms", UpdatedAt: noon.Add(-time.Hour)})
	step("has not signed")
	if _, err := d.writer.Sign(t.Context(), "cowork", "terms", "xia"); err != nil {
		t.Fatal(err)
	}
	step("")
}
