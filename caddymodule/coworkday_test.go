package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dayRules are the rules of a co-working site: its own pages about an account, those that
// the plan premium opens, and what is behind the terms of use.
const dayRules = `
		rule /api/legal GET,HEAD any {
			local
		}
		rule /api authenticated {
			local
		}
		rule /app/{profile} direct
		rule /desk/{profile} subscribed premium
		rule / any
		local {
			gatefold_accounts
		}
`

// A day in the life of a co-working site, by HTTP. A company registers, its manager invites a
// colleague, who accepts; they are refused the desks until the company subscribes to the
// plan, the subscription ends and is renewed, new terms must be signed first, and the
// colleague leaves.
func TestADayOfACoworkingSite(t *testing.T) {
	for _, engine := range coworkEngines {
		t.Run(engine, func(t *testing.T) {
			s := newCoworkSite(t, engine, dayRules)
			client := keepingClient(t)
			s.stream("users", row{"slug": "xia", "email": "xia@example.com"}, row{"slug": "ken", "email": "ken@example.com"})
			s.call(http.MethodPost, "/api/profile/cowork/plans", `{"slug": "premium", "title": "Premium desk", "is_active": true, "period_amount": 17999, "period_type": "monthly"}`, http.StatusCreated)
			s.call(http.MethodPost, "/api/agreements", `{"title": "Terms of use"}`, http.StatusCreated)

			// A company registers. Its manager reads its pages; a colleague does not yet.
			s.call(http.MethodPost, "/api/users/xia/profiles", `{"slug": "abc", "full_name": "ABC Corp."}`, http.StatusCreated)
			s.decides(client, "xia", "/app/abc", "role")
			s.next("ken", "/app/abc", "role_required", "request_role")

			// The manager invites the colleague, who reads once they accept.
			invited := s.call(http.MethodPost, "/api/profile/abc/roles/contributor", `{"slug": "ken"}`, http.StatusCreated)
			s.next("ken", "/app/abc", "role_pending", "accept_role")
			key, _ := invited["grant_key"].(string)
			s.call(http.MethodPut, "/api/users/ken/accessibles/accept/"+key, "", http.StatusOK)
			s.decides(client, "ken", "/app/abc", "role")

			// No desk without the plan. The site offers it, and the manager accepts on the site.
			s.next("ken", "/desk/abc", "not_subscribed", "subscribe")
			offered := s.call(http.MethodPost, "/api/profile/cowork/plans/premium/subscriptions", `{"profile": {"slug": "abc"}}`, http.StatusCreated)
			s.next("ken", "/desk/abc", "not_subscribed", "subscribe")
			accept := "/api/profile/abc/subscriptions/accept/" + offered["grant_key"].(string)
			if got := s.own("ken", http.MethodPut, accept, ""); got.StatusCode != http.StatusForbidden {
				t.Errorf("a contributor accepts: %d %s", got.StatusCode, got.body)
			}
			s.own("xia", http.MethodPut, accept, "").members(http.StatusOK, accept)
			s.decides(client, "ken", "/desk/abc", "entitled")
			if got := s.own("xia", http.MethodPut, accept, ""); got.StatusCode != http.StatusNotFound {
				t.Errorf("the key opens twice: %d %s", got.StatusCode, got.body)
			}

			// The month is over, and the next one is paid.
			s.advance(client, 31*24*time.Hour)
			s.next("ken", "/desk/abc", "not_subscribed", "subscribe")
			s.stream("subscriptions", row{"profile": "abc", "plan": "premium", "created_at": clock.Now(), "ends_at": clock.Now().AddDate(0, 1, 0)})
			s.decides(client, "ken", "/desk/abc", "entitled")

			// New terms: everyone signs again, on the site.
			s.rulesOfTerms()
			s.next("ken", "/desk/abc", "agreement_required", "sign")
			s.own("ken", http.MethodPost, "/api/legal/terms-of-use/sign", `{"read_terms": true}`).members(http.StatusOK, "signing")
			s.decides(client, "ken", "/desk/abc", "entitled")
			s.advance(client, time.Hour)
			s.call(http.MethodPut, "/api/agreements/terms-of-use", `{"title": "Terms of use", "updated_at": "`+clock.Now().UTC().Format(time.RFC3339)+`"}`, http.StatusOK)
			s.next("ken", "/desk/abc", "agreement_required", "sign")
			s.own("ken", http.MethodPost, "/api/legal/terms-of-use/sign", `{"read_terms": true}`).members(http.StatusOK, "signing again")
			s.decides(client, "ken", "/desk/abc", "entitled")

			// The colleague leaves.
			s.call(http.MethodDelete, "/api/profile/abc/roles/contributor/ken", "", http.StatusNoContent)
			s.next("ken", "/app/abc", "role_required", "request_role")
			s.next("ken", "/desk/abc", "not_subscribed", "subscribe")
			s.decides(client, "xia", "/app/abc", "role")
		})
	}
}

// rulesOfTerms reloads the site with the rule that asks for the terms and the plan.
func (s *coworkSite) rulesOfTerms() {
	s.Helper()
	s.load(strings.Replace(s.loaded, "rule /desk/{profile} subscribed premium", `rule /desk/{profile} all signed subscribed/{"plan":"premium"}`, 1))
}

// next expects a denial of a page, with the reader's next step.
func (s *coworkSite) next(user, path, code, action string) {
	s.Helper()
	name, value := s.as(user)
	got := s.get(path, name, value).denied(http.StatusForbidden, code)
	var problem struct{ Next_Action, URL string } //nolint:revive // as the member
	if err := json.Unmarshal([]byte(got.body), &problem); err != nil || problem.Next_Action != action || !strings.Contains(problem.URL, "next=") {
		s.Errorf("%s as %s: %s, want %s", path, user, got.body, action)
	}
}
