package policy

import (
	"errors"
	"fmt"
	"net/http"
)

// strength is which of the roles on a profile admit to which methods. Managers are
// admitted to every one.
type strength uint8

const (
	// weak admits the named roles to every method.
	weak strength = iota
	// normal admits the named roles to GET and HEAD. OPTIONS is another method.
	normal
	// strong admits no other role.
	strong
)

// access is which roles on which profiles admit a reader, besides managers of the
// broker, which is the vendor's own profile.
type access struct {
	strength strength
	// types are the named roles; with any, every role counts.
	types []template
	any   bool
	// brokers are profiles whose users are admitted as those of the broker.
	brokers []template
}

// compileAccess compiles the arguments of an access: `roledescription`, unless the
// strength is strong, and `brokers` where the operator takes them.
func compileAccess(s strength, takesBrokers bool, arguments Arguments, captures []string) (a access, err error) {
	a.strength = s
	if s != strong {
		if a.types, err = arguments.templates("roledescription", "role", captures); err != nil {
			return a, err
		}
		if len(a.types) == 0 {
			a.types = []template{{text: RoleContributor}}
		}
	}
	if takesBrokers {
		a.brokers, err = arguments.templates("brokers", "broker", captures)
	}
	return a, errors.Join(err, checkSlugs("roledescription", a.types...), checkSlugs("brokers", a.brokers...))
}

// checkSlugs returns an error if a fixed argument cannot be the slug of a record.
func checkSlugs(argument string, slugs ...template) error {
	for _, slug := range slugs {
		if !slug.param && slug != (template{}) && !isSlug(slug.text) {
			return fmt.Errorf("%s: %.40q is no slug: it must have 1 to %d letters, digits, hyphens and underscores", argument, slug.text, maxSlug)
		}
	}
	return nil
}

func isSlug(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-', c == '_', '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		default:
			return false
		}
	}
	return text != "" && len(text) <= maxSlug
}

// accepts reports whether a role admits to the method of the request, whether it counts
// now or not. A request for no particular role may become one that does.
func (a *access) accepts(q *Question, role *packedRole) bool {
	switch {
	case role.flags&roleOfManager != 0, a.any, role.kind == "" && role.pending():
		return true
	case a.strength == strong, a.strength == normal && q.Method != http.MethodGet:
		return false
	}
	for _, kind := range a.types {
		if kind.resolve(q.rule, q.segments) == role.kind {
			return true
		}
	}
	return false
}

// wanted returns the role that a reader needs.
func (a *access) wanted(q *Question) string {
	if a.strength == strong || a.strength == normal && q.Method != http.MethodGet || len(a.types) == 0 {
		return RoleManager
	}
	return a.types[0].resolve(q.rule, q.segments)
}

// admits reports whether a role of the reader admits them.
func (q *Question) admits(a *access, role *packedRole) bool {
	if q.Now >= role.endsAt || !a.accepts(q, role) {
		return false
	}
	if role.pending() {
		q.answer.pending, q.answer.demanded = true, true
		return false
	}
	q.demand(Demand{Profile: role.profile, Role: role.kind})
	q.holdsUntil(role.endsAt)
	return true
}

// admittedOn reports whether a role on a profile admits the reader.
func (q *Question) admittedOn(profile string, a *access) bool {
	if profile == "" {
		return false
	}
	records := q.records
	for i := records.firstRole(profile); i < records.roles.n; i++ {
		if records.roleProfile(i) != profile {
			return false
		}
		if role := records.role(i); q.admits(a, &role) {
			return true
		}
	}
	return false
}

// admittedByBroker reports whether a role on the broker, or on a profile that the rule
// names as one, admits the reader.
func (q *Question) admittedByBroker(a *access) bool {
	if q.admittedOn(q.vendor, a) {
		return true
	}
	for _, broker := range a.brokers {
		if q.admittedOn(broker.resolve(q.rule, q.segments), a) {
			return true
		}
	}
	return false
}

// admittedByProvider reports whether a role on a provider of a profile admits the
// reader.
func (q *Question) admittedByProvider(slug string, a *access) bool {
	profile := q.profile(slug)
	for i := range profile.n {
		provider, from, to := profile.provider(i)
		switch {
		case q.Now >= to:
		case q.Now < from:
			q.holdsUntil(from)
		case q.admittedOn(provider, a):
			q.holdsUntil(to)
			return true
		}
	}
	return false
}

// roleDenied returns the reason for which a reader without an accepted role is denied.
func (q *Question) roleDenied(a *access, profile string) Reason {
	q.demand(Demand{Profile: profile, Role: a.wanted(q)})
	if q.answer.pending {
		return ReasonRolePending
	}
	return ReasonRoleRequired
}

// demand sets what the reader needs or has for the page.
func (q *Question) demand(d Demand) {
	q.answer.demand, q.answer.demanded = d, true
}

// holdsUntil notes a moment at which the decision may differ.
func (q *Question) holdsUntil(moment int64) {
	q.answer.until = earliest(q.answer.until, moment)
}

// profile returns the record of a profile. If it cannot be read, it is one that does not
// exist, and the decision becomes store_unavailable unless another step allows.
func (q *Question) profile(slug string) (found packedProfile) {
	if q.err != nil || slug == "" || len(slug) > maxSlug {
		return found
	}
	q.dependsOn(KindProfile, slug)
	found, q.err = q.policy.profile(q.ctx, q.vendor, slug, q.Now)
	return found
}

// plan returns the record of a plan, as profile does.
func (q *Question) plan(slug string) (found packedPlan) {
	if q.err != nil || slug == "" || len(slug) > maxSlug {
		return found
	}
	found, q.err = q.policy.plan(q.ctx, q.vendor, slug, q.Now)
	return found
}

// agreement returns the version of an agreement, as profile does.
func (q *Question) agreement(slug string) (updatedAt int64, ok bool) {
	if q.err != nil || slug == "" || len(slug) > maxSlug {
		return 0, false
	}
	updatedAt, ok, q.err = q.policy.agreement(q.ctx, q.vendor, slug, q.Now)
	return updatedAt, ok
}

// user sets the records of another user, as profile does.
func (q *Question) user(id string, found *packedReader) {
	if q.err != nil || id == "" || len(id) > maxUser {
		return
	}
	q.dependsOn(KindUserID, id)
	q.err = q.policy.userRecords(q.ctx, q.vendor, &Reader{UserID: id}, q.now, found)
	if q.stripes != nil {
		q.stripes.appendPacked(found.text)
	}
}
