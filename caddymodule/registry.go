package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// gateOf finds the handler of a site; without a name the vendor's only one, or
// the one of the vendor's own name.
func (a *App) gateOf(vendor, site string) (*Handler, error) {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	return selectGate(a.gates, vendor, site)
}

func selectGate(gates []*Handler, vendor, site string) (*Handler, error) {
	var known []string
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
		only, known = gate, append(known, gate.Site)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	switch {
	case site == "" && own != nil:
		return own, nil
	case site == "" && len(known) == 1:
		return only, nil
	}
	return nil, &admin.RefusedError{
		Status: http.StatusNotFound,
		Detail: fmt.Sprintf("The configuration has no such site of vendor %s; it has: %s.", vendor, strings.Join(known, ", ")),
	}
}

// fixedRules returns the rules of a site that this configuration says, by rank;
// none where the store has them.
func (a *App) fixedRules(vendor, site string) []policy.Rule {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	for _, gate := range a.gates {
		if gate.Vendor == vendor && gate.Site == site && len(gate.Rules) > 0 {
			return gate.fixedRules()
		}
	}
	return nil
}

// addGate makes a handler known to explanations and to the management API.
func (a *App) addGate(h *Handler) {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	a.gates = append(a.gates, h)
}

// addEntryGuard makes known which addresses a reverse proxy may reach.
func (a *App) addEntryGuard(guard *addressGuard) {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	a.entries = append(a.entries, guard)
}

func (a *App) entryGuards() addressGuards {
	a.gatesMu.Lock()
	defer a.gatesMu.Unlock()
	return slices.Clone(a.entries)
}
