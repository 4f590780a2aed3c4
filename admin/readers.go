package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
)

// Readers call the API for themselves through a gated site, see Caller.Reader. They have
// no scopes: what an operation is to them is its readerRule, in its Metadata. The roles
// that count are those by which the gate decides, and Policy.Decide is asked, so that a
// role opens the API to a reader exactly as it opens pages.

// readersKey is the key of an operation's readerRule in its Metadata, and in the document.
const readersKey = "readers"

// readerRule says which readers may call an operation. Without one, none may.
type readerRule string

const (
	// readersAny may be anonymous.
	readersAny readerRule = "any"
	// readersKnown are identified.
	readersKnown readerRule = "known"
	// readersSelf is the reader whom {user} of the path names, and the broker's staff.
	readersSelf readerRule = "self"
	// readersOfProfile have a role on {profile} of the path, or on the broker: contributors
	// may read, and managers may do everything.
	readersOfProfile readerRule = "profile"
	// readersOfBroker have a role on the broker.
	readersOfBroker readerRule = "broker"
)

// aboutReaders says in the description of an operation which readers may call it.
var aboutReaders = map[readerRule]string{
	readersAny:       "Readers may call it without a login, through a gated site.",
	readersKnown:     "Readers may call it through a gated site.",
	readersSelf:      "Readers may call it through a gated site, for themselves; the broker's managers for every user, and its contributors may read.",
	readersOfProfile: "Readers may call it through a gated site: managers of the profile and of the broker, and their contributors to read.",
	readersOfBroker:  "Readers may call it through a gated site: managers of the broker, and its contributors to read.",
}

// readers returns the Metadata of an operation that readers may call.
func readers(rule readerRule) map[string]any { return map[string]any{readersKey: rule} }

// readerRuleOf returns an operation's rule, and adds it to its description.
func readerRuleOf(operation *huma.Operation) readerRule {
	rule, _ := operation.Metadata[readersKey].(readerRule)
	if rule == "" {
		return ""
	}
	about, ok := aboutReaders[rule]
	if !ok {
		panic("admin: " + operation.OperationID + " has an unknown rule for readers")
	}
	if operation.Description != "" {
		operation.Description += " "
	}
	operation.Description += about
	if operation.Extensions == nil {
		operation.Extensions = map[string]any{}
	}
	operation.Extensions["x-gatefold-readers"] = string(rule)
	return rule
}

// readerRules are the rules by which roles of readers are judged.
type readerRules struct{ direct *policy.Ruleset }

// compileReaderRules compiles the rules. Without the operator direct, no role counts.
func compileReaderRules(operators *policy.Operators) (readerRules, error) {
	if _, err := operators.Find("direct"); err != nil {
		return readerRules{}, nil
	}
	direct, err := policy.CompileRules([]policy.Rule{{Rank: 1, Path: "/{profile}", Allow: policy.Allow{Operator: "direct"}}}, operators)
	if err != nil {
		return readerRules{}, fmt.Errorf("admin: the rules of readers: %w", err)
	}
	return readerRules{direct: direct}, nil
}

// judge returns a problem unless the reader's roles let them call an operation of a
// profile with a method. Staff of the broker may call those of every profile. An unknown
// profile is answered like one on which the reader has no role.
func (a *api) judge(ctx context.Context, c *call, method, profile string) *Problem {
	if a.readerRules.direct == nil {
		return errNoRole()
	}
	decision := a.Policy.Decide(ctx, &policy.Request{
		Site:   &policy.Site{Vendor: c.Vendor, Rules: a.readerRules.direct, Paths: policy.PathOptions{CaseSensitive: true}},
		Method: method, EscapedPath: "/" + url.PathEscape(profile), Reader: *c.Reader, Now: a.Now(),
	})
	switch {
	case decision.Allow():
		return nil
	case decision.Reason == policy.ReasonStoreUnavailable:
		return a.problemOf(unavailable(decision.Err))
	default:
		return errNoRole()
	}
}

func errNoRole() *Problem {
	return newProblem(http.StatusForbidden, "You have no role that may do this: a manager of the profile can give you one.")
}

// manages reports whether the caller may change a profile, and staffs whether they may
// change every profile.
func (a *api) manages(ctx context.Context, c *call, profile string) bool {
	if c.Reader == nil {
		return c.may("accounts:write")
	}
	return !c.Reader.Anonymous() && a.judge(ctx, c, http.MethodPut, profile) == nil
}

func (a *api) staffs(ctx context.Context, c *call) bool { return a.manages(ctx, c, c.Vendor) }

// mayRead returns a problem unless the caller, who is a reader, may call an operation.
func (a *api) mayRead(ctx huma.Context, c *call, rule readerRule) *Problem {
	switch {
	case rule == "" || c.Vendor == "":
		return newProblem(http.StatusForbidden, "This operation is for clients of the API: readers cannot call it.")
	case rule == readersAny:
		return nil
	case c.Reader.Anonymous():
		return newProblem(http.StatusUnauthorized, "Log in first: this operation needs an identified reader.")
	case rule == readersKnown, rule == readersSelf && ctx.Param("user") == c.Reader.UserID:
		return nil
	case rule == readersOfProfile:
		return a.judge(ctx.Context(), c, ctx.Method(), ctx.Param("profile"))
	default:
		return a.judge(ctx.Context(), c, ctx.Method(), c.Vendor)
	}
}
