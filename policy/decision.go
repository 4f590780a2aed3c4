package policy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Reason is the cause of a decision, of a closed list.
type Reason uint8

// The reasons. Those up to ReasonPreflight allow.
const (
	// ReasonNone: no decision was made. It does not allow.
	ReasonNone Reason = iota
	// ReasonPublic: the rule allows every request.
	ReasonPublic
	// ReasonAuthenticated: the rule allows the identified reader.
	ReasonAuthenticated
	// ReasonEntitled: a grant gives the reader a sku that the rule requires.
	ReasonEntitled
	// ReasonSignedLink: a signed link opens the page.
	ReasonSignedLink
	// ReasonRole: the reader has a role that the rule accepts.
	ReasonRole
	// ReasonAddress: the client's address is in a network that the rule accepts.
	ReasonAddress
	// ReasonCrawler: the client is a crawler that the rule accepts.
	ReasonCrawler
	// ReasonMetered: a meter gives the reader the page.
	ReasonMetered
	// ReasonPreflight: a CORS preflight, forwarded without credentials.
	ReasonPreflight

	// ReasonLoginRequired: the rule requires an identified reader.
	ReasonLoginRequired
	// ReasonNotEntitled: no current grant gives the reader what the rule requires.
	ReasonNotEntitled
	// ReasonRoleRequired: the reader has no role that the rule accepts.
	ReasonRoleRequired
	// ReasonRolePending: the reader's invitation to the role, or request for it, waits.
	ReasonRolePending
	// ReasonNotSubscribed: no profile of the reader is subscribed to the plan.
	ReasonNotSubscribed
	// ReasonBalanceDue: the profile owes money for its subscription.
	ReasonBalanceDue
	// ReasonAgreementRequired: the reader has not signed the current agreement.
	ReasonAgreementRequired
	// ReasonVerifyRequired: the reader's e-mail is not verified, or a second factor is
	// missing.
	ReasonVerifyRequired
	// ReasonMeterUsedUp: the reader has no view of the meter left in its period.
	ReasonMeterUsedUp
	// ReasonMeterCookieMissing: the browser did not keep the cookie of a meter. The gate gives it
	// where it sends such a browser.
	ReasonMeterCookieMissing
	// ReasonStepUpRequired: the reader is identified, and their login is not of a class that
	// the rule accepts, or not as recent as it asks (RFC 9470).
	ReasonStepUpRequired
	// ReasonLinkExpired: the link has expired.
	ReasonLinkExpired
	// ReasonLinkNotYetValid: the link is not valid yet, by the clock of this node.
	ReasonLinkNotYetValid
	// ReasonLinkTooLong: a publisher's link is valid for longer than a link may be.
	ReasonLinkTooLong
	// ReasonLinkUsedUp: all uses of the link are redeemed.
	ReasonLinkUsedUp
	// ReasonLinkDeviceLimit: the link was opened by as many devices as it allows.
	ReasonLinkDeviceLimit
	// ReasonLinkOtherNetwork: the link does not open pages from the client's network.
	ReasonLinkOtherNetwork
	// ReasonLinkRevoked: the link was revoked.
	ReasonLinkRevoked
	// ReasonLinkInvalid: the link's token is malformed, forged, from another vendor
	// or unknown.
	ReasonLinkInvalid
	// ReasonLinkOtherResource: the link opens another page.
	ReasonLinkOtherResource
	// ReasonLinkUntrusted: the vendor does not trust the domain that signed the link.
	ReasonLinkUntrusted
	// ReasonLinkOtherSite: the domain that signed the link may not speak for
	// this site.
	ReasonLinkOtherSite
	// ReasonLinkNotAllowed: the domain that signed the link may not speak for
	// this resource.
	ReasonLinkNotAllowed
	// ReasonLinkCookieMissing: the browser was redirected from a link a moment ago, and kept
	// no cookie. The gate gives it in the place of ReasonLoginRequired.
	ReasonLinkCookieMissing
	// ReasonNoRule: no rule of the site matches.
	ReasonNoRule
	// ReasonBadPath: servers differ on how to read the path.
	ReasonBadPath
	// ReasonBadQuery: the query contains more than one link token.
	ReasonBadQuery
	// ReasonBadRequest: HTTP/1 cannot carry the method, the query or the trailers.
	ReasonBadRequest
	// ReasonBadMethod: the method is not a common one, and no rule for the path names it.
	// TRACE, and CONNECT other than for a WebSocket, are never served.
	ReasonBadMethod
	// ReasonBadCredential: the reader's credential failed.
	ReasonBadCredential
	// ReasonRateLimited: the reader's API key was used too often.
	ReasonRateLimited
	// ReasonTooEarly: a use would be spent in TLS early data, which can be
	// replayed.
	ReasonTooEarly
	// ReasonStoreUnavailable: a record that decides cannot be read.
	ReasonStoreUnavailable
	// ReasonKeysUnavailable: the keys that would verify the request's token belong
	// to another party, and cannot be fetched.
	ReasonKeysUnavailable

	reasonCount
)

