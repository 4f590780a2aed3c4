package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// Publishing rules must not make thousands of domains be read again. Any other shared
// change may be one of domains.
func TestDomainsAreReadAgainOnlyAfterDomainChanges(t *testing.T) {
	env := newTestEnv(t)
	env.trustEditor()
	token := shareEvidence(editor.share(nil))
	env.want(testRequest{link: token}, ReasonSignedLink)
	reads := func() int {
		env.records.mu.Lock()
		defer env.records.mu.Unlock()
		return env.records.domainReads
	}
	before := reads()
	for range 3 {
		env.records.commit(Invalidation{Shared: true, SameDomains: true}, func() {})
		env.want(testRequest{link: token}, ReasonSignedLink)
	}
	if got := reads(); got != before {
		t.Errorf("domains were read %d times", got-before)
	}
	env.records.commit(Invalidation{Shared: true}, func() { env.records.domains["acme"] = Domains{} })
	env.want(testRequest{link: token}, ReasonLinkUntrusted)
}

// A refresh keeps the entries of unchanged records, with their keys. A denied key is
// denied to all domains at once.
func TestUnchangedDomainsAreKept(t *testing.T) {
	env := newTestEnv(t)
	named := func(domain string) *TrustedDomain { return &TrustedDomain{Domain: domain, SigningKeyPEM: editor.pem()} }
	ours, other, third := named(newsDomain), named("other.example"), named("third.example")
	table := func() map[string]*trusted {
		loaded, err := env.policy.publishers(t.Context(), "acme")
		must(t, err)
		return loaded.byDomain
	}
	env.setDomains(Domains{Trusted: []*TrustedDomain{ours, other, third}})
	first := table()
	token := shareEvidence(editor.share(nil))
	env.want(testRequest{link: token}, ReasonSignedLink)
	changed := named("other.example")
	changed.AllowedResourceIDs = []string{"a1"}
	env.setDomains(Domains{Trusted: []*TrustedDomain{ours, changed}})
	second := table()
	if second[newsDomain] != first[newsDomain] || second["other.example"] == first["other.example"] || len(second) != 2 {
		t.Errorf("entries %v, before the change %v", second, first)
	}
	if found, err := env.policy.publisher(t.Context(), "acme", "other.example"); err != nil || found.Allows("a2") {
		t.Errorf("the changed domain: %+v, %v", found, err)
	}
	if _, err := env.policy.publisher(t.Context(), "acme", "third.example"); !errors.Is(err, keys.ErrUntrusted) {
		t.Errorf("a removed domain: %v", err)
	}
	env.setDomains(Domains{Trusted: []*TrustedDomain{ours, changed}, DeniedKeys: []string{editor.kid}})
	env.want(testRequest{link: token}, ReasonLinkInvalid)
	env.setDomains(Domains{Trusted: []*TrustedDomain{ours, changed}})
	env.want(testRequest{link: token}, ReasonSignedLink)
	env.records.domainsDown = errDown
	if err := env.policy.RefreshDomains(t.Context(), "acme"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("unreadable domains: %v", err)
	}
	env.records.domainsDown = nil
	env.setDomains(Domains{Trusted: []*TrustedDomain{ours}})
	env.want(testRequest{link: token}, ReasonSignedLink)
}

// Many domains are not parsed when they are read. An invalid record is refused at its
// first use.
func TestManyDomainsAreParsedOnFirstUse(t *testing.T) {
	env := newTestEnv(t)
	domains := Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}}
	for i := range 10_000 {
		domains.Trusted = append(domains.Trusted, &TrustedDomain{Domain: fmt.Sprintf("p%d.example", i), SigningKeyPEM: "broken"})
	}
	env.records.commit(Invalidation{Shared: true}, func() { env.records.domains["acme"] = domains })
	env.want(testRequest{link: shareEvidence(editor.share(nil))}, ReasonSignedLink)
	loaded, err := env.policy.publishers(t.Context(), "acme")
	must(t, err)
	parsed := 0
	for _, entry := range loaded.byDomain {
		if entry.opened.Load() != nil {
			parsed++
		}
	}
	if parsed > maxChecked+1 {
		t.Errorf("%d domains were parsed", parsed)
	}
	if _, err := loaded.find("p9999.example"); !errors.Is(err, keys.ErrUntrusted) {
		t.Errorf("an invalid record: %v", err)
	}
	// A single new record is checked at once.
	domains.Trusted = append(slices.Clip(domains.Trusted), &TrustedDomain{Domain: "more.example", SigningKeyPEM: "broken"})
	env.records.commit(Invalidation{Shared: true}, func() { env.records.domains["acme"] = domains })
	err = env.policy.RefreshDomains(t.Context(), "acme")
	if err == nil || !strings.Contains(err.Error(), "more.example") || strings.Contains(err.Error(), newsDomain) {
		t.Errorf("the error is %v, want one that names more.example", err)
	}
}
