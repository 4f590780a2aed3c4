package policy_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// now is the time of all examples.
func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// newsSite returns a site with three rules. Operators parses their steps from words, as
// they are written in a Caddyfile.
func newsSite() (*policy.Site, error) {
	operators := policy.StandardOperators()
	var rules []policy.Rule
	for rank, line := range []struct {
		path, operator string
		words          []string
	}{
		{"/articles/{publisherContentId}", "entitled", []string{"premium", "{publisherContentId}"}},
		{"/account/{user}", "self", nil},
		{"/", "any", nil},
	} {
		step, err := operators.Words(line.operator, line.words)
		if err != nil {
			return nil, err
		}
		rules = append(rules, policy.Rule{Rank: rank, Path: line.path, Allow: step})
	}
	compiled, err := policy.CompileRules(rules, operators)
	if err != nil {
		return nil, err
	}
	noKeys := policy.UnreachableKeys(nil)
	return policy.NewSite("acme", "news", compiled, policy.PathOptions{}, noKeys), nil
}

// request returns a GET request to the site.
func request(site *policy.Site, path, user string) *policy.Request {
	return &policy.Request{
		Site: site, Method: "GET", Target: path, EscapedPath: path, Host: "news.example",
		Reader: policy.Reader{UserID: user}, Now: now(),
	}
}

// A policy without a store decides by its overrides: here every reader has been granted
// one sku.
func ExamplePolicy_Decide() {
	site, err := newsSite()
	if err != nil {
		fmt.Println(err)
		return
	}
	p := policy.OverridesOnly(policy.StandardOperators(), now, policy.Overrides{Grants: true, SKUs: []string{"a1"}})
	for _, r := range []*policy.Request{
		request(site, "/", ""),
		request(site, "/articles/a1", ""),
		request(site, "/articles/a1", "ann"),
		request(site, "/articles/a2", "ann"),
		request(site, "/account/ann", "ann"),
		request(site, "/account/bob", "ann"),
		request(site, "/articles/../account", "ann"),
	} {
		decision := p.Decide(context.Background(), r)
		fmt.Printf("%-20s %-4s %t %s\n", r.EscapedPath, r.Reader.UserID, decision.Allow(), decision.Reason)
	}
	// Output:
	// /                         true public
	// /articles/a1              false login_required
	// /articles/a1         ann  true entitled
	// /articles/a2         ann  false not_entitled
	// /account/ann         ann  true authenticated
	// /account/bob         ann  false not_entitled
	// /articles/../account ann  false bad_path
}

// Explain returns what led to a decision: here a link that the reader has redeemed opens
// another page.
func ExamplePolicy_Explain() {
	site, err := newsSite()
	if err != nil {
		fmt.Println(err)
		return
	}
	p := policy.OverridesOnly(policy.StandardOperators(), now, policy.Overrides{LinkTo: "https://news.example/articles/a1"})
	for _, path := range []string{"/articles/a1", "/articles/a2"} {
		r := request(site, path, "")
		r.Link.Redeemed = []policy.RedeemedLink{policy.HypotheticalLink()}
		explanation := p.Explain(context.Background(), r)
		reading := explanation.Readings[0]
		fmt.Printf("%s: %s by rule %d (%s)\n", reading.Path, reading.Decision.Reason, reading.Decision.Rule.Rank, reading.Decision.Rule.Path)
		fmt.Printf("  one of the skus %q, or a link to content %q\n", reading.SKUs, reading.ContentID)
	}
	// Output:
	// /articles/a1: signed_link by rule 0 (/articles/{publisherContentId})
	//   one of the skus ["premium" "a1"], or a link to content "a1"
	// /articles/a2: login_required by rule 0 (/articles/{publisherContentId})
	//   one of the skus ["premium" "a2"], or a link to content "a2"
}

// CompileRules names the rule that is invalid, and why.
func ExampleCompileRules() {
	_, err := policy.CompileRules([]policy.Rule{
		{Rank: 1, Path: "/articles/*", Allow: policy.Allow{Operator: "any"}},
	}, policy.StandardOperators())
	fmt.Println(err)
	// Output: rule 1 (/articles/* any): the path contains '*': a path matches everything below it, so leave a wildcard out; {name} matches any segment. If the character itself is meant, write \*
}
