// Package reasons has what the gate and explain say of each reason of a decision.
package reasons

import (
	"net/http"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/policy"
)

// Text is what the gate and explain say of a reason.
type Text struct {
	denial.Denial // zero if the reason allows
	// Hint tells an operator what to do about the reason.
	Hint string
}

// Texts describes every reason. A new reason needs an entry here.
var Texts = map[policy.Reason]Text{
	policy.ReasonPublic:        {Hint: "Every client may have this page."},
	policy.ReasonAuthenticated: {Hint: "Every identified reader may have this page."},
	policy.ReasonEntitled:      {Hint: "A grant gives this reader the page."},
	policy.ReasonSignedLink:    {Hint: "The link opens the page."},
	policy.ReasonRole:          {Hint: "A role of this reader gives the page."},
	policy.ReasonAddress:       {Hint: "The client's address is in a network that the rule accepts."},
	policy.ReasonCrawler:       {Hint: "The client has the address and the agent of a crawler that the rule accepts."},
	policy.ReasonMetered:       {Hint: "A meter gives this reader the page."},
	policy.ReasonPreflight:     {Hint: "A CORS preflight is answered by headers alone, without credentials."},
	policy.ReasonLoginRequired: denied(http.StatusUnauthorized, "Log in to read this page", "This page is for readers who are logged in.",
		"No reader is identified: does the reader's cookie or Authorization reach the gate, and is its issuer one of identify?"),
	policy.ReasonNotEntitled: denied(http.StatusForbidden, "Your subscription does not include this page", "You are logged in, but your account does not include this page.",
		"None of the reader's grants gives one of the required skus now: add a grant, or see why the listed grants do not count."),
	policy.ReasonRoleRequired: denied(http.StatusForbidden, "Your account has no access to this page", "This page is for readers with a role on the account that it belongs to.",
		"No role of the reader counts for the rule and the method: grant one, or see why the listed roles do not count. A contributor may only read under most operators."),
	policy.ReasonRolePending: denied(http.StatusForbidden, "Your access is not confirmed yet", "Your invitation to this account, or your request for access to it, waits for an answer.",
		"The reader's only role waits: the reader accepts the invitation with its key, or a manager grants the request."),
	policy.ReasonNotSubscribed: denied(http.StatusForbidden, "A subscription is needed for this page", "None of your accounts has a subscription that includes this page.",
		"No subscription of the reader's profiles counts now: see why the listed ones do not, and whether the reader has a role on the profile that subscribed."),
	policy.ReasonBalanceDue: denied(http.StatusForbidden, "A payment is due", "The subscription that includes this page has an open balance.",
		"The subscription is locked (balance_due): the system that bills it unlocks it once it is paid."),
	policy.ReasonAgreementRequired: denied(http.StatusForbidden, "Sign the agreement to read this page", "This page is for readers who have signed the current version of the agreement.",
		"The reader has not signed the agreement since it was updated, or the agreement does not exist."),
	policy.ReasonVerifyRequired: denied(http.StatusForbidden, "Verify your account to read this page", "This page is for readers whose e-mail address is verified and who logged in with all that is required.",
		"The reader's token has no verified e-mail (email_verified), or no second factor (acr, amr) where the rule or a role of the reader requires one."),
	policy.ReasonMeterUsedUp: denied(http.StatusForbidden, "You have read your free articles", "No free article is left. Subscribe to go on reading.",
		"The reader has opened as many contents as the meter allows in its period: it resets as `meter` says. An anonymous reader's views are in a cookie, and those of a reader in one record."),
	policy.ReasonMeterCookieMissing: denied(http.StatusForbidden, "Your browser did not keep the cookie", "Free articles are counted in a cookie: allow cookies for this site, or log in.",
		"The browser was sent on with the cookie of a meter and came without it: it blocks cookies. Nothing is counted."),
	policy.ReasonStepUpRequired: denied(http.StatusUnauthorized, "Log in again to read this page", "This page asks for a recent or a stronger login. Log in again, in the way that the login page then asks for.",
		"The reader is logged in, and the login lacks what the rule asks for: acr, or an auth_time within max_age. Does their issuer state these claims?"),
	policy.ReasonLinkExpired: denied(http.StatusForbidden, "This link has expired", "The link that you followed is no longer valid.",
		"The link has expired: make a new link."),
	policy.ReasonLinkNotYetValid: denied(http.StatusForbidden, "This link is not valid yet", "The link that you followed opens the page later.",
		"The link starts later (startsAt), or iat, or nbf of a publisher's link, is more than 60 seconds ahead: it opens then. If it should open now, compare the clock of its signer with this node's."),
	policy.ReasonLinkTooLong: denied(http.StatusForbidden, "This link is not valid", "The link that you followed was made for too long a time.",
		"exp of the publisher's link is more than 366 days ahead: is it in milliseconds? The publisher signs a new one, with seconds."),
	policy.ReasonLinkUsedUp: denied(http.StatusForbidden, "This link has been used up", "The link that you followed has no uses left.",
		"Every use of the link is spent: make a new link."),
	policy.ReasonLinkDeviceLimit: denied(http.StatusForbidden, "This link has been opened on other devices", "The link that you followed opens on a limited number of devices, and this is another one.",
		"maxDevices of the link is reached: its devices still open it, and no other one does. Make a new link, with more devices if it is for one reader."),
	policy.ReasonLinkOtherNetwork: denied(http.StatusForbidden, "This link is for another network", "The link that you followed opens only in the network that it was made for.",
		"The client's address is not in ipPrefix of the link. Compare it with client_ip in the log: behind a proxy or a CDN that is not in trusted_proxies it is the proxy's."),
	policy.ReasonLinkRevoked: denied(http.StatusForbidden, "This link has been withdrawn", "The sender withdrew the link that you followed.",
		"The link was revoked: make a new link."),
	policy.ReasonLinkInvalid: denied(http.StatusForbidden, "This link is not valid", "The link that you followed is incomplete or was altered.",
		"The token is incomplete or altered, its key is retired or not the vendor's, or the store does not know the link."),
	policy.ReasonLinkOtherResource: denied(http.StatusForbidden, "This link is for another page", "The link that you followed does not open this page.",
		"The link is valid and opens another page: compare what it names with this page."),
	policy.ReasonLinkUntrusted: denied(http.StatusForbidden, "This link is not valid", "The link that you followed was not made by a publisher of this site.",
		"The vendor does not trust the domain that signed the link: register it with domain put."),
	policy.ReasonLinkOtherSite: denied(http.StatusForbidden, "This link is for another site", "The link that you followed was made by a publisher of another site.",
		"The domain that signed the link is trusted but may not speak for this site: name it in share_domain, or use the page's own host."),
	policy.ReasonLinkNotAllowed: denied(http.StatusForbidden, "This link does not open this page", "The publisher who made the link that you followed cannot open this page.",
		"The domain that signed the link may not speak for this resource: see its allowedResourceIds."),
	policy.ReasonLinkCookieMissing: denied(http.StatusForbidden, "Your browser did not keep the cookie", "The link that you followed opens the page in a browser that keeps cookies. It has not been used up: allow cookies for this site, or open the link in another browser.",
		"The browser was redirected from a link less than a minute ago and sent no link cookie: it blocks cookies, as some apps do. Nothing is spent."),
	policy.ReasonNoRule: denied(http.StatusForbidden, "This page is not available", "No rule of this site covers this page.",
		"No rule matches this path: add one, such as a last rule for / with the operator any."),
	policy.ReasonBadPath: denied(http.StatusBadRequest, "The address is not valid", "The path of the address is ambiguous or reserved.",
		"Two servers could interpret this path differently, or it is below /.gatefold/ and is no link. If the site needs paths of the first kind: paths { allow … }."),
	policy.ReasonBadQuery: denied(http.StatusBadRequest, "The address is not valid", "The address carries more than one link token.",
		"The URL carries more than one link token."),
	policy.ReasonBadRequest: denied(http.StatusBadRequest, "The request is not valid", "The request cannot be passed on.",
		"The method, the query or a trailer contains a character that HTTP/1 cannot carry to the origin."),
	policy.ReasonBadMethod: denied(http.StatusMethodNotAllowed, "The method is not allowed", "This method is not served here.",
		"No rule for this path names the method, and only GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS need no naming: if the origin must serve it, name it in a rule, spelt exactly. TRACE and CONNECT are never served."),
	policy.ReasonBadCredential: denied(http.StatusUnauthorized, "Log in again", "Your login is not valid or has expired.",
		"The reader's credential failed: log in again. If it should count, compare clocks and keys."),
	policy.ReasonRateLimited: denied(http.StatusTooManyRequests, "Too many requests", "Your program asked for more pages than its key allows. Wait a minute, then go on.",
		"The API key has had as many requests of this node in this minute as key_rate allows: find its reader with api-key list, or raise key_rate."),
	policy.ReasonTooEarly: denied(http.StatusTooEarly, "Try again", "The request came too early in the connection.",
		"The request spends a use in TLS early data, which can be replayed: clients repeat it after the handshake."),
	policy.ReasonStoreUnavailable: denied(http.StatusServiceUnavailable, "Try again in a moment", "Access cannot be checked at the moment.",
		"The records cannot be read: check the store with the command status."),
	policy.ReasonKeysUnavailable: denied(http.StatusServiceUnavailable, "Try again in a moment", "Your link or your login cannot be verified at the moment.",
		"The keys of the issuer or the domain cannot be fetched: domain probe shows the cause, status shows their age."),
}

