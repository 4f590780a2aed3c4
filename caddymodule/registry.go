package caddymodule

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/policy"
)

// registry holds the modules of one kind that use an app. It is safe for concurrent
// use.
type registry[T any] struct {
	mu      sync.Mutex
	modules []T
}

func (r *registry[T]) add(module T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.modules = append(r.modules, module)
}

func (r *registry[T]) list() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.modules)
}

// gateOf returns the handler of a site that serves a host. Without a name it is the only
// one that does, or the one named like the vendor. It fails if the site serves other hosts.
// An empty host is served by every site.
func (a *App) gateOf(vendor, site, host string) (*Handler, error) {
	gates := a.gates.list()
	if _, err := selectGate(gates, vendor, site); err != nil && site != "" {
		return nil, err
	}
	var serving []*Handler
	var hosts []string
	for _, gate := range gates {
		if gate.Vendor != vendor || site != "" && gate.Site != site {
			continue
		}
		served, err := gate.hosts.get()
		if err != nil || served.Serves(host) || host == "" {
			serving = append(serving, gate)
			continue
		}
		hosts = append(hosts, served.Names()...)
	}
	if len(serving) > 0 || len(hosts) == 0 {
		return selectGate(serving, vendor, site)
	}
	slices.Sort(hosts)
	return nil, &admin.RefusedError{
		Status: http.StatusUnprocessableEntity,
		Detail: fmt.Sprintf("No site of vendor %s serves the host %s; it serves %s: check the url and the vendor, or add the host to the address of its site.",
			vendor, host, strings.Join(slices.Compact(hosts), ", ")),
	}
}

func selectGate(gates []*Handler, vendor, site string) (*Handler, error) {
	var sites []string
	var own, only *Handler
	for _, gate := range gates {
		if gate.Vendor != vendor {
			continue
		}
		if gate.Site == site {
			return gate, nil
		}
		if gate.Site == vendor {
			own = gate
		}
		only, sites = gate, append(sites, gate.Site)
	}
	slices.Sort(sites)
	sites = slices.Compact(sites)
	switch {
	case site == "" && own != nil:
		return own, nil
	case site == "" && len(sites) == 1:
		return only, nil
	}
	return nil, &admin.RefusedError{
		Status: http.StatusNotFound,
		Detail: fmt.Sprintf("The configuration has no such site of vendor %s; it has: %s.", vendor, cmp.Or(strings.Join(sites, ", "), "none of that vendor")),
	}
}

// fixedRules returns the configured rules of a site by rank. It returns nil when the
// site's rules are in the store.
func (a *App) fixedRules(vendor, site string) []policy.Rule {
	for _, gate := range a.gates.list() {
		if gate.Vendor == vendor && gate.Site == site && len(gate.Rules) > 0 {
			return ruleconfig.Ranked(gate.Rules)
		}
	}
	return nil
}

// readerIssuers returns the issuers with which the readers of a vendor's sites log in, sorted.
// Tokens by the vendor's own keys are no logins.
func (a *App) readerIssuers(vendor string) []string {
	var issuers []string
	for _, gate := range a.gates.list() {
		if gate.Vendor != vendor {
			continue
		}
		for _, identity := range gate.Identify {
			if identity.Source == sourceOIDC || identity.Source == sourceJWT && identity.Issuer != issuerSelf {
				issuers = append(issuers, identity.Issuer)
			}
		}
	}
	slices.Sort(issuers)
	return slices.Compact(issuers)
}
