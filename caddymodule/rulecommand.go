package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy"
)

func ruleCommands(cmd *cobra.Command) {
	clientFlags(cmd)
	cmd.PersistentFlags().String("site", "", "site whose rules are meant (default: the one with the vendor's name)")
	subcommand(cmd, "list", "Lists a site's rules in the order in which they are tried", cobra.NoArgs, listRules)
	add := subcommand(cmd, "add <path> <operator> [<argument>…]", "Adds a rule", cobra.MinimumNArgs(2), addRule)
	add.Long = `
Adds a rule, written as in the Caddyfile:

	gatefold rule add '/articles/{publisherContentId}' entitled premium '{publisherContentId}'

or with the operator as the API has it: 'entitled/{"sku":["premium"]}'.
`
	flags := add.Flags()
	flags.Int("rank", 0, "rank that it gets; a rule that has it, and all later ones, move by one (default: behind all others)")
	flags.StringSlice("methods", nil, "HTTP methods for which it counts (default: all)")
	flags.Bool("no-forward", false, "do not send allowed requests to the origin")
	flags.String("engaged", "", "tags that a visit records, separated by commas")
	subcommand(cmd, "move <path> <rank>", "Moves a rule; those between move by one", cobra.ExactArgs(2), moveRuleTo)
	subcommand(cmd, "remove <path>", "Removes a rule", cobra.ExactArgs(1), removeRule)
	subcommand(cmd, "export", "Prints a site's rules as a file to keep in git, one rule a line", cobra.NoArgs, exportRules)
	imported := subcommand(cmd, "import <file>", "Replaces a site's rules by those of a file, all or none, and tells what changes", cobra.ExactArgs(1), importRules)
	imported.Flags().Bool("dry-run", false, "check everything and tell what would change, and change nothing")
	ruleTestCommand(cmd)
}

const rulesPath = "/api/proxy/rules"

// wiredRule is a rule as the API has it. In an export the members stand in this
// order, and what is the default is left out.
type wiredRule struct {
	Rank    int             `json:"rank,omitempty"`
	Path    string          `json:"path"`
	Methods []string        `json:"methods,omitempty"`
	Allow   json.RawMessage `json:"allow"`
	Forward *bool           `json:"is_forward,omitempty"`
	Engaged string          `json:"engaged,omitempty"`
}

// allowText is the operator with its arguments, for people.
func (r *wiredRule) allowText() string {
	var allow policy.Allow
	if err := allow.UnmarshalJSON(r.Allow); err != nil {
		return string(r.Allow)
	}
	return allow.String()
}

// text is a rule in one line, for people.
func (r *wiredRule) text() string {
	text := r.Path
	if len(r.Methods) > 0 {
		text += " " + strings.Join(r.Methods, ",")
	}
	text += " " + r.allowText()
	if r.Forward != nil && !*r.Forward {
		text += " (not forwarded)"
	}
	if r.Engaged != "" {
		text += " engaged " + r.Engaged
	}
	return text
}

// ruleQuery says which site is meant.
func (c *call) ruleQuery(site string) url.Values {
	query := url.Values{}
	if site != "" {
		query.Set("site", site)
	}
	return query
}

// rules returns all rules of a site, in their order, and the version that names
// this state of them.
func (c *call) rules(site string) ([]wiredRule, string, error) {
	const size, attempts = 100, 5
	for range attempts {
		rules, version, err := c.rulePages(site, size)
		if err != nil || version != "" {
			return rules, version, err
		}
	}
	return nil, "", errors.New("the rules change all the time: try again")
}

