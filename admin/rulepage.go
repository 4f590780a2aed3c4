package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatefold/gatefold/policy"
)

const defaultRulePage = 25

// PageNumber selects a page of a listing with numbered pages.
type PageNumber struct {
	Page     int `query:"page" minimum:"1" maximum:"1000000" default:"1" doc:"The page number, from one."`
	PageSize int `query:"page_size" minimum:"1" maximum:"100" default:"25" doc:"The number of results per page."`
}

// RulePage is one page of a site's rules.
type RulePage struct {
	NumberedPage[Rule]
	Version string `json:"version" doc:"The version of the site's rules. Pages with equal versions are consistent."`
	Detail  string `json:"detail,omitempty" doc:"Warnings: rules that never match because an earlier rule hides them."`
}

// of returns the page of a site's rules that is asked for.
func (p PageNumber) of(ctx context.Context, rules []policy.Rule) (RulePage, error) {
	version, err := rulesVersion(rules)
	if err != nil {
		return RulePage{}, err
	}
	if err := p.check(len(rules)); err != nil {
		return RulePage{}, err
	}
	first := p.first()
	page := RulePage{NumberedPage: newPage[Rule](ctx, p, len(rules)), Version: version}
	for i := range rules[first:min(first+p.PageSize, len(rules))] {
		page.Results = append(page.Results, wireRule(&rules[first+i]))
	}
	return page, nil
}

// NumberedPage is one page of a listing with numbered pages.
type NumberedPage[T any] struct {
	Count    int     `json:"count" doc:"The number of results on all pages." example:"1"`
	Next     *string `json:"next" doc:"The URL of the next page, or null."`
	Previous *string `json:"previous" doc:"The URL of the previous page, or null."`
	Results  []T     `json:"results" doc:"The records of the page."`
}

// newPage returns a page without its results.
func newPage[T any](ctx context.Context, p PageNumber, count int) NumberedPage[T] {
	return NumberedPage[T]{Count: count, Next: p.next(ctx, count), Previous: p.previous(ctx), Results: []T{}}
}

// first is how many results come before the page.
func (p PageNumber) first() int { return (p.Page - 1) * p.PageSize }

// pages is how many pages a listing has, at least one.
func (p PageNumber) pages(count int) int { return max(1, (count+p.PageSize-1)/p.PageSize) }

// check refuses a page that there is not.
func (p PageNumber) check(count int) error {
	if pages := p.pages(count); p.Page > pages {
		return newProblem(http.StatusNotFound, fmt.Sprintf("There is no page %d: the last is %d.", p.Page, pages))
	}
	return nil
}

// next returns the URL of the next page, nil behind the last.
func (p PageNumber) next(ctx context.Context, count int) *string {
	if p.Page >= p.pages(count) {
		return nil
	}
	return p.address(ctx, p.Page+1)
}

// previous returns the URL of the page before, nil on the first.
func (p PageNumber) previous(ctx context.Context) *string {
	if p.Page <= 1 {
		return nil
	}
	return p.address(ctx, p.Page-1)
}

// address returns the URL of another page. It is absolute, because clients of
// the published contract take it as it is.
func (p PageNumber) address(ctx context.Context, page int) *string {
	call, ok := ctx.Value(callKey{}).(call)
	if !ok {
		return nil
	}
	query := call.query
	query.Del("dry_run") // of the call, not of the listing
	query.Del("if_version")
	query.Set("page", strconv.Itoa(page))
	query.Set("page_size", strconv.Itoa(p.PageSize))
	address := call.address
	address.RawQuery = query.Encode()
	text := address.String()
	return &text
}

// requestAddress returns the URL that a caller asked for, without its query and
// before any prefix was taken off.
func requestAddress(r *http.Request) url.URL {
	address := url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		address.Scheme = "https"
	}
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		address.Path, address.RawPath = asked.Path, asked.RawPath
	}
	return address
}

// rulesVersion names a state of a site's rules.
func rulesVersion(rules []policy.Rule) (string, error) {
	if len(rules) == 0 {
		rules = nil // a site without rules has one version, whether it had rules before or not
	}
	text, err := json.Marshal(rules)
	if err != nil {
		return "", fmt.Errorf("encoding the rules: %w", err)
	}
	digest := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(digest[:12]), nil
}

// sameVersion refuses to replace rules that are no longer those that the caller
// knows; without a version it does not ask.
func sameVersion(rules []policy.Rule, version string) error {
	if version == "" {
		return nil
	}
	current, err := rulesVersion(rules)
	if err != nil {
		return err
	}
	if current != version {
		return newProblem(http.StatusConflict, "The rules were changed concurrently; nothing was stored. List them again and repeat the change.")
	}
	return nil
}

// wireRule returns a rule as it is answered.
func wireRule(rule *policy.Rule) Rule {
	return Rule{
		Rank: rule.Rank, Path: rule.Path, Methods: rule.Methods, Allow: NewRuleAllow(rule.Allow),
		Forward: rule.Forward, Engaged: strings.Join(rule.Engaged, ","),
	}
}

// answerRule answers with one rule of a set that was stored, and its ETag.
func answerRule(rules []policy.Rule, set *policy.Ruleset, path string) (Rule, string, error) {
	i, err := findRule(rules, path)
	if err != nil {
		return Rule{}, "", err
	}
	answer := wireRule(&rules[i])
	etag := etagOf(answer)
	// What other rules hide is no part of this one.
	answer.Detail = hiddenDetail(set, path)
	return answer, etag, nil
}

// answerRules answers with the first page of a set that was stored.
func answerRules(ctx context.Context, rules []policy.Rule, set *policy.Ruleset) (*body[RulePage], error) {
	page, err := PageNumber{Page: 1, PageSize: defaultRulePage}.of(ctx, rules)
	page.Detail = hiddenDetail(set, "")
	return &body[RulePage]{Body: page}, err
}

// maxHiddenNamed bounds how many rules a detail names.
const maxHiddenNamed = 5

// hiddenDetail tells of rules that never decide: those that the rule with a path
// has to do with, or all when path is empty.
func hiddenDetail(set *policy.Ruleset, path string) string {
	var told []string
	more := 0
	for _, hidden := range set.Hidden() {
		if path != "" && hidden.Rule.Path != path && hidden.By.Path != path {
			continue
		}
		if len(told) == maxHiddenNamed {
			more++
			continue
		}
		told = append(told, fmt.Sprintf("Rule %d (%s) never decides: the earlier rule %d (%s) matches all that it matches.",
			hidden.Rule.Rank, hidden.Rule.Path, hidden.By.Rank, hidden.By.Path))
	}
	if more > 0 {
		told = append(told, fmt.Sprintf("So it is with %d more.", more))
	}
	return strings.Join(told, " ")
}
