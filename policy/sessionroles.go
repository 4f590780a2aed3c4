package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/gatefold/gatefold/keys"
)

const (
	// maxSessionRoles bounds the roles in a session, and maxSessionJSON the whole of one of
	// format 1 or 2 that has roles, in bytes of their JSON: encoded and encrypted it fits
	// into a header of 8 KiB.
	maxSessionRoles = 3072
	maxSessionJSON  = 5632
	// signatureBytes is the room that the header and the signature of a token of format 3
	// take at most.
	signatureBytes = 256
	// maxSessionProfiles bounds the profiles that are looked up for one session.
	maxSessionProfiles = 64
)

// aboutProfiles returns the profiles of the reader that a decision is about: the one that
// the rule names, and the one whose role decided. They are empty for a reader with one
// profile, whose sessions do not differ.
func aboutProfiles(r *Request, d *Decision) (about [2]string) {
	records, now := &r.records, r.Now.UnixMilli()
	if records.roles.n < 2 {
		return about
	}
	profile, _ := d.Param("profile")
	for i, slug := range [...]string{profile, d.Demand.Profile} {
		if slug != "" && records.roleUntil(slug, now) > 0 {
			about[i] = slug
		}
	}
	return about
}

// addRoles adds the roles that count to a session, with the subscriptions of their
// profiles. It returns the moment at which they change, in Unix milliseconds. If there are
// too many, those that the request is about come first, and then those on the broker.
func addRoles(ctx context.Context, source SessionSource, session *keys.Session, records *packedReader, key *sessionKey, at time.Time) (until int64, err error) {
	until = never
	now := at.UnixMilli()
	var roles []packedRole
	for i := range records.roles.n {
		if role := records.role(i); role.counts(now) {
			until = min(until, role.endsAt)
			roles = append(roles, role)
		}
	}
	for i := range records.subscriptions.n {
		if s := records.subscription(i); now < s.from {
			until = min(until, s.from)
		}
	}
	if len(roles) == 0 {
		return until, nil
	}
	first := func(slug string) bool { return slug == key.about[0] || slug == key.about[1] }
	slices.SortStableFunc(roles, func(a, b packedRole) int {
		return cmp.Or(order(first(a.profile), first(b.profile)), order(a.profile == key.vendor, b.profile == key.vendor))
	})
	if len(roles) > maxSessionProfiles {
		roles, session.MoreRoles = roles[:maxSessionProfiles], true
	}
	slugs := make([]string, len(roles))
	for i := range roles {
		slugs[i] = roles[i].profile
	}
	profiles, err := source.Profiles(ctx, key.vendor, slugs)
	if err != nil {
		return 0, err
	}
	left, err := leftForRoles(session, key, at)
	if err == nil {
		fillRoles(session, roles, profiles, records, left, now)
	}
	return until, err
}

// leftForRoles returns how many bytes of JSON the roles may have beside what else is in
// the session: a token of format 3 has at most keys.MaxOwnTokenSize bytes.
func leftForRoles(session *keys.Session, key *sessionKey, now time.Time) (int, error) {
	rest, limit := session.SharedJSON, maxSessionJSON
	if key.backend == SessionAssertion {
		rest = func() ([]byte, error) { return session.AssertionJSON(key.vendor, now) }
		limit = (keys.MaxOwnTokenSize - signatureBytes) * 3 / 4
	}
	encoded, err := rest()
	return min(maxSessionRoles, limit-len(encoded)), err
}

// order compares two values of which the true one comes first.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// fillRoles adds roles in their order, as many as fit.
func fillRoles(session *keys.Session, roles []packedRole, profiles map[string]keys.SessionProfile, records *packedReader, left int, now int64) {
	session.Roles = make(map[string][]keys.SessionProfile)
	for i := range roles {
		profile, ok := profiles[roles[i].profile]
		if !ok { // it was removed meanwhile
			continue
		}
		profile.Subscriptions = records.sessionSubscriptions(roles[i].profile, now)
		kind := roles[i].kind
		size := func() int { return encodedSize(profile) + len(kind) + len(`"":[],`) }
		for i == 0 && size() > left && len(profile.Subscriptions) > 0 {
			profile.Subscriptions = profile.Subscriptions[:len(profile.Subscriptions)-1]
			session.MoreRoles = true
		}
		if left -= size(); left < 0 {
			session.MoreRoles = true
			return
		}
		session.Roles[kind] = append(session.Roles[kind], profile)
	}
}

// encodedSize returns the size of a profile's JSON, in bytes.
func encodedSize(profile keys.SessionProfile) int {
	encoded, _ := json.Marshal(profile) // it has no value that JSON cannot encode
	return len(encoded)
}

// sessionSubscriptions returns the subscriptions of a profile that have begun, the latest
// of each plan, those that end last first.
func (p *packedReader) sessionSubscriptions(profile string, now int64) []keys.SessionSubscription {
	list := []keys.SessionSubscription{}
	last := ""
	for i := p.search(p.subscriptions, subscriptionRecord, profile); i < p.subscriptions.n; i++ {
		s := p.subscription(i)
		if s.profile != profile {
			break
		}
		if now < s.from || s.plan == last {
			continue
		}
		last = s.plan
		entry := keys.SessionSubscription{Plan: s.plan}
		if s.to != never {
			ends := time.UnixMilli(s.to).UTC()
			entry.EndsAt = &ends
		}
		list = append(list, entry)
	}
	slices.SortStableFunc(list, func(a, b keys.SessionSubscription) int {
		switch {
		case a.EndsAt == nil || b.EndsAt == nil:
			return order(a.EndsAt == nil, b.EndsAt == nil)
		default:
			return b.EndsAt.Compare(*a.EndsAt)
		}
	})
	return list
}
