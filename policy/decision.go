package policy

import (
	"encoding/json"
	"fmt"
)

// Reason is why a decision is what it is: one of a closed list.
type Reason uint8

// The reasons. The first ones allow.
const (
	// ReasonNone is no decision; it never allows.
	ReasonNone Reason = iota
	// ReasonPublic: the rule lets everybody in.
	ReasonPublic
	// ReasonAuthenticated: the rule lets every known reader in.
	ReasonAuthenticated
	// ReasonEntitled: a grant gives the reader what the rule asks for.
	ReasonEntitled
	// ReasonSignedLink: a signed link opens the page.
	ReasonSignedLink
	// ReasonPreflight: a CORS preflight, forwarded without credentials.
	ReasonPreflight

	// ReasonLoginRequired: the rule asks for a reader, and there is none.
	ReasonLoginRequired
	// ReasonNotEntitled: no grant gives the reader what the rule asks for.
	ReasonNotEntitled
	// ReasonLinkExpired: the link's time is over, or not yet come.
	ReasonLinkExpired
	// ReasonLinkUsedUp: the link was redeemed as often as it may be.
	ReasonLinkUsedUp
	// ReasonLinkRevoked: the link was revoked.
	ReasonLinkRevoked
	// ReasonLinkInvalid: the link's token is malformed, forged, foreign or
	// unknown.
	ReasonLinkInvalid
	// ReasonLinkOtherResource: the link opens another page.
	ReasonLinkOtherResource
	// ReasonLinkUntrusted: the link is signed by a domain that the vendor does
	// not trust.
	ReasonLinkUntrusted
	// ReasonLinkOtherSite: the domain that signed the link may not speak for
	// this site.
	ReasonLinkOtherSite
	// ReasonLinkNotAllowed: the domain that signed the link may not speak for
	// this resource.
	ReasonLinkNotAllowed
	// ReasonNoRule: no rule of the site matches.
	ReasonNoRule
	// ReasonBadPath: two servers could read the path differently.
	ReasonBadPath
	// ReasonBadQuery: the request carries a link's parameter more than once.
	ReasonBadQuery
	// ReasonBadMethod: TRACE and CONNECT are not served.
	ReasonBadMethod
	// ReasonBadCredential: the reader's credential failed.
	ReasonBadCredential
	// ReasonTooEarly: a use would be spent in TLS early data, which can be
	// replayed.
	ReasonTooEarly
	// ReasonStoreUnavailable: what would decide cannot be read.
	ReasonStoreUnavailable
	// ReasonKeysUnavailable: the keys that would verify what the request
	// carries are somebody else's, and cannot be had.
	ReasonKeysUnavailable

	reasonCount
)

var reasonNames = [reasonCount]string{ //nolint:gosec // G101: names of reasons, none of them a credential
	ReasonNone:              "none",
	ReasonPublic:            "public",
	ReasonAuthenticated:     "authenticated",
	ReasonEntitled:          "entitled",
	ReasonSignedLink:        "signed_link",
	ReasonPreflight:         "preflight",
	ReasonLoginRequired:     "login_required",
	ReasonNotEntitled:       "not_entitled",
	ReasonLinkExpired:       "link_expired",
	ReasonLinkUsedUp:        "link_used_up",
	ReasonLinkRevoked:       "link_revoked",
	ReasonLinkInvalid:       "link_invalid",
	ReasonLinkOtherResource: "link_other_resource",
	ReasonLinkUntrusted:     "link_untrusted",
	ReasonLinkOtherSite:     "link_other_site",
	ReasonLinkNotAllowed:    "link_not_allowed",
	ReasonNoRule:            "no_rule",
	ReasonBadPath:           "bad_path",
	ReasonBadQuery:          "bad_query",
	ReasonBadMethod:         "bad_method",
	ReasonBadCredential:     "bad_credential",
	ReasonTooEarly:          "too_early",
	ReasonStoreUnavailable:  "store_unavailable",
	ReasonKeysUnavailable:   "keys_unavailable",
}

// Allows says whether the reason is one that allows.
func (r Reason) Allows() bool { return ReasonNone < r && r <= ReasonPreflight }

// String returns the reason's stable name.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// MarshalJSON writes the reason's name.
func (r Reason) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// Reasons lists every reason there is.
func Reasons() []Reason {
	list := make([]Reason, 0, reasonCount-1)
	for reason := ReasonPublic; reason < reasonCount; reason++ {
		list = append(list, reason)
	}
	return list
}

// Decision says whether a request may go on, and why.
type Decision struct {
	Reason Reason
	// Rule decided; nil when none matched.
	Rule *Rule
	// SKU and Grant say what an entitled reader is let in by.
	SKU, Grant string
	// Link is the link that let the reader in, or failed to.
	Link LinkUse
	// ContentNames and Scopes are what the publisher's link that let the reader
	// in names of the resource, for the origin; one of them is empty. They must
	// not be changed.
	ContentNames, Scopes []string
	// Until is the earliest moment, in Unix milliseconds, at which the same
	// request could be decided otherwise without a record being changed:
	// math.MaxInt64 when there is none, and the moment of the decision itself
	// when that cannot be known, as with store_unavailable. That a publisher's
	// keys may change is not counted.
	Until int64
	// Err is what went wrong, for the log: with store_unavailable and
	// keys_unavailable, and with the reasons that tell of a failed check.
	Err error

	rule     *compiledRule
	segments []string
}

// Allow says whether the request may go on.
func (d *Decision) Allow() bool { return d.Reason.Allows() }

// Public says whether the page is one that everybody may have, so that shared
// caches may keep it.
func (d *Decision) Public() bool { return d.Reason == ReasonPublic || d.Reason == ReasonPreflight }

// Param returns a parameter of the rule that decided: its stored argument, or
// what the path captured.
func (d *Decision) Param(name string) (string, bool) {
	if d.rule == nil {
		return "", false
	}
	return d.rule.param(name, d.segments)
}

// Option returns the compiled value of an option of the rule that decided, or nil.
func (d *Decision) Option(name string) any {
	if d.rule == nil {
		return nil
	}
	return d.rule.options[name]
}

// Pending reports whether the decision holds only once Policy.Redeem has written it.
func (d *Decision) Pending() bool { return d.Link.Spend || d.Link.First }

// Keep makes the decision independent of the memory of its request, which may
// then serve another one. Room takes what it needs to keep, if that fits.
func (d *Decision) Keep(room []string) {
	if d.rule == nil || !d.rule.capturing {
		d.segments = nil
		return
	}
	d.segments = append(room[:0], d.segments[:len(d.rule.segments)]...)
}

// LinkUse is what a decision has to do with a link.
type LinkUse struct {
	// Issuer and ID name the link; both empty when there is none.
	Issuer, ID string
	// Token says that the link came with the request itself, not in a cookie.
	Token bool
	// Spend says that the decision holds only once a use is redeemed: see
	// Policy.Redeem.
	Spend bool
	// First says that a publisher signed the link and no record of it is kept
	// yet: the decision holds only once it is written, see Policy.Redeem.
	First bool
	// MaxUses bounds the redemptions; zero means that they are not counted.
	MaxUses int64
	// ExpiresAt is the end of the link, in Unix seconds.
	ExpiresAt int64
	// Ignored says that the request carried a counted link in a form that
	// cannot be a reader's own visit: the decision is made as if it had none.
	Ignored bool
}
