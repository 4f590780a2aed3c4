package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// A rule table says, a request a line, what a site's rules must decide. Fields
// are separated by blanks; # begins a comment:
//
//	<METHOD> <url> <who> <expected> [<rule>]
//
// The url is a path, with a query perhaps, or a whole URL. Who asks is
//
//	anonymous          nobody is known
//	reader             a reader who is identified, and was granted nothing
//	sku:<sku>[,<sku>…] a reader who was granted exactly these
//	user:<id>          the reader with this id and what the store gives her
//
// and may be followed by +link: she holds a redeemed signed link to exactly this
// page. Expected is `allow`, `deny`, or the reason. The rule, if it is named, is
// the path of the one that must decide.

var methodPattern = regexp.MustCompile("^[A-Z]+$")

// ruleRow is one line of a table.
type ruleRow struct {
	line                int
	method, url, who    string
	expected, rule      string
	request             admin.ExplainRequest
	needsStore          bool
	got, gotRule, wrong string
}

// pageHost stands in the URLs of rows that name none. Rules do not ask for it.
const pageHost = "http://rule-test.invalid"

// readRuleTable reads a table, and tells all that is wrong with it.
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
		row, err := readRuleRow(fields)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		row.line = n
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 && len(rows) == 0 {
		return nil, errors.New("the table has no rows")
	}
	return rows, errors.Join(errs...)
}

func readRuleRow(fields []string) (*ruleRow, error) {
	if len(fields) < 4 || len(fields) > 5 {
		return nil, errors.New("a row is <METHOD> <url> <who> <expected> [<rule>]")
	}
	row := &ruleRow{method: fields[0], url: fields[1], who: fields[2], expected: fields[3]}
	if !methodPattern.MatchString(row.method) {
		return nil, fmt.Errorf("%q is not an HTTP method, in capitals", row.method)
	}
	row.request = admin.ExplainRequest{Method: row.method, URL: row.url}
	switch {
	case strings.HasPrefix(row.url, "/"):
		row.request.URL = pageHost + row.url
	case !strings.HasPrefix(row.url, "http://") && !strings.HasPrefix(row.url, "https://"):
		return nil, fmt.Errorf("%q is not a path, nor an http or https URL", row.url)
	}
	if err := row.readWho(); err != nil {
		return nil, err
	}
	known := func(reason policy.Reason) bool { return reason.String() == row.expected }
	if row.expected != "allow" && row.expected != "deny" && !slices.ContainsFunc(policy.Reasons(), known) {
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
		return fmt.Errorf("%q is none of anonymous, reader, sku:<sku>[,<sku>…], user:<id>, each perhaps with +link", r.who)
	}
	return nil
}

// judge compares a row with what would be decided.
func (r *ruleRow) judge(result *admin.Explanation) {
	r.got = result.Decision.Reason
	for _, reading := range result.Readings {
		if reading.Reason == r.got && reading.Rule != nil {
			r.gotRule = reading.Rule.Path
		}
	}
	verdict := "deny"
	if result.Decision.Allow {
		verdict = "allow"
	}
	switch {
	case r.expected != verdict && r.expected != r.got:
		r.wrong = fmt.Sprintf("want %s, got %s, %s", r.expected, verdict, r.got)
		if r.gotRule != "" {
			r.wrong += ", by the rule " + r.gotRule
		}
	case r.rule != "" && r.rule != r.gotRule:
		r.wrong = fmt.Sprintf("want the rule %s to decide, it is %s", r.rule, orNone(r.gotRule))
	}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
