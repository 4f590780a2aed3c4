package admin

import (
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
	Detail  string `json:"detail,omitempty" doc:"Warnings: rules that never decide, and pages that a rule with methods leaves open to others."`
}

// of returns the page of a site's rules.
func (p PageNumber) of(c *call, rules []policy.Rule) (RulePage, error) {
	version, err := rulesVersion(rules)
	if err != nil {
		return RulePage{}, err
	}
	shown, err := pageOf(p, rules)
	return RulePage{NumberedPage: newPage(c, p, len(rules), wireAll(shown, wireRule)), Version: version}, err
}

// NumberedPage is one page of a listing with numbered pages.
type NumberedPage[T any] struct {
	Count    int     `json:"count" doc:"The number of results on all pages." example:"1"`
	Next     *string `json:"next" doc:"The URL of the next page, or null."`
	Previous *string `json:"previous" doc:"The URL of the previous page, or null."`
	Results  []T     `json:"results" doc:"The records of the page."`
}

// newPage returns a page of a listing with count results.
func newPage[T any](c *call, p PageNumber, count int, results []T) NumberedPage[T] {
	return NumberedPage[T]{Count: count, Next: p.next(c, count), Previous: p.previous(c), Results: results}
}

// pageOf returns the part of a listing that is on a page.
func pageOf[T any](p PageNumber, list []T) ([]T, error) {
	if err := p.check(len(list)); err != nil {
		return nil, err
	}
	return list[p.first():min(p.first()+p.PageSize, len(list))], nil
}

// first returns the number of results before the page.
func (p PageNumber) first() int { return (p.Page - 1) * p.PageSize }

// pages returns the number of pages of a listing, at least one.
func (p PageNumber) pages(count int) int { return max(1, (count+p.PageSize-1)/p.PageSize) }

// check returns a 404 problem for a page after the last.
func (p PageNumber) check(count int) error {
	if pages := p.pages(count); p.Page > pages {
		return newProblem(http.StatusNotFound, fmt.Sprintf("There is no page %d: the last is %d.", p.Page, pages))
	}
	return nil
}

// next returns the URL of the next page, or nil.
func (p PageNumber) next(c *call, count int) *string {
	if p.Page >= p.pages(count) {
		return nil
	}
	return p.address(c, p.Page+1)
}

// previous returns the URL of the previous page, or nil.
func (p PageNumber) previous(c *call) *string {
	if p.Page <= 1 {
		return nil
	}
	return p.address(c, p.Page-1)
}

// address returns the URL of a page. It is absolute, because clients of the
// published contract do not resolve it.
func (p PageNumber) address(c *call, page int) *string {
	query := c.query
	query.Del("dry_run") // a parameter of replace-rules, not of the listing
	query.Del("if_version")
	query.Set("page", strconv.Itoa(page))
	query.Set("page_size", strconv.Itoa(p.PageSize))
	address := c.address
	address.RawQuery = query.Encode()
	text := address.String()
	return &text
}

// requestAddress returns the URL of a request as received, before a prefix was
// stripped, without its query.
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

// rulesVersion returns a digest of a site's rules.
func rulesVersion(rules []policy.Rule) (string, error) {
	if len(rules) == 0 {
		rules = nil // null and [] are the same state
	}
	text, err := json.Marshal(rules)
	if err != nil {
		return "", fmt.Errorf("encoding the rules: %w", err)
	}
	digest := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(digest[:12]), nil
}

// sameVersion returns a 409 problem if the rules do not have the version. An empty
// version matches any.
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

func wireRule(rule policy.Rule) Rule {
	return Rule{
		Rank: rule.Rank, Path: rule.Path, Methods: rule.Methods, Allow: NewRuleAllow(rule.Allow), Then: newRuleAllows(rule.Then),
		Forward: rule.Forward, Engaged: strings.Join(rule.Engaged, ","), Options: rule.Options,
	}
}

func newRuleAllows(steps []policy.Allow) (allows []RuleAllow) {
	for _, step := range steps {
		allows = append(allows, NewRuleAllow(step))
	}
	return allows
}

// NewRuleBody returns the body that creates a rule.
func NewRuleBody(rule policy.Rule) RuleBody {
	wired := wireRule(rule)
	return RuleBody{
		Rank: &wired.Rank, Path: wired.Path, Methods: wired.Methods, Allow: wired.Allow, Then: wired.Then,
		Forward: &wired.Forward, Engaged: wired.Engaged, Options: wired.Options,
	}
}

// Rule returns the rule that the body describes; without a rank its rank is zero.
func (b *RuleBody) Rule() (policy.Rule, error) {
	rule, err := b.rule()
	if b.Rank != nil {
		rule.Rank = *b.Rank
	}
	return rule, err
}

// answerRule returns one rule of a stored set and its ETag.
func answerRule(rules []policy.Rule, set *policy.Ruleset, path string) (Rule, string, error) {
	i, err := findRule(rules, path)
	if err != nil {
		return Rule{}, "", err
	}
	answer := wireRule(rules[i])
	etag := etagOf(answer)
	// The detail depends on other rules, so the ETag does not cover it.
	answer.Detail = warningDetail(set, path)
	return answer, etag, nil
}

// answerRules returns the first page of a stored set.
func answerRules(c *call, rules []policy.Rule, set *policy.Ruleset) (*body[RulePage], error) {
	page, err := PageNumber{Page: 1, PageSize: defaultRulePage}.of(c, rules)
	page.Detail = warningDetail(set, "")
	return &body[RulePage]{Body: page}, err
}

// maxWarnings bounds the warnings in a detail.
const maxWarnings = 5

// warningDetail describes what is probably not meant in a set of rules: what concerns the
// rule with a path and the set as a whole, or all if path is empty.
func warningDetail(set *policy.Ruleset, path string) string {
	lines := RuleWarnings(set, path)
	if more := len(lines) - maxWarnings; more > 0 {
		lines = append(lines[:maxWarnings], fmt.Sprintf("There are %d more warnings.", more))
	}
	return strings.Join(lines, " ")
}

// RuleWarnings returns the warnings of a set of rules as texts: those that concern the
// rule with a path and the set as a whole, or all if path is empty.
func RuleWarnings(set *policy.Ruleset, path string) (texts []string) {
	for _, warning := range set.Warnings(policy.PathOptions{}) {
		if path == "" || warning.Kind == policy.OnlyAny || warning.Rule.Path == path || warning.Other.Path == path {
			texts = append(texts, warning.String())
		}
	}
	return texts
}
