package command

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

const rulesPath = "/api/proxy/rules"

func (o Options) ruleCommands(cmd *cobra.Command) {
	cmd.PersistentFlags().String("site", "", "site of the rules (default: the one with the vendor's name)")
	subcommand(cmd, "list", "Lists the rules of a site, in the order in which the gate tries them", cobra.NoArgs, listRules)
	add := subcommand(cmd, "add <path> <operator> [<argument>…]", "Adds a rule", cobra.MinimumNArgs(2), addRule)
	add.Long = `
Adds a rule, written as in the Caddyfile:

	gatefold rule add '/articles/{publisherContentId}' entitled premium '{publisherContentId}'

or with the operator in the form of the API: 'entitled/{"sku":["premium"]}'.
`
	flags := add.Flags()
	flags.Int("rank", 0, "rank of the rule; a rule with this rank, and all later ones, move by one (default: after all others)")
	flags.StringSlice("methods", nil, "HTTP methods that the rule applies to (default: all)")
	flags.Bool("no-forward", false, "do not send allowed requests to the origin")
	flags.String("engaged", "", "tags to record for each request, separated by commas")
	subcommand(cmd, "move <path> <rank>", "Moves a rule; those between move by one", cobra.ExactArgs(2), moveRule)
	subcommand(cmd, "remove <path>", "Removes a rule", cobra.ExactArgs(1), removeRule)
	subcommand(cmd, "export", "Prints the rules of a site as a file for git, one rule per line", cobra.NoArgs, exportRules)
	imported := subcommand(cmd, "import <file>", "Replaces all rules of a site by those of a file and prints the changes", cobra.ExactArgs(1), importRules)
	imported.Flags().Bool("dry-run", false, "check the file and print the changes, without making them")
	o.ruleTestCommand(cmd)
}

// ruleText formats a rule in one line, without its rank.
func ruleText(r *admin.RuleBody) string {
	parts := []string{r.Path}
	if len(r.Methods) > 0 {
		parts = append(parts, strings.Join(r.Methods, ","))
	}
	parts = append(parts, stepsText(r))
	if !forwards(r) {
		parts = append(parts, "(not forwarded)")
	}
	if r.Engaged != "" {
		parts = append(parts, "engaged", r.Engaged)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		parts = append(parts, name, string(r.Options[name]))
	}
	return strings.Join(parts, " ")
}

// stepsText formats the steps of a rule.
func stepsText(r *admin.RuleBody) string {
	var text strings.Builder
	text.WriteString(allowText(r.Allow))
	for _, step := range r.Then {
		text.WriteString(", then " + allowText(step))
	}
	return text.String()
}

// allowText formats an operator and its arguments.
func allowText(text admin.RuleAllow) string {
	var allow policy.Allow
	if err := allow.UnmarshalJSON(text.RawMessage); err != nil {
		return string(text.RawMessage)
	}
	return allow.String()
}

func forwards(r *admin.RuleBody) bool { return r.Forward == nil || *r.Forward }

func rankOf(r *admin.RuleBody) int {
	if r.Rank == nil {
		return 0
	}
	return *r.Rank
}

// ruleQuery returns the query parameters that select a site.
func ruleQuery(site string) url.Values {
	query := url.Values{}
	if site != "" {
		query.Set("site", site)
	}
	return query
}

// rules returns all rules of a site, in order, and the version of this state.
func (c *call) rules(site string) (rules []admin.RuleBody, version string, err error) {
	const attempts = 5
	for range attempts {
		rules, version, err = c.rulePages(site)
		if err != nil || version != "" {
			return rules, version, err
		}
	}
	return nil, "", errors.New("the rules changed while they were read: try again")
}

