package command

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// A rule table states what a site's rules must decide, one request per line. Fields
// are separated by spaces; # starts a comment:
//
//	<METHOD> <url> <who> <expected> [<rule>]
//
// The url is a path, with or without a query, or a whole URL. Who is one of
//
//	anonymous          without a credential
//	reader             identified, without grants
//	sku:<sku>[,<sku>…] identified, with exactly these grants
//	user:<id>          this user id, with the grants in the store
//
// and may be followed by +link: the reader has redeemed a signed link to exactly
// this page. Expected is `allow`, `deny`, or a reason. The rule is the path of the
// rule that must decide.

// ruleRow is one line of a table.
type ruleRow struct {
	line                     int
	url, who, expected, rule string
	request                  admin.ExplainRequest
	needsStore               bool
}

// TestHost is the host of rows that have only a path. Rules do not depend on it, so that it
// counts as a host of every site.
const TestHost = "rule-test.invalid"

// methodPattern matches a token (RFC 9110, section 5.6.2): a table may also state that
// `get` is refused.
var methodPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// readRuleTable reads a table. The error names all bad lines.
func readRuleTable(content []byte) ([]*ruleRow, error) {
	var rows []*ruleRow
	var errs []error
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(content, []byte("\ufeff"))))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if comment := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "#") }); comment >= 0 {
			fields = fields[:comment]
		}
		if len(fields) == 0 {
			continue
		}
		row, err := readRuleRow(n, fields)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
		rows = append(rows, row)
	}
	if err := errors.Join(append(errs, lines.Err())...); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errors.New("the table has no rows")
	}
	return rows, nil
}

func readRuleRow(line int, fields []string) (*ruleRow, error) {
	if len(fields) < 4 || len(fields) > 5 {
		return nil, errors.New("a row is <METHOD> <url> <who> <expected> [<rule>]")
	}
	row := &ruleRow{line: line, url: fields[1], who: fields[2], expected: fields[3]}
	row.request = admin.ExplainRequest{Method: fields[0], URL: row.url}
	if !methodPattern.MatchString(row.request.Method) {
		return nil, fmt.Errorf("%q is not an HTTP method", row.request.Method)
	}
	switch {
	case strings.HasPrefix(row.url, "/"):
		row.request.URL = "http://" + TestHost + row.url
	case !strings.HasPrefix(row.url, "http://") && !strings.HasPrefix(row.url, "https://"):
		return nil, fmt.Errorf("%q is neither a path nor an http or https URL", row.url)
	}
	if err := row.readWho(); err != nil {
		return nil, err
	}
	isReason := slices.ContainsFunc(policy.Reasons(), func(reason policy.Reason) bool { return reason.String() == row.expected })
	if row.expected != "allow" && row.expected != "deny" && !isReason {
		return nil, fmt.Errorf("%q is not allow, deny or a reason", row.expected)
	}
	if len(fields) == 5 {
		row.rule = fields[4]
	}
	return row, nil
}

func (r *ruleRow) readWho() error {
	who, link := strings.CutSuffix(r.who, "+link")
	r.request.HoldsLink = link
	kind, value, _ := strings.Cut(who, ":")
	switch {
	case who == "anonymous":
	case who == "reader":
		r.request.SKUs = &[]string{}
	case kind == "sku" && value != "":
		skus := strings.Split(value, ",")
		r.request.SKUs = &skus
	case kind == "user" && value != "":
		r.request.UserID, r.needsStore = value, true
	default:
		return fmt.Errorf("%q is not anonymous, reader, sku:<sku>[,<sku>…] or user:<id>, with or without +link", r.who)
	}
	return nil
}

// failedRow is a row whose request is not decided as expected.
type failedRow struct {
	Line     int    `json:"line"`
	Request  string `json:"request"`
	Who      string `json:"who"`
	Expected string `json:"expected"`
	Reason   string `json:"reason"`
	Rule     string `json:"rule,omitempty"`
	Problem  string `json:"problem"`
}

// check compares the row with the decision. It returns nil if they agree.
func (r *ruleRow) check(result *admin.Explanation) *failedRow {
	failed := &failedRow{
		Line: r.line, Request: r.request.Method + " " + r.url, Who: r.who, Expected: r.expected, Reason: result.Decision.Reason,
	}
	for _, reading := range result.Readings {
		if reading.Reason == failed.Reason && reading.Rule != nil {
			failed.Rule = reading.Rule.Path
		}
	}
	verdict := "deny"
	if result.Decision.Allow {
		verdict = "allow"
	}
	switch {
	case r.expected != verdict && r.expected != failed.Reason:
		failed.Problem = fmt.Sprintf("want %s, got %s, %s", r.expected, verdict, failed.Reason)
		if failed.Rule != "" {
			failed.Problem += ", by the rule " + failed.Rule
		}
	case r.rule != "" && r.rule != failed.Rule:
		failed.Problem = fmt.Sprintf("want the rule %s to decide, got %s", r.rule, cmp.Or(failed.Rule, "none"))
	default:
		return nil
	}
	return failed
}
