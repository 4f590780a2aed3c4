package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// Rules are published while publishers' links come in: that is no reason to read
// thousands of domains again. Any other change may be one of domains.
func TestOnlyDomainsMakeDomainsStale(t *testing.T) {
	w := newWorld(t)
	w.trust()
	token := shared(editor.share(nil))
	w.want(visit{link: token}, ReasonSignedLink)
	reads := func() int {
		w.records.mu.Lock()
		defer w.records.mu.Unlock()
		return w.records.domainReads
	}
	before := reads()
	for range 3 {
		w.records.commit(Invalidation{Shared: true, SameDomains: true}, func() {})
		w.want(visit{link: token}, ReasonSignedLink)
	}
	if got := reads(); got != before {
		t.Errorf("domains were read %d times", got-before)
	}
	w.records.commit(Invalidation{Shared: true}, func() { w.records.trust["acme"] = Domains{} })
	w.want(visit{link: token}, ReasonLinkUntrusted)
}

// Of a table that is read again what did not change is taken over, with its keys.
// A key that is denied is denied to all of them at once.
func TestDomainsAreTakenOver(t *testing.T) {
	w := newWorld(t)
	named := func(domain string) *TrustedDomain { return &TrustedDomain{Domain: domain, SigningKeyPEM: editor.pem()} }
	ours, other, third := named(newsDomain), named("other.example"), named("third.example")
	table := func() map[string]*trusted {
		loaded, err := w.policy.publishers(t.Context(), "acme")
		must(t, err)
		return loaded.byDomain
	}
	w.trusts(Domains{Trusted: []*TrustedDomain{ours, other, third}})
	first := table()
	token := shared(editor.share(nil))
	w.want(visit{link: token}, ReasonSignedLink)
	changed := named("other.example")
	changed.AllowedResourceIDs = []string{"a1"}
	w.trusts(Domains{Trusted: []*TrustedDomain{ours, changed}})
	second := table()
	if second[newsDomain] != first[newsDomain] || second["other.example"] == first["other.example"] || len(second) != 2 {
		t.Errorf("after a change there are %v, before it %v", second, first)
	}
	if found, err := w.policy.publisher(t.Context(), "acme", "other.example"); err != nil || found.Allows("a2") {
		t.Errorf("the changed domain is %+v, %v", found, err)
	}
	if _, err := w.policy.publisher(t.Context(), "acme", "third.example"); !errors.Is(err, keys.ErrUntrusted) {
		t.Errorf("a domain that was removed: %v", err)
	}
	w.trusts(Domains{Trusted: []*TrustedDomain{ours, changed}, DeniedKeys: []string{editor.kid}})
	w.want(visit{link: token}, ReasonLinkInvalid)
	w.trusts(Domains{Trusted: []*TrustedDomain{ours, changed}})
	w.want(visit{link: token}, ReasonSignedLink)
	w.records.domainsDown = errors.New("away")
	if err := w.policy.RefreshDomains(t.Context(), "acme"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("unreadable: %v", err)
	}
	w.records.domainsDown = nil
	w.trusts(Domains{Trusted: []*TrustedDomain{ours}})
	w.want(visit{link: token}, ReasonSignedLink)
}

// Many domains are not parsed when they are read; one that cannot be used is found
// out when it is.
func TestManyDomainsAreParsedWhenTheyAreUsed(t *testing.T) {
	w := newWorld(t)
	domains := Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}}
	for i := range 10_000 {
		domains.Trusted = append(domains.Trusted, &TrustedDomain{Domain: fmt.Sprintf("p%d.example", i), SigningKeyPEM: "broken"})
	}
	w.records.commit(Invalidation{Shared: true}, func() { w.records.trust["acme"] = domains })
	w.want(visit{link: shared(editor.share(nil))}, ReasonSignedLink)
	loaded, err := w.policy.publishers(t.Context(), "acme")
	must(t, err)
	parsed := 0
	for _, entry := range loaded.byDomain {
		if entry.made.Load() != nil {
			parsed++
		}
	}
	if parsed > maxChecked+1 {
		t.Errorf("%d domains were parsed", parsed)
	}
	if _, err := loaded.find("p9999.example"); !errors.Is(err, keys.ErrUntrusted) {
		t.Errorf("a broken record: %v", err)
	}
	// One more is told of, if it is broken.
	domains.Trusted = append(slices.Clip(domains.Trusted), &TrustedDomain{Domain: "more.example", SigningKeyPEM: "broken"})
	w.records.commit(Invalidation{Shared: true}, func() { w.records.trust["acme"] = domains })
	err = w.policy.RefreshDomains(t.Context(), "acme")
	if err == nil || !strings.Contains(err.Error(), "more.example") || strings.Contains(err.Error(), newsDomain) {
		t.Errorf("told of %v", err)
	}
}
