package caddymodule

import (
	"encoding/json"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// licence stores a contract that gives premium to all whom a site licence admits.
func (s *testSite) licence(id string, site store.SiteLicence) {
	s.Helper()
	s.licenceUntil(id, site, nil)
}

func (s *testSite) licenceUntil(id string, site store.SiteLicence, end *time.Time) {
	s.Helper()
	entry := map[string]any{"skus": []string{"premium"}, "domains": site.Domains, "ranges": site.Ranges}
	if end != nil {
		entry["to"] = end.UnixMilli()
	}
	value, _ := json.Marshal(entry)
	s.commitLicence(&engine.Batch{Puts: []engine.Put{{Key: []byte("3l\x00" + id), Value: value}, {Key: []byte("c" + id), Value: []byte(`{"site":{}}`)}}})
}

func (s *testSite) endLicence(id string) {
	s.Helper()
	s.commitLicence(&engine.Batch{Deletes: [][]byte{[]byte("3l\x00" + id)}})
}

func (s *testSite) commitLicence(batch *engine.Batch) {
	s.Helper()
	shared := s.shared()
	s.running()
	if _, err := shared.engine.Commit(s.Context(), defaultVendor, batch); err != nil {
		s.Fatal(err)
	}
	shared.versions.Bump(policy.Invalidation{Shared: true, SameDomains: true})
}
