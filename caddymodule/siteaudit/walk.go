package siteaudit

import (
	"encoding/json"
	"maps"
	"slices"
)

// walker follows the routes of one server.
type walker struct {
	reporter *reporter
	named    map[string]*route
	// facts are the gates and authenticators that a request may have passed, in
	// order. Those of a route that ends the request are dropped with it.
	facts []fact
	// epoch is raised by each handler that may change what matchers see.
	epoch   int
	lists   int      // route lists so far, to tell groups of different lists apart
	invoked []string // named routes that are being followed
	depth   int
	failed  bool // in error routes
}

// fact is a gate, or an authenticator if the gate is nil.
type fact struct {
	gate  *Gate
	scope scope
	asks  bool // without a gate: a forward_auth, rather than an authenticator
}

// scope is the place of a handler: the conditions and the choices on the way to it.
type scope struct {
	conditions []*condition
	choices    []choice
	// except are the conditions of earlier routes in the same groups.
	except []*condition
}

// choice is a route that was chosen in a group: no other of the group is executed.
type choice struct {
	list, route int
	group       string
}

// maxDepth bounds the nesting of routes.
const maxDepth = 64

func newWalker(r *reporter, s *server) *walker { return &walker{reporter: r, named: s.Named} }

func (w *walker) walk(s *server) {
	w.routes(s.Routes, scope{})
	w.errorRoutes(s.Errors, scope{})
}

// errorRoutes follows routes for failed requests, which no gate need have allowed.
func (w *walker) errorRoutes(errors *routes, at scope) {
	if errors == nil {
		return
	}
	facts, failed := w.facts, w.failed
	w.facts, w.failed = nil, true
	w.routes(errors.Routes, at)
	w.facts, w.failed = facts, failed
}

// group is the state of a group in a list of routes.
type group struct {
	earlier []*condition
	chosen  bool // a route without matchers was reached: no later one is
	passes  bool // one of its routes goes on
}

// routes follows a list of routes. It reports whether every request ends there.
func (w *walker) routes(list []*route, at scope) bool {
	if w.depth++; w.depth > maxDepth {
		w.depth--
		w.reporter.report.Truncated = true
		return false
	}
	defer func() { w.depth-- }()
	w.lists++
	id, groups := w.lists, map[string]*group{}
	for i, r := range list {
		if r == nil {
			continue
		}
		inner := at
		g := groups[r.Group]
		if r.Group != "" {
			if g == nil {
				g = new(group)
				groups[r.Group] = g
			}
			if g.chosen {
				continue
			}
			inner = inner.choose(choice{id, i, r.Group}, g.earlier)
		}
		var c *condition
		if len(r.Match) > 0 {
			c = newCondition(r.Match, w.epoch)
			inner = inner.under(c)
		}
		mark := len(w.facts)
		ends := w.handlers(r.Handle, inner) || r.Terminal
		if ends {
			w.facts = w.facts[:mark]
		}
		if g == nil {
			if ends && c == nil {
				return true
			}
			continue
		}
		g.passes = g.passes || !ends
		if c == nil {
			if g.chosen = true; !g.passes {
				return true
			}
			continue
		}
		g.earlier = append(g.earlier, c)
	}
	return false
}

func (s scope) under(c *condition) scope {
	s.conditions = append(slices.Clip(s.conditions), c)
	return s
}

func (s scope) choose(c choice, earlier []*condition) scope {
	s.choices = append(slices.Clip(s.choices), c)
	s.except = append(slices.Clip(s.except), earlier...)
	return s
}

// excludes reports whether no request reaches both places.
func (s scope) excludes(other scope) bool {
	for _, a := range s.choices {
		for _, b := range other.choices {
			if a.list == b.list && a.group == b.group && a.route != b.route {
				return true
			}
		}
	}
	a, b := s.hosts(), other.hosts()
	return len(a) > 0 && len(b) > 0 && !slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return hostCovers(x, y) || hostCovers(y, x) })
	})
}

// unmet returns the conditions of an earlier place that need not hold at s.
func (s scope) unmet(earlier scope) (unmet []*condition) {
	for _, want := range earlier.conditions {
		if !slices.ContainsFunc(s.conditions, func(have *condition) bool { return have.implies(want) }) {
			unmet = append(unmet, want)
		}
	}
	return unmet
}

// hosts returns the hosts of the innermost condition that has any.
func (s scope) hosts() []string {
	for _, c := range slices.Backward(s.conditions) {
		if hosts := c.list("host"); hosts != nil {
			return hosts
		}
	}
	return nil
}

func (w *walker) handlers(list []json.RawMessage, at scope) bool {
	for _, raw := range list {
		if w.handler(raw, at) {
			return true
		}
	}
	return false
}

// gate adds a gate, and follows its local routes.
func (w *walker) gate(raw json.RawMessage, at scope) {
	gate := newGate(raw)
	for _, f := range w.facts {
		before := f.gate == nil && !at.excludes(f.scope)
		gate.authenticated = gate.authenticated || before && !f.asks
		gate.asked = gate.asked || before && f.asks
	}
	w.reporter.gate(gate, at.hosts())
	w.facts = append(w.facts, fact{gate: gate, scope: at})
	var config struct {
		Local *routes `json:"local"`
	}
	if json.Unmarshal(raw, &config) == nil && config.Local != nil {
		mark := len(w.facts)
		w.routes(config.Local.Routes, at)
		w.facts = w.facts[:mark]
	}
}

// maxExcept bounds the exceptions of a way.
const maxExcept = 16

// end adds a way to a handler that responds.
func (w *walker) end(kind Kind, handler string, at scope) {
	way := &Way{Kind: kind, Handler: handler, Gates: []string{}, ErrorRoute: w.failed, hosts: at.hosts()}
	outermost := (*condition)(nil)
	for _, c := range at.conditions {
		if paths := c.list("path"); paths != nil && outermost == nil {
			outermost, way.Paths = c, paths
		}
	}
	for _, c := range at.conditions {
		without := []string{}
		if c.list("host") != nil {
			without = append(without, "host")
		}
		if c == outermost {
			without = append(without, "path")
		}
		if text := c.text(without...); text != "" {
			way.Conditions = append(way.Conditions, text)
		}
	}
	except := map[string]bool{}
	for _, c := range at.except {
		except[c.text()] = true
	}
	for _, f := range w.facts {
		if f.gate == nil || at.excludes(f.scope) {
			continue
		}
		unmet := at.unmet(f.scope)
		if len(unmet) == 0 {
			way.gates, way.Gates = append(way.gates, f.gate), append(way.Gates, f.gate.name())
			continue
		}
		way.passedBy = true
		for _, c := range unmet {
			except[c.text()] = true
		}
	}
	way.Except = slices.Sorted(maps.Keys(except))
	if len(way.Except) > maxExcept {
		way.Except = append(way.Except[:maxExcept], "…")
	}
	w.reporter.way(way)
}
