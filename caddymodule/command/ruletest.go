package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

func (o Options) ruleTestCommand(parent *cobra.Command) {
	cmd := &cobra.Command{
		Use: "test <table>", Short: "Tests a site's rules with a table of requests; spends nothing", Args: cobra.ExactArgs(1),
		Long: `
Tests a site's rules with a table: a request a line, and what must be decided.

	GET   /                  anonymous       public
	GET   /articles/hello    anonymous       login_required
	GET   /articles/hello    sku:premium     entitled        /articles/{publisherContentId}
	GET   /articles/hello    anonymous+link  signed_link
	POST  /account           reader          allow

The fields are the method, the path or URL, who asks (anonymous, reader,
sku:<sku>,… or user:<id>, each perhaps with +link), what is expected (allow, deny
or the reason), and perhaps the path of the rule that must decide.

It asks the running server, or, with --config, a configuration file without any
server; with --rules it tests a file of "rule export" instead. It prints the rows
that failed and the rules that no row reached, and ends with exit code 1 if a row
failed.
`,
		SilenceUsage: true, RunE: o.runRuleTest,
	}
	flags := cmd.Flags()
	flags.StringP("config", "c", "", "configuration file whose rules are tested, without a server")
	flags.String("adapter", "", "config adapter of that file")
	flags.String("rules", "", "file of rules that is tested, without a server")
	flags.Bool("reach-all", false, "fail as well if a rule is reached by no row")
	cmd.MarkFlagsMutuallyExclusive("config", "rules")
	parent.AddCommand(cmd)
}

// Judge decides the rows of a table.
type Judge interface {
	// Explain returns how a request would be decided.
	Explain(ctx context.Context, request admin.ExplainRequest) (*admin.Explanation, error)
	// Rules returns the rules of the site that decided, with their ranks.
	Rules() ([]Rule, error)
}

func (o Options) runRuleTest(cmd *cobra.Command, args []string) error {
	content, err := readFile(args[0], cmd.InOrStdin(), maxRuleFile)
	if err != nil {
		return err
	}
	rows, err := readRuleTable(content)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	judge, err := o.newJudge(cmd)
	if err != nil {
		return err
	}
	report, err := judgeRows(cmd.Context(), judge, rows)
	if err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		err = (&call{out: cmd.OutOrStdout()}).printJSON(report)
	} else {
		err = report.print(cmd.OutOrStdout())
	}
	if err != nil {
		return err
	}
	reachAll, _ := cmd.Flags().GetBool("reach-all")
	return report.verdict(reachAll)
}

func (o Options) newJudge(cmd *cobra.Command) (Judge, error) {
	vendor, _ := cmd.Flags().GetString("vendor")
	site, _ := cmd.Flags().GetString("site")
	config, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	rules, _ := cmd.Flags().GetString("rules")
	switch {
	case config != "":
		return o.JudgeConfig(config, adapter, vendor, site)
	case rules != "":
		list, err := readRuleFile(rules, cmd.InOrStdin())
		if err != nil {
			return nil, err
		}
		judge, err := o.JudgeRules(list, vendor, site)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rules, err)
		}
		return judge, nil
	}
	client, err := newClient(cmd)
	if err != nil {
		return nil, err
	}
	return &serverJudge{call: &call{client: client, cmd: cmd}, site: site}, nil
}

// serverJudge asks the running server.
type serverJudge struct {
	*call
	site string
}

func (j *serverJudge) Explain(_ context.Context, request admin.ExplainRequest) (*admin.Explanation, error) {
	request.Site = j.site
	var result admin.Explanation
	if err := j.request(http.MethodPost, "/management/explain", nil, request, &result); err != nil {
		return nil, err
	}
	j.site = result.Site // by whatever default it was found
	return &result, nil
}

func (j *serverJudge) Rules() ([]Rule, error) {
	rules, _, err := j.rules(j.site)
	return rules, err
}

// ruleReport is what came of a table.
type ruleReport struct {
	Rows      int            `json:"rows"`
	Failed    []failedRow    `json:"failed"`
	Rules     int            `json:"rules"`
	Unreached []unreachedRow `json:"unreached"`
}

type failedRow struct {
	Line     int    `json:"line"`
	Request  string `json:"request"`
	Who      string `json:"who"`
	Expected string `json:"expected"`
	Reason   string `json:"reason"`
	Rule     string `json:"rule,omitempty"`
	Problem  string `json:"problem"`
}

type unreachedRow struct {
	Rank int    `json:"rank"`
	Rule string `json:"rule"`
}

// judgeRows decides every row, and finds the rules that none of them reached.
func judgeRows(ctx context.Context, judge Judge, rows []*ruleRow) (*ruleReport, error) {
	report := &ruleReport{Rows: len(rows), Failed: []failedRow{}, Unreached: []unreachedRow{}}
	reached := map[int]bool{}
	_, online := judge.(*serverJudge)
	for _, row := range rows {
		if row.needsStore && !online {
			return nil, fmt.Errorf("line %d: what %s has is in the store of a server: test the table against one, or write sku:<sku>", row.line, row.who)
		}
		result, err := judge.Explain(ctx, row.request)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", row.line, err)
		}
		for _, reading := range result.Readings {
			if reading.Rule != nil {
				reached[reading.Rule.Rank] = true
			}
		}
		if row.judge(result); row.wrong != "" {
			report.Failed = append(report.Failed, failedRow{
				Line: row.line, Request: row.method + " " + row.url, Who: row.who, Expected: row.expected,
				Reason: row.got, Rule: row.gotRule, Problem: row.wrong,
			})
		}
	}
	rules, err := judge.Rules()
	if err != nil {
		return nil, err
	}
	report.Rules = len(rules)
	for i := range rules {
		if !reached[rules[i].Rank] {
			report.Unreached = append(report.Unreached, unreachedRow{rules[i].Rank, rules[i].text()})
		}
	}
	return report, nil
}

func (r *ruleReport) print(w io.Writer) error {
	var text strings.Builder
	for _, row := range r.Failed {
		fmt.Fprintf(&text, "FAIL line %d: %s as %s: %s\n", row.Line, printable(row.Request), printable(row.Who), printable(row.Problem))
	}
	for _, rule := range r.Unreached {
		fmt.Fprintf(&text, "no row reaches the rule %d %s\n", rule.Rank, printable(rule.Rule))
	}
	fmt.Fprintf(&text, "%d of %d rows hold; %d of %d rules reached\n", r.Rows-len(r.Failed), r.Rows, r.Rules-len(r.Unreached), r.Rules)
	_, err := io.WriteString(w, text.String())
	return err
}

// verdict is an error if the table failed.
func (r *ruleReport) verdict(reachAll bool) error {
	switch {
	case len(r.Failed) > 0:
		return fmt.Errorf("%d of %d rows failed", len(r.Failed), r.Rows)
	case reachAll && len(r.Unreached) > 0:
		return fmt.Errorf("%d of %d rules are reached by no row", len(r.Unreached), r.Rules)
	default:
		return nil
	}
}