// rulePages reads the pages of a listing; without a version they do not fit
// together.
func (c *call) rulePages(site string, size int) ([]wiredRule, string, error) {
	rules, version := []wiredRule{}, ""
	for number := 1; ; number++ {
		query := c.ruleQuery(site)
		query.Set("page", strconv.Itoa(number))
		query.Set("page_size", strconv.Itoa(size))
		var page struct {
			Count   int         `json:"count"`
			Results []wiredRule `json:"results"`
			Version string      `json:"version"`
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
	if c.json {
		return c.printJSON(rules)
	}
	rows := make([][]string, len(rules))
	for i := range rules {
		r := &rules[i]
		methods, forward := strings.Join(r.Methods, ","), "yes"
		if methods == "" {
			methods = "all"
		}
		if r.Forward != nil && !*r.Forward {
			forward = "no"
		}
		rows[i] = []string{strconv.Itoa(r.Rank), r.Path, methods, r.allowText(), forward, r.Engaged}
	}
	return c.table("RANK\tPATH\tMETHODS\tALLOW\tFORWARD\tENGAGED", rows)
}

// allowArguments reads an operator and its arguments as the Caddyfile has them.
func allowArguments(args []string) (json.RawMessage, error) {
	if len(args) == 1 {
		allow, err := policy.ParseAllow(args[0])
		if err != nil {
			return nil, err
		}
		return allow.MarshalJSON()
	}
	allow, err := policy.StandardOperators().Words(args[0], args[1:])
	if err != nil {
		return nil, err
	}
	return allow.MarshalJSON()
}

func addRule(c *call) error {
	allow, err := allowArguments(c.args[1:])
	if err != nil {
		return err
	}
	methods, _ := c.cmd.Flags().GetStringSlice("methods")
	for i := range methods {
		methods[i] = strings.ToUpper(methods[i])
	}
	body := map[string]any{"path": c.args[0], "allow": allow}
	if len(methods) > 0 {
		body["methods"] = methods
	}
	if c.changed("rank") {
		body["rank"], _ = c.cmd.Flags().GetInt("rank")
	}
	if without, _ := c.cmd.Flags().GetBool("no-forward"); without {
		body["is_forward"] = false
	}
	if tags := c.text("engaged"); tags != "" {
		body["engaged"] = tags
	}
	var added struct {
		wiredRule
		Detail string `json:"detail,omitempty"`
	}
	if err := c.request(http.MethodPost, rulesPath, c.ruleQuery(c.text("site")), body, &added); err != nil {
		return err
	}
	if added.Detail != "" {
		fmt.Fprintln(c.cmd.ErrOrStderr(), printable(added.Detail))
	}
	if c.json {
		return c.printJSON(added)
	}
	_, err = fmt.Fprintf(c.out, "added %d %s\n", added.Rank, printable(added.text()))
	return err
}

// moveRuleTo moves the rule with a path to a rank.
func moveRuleTo(c *call) error {
	rank, err := strconv.Atoi(c.args[1])
	if err != nil || rank < 0 {
		return fmt.Errorf("%q is not a rank: it is a number from 0", c.args[1])
	}
	site := c.text("site")
	rules, _, err := c.rules(site)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rules, func(r wiredRule) bool { return r.Path == c.args[0] })
	if i < 0 {
		return fmt.Errorf("there is no rule with the path %s; /x and /x/ are two rules", c.args[0])
	}
	move := map[string]any{"updates": []any{map[string]any{"oldpos": rules[i].Rank, "newpos": rank, "path": c.args[0]}}}
	var answer struct {
		Detail string `json:"detail"`
	}
	if err := c.request(http.MethodPatch, rulesPath, c.ruleQuery(site), move, &answer); err != nil {
		return err
	}
	if answer.Detail != "" {
		fmt.Fprintln(c.cmd.ErrOrStderr(), printable(answer.Detail))
	}
	return listRules(c)
}

func removeRule(c *call) error {
	path := c.args[0]
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	if err := c.request(http.MethodDelete, rulesPath+strings.Join(segments, "/"), c.ruleQuery(c.text("site")), nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]any{"removed": path})
	}
	_, err := fmt.Fprintf(c.out, "removed %s\n", printable(path))
	return err
}
