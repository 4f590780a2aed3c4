package admin

import (
	"net/http"
	"strings"
)

// omission is operations of the published contracts that Gatefold does not have on purpose.
type omission struct {
	reason     string
	operations []string
}

// omissions are answered 501, so that their callers do not take them for a wrong path.
// docs/omitted.md lists them.
var omissions = []omission{
	{"Gatefold keeps no passwords: readers log in with their issuer, at the gate or on a page of yours, and it has their password, their second factor and their e-mail address.", []string{
		"POST /api/auth", "GET /api/auth/activate/{verification_key}", "POST /api/auth/activate/{verification_key}",
		"POST /api/auth/recover", "POST /api/auth/register", "POST /api/auth/reset/{verification_key}",
		"POST /api/users/{user}/activate", "PUT /api/users/{user}/otp",
		"PUT /api/users/{user}/password", "PUT /api/users/{user}/ssh-keys",
	}},
	{"Gatefold moves no money: sellers send what they sold, and bills and transactions are read.", []string{
		"GET /api/billing/charges", "GET /api/billing/transactions", "GET /api/billing/{profile}/balance", "POST /api/billing/{profile}/balance",
		"DELETE /api/billing/{profile}/balance", "GET /api/billing/{profile}/bank", "GET /api/billing/{profile}/card", "PUT /api/billing/{profile}/card",
		"DELETE /api/billing/{profile}/card", "GET /api/billing/{profile}/charges/{charge}", "POST /api/billing/{profile}/charges/{charge}/email",
		"POST /api/billing/{profile}/charges/{charge}/refund", "GET /api/billing/{profile}/checkout", "POST /api/billing/{profile}/checkout",
		"GET /api/billing/{profile}/coupons", "POST /api/billing/{profile}/coupons", "GET /api/billing/{profile}/coupons/{coupon}",
		"PUT /api/billing/{profile}/coupons/{coupon}", "DELETE /api/billing/{profile}/coupons/{coupon}", "GET /api/billing/{profile}/history",
		"GET /api/billing/{profile}/receivables", "GET /api/billing/{profile}/transfers", "POST /api/billing/{profile}/transfers/import",
		"POST /api/cart", "DELETE /api/cart", "POST /api/cart/redeem", "POST /api/cart/{plan}/upload",
	}},
	{"Gatefold reports no sales: GET /api/proxy/engagement counts readers, and the server's metrics count decisions.", []string{
		"GET /api/metrics/balances/{report}", "GET /api/metrics/balances/{report}/lines", "POST /api/metrics/balances/{report}/lines",
		"GET /api/metrics/balances/{report}/lines/{rank}", "PUT /api/metrics/balances/{report}/lines/{rank}", "DELETE /api/metrics/balances/{report}/lines/{rank}",
		"GET /api/metrics/registered", "GET /api/metrics/{profile}/balances", "GET /api/metrics/{profile}/coupons/{coupon}",
		"GET /api/metrics/{profile}/customers", "GET /api/metrics/{profile}/federated", "GET /api/metrics/{profile}/federated/shared",
		"GET /api/metrics/{profile}/funds", "GET /api/metrics/{profile}/lifetimevalue", "GET /api/metrics/{profile}/plans",
	}},
	{"Gatefold sends no messages: send them by its events, or from the answers with keys.", []string{
		"GET /api/users/{user}/notifications", "PUT /api/users/{user}/notifications", "POST /api/notifications/{template}", "POST /api/contact",
	}},
	{"Gatefold keeps no contacts of the sales team.", []string{"GET /api/contacts/{user}/activities", "POST /api/contacts/{user}/activities"}},
	{"Gatefold has no pages, so it has no themes.", []string{"POST /api/themes", "DELETE /api/themes"}},
	{"Gatefold has no customers of Mediaconnect.", []string{"GET /management/mc/customers/{customerId}"}},
	{"Gatefold has no older portal whose team could move here.", []string{"POST /management/sync/team-to-organization"}},
	{"Gatefold collects nothing from readers' browsers: GET /management/entitlements says what a reader has, and the export of a reader all that is kept.", []string{"GET /management/diagnostics/{identifier}", "DELETE /management/diagnostics/{identifier}"}},
	{"The people who run a site have roles on its profile, and clients have scopes: see GET /api/profile/{profile}/roles.", []string{"GET /management/team", "POST /management/team", "PUT /management/team/{userId}", "DELETE /management/team/{userId}"}},
	{"The version of this API is in its document, GET /openapi.json.", []string{"GET /api"}},
}

// omittedReason returns why an operation is left out, or "".
func omittedReason(method, path string) string {
	for i := range omissions {
		for _, operation := range omissions[i].operations {
			if pattern, found := strings.CutPrefix(operation, method+" "); found && matchesPattern(pattern, path) {
				return omissions[i].reason
			}
		}
	}
	return ""
}

// matchesPattern reports whether a path has the segments of a pattern, in which a name in
// braces is any segment. http.ServeMux refuses these patterns, as some overlap.
func matchesPattern(pattern, path string) bool {
	for {
		wanted, restWanted, moreWanted := strings.Cut(pattern, "/")
		segment, rest, more := strings.Cut(path, "/")
		if moreWanted != more || wanted != segment && (segment == "" || !strings.HasPrefix(wanted, "{")) {
			return false
		}
		if !more {
			return true
		}
		pattern, path = restWanted, rest
	}
}

// notImplemented returns the problem of an operation that is left out, and links to the
// page that lists them.
func (a *api) notImplemented(r *http.Request, header http.Header, reason string) *Problem {
	p := newProblem(http.StatusNotImplemented, reason+" Operations that are left out are listed in docs/omitted.md.")
	if a.Authority != nil {
		page := a.Authority.LinkBase(r) + omittedPath
		p.Detail = reason + " Operations that are left out are listed at " + page + "."
		header.Set("Link", "<"+page+`>; rel="help"`)
	}
	return p
}
