package command

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

func (o Options) ruleTestCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "test <table>", "Tests the rules of a site with a table of requests; spends nothing", cobra.ExactArgs(1), o.testRules)
	cmd.Long = `
Tests the rules of a site with a table: one request and the expected decision per
line.

	GET   /                  anonymous       public
	GET   /articles/hello    anonymous       login_required
	GET   /articles/hello    sku:premium     entitled        /articles/{publisherContentId}
	GET   /articles/hello    anonymous+link  signed_link
	POST  /account           reader          allow

The fields are the method, the path or URL, the reader (anonymous, reader,
sku:<sku>,… or user:<id>, each with or without +link), the expected decision
(allow, deny or the reason), and optionally the path of the rule that must decide.

By default the running server decides. With --config the rules of a configuration
file are tested, with --rules those of a file of "rule export"; neither needs a
server. The command prints the rows that failed, the rules that no row reached, and what is
probably not meant in the rules.
Its exit code is 1 if a row failed.
`
	flags := cmd.Flags()
	flags.StringP("config", "c", "", "configuration file to test, without a server")
	flags.String("adapter", "", "config adapter of that file")
	flags.String("rules", "", "file of rules to test, without a server")
	flags.Bool("reach-all", false, "fail also if no row reaches a rule")
	cmd.MarkFlagsMutuallyExclusive("config", "rules")
}

// Judge decides the rows of a table by the rules of a site.
type Judge interface {
	// Explain returns how a request would be decided.
	Explain(ctx context.Context, request admin.ExplainRequest) (*admin.Explanation, error)
	// Rules returns the rules, with their ranks.
	Rules() ([]admin.RuleBody, error)
}

func (o Options) testRules(c *call) error {
	content, err := readFile(c.args[0], c.cmd.InOrStdin(), maxRuleFile)
	if err != nil {
		return err
	}
	rows, err := readRuleTable(content)
	if err != nil {
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	judge, err := o.newJudge(c, rows)
	if err != nil {
		return err
	}
	report, err := testRows(c.cmd.Context(), judge, rows)
	if err != nil {
		return err
	}
	if err := c.print(report, report.text()); err != nil {
		return err
	}
	return report.verdict(c.on("reach-all"))
}

// newJudge returns the judge that the flags select.
func (o Options) newJudge(c *call, rows []*ruleRow) (Judge, error) {
	config, file, site := c.text("config"), c.text("rules"), c.text("site")
	if config == "" && file == "" {
		return &serverJudge{call: c, site: site}, nil
	}
	for _, row := range rows {
		if row.needsStore {
			return nil, fmt.Errorf("line %d: the grants of %s are in the store of a server: test the table against a server, or write sku:<sku>", row.line, row.who)
		}
	}
	if config != "" {
		return o.JudgeConfig(config, c.text("adapter"), c.vendor, site)
	}
	rules, err := readRuleFile(file, c.cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	judge, err := o.JudgeRules(rules, c.vendor, site)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return judge, nil
}

// serverJudge lets the running server decide.
type serverJudge struct {
	*call
	site string
}

func (j *serverJudge) Explain(_ context.Context, request admin.ExplainRequest) (*admin.Explanation, error) {
	request.Site, request.AnyHost = j.site, true
	var result admin.Explanation
	if err := j.request(http.MethodPost, explainPath, nil, request, &result); err != nil {
		return nil, err
	}
	j.site = result.Site // the default, if none was given
	return &result, nil
}

func (j *serverJudge) Rules() ([]admin.RuleBody, error) {
	rules, _, err := j.rules(j.site)
	return rules, err
}

// ruleReport is the result of a rule test.
type ruleReport struct {
	Rows      int             `json:"rows"`
	Failed    []failedRow     `json:"failed"`
	Rules     int             `json:"rules"`
	Unreached []unreachedRule `json:"unreached"`
	Warnings  []string        `json:"warnings"`
}

type unreachedRule struct {
	Rank int    `json:"rank"`
	Rule string `json:"rule"`
}

// testRows decides every row and finds the rules that no row reaches.
func testRows(ctx context.Context, judge Judge, rows []*ruleRow) (*ruleReport, error) {
	report := &ruleReport{Rows: len(rows), Failed: []failedRow{}, Unreached: []unreachedRule{}, Warnings: []string{}}
	reached := map[int]bool{}
	for _, row := range rows {
		result, err := judge.Explain(ctx, row.request)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", row.line, err)
		}
		for _, reading := range result.Readings {
			if reading.Rule != nil {
				reached[reading.Rule.Rank] = true
			}
		}
		if failed := row.check(result); failed != nil {
			report.Failed = append(report.Failed, *failed)
		}
	}
	rules, err := judge.Rules()
	if err != nil {
		return nil, err
	}
	report.Rules = len(rules)
	for _, rule := range rules {
		if rank := rankOf(&rule); !reached[rank] {
			report.Unreached = append(report.Unreached, unreachedRule{rank, ruleText(&rule)})
		}
	}
	report.Warnings, err = ruleWarnings(rules)
	return report, err
}

// ruleWarnings returns what is probably not meant in the rules of a site.
func ruleWarnings(bodies []admin.RuleBody) ([]string, error) {
	rules := make([]policy.Rule, len(bodies))
	for i := range bodies {
		rule, err := bodies[i].Rule()
		if err != nil {
			return nil, err
		}
		rules[i] = rule
	}
	set, err := policy.CompileRules(rules, policy.StandardOperators())
	if err != nil {
		return nil, err
	}
	return append([]string{}, admin.RuleWarnings(set, "")...), nil
}

func (r *ruleReport) text() string {
	var text strings.Builder
	for _, row := range r.Failed {
		text.WriteString(line("FAIL line %d: %s as %s: %s", row.Line, row.Request, row.Who, row.Problem))
	}
	for _, rule := range r.Unreached {
		text.WriteString(line("no row reaches the rule %d %s", rule.Rank, rule.Rule))
	}
	for _, warning := range r.Warnings {
		text.WriteString(line("warning: %s", warning))
	}
	text.WriteString(line("%d of %d rows pass; %d of %d rules reached", r.Rows-len(r.Failed), r.Rows, r.Rules-len(r.Unreached), r.Rules))
	return text.String()
}

// verdict returns an error if the test failed.
func (r *ruleReport) verdict(reachAll bool) error {
	switch {
	case len(r.Failed) > 0:
		return fmt.Errorf("%d of %d rows failed", len(r.Failed), r.Rows)
	case reachAll && len(r.Unreached) > 0:
		return fmt.Errorf("no row reaches %d of %d rules", len(r.Unreached), r.Rules)
	default:
		return nil
	}
}