var reasonNames = [reasonCount]string{ //nolint:gosec // G101: names of reasons, none of them a credential
	ReasonNone:               "none",
	ReasonPublic:             "public",
	ReasonAuthenticated:      "authenticated",
	ReasonEntitled:           "entitled",
	ReasonSignedLink:         "signed_link",
	ReasonRole:               "role",
	ReasonMetered:            "metered",
	ReasonAddress:            "address",
	ReasonCrawler:            "crawler",
	ReasonPreflight:          "preflight",
	ReasonLoginRequired:      "login_required",
	ReasonNotEntitled:        "not_entitled",
	ReasonRoleRequired:       "role_required",
	ReasonRolePending:        "role_pending",
	ReasonNotSubscribed:      "not_subscribed",
	ReasonBalanceDue:         "balance_due",
	ReasonAgreementRequired:  "agreement_required",
	ReasonVerifyRequired:     "verify_required",
	ReasonMeterUsedUp:        "meter_used_up",
	ReasonMeterCookieMissing: "meter_cookie_missing",
	ReasonLinkExpired:        "link_expired",
	ReasonLinkNotYetValid:    "link_not_yet_valid",
	ReasonLinkTooLong:        "link_too_long",
	ReasonLinkUsedUp:         "link_used_up",
	ReasonLinkDeviceLimit:    "link_device_limit",
	ReasonLinkOtherNetwork:   "link_other_network",
	ReasonLinkRevoked:        "link_revoked",
	ReasonLinkInvalid:        "link_invalid",
	ReasonLinkOtherResource:  "link_other_resource",
	ReasonLinkUntrusted:      "link_untrusted",
	ReasonLinkOtherSite:      "link_other_site",
	ReasonLinkNotAllowed:     "link_not_allowed",
	ReasonLinkCookieMissing:  "link_cookie_missing",
	ReasonNoRule:             "no_rule",
	ReasonBadPath:            "bad_path",
	ReasonBadQuery:           "bad_query",
	ReasonBadRequest:         "bad_request",
	ReasonBadMethod:          "bad_method",
	ReasonBadCredential:      "bad_credential",
	ReasonRateLimited:        "rate_limited",
	ReasonTooEarly:           "too_early",
	ReasonStoreUnavailable:   "store_unavailable",
	ReasonKeysUnavailable:    "keys_unavailable",
	ReasonStepUpRequired:     "step_up_required",
}

// Allows reports whether the reason allows the request.
func (r Reason) Allows() bool { return ReasonNone < r && r <= ReasonPreflight }

// OfLink reports whether the reason is why a link that was verified does not open a page.
func (r Reason) OfLink() bool {
	return r != ReasonLinkInvalid && strings.HasPrefix(r.String(), "link_")
}

// String returns the reason's stable name.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// MarshalJSON returns the reason's name.
func (r Reason) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// Reasons returns all reasons except ReasonNone.
func Reasons() []Reason {
	list := make([]Reason, 0, reasonCount-1)
	for reason := ReasonPublic; reason < reasonCount; reason++ {
		list = append(list, reason)
	}
	return list
}

// Decision is the answer to a request, with its reason.
type Decision struct {
	Reason Reason
	// Rewritten reports whether the decision is that of the path as rewritten before the
	// gate, see Request.CurrentPath.
	Rewritten bool
	// Licence is what of the reader the site licence covers that decided. Grant names its
	// contract.
	Licence LicenceBy
	// Rule is the rule that decided; nil if none matched.
	Rule *Rule
	// SKU and Grant are those that entitle the reader.
	SKU, Grant string
	// Loss is what decided in the place of the rule's steps, because the store was
	// unreachable for too long; nil otherwise. A page that it opens is for no shared cache.
	Loss *StoreLoss
	// Crawler is the name of the crawler that the rule accepted.
	Crawler string
	// Demand names the role, subscription or agreement that decided or is missing.
	Demand Demand
	// Link is the link that opened the page or failed to.
	Link LinkUse
	// Meter is the meter that opened the page or failed to; nil if none did.
	Meter *MeterUse
	// ContentNames and Scopes are the parts of the resource that the publisher's link
	// names, for the origin. One of them is empty. They must not be changed.
	ContentNames, Scopes []string
	// Until is the earliest moment, in Unix milliseconds, at which the decision could
	// differ although no record changed. It is math.MaxInt64 if there is none, and the
	// moment of the decision if it is unknown, as with store_unavailable. It does not
	// account for changes of a publisher's keys.
	Until int64
	// Err is the error behind the reason, for the log. It is set for store_unavailable,
	// keys_unavailable, step_up_required and failed checks.
	Err error

	rule     *compiledRule
	segments []string
	// target is what the link that opens the page opens, or nil.
	target *target
}