// rulePages reads the pages of a site's rules. It returns no version if the rules
// changed between two pages.
func (c *call) rulePages(site string) ([]admin.RuleBody, string, error) {
	const size = 100
	rules, version := []admin.RuleBody{}, ""
	query := ruleQuery(site)
	query.Set("page_size", strconv.Itoa(size))
	for number := 1; ; number++ {
		query.Set("page", strconv.Itoa(number))
		var page struct {
			admin.NumberedPage[admin.RuleBody]
			Version string `json:"version"`
		}
		if err := c.request(http.MethodGet, rulesPath, query, nil, &page); err != nil {
			return nil, "", err
		}
		if number > 1 && page.Version != version {
			return nil, "", nil
		}
		version, rules = page.Version, append(rules, page.Results...)
		if len(rules) >= page.Count || len(page.Results) == 0 {
			return rules, version, nil
		}
	}
}

func listRules(c *call) error {
	rules, _, err := c.rules(c.text("site"))
	if err != nil {
		return err
	}
	return c.print(rules, table("RANK\tPATH\tMETHODS\tALLOW\tFORWARD\tENGAGED", rules, func(r admin.RuleBody) []string {
		forward := "yes"
		if !forwards(&r) {
			forward = "no"
		}
		return []string{strconv.Itoa(rankOf(&r)), r.Path, cmp.Or(strings.Join(r.Methods, ","), "all"), stepsText(&r), forward, r.Engaged}
	}))
}

// parseAllow reads an operator and its arguments as written in the Caddyfile, or
// the API's form of both in one argument.
func parseAllow(args []string) (policy.Allow, error) {
	if len(args) == 1 {
		return policy.ParseAllow(args[0])
	}
	return policy.StandardOperators().Words(args[0], args[1:])
}

func addRule(c *call) error {
	allow, err := parseAllow(c.args[1:])
	if err != nil {
		return err
	}
	rule := admin.RuleBody{Path: c.args[0], Allow: admin.NewRuleAllow(allow), Engaged: c.text("engaged")}
	rule.Methods, _ = c.cmd.Flags().GetStringSlice("methods")
	for i, method := range rule.Methods {
		rule.Methods[i] = strings.ToUpper(method)
	}
	if c.changed("rank") {
		rank, _ := c.cmd.Flags().GetInt("rank")
		rule.Rank = &rank
	}
	if c.on("no-forward") {
		rule.Forward = new(false)
	}
	var added struct {
		admin.RuleBody
		Detail string `json:"detail,omitempty"`
	}
	if err := c.request(http.MethodPost, rulesPath, ruleQuery(c.text("site")), rule, &added); err != nil {
		return err
	}
	c.warn(added.Detail)
	return c.print(added, line("added %d %s", rankOf(&added.RuleBody), ruleText(&added.RuleBody)))
}

// moveRule moves the rule with a path to a rank.
func moveRule(c *call) error {
	rank, err := strconv.Atoi(c.args[1])
	if err != nil || rank < 0 {
		return fmt.Errorf("%q is not a rank: it must be a number from 0", c.args[1])
	}
	site := c.text("site")
	rules, _, err := c.rules(site)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rules, func(r admin.RuleBody) bool { return r.Path == c.args[0] })
	if i < 0 {
		return fmt.Errorf("there is no rule with the path %s; /x and /x/ are two rules", c.args[0])
	}
	move := admin.RuleMove{Old: rankOf(&rules[i]), New: rank, Path: c.args[0]}
	var answer admin.RulePage
	if err := c.request(http.MethodPatch, rulesPath, ruleQuery(site), map[string]any{"updates": []admin.RuleMove{move}}, &answer); err != nil {
		return err
	}
	c.warn(answer.Detail)
	return listRules(c)
}

func removeRule(c *call) error {
	path := "/" + strings.TrimPrefix(c.args[0], "/")
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	if err := c.request(http.MethodDelete, rulesPath+strings.Join(segments, "/"), ruleQuery(c.text("site")), nil, nil); err != nil {
		return err
	}
	return c.print(map[string]string{"removed": path}, line("removed %s", path))
}
