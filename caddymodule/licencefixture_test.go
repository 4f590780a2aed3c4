package caddymodule

import (
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// licence makes a contract that gives premium to all whom a site licence admits, and returns
// its id.
func (s *testSite) licence(site store.SiteLicence) string {
	s.Helper()
	return s.licenceUntil(site, nil)
}

func (s *testSite) licenceUntil(site store.SiteLicence, end *time.Time) string {
	s.Helper()
	contract, _, err := s.running().Store.As(store.Actor{}).CreateContract(s.Context(), defaultVendor, store.Contract{
		Owner: store.Party{Email: "library@uni.example"}, Duration: store.DurationRenewable, Interval: store.IntervalYear, EndsAt: end,
		Items: []store.ContractItem{{SKU: "premium"}}, Site: &site,
	}, true)
	if err != nil {
		s.Fatal(err)
	}
	return contract.ID
}

// endLicence cancels a contract at once.
func (s *testSite) endLicence(id string) {
	s.Helper()
	if _, err := s.running().Store.As(store.Actor{}).CancelContract(s.Context(), defaultVendor, id, store.Cancellation{}, nil); err != nil {
		s.Fatal(err)
	}
}