// BindsQuery reports whether a link opens the page because of parameters of its query.
func (d *Decision) BindsQuery() bool {
	return d.target != nil && (len(d.target.query) > 0 || d.contentParameter() != "")
}

// Binds reports whether an origin could take a parameter of the given name for one by which
// a link opens the page. Some read cookies and bodies as parameters too, and before those of
// the query.
func (d *Decision) Binds(name string) bool {
	if !d.BindsQuery() {
		return false
	}
	read := readQueryName(name)
	for i := range d.target.query {
		if d.target.query[i].read.conflicts(&read) {
			return true
		}
	}
	want := readQueryName(d.contentParameter())
	return d.contentParameter() != "" && want.conflicts(&read)
}

// contentParameter is the parameter of the query that has the content id of the page.
func (d *Decision) contentParameter() string {
	if source := d.rule.contentID(); source != nil {
		return source.Query
	}
	return ""
}

// Allow reports whether the request is allowed.
func (d *Decision) Allow() bool { return d.Reason.Allows() }

// Public reports whether the answer is the same for all readers, so that shared caches
// may store it.
func (d *Decision) Public() bool {
	return (d.Reason == ReasonPublic || d.Reason == ReasonPreflight) && d.Loss == nil
}

// Param returns a parameter of the rule that decided: its stored argument, or the
// captured segment.
func (d *Decision) Param(name string) (string, bool) {
	if d.rule == nil {
		return "", false
	}
	return d.rule.param(name, d.segments)
}

// Option returns the compiled value of an option of the rule that decided, or nil.
func (d *Decision) Option(name string) any {
	if d.rule == nil || d.rule.options == nil {
		return nil
	}
	return d.rule.options.values[name]
}

// Pending reports whether the decision holds only once Policy.Prepare has checked it.
func (d *Decision) Pending() bool {
	return d.Link.Spend || d.Link.First || d.Meter != nil && d.Meter.pending
}

// Spends reports whether a use or a view must be counted before the page is delivered.
func (d *Decision) Spends() bool { return d.Link.Spend || d.Meter != nil && d.Meter.Spend }

// Captures are the parameters of a rule that decided. They do not depend on the Request, which
// may be reset.
type Captures struct {
	rule     *compiledRule
	segments []string
}

// Captures returns the parameters of the rule that decided. It copies captured segments to
// buf, which grows if it is too small.
func (d *Decision) Captures(buf []string) Captures {
	if d.rule == nil || !d.rule.capturing {
		return Captures{rule: d.rule}
	}
	return Captures{d.rule, append(buf[:0], d.segments[:len(d.rule.segments)]...)}
}

// Param returns a parameter as Decision.Param does.
func (c Captures) Param(name string) (string, bool) {
	if c.rule == nil {
		return "", false
	}
	return c.rule.param(name, c.segments)
}

// LinkUse describes the link on which a decision depends.
type LinkUse struct {
	// Issuer and ID identify the link. Both are empty if there is none.
	Issuer, ID string
	// UseID is the id of the use, if the request has one: from its cookie, from the
	// device that sent it, or from its reader. Device is that of the device.
	UseID, Device string
	// MaxUses and MaxDevices bound the redemptions and the devices. Zero means that they
	// are not counted.
	MaxUses, MaxDevices int64
	// MaxNetworks is the number of networks within an hour that the link itself allows; zero
	// for that of the site. It does not decide.
	MaxNetworks int64
	// ExpiresAt is the end of the link, in Unix seconds.
	ExpiresAt int64
	// Token reports whether the link is in the query, rather than in a cookie.
	Token bool
	// Spend reports whether a use must be counted before the page is delivered, see
	// Policy.Prepare and Policy.Redeem.
	Spend bool
	// Resume reports whether the request may go on with a use that was counted before,
	// but spends none: HEAD of a device, or a subresource.
	Resume bool
	// Known reports whether the use was counted before.
	Known bool
	// First reports whether the record of a publisher's link must be written before
	// the decision holds, see Policy.Prepare.
	First bool
	// PerReader reports whether the link opens pages to identified readers only. Login
	// reports whether a valid one waits for its reader to log in: the gate keeps it until
	// then.
	PerReader, Login bool
	// Ignored reports whether a counted link was ignored because the request cannot be
	// a reader's own page view, such as a link preview.
	Ignored bool
	// Previews reports whether an ignored link is valid and names this page.
	Previews bool
}
