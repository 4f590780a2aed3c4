package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// isShareToken reports whether a token is a publisher's share token, which has no
// issuer.
func isShareToken(raw string) bool {
	token, err := keys.Scan(raw)
	return err == nil && token.Issuer() == ""
}

// addLink adds the checks of a link, up to the first that fails.
func (e *explainer) addLink(ctx context.Context, explained *policy.Explanation) {
	token := explained.Token
	link := &admin.ExplainedLink{TokenID: token.Claims.ID}
	e.result.Link = link
	check := func(name string, ok bool, detail string) bool {
		link.Checks = append(link.Checks, admin.ExplainedCheck{Check: name, OK: ok, Detail: detail})
		return ok
	}
	if token.Claims.ID == "" {
		check("token", false, token.Err.Error())
		return
	}
	check("token", true, "signed by a key of "+token.Claims.Issuer)
	if !check("time", token.Reason != policy.ReasonLinkNotYetValid, validity(&token.Claims)) {
		return
	}
	published := token.Claims.Issuer != e.site.site.Issuer()
	if published {
		outOfScope := token.Reason == policy.ReasonLinkOtherSite || token.Reason == policy.ReasonLinkNotAllowed
		if !check("publisher", !outOfScope, errorOr(token.Err, "the domain is trusted, and may speak for this host and this resource")) {
			return
		}
	}
	record, err := e.store.SignedLink(ctx, e.result.Vendor, token.Claims.Issuer, token.Claims.ID)
	found := "the store has its record"
	if published && errors.Is(err, store.ErrNotFound) {
		record, err, found = store.SignedLink{Claims: token.Claims}, nil, "a publisher's link that was never used"
	}
	if !check("known", err == nil, errorOr(err, found)) {
		return
	}
	if errors.Is(token.Err, policy.ErrLinkReused) && !check("the same link", false, token.Err.Error()) {
		return
	}
	if !check("not revoked", record.RevokedAt.IsZero(), revokedDetail(record)) {
		return
	}
	if !check("uses", record.Claims.MaxUses == 0 || record.Uses < record.Claims.MaxUses, usesDetail(record.Uses, record.Claims)) {
		// The gate checks this when it redeems the link.
		if explained.Decision.Link.Spend {
			explained.Decision = policy.Decision{Reason: policy.ReasonLinkUsedUp, Rule: explained.Decision.Rule, Link: explained.Decision.Link}
		}
	}
	e.addLimits(explained, &record, check)
	for _, reading := range explained.Readings {
		detail := "it opens this page"
		switch reading.Misfit {
		case "":
		case "host":
			detail = "the configuration does not name this host: give the site its address, or name it with `hosts`"
		default:
			detail = "it opens another page: " + reading.Misfit + " does not fit"
		}
		if !check("opens", reading.Misfit == "", detail) {
			return
		}
	}
}

// addLimits adds the checks of a link's optional limits.
func (e *explainer) addLimits(explained *policy.Explanation, record *store.SignedLink, check func(name string, ok bool, detail string) bool) {
	claims := &record.Claims
	if most := claims.MaxDevices; most > 0 {
		detail := fmt.Sprintf("%d of %d devices have opened it", record.Devices, most)
		if !check("devices", record.Devices < most, detail) && explained.Decision.Link.Spend && explained.Decision.Allow() {
			explained.Decision = policy.Decision{Reason: policy.ReasonLinkDeviceLimit, Rule: explained.Decision.Rule, Link: explained.Decision.Link}
		}
	}
	if network := claims.Network(); network.IsValid() {
		detail := "it opens from " + claims.IPPrefix + " only, and the client's address is " + e.address.String()
		switch {
		case e.past != nil:
			detail = "it opens from " + claims.IPPrefix + " only" // the address is not kept
		case !e.address.IsValid():
			detail = "it opens from " + claims.IPPrefix + " only: give the client's address"
		}
		check("network", network.Contains(e.address.Unmap().WithZone("")), detail)
	}
	if claims.PerReader {
		check("reader", !e.reader.Anonymous(), "it opens to identified readers only, each of whom is one use")
	}
}

// validity returns when a link is valid.
func validity(claims *keys.LinkClaims) string {
	text := "valid until " + time.Unix(claims.ExpiresAt, 0).UTC().Format(time.RFC3339)
	if claims.NotBefore > 0 {
		text = "valid from " + time.Unix(claims.NotBefore, 0).UTC().Format(time.RFC3339) + " until " + time.Unix(claims.ExpiresAt, 0).UTC().Format(time.RFC3339)
	}
	return text
}

func errorOr(err error, text string) string {
	if err != nil {
		text = err.Error()
	}
	return text
}

func revokedDetail(record store.SignedLink) string {
	if record.RevokedAt.IsZero() {
		return "it was not revoked"
	}
	return "it was revoked at " + record.RevokedAt.Format(time.RFC3339)
}

func usesDetail(uses int64, claims keys.LinkClaims) string {
	if claims.MaxUses == 0 {
		return "its uses are not counted"
	}
	return fmt.Sprintf("%d of %d uses are spent", uses, claims.MaxUses)
}
