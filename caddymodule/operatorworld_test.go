package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// row is a record in a stream.
type row = map[string]any

// stream imports records of a kind.
func (s *coworkSite) stream(kind string, rows ...row) {
	s.Helper()
	var body strings.Builder
	for _, row := range rows {
		if err := json.NewEncoder(&body).Encode(row); err != nil {
			s.Fatal(err)
		}
	}
	result := s.callAs("application/x-ndjson", http.MethodPost, "/management/records/"+kind+"/import", body.String(), http.StatusOK)
	if errors, _ := result["errors"].([]any); len(errors) > 0 || result["position"] != float64(len(rows)) {
		s.Fatalf("the import of %s answers %v", kind, result)
	}
}

// build makes a world through the API.
func (s *coworkSite) build(world *operatorWorld) {
	s.Helper()
	now := clock.Now()
	var profiles, users, plans, roles, subscriptions []row
	seen := map[string]bool{world.Broker: true} // which exists from the start
	profile := func(slug string) {
		if !seen[slug] {
			profiles = append(profiles, row{"slug": slug, "is_provider": slug == world.Provider})
		}
		seen[slug] = true
	}
	for _, role := range world.Roles {
		profile(role.Profile)
		if !seen["user "+role.User] {
			users = append(users, row{"slug": role.User, "email": role.User + "@example.com"})
		}
		seen["user "+role.User] = true
		if role.GrantKey || role.RequestKey {
			continue
		}
		given := row{"profile": role.Profile, "user": role.User, "role": role.Role}
		if role.Ended {
			given["ends_at"] = now.Add(-24 * time.Hour)
		}
		roles = append(roles, given)
	}
	for _, plan := range world.Plans {
		plans = append(plans, row{
			"slug": plan.Slug, "profile": plan.Provider, "title": plan.Slug, "is_active": true, "is_not_priced": plan.IsNotPriced,
			"period_amount": plan.PeriodAmount, "period_type": "monthly", "optin_on_request": true,
		})
	}
	for _, subscription := range world.Subscriptions {
		profile(subscription.Profile)
		if subscription.GrantKey || subscription.RequestKey {
			continue
		}
		subscriptions = append(subscriptions, row{
			"profile": subscription.Profile, "plan": subscription.Plan,
			"created_at": now.AddDate(0, 0, -60), "ends_at": now.AddDate(0, 0, subscription.EndsInDays),
		})
	}
	s.stream("profiles", profiles...)
	s.stream("users", users...)
	s.stream("plans", plans...)
	s.call(http.MethodPost, "/api/profile/"+world.Broker+"/roles/describe", `{"title": "Support"}`, http.StatusCreated)
	s.stream("roles", roles...)
	s.stream("subscriptions", subscriptions...)
	s.wait(world)
}

// wait makes the invitations and requests of a world, which stay without an answer.
func (s *coworkSite) wait(world *operatorWorld) {
	s.Helper()
	for _, role := range world.Roles {
		if role.GrantKey {
			s.call(http.MethodPost, "/api/profile/"+role.Profile+"/roles/"+role.Role, `{"slug": "`+role.User+`"}`, http.StatusCreated)
		}
		if role.RequestKey {
			s.call(http.MethodPost, "/api/users/"+role.User+"/accessibles/"+role.Role, `{"slug": "`+role.Profile+`"}`, http.StatusCreated)
		}
	}
	owner := map[string]string{}
	for _, plan := range world.Plans {
		owner[plan.Slug] = plan.Provider
	}
	for _, subscription := range world.Subscriptions {
		if subscription.GrantKey {
			path := "/api/profile/" + owner[subscription.Plan] + "/plans/" + subscription.Plan + "/subscriptions"
			s.call(http.MethodPost, path, `{"profile": {"slug": "`+subscription.Profile+`"}}`, http.StatusCreated)
		}
		if subscription.RequestKey {
			s.call(http.MethodPost, "/api/profile/"+subscription.Profile+"/subscriptions", `{"plan": "`+subscription.Plan+`"}`, http.StatusCreated)
		}
	}
}