// NextStep is what a reader can do about a reason, and the label of a link to the page
// where they can, which is an option of deny.
type NextStep struct{ Page, Action, Label string }

// NextSteps are the reasons about which a reader can do something.
var NextSteps = map[policy.Reason]NextStep{
	policy.ReasonLoginRequired:      {"login", "login", "Log in"},
	policy.ReasonBadCredential:      {"login", "login", "Log in"},
	policy.ReasonMeterUsedUp:        {"subscribe", "subscribe", "Subscribe"},
	policy.ReasonMeterCookieMissing: {"login", "login", "Log in"},
	policy.ReasonVerifyRequired:     {"verify", "verify", "Verify your account"},
	policy.ReasonAgreementRequired:  {"agreement", "sign", "Read and sign the agreement"},
	policy.ReasonNotSubscribed:      {"subscribe", "subscribe", "Subscribe"},
	policy.ReasonBalanceDue:         {"balance", "pay", "Pay the balance"},
	policy.ReasonRoleRequired:       {"role", "request_role", "Ask for access"},
	policy.ReasonRolePending:        {"role", "accept_role", "Go to your invitations and requests"},
	policy.ReasonStepUpRequired:     {"login", "login", "Log in again"},
}

func denied(status int, title, detail, hint string) Text {
	return Text{denial.Denial{Status: status, Title: title, Detail: detail}, hint}
}
