package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/supportcode"
)

// RefusedRequest is a refused request, as it was when it was refused.
type RefusedRequest struct {
	Code       string    `json:"code" doc:"The support code." example:"7KQ2M4X9"`
	RefusedAt  time.Time `json:"refusedAt" doc:"When it was refused." example:"2027-01-01T09:30:00Z"`
	ExpiresAt  time.Time `json:"expiresAt" doc:"When it is forgotten: 30 days later." example:"2027-01-31T09:30:00Z"`
	Site       string    `json:"site" doc:"The site." example:"news"`
	Method     string    `json:"method" doc:"The method." example:"GET"`
	Host       string    `json:"host" doc:"The host." example:"news.example.com"`
	Path       string    `json:"path" doc:"The path as received, with percent-escapes." example:"/articles/hello"`
	Rewritten  string    `json:"rewrittenPath,omitempty" doc:"The path as rewritten before the gate." example:"/articles/hello"`
	Query      []string  `json:"query" doc:"The names of the query's parameters. Their values are not kept." example:"[\"page\"]"`
	Reason     string    `json:"reason" doc:"Why it was refused." example:"not_entitled"`
	Status     int       `json:"status" doc:"The status of the response." example:"403"`
	Rule       string    `json:"rule,omitempty" doc:"The path of the rule that decided; absent if none matched." example:"/articles/{publisherContentId}"`
	UserID     string    `json:"userId,omitempty" doc:"The reader's user id; absent for an anonymous reader." example:"user-1"`
	Mailed     bool      `json:"emailVerified,omitempty" doc:"Whether the reader had a verified e-mail address. It is not kept: give it as email, so that grants by it count now." example:"true"`
	LinkIssuer string    `json:"linkIssuer,omitempty" doc:"The issuer of the link that did not open the page." example:"https://gatefold/acme"`
	LinkID     string    `json:"linkId,omitempty" doc:"Its id." example:"link_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	RequestID  string    `json:"requestId,omitempty" doc:"The id of the request in the logs." example:"0b8e9a3e-1f2d-4c5b-8a7f-6e5d4c3b2a10"`

	Then    json.RawMessage `json:"then,omitempty" doc:"How it was decided then, as explain returns it: the rules, the reader's grants and the checks of the link. Absent if it could not be read then, or was too large."`
	Now     json.RawMessage `json:"now,omitempty" doc:"How it would be decided now, as explain returns it: without the values of the query, and without a link. Absent if no running site serves the host."`
	LinkNow json.RawMessage `json:"linkNow,omitempty" doc:"The checks of the link as its record is now: known, not revoked, time, uses and devices. Absent without a link."`
}

// decisionPath identifies a refusal by its support code.
type decisionPath struct {
	Code  string `path:"code" maxLength:"32" doc:"The support code, in any case, with or without hyphens." example:"7KQ2M4X9"`
	Email string `query:"email" maxLength:"254" doc:"The reader's verified e-mail address, for what would be decided now." example:"reader@example.com"`
}

func (a *api) registerDecisions() {
	register(a, huma.Operation{
		OperationID: "get-decision", Method: http.MethodGet, Path: "/management/decisions/{code}", Tags: []string{"Decisions"}, Security: needs("decisions:read"),
		Summary: "Returns the refusal with a support code: as it was then, and as it would be decided now",
		Description: "A refused reader gets the code on the page, a program gets it as supportCode in the problem. The refusal is kept for 30 days, without tokens, cookies, addresses and the values " +
			"of the query, and of the reader with the id alone. In a flood of refusals not all are kept.",
	}, func(ctx context.Context, c *call, in *decisionPath) (*body[*RefusedRequest], error) {
		found, err := a.refusal(ctx, c, in)
		return &body[*RefusedRequest]{Body: found}, err
	})
}

func (a *api) refusal(ctx context.Context, c *call, in *decisionPath) (*RefusedRequest, error) {
	code, kept, err := supportcode.Parse(in.Code)
	if err != nil {
		return nil, invalidAt("path.code", err.Error())
	}
	found, err := c.store.Refusal(ctx, c.Vendor, code)
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknownCode(kept)
	}
	if err != nil {
		return nil, err
	}
	result := &RefusedRequest{
		Code: found.Code, RefusedAt: found.At, ExpiresAt: found.At.Add(store.RefusalKept), Site: found.Site, Method: found.Method, Host: found.Host,
		Path: found.Path, Rewritten: found.Rewritten, Query: append([]string{}, found.Query...), Reason: found.Reason, Status: found.Status, Rule: found.Rule,
		UserID: found.UserID, Mailed: found.Mailed, LinkIssuer: found.Issuer, LinkID: found.Link, RequestID: found.RequestID, Then: found.Explanation,
	}
	if result.Now, err = a.decidedNow(ctx, c, &found, in.Email); err != nil {
		return nil, err
	}
	if found.Link != "" {
		result.LinkNow, err = linkNow(ctx, c, &found, a.Now())
	}
	return result, err
}

// unknownCode returns the problem of a code without a record.
func unknownCode(kept bool) *Problem {
	p := newProblem(http.StatusNotFound, "No refusal of this vendor is kept with this code: it is older than 30 days, it was erased with its reader, or it was one of too many at once. "+
		"Look for the code in the log, where it is support_code.")
	p.Code = "not_found"
	if !kept {
		p.Detail = "The refusal with this code was not kept: there were too many at once, or the store could not be read. Look for the code in the log, where it is support_code."
		p.Code = "not_kept"
	}
	return p
}

// decidedNow returns how a refused request would be decided now.
func (a *api) decidedNow(ctx context.Context, c *call, found *store.Refusal, email string) (json.RawMessage, error) {
	if a.Explain == nil {
		return nil, nil
	}
	now, err := a.Explain(ctx, c.Vendor, ExplainRequest{
		URL: "https://" + found.Host + found.Path, Method: found.Method, Site: found.Site, RewrittenPath: found.Rewritten, UserID: found.UserID, Email: email, AnyHost: true,
	})
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return nil, nil // the site is not served any more
	}
	if err != nil {
		return nil, err
	}
	now.Reader.Email = "" // the caller's
	return json.Marshal(now)
}

// linkNow returns the checks of a link as its record is now.
func linkNow(ctx context.Context, c *call, found *store.Refusal, at time.Time) (json.RawMessage, error) {
	link := ExplainedLink{TokenID: found.Link}
	check := func(name string, ok bool, detail string) {
		link.Checks = append(link.Checks, ExplainedCheck{Check: name, OK: ok, Detail: detail})
	}
	record, err := c.store.SignedLink(ctx, c.Vendor, found.Issuer, found.Link)
	switch {
	case errors.Is(err, store.ErrNotFound):
		check("known", false, "the store has no record of it: it ended long ago, or is a publisher's link that was never used")
		return json.Marshal(link)
	case err != nil:
		return nil, err
	}
	check("known", true, "the store has its record")
	if record.RevokedAt.IsZero() {
		check("not revoked", true, "it was not revoked")
	} else {
		check("not revoked", false, "it was revoked at "+record.RevokedAt.Format(time.RFC3339))
	}
	claims := &record.Claims
	ends := time.Unix(claims.ExpiresAt, 0).UTC()
	check("time", at.Before(ends) && at.Unix() >= claims.NotBefore, "valid until "+ends.Format(time.RFC3339))
	if claims.MaxUses > 0 {
		check("uses", record.Uses < claims.MaxUses, fmt.Sprintf("%d of %d uses are spent", record.Uses, claims.MaxUses))
	}
	if claims.MaxDevices > 0 {
		check("devices", record.Devices < claims.MaxDevices, fmt.Sprintf("%d of %d devices have opened it", record.Devices, claims.MaxDevices))
	}
	return json.Marshal(link)
}
