package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// noun is a kind of records of the access model, with the same commands as the others. The
// records are handled as the JSON that the API has, so that a member that the API adds is
// printed and imported without a change here.
type noun struct {
	name, plural string
	// args name a record, in the order of the arguments of show, add and remove. The first
	// selects in list, if scoped is set.
	args   []string
	scoped bool
	// list returns the path of the listing, one that of a record.
	list func(c *call, args []string) (path string, query url.Values)
	one  func(args []string) string
	// find returns a record that the API has only in the listing; nil if one is its path.
	find    func(c *call, args []string) (map[string]any, error)
	remove  func(c *call, args []string) (path string, err error) // nil: one
	columns []column
	// flags of list that select, and members that add sets.
	selects []filter
	members []memberFlag
	// add returns the row that add stores, from its arguments and flags; nil if the members
	// are named as args.
	add func(row map[string]any, args []string)
	// stream reports whether the records are imported and exported as a stream by the API.
	stream bool
}

// column is a column of a table: a path of members.
type column struct{ header, path string }

// memberFlag is a flag of add that sets a member of a row.
type memberFlag struct {
	flag, member, usage string
	kind                memberKind
}

type memberKind int

const (
	textMember memberKind = iota
	timeMember
	boolMember
	numberMember
	listMember
	fileMember
)

func joined(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, part := range parts {
		escaped[i] = url.PathEscape(part)
	}
	return strings.Join(escaped, "/")
}

// profileArg is the first argument of a listing, by default the vendor's own profile.
func profileArg(c *call, args []string) string { return cmp.Or(first(args), c.vendor) }

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// selected returns the query that flags of list select.
func selected(c *call, flags []filter) url.Values {
	query := url.Values{}
	for _, f := range flags {
		if c.changed(f.flag) {
			query.Add("q", c.text(f.flag))
		}
	}
	return query
}

var searchFlag = []filter{{"search", "text that a field of the record contains"}}

// nouns are the kinds, by the name of their command.
var nouns = []*noun{
	{
		name: "profile", plural: "profiles", args: []string{"slug"}, stream: true,
		list:    func(c *call, _ []string) (string, url.Values) { return "/api/profile", selected(c, searchFlag) },
		one:     func(args []string) string { return "/api/profile/" + joined(args...) },
		columns: []column{{"SLUG", "slug"}, {"NAME", "full_name"}, {"TYPE", "type"}, {"E-MAIL", "email"}},
		selects: searchFlag,
		members: []memberFlag{
			{"name", "full_name", "name of the profile", textMember},
			{"email", "email", "e-mail address of the profile", textMember},
			{"type", "type", "organization or personal (default: organization)", textMember},
			{"owner", "owner", "user whose personal profile it is", textMember},
			{"provider", "is_provider", "the profile can have plans", boolMember},
		},
	},
	{
		name: "user", plural: "users", args: []string{"slug"}, stream: true,
		list:    func(c *call, _ []string) (string, url.Values) { return "/api/users", selected(c, searchFlag) },
		one:     func(args []string) string { return "/api/users/" + joined(args...) },
		columns: []column{{"USER", "slug"}, {"NAME", "full_name"}, {"E-MAIL", "email"}},
		selects: searchFlag,
		members: []memberFlag{
			{"name", "full_name", "name of the user", textMember},
			{"email", "email", "e-mail address of the user", textMember},
		},
	},
	{
		name: "role", plural: "roles", args: []string{"profile", "user"}, scoped: true, stream: true,
		list: listRoles, find: findRole, remove: removeRole,
		columns: []column{
			{"PROFILE", "profile.slug"},
			{"USER", "user.slug"},
			{"ROLE", "role_description.slug"},
			{"INVITED", "grant_key"},
			{"REQUESTED", "request_key"},
			{"SINCE", "created_at"},
		},
		selects: []filter{{"user", "list the roles of this user on all profiles"}},
		members: []memberFlag{
			{"type", "role", "type of the role, such as manager or contributor (default: contributor)", textMember},
			{"ends", "ends_at", "first moment after the role (default: none)", timeMember},
		},
		add: func(row map[string]any, _ []string) {
			if row["role"] == nil {
				row["role"] = "contributor"
			}
		},
	},
	{
		name: "plan", plural: "plans", args: []string{"profile", "plan"}, scoped: true, stream: true,
		list: func(c *call, args []string) (string, url.Values) {
			return "/api/profile/" + joined(profileArg(c, args)) + "/plans", selected(c, searchFlag)
		},
		one: func(args []string) string { return "/api/profile/" + joined(args[0], "plans", args[1]) },
		columns: []column{
			{"PLAN", "slug"},
			{"TITLE", "title"},
			{"PROVIDER", "profile"},
			{"ACTIVE", "is_active"},
			{"AMOUNT", "period_amount"},
			{"UNIT", "unit"},
			{"PERIOD", "period_type"},
			{"SKUS", "skus"},
		},
		selects: searchFlag,
		members: []memberFlag{
			{"title", "title", "title of the plan (required)", textMember},
			{"amount", "period_amount", "amount of a period, in the smallest unit of the currency", numberMember},
			{"unit", "unit", "currency (ISO 4217)", textMember},
			{"period", "period_type", "hourly, daily, weekly, monthly or yearly", textMember},
			{"length", "period_length", "number of those units in a period", numberMember},
			{"sku", "skus", "sku that a subscription gives, may be repeated (default: the plan's slug)", listMember},
			{"active", "is_active", "profiles can subscribe to the plan", boolMember},
			{"on-request", "optin_on_request", "profiles can ask for a subscription", boolMember},
		},
		add: func(row map[string]any, args []string) {
			delete(row, "plan")
			row["slug"] = args[1]
		},
	},
	{
		name: "subscription", plural: "subscriptions", args: []string{"profile", "plan"}, scoped: true, stream: true,
		list: listSubscriptions,
		one:  func(args []string) string { return "/api/profile/" + joined(args[0], "subscriptions", args[1]) },
		columns: []column{
			{"PROFILE", "profile.slug"},
			{"PLAN", "plan.slug"},
			{"SINCE", "created_at"},
			{"ENDS", "ends_at"},
			{"RENEWS", "auto_renew"},
			{"INVITED", "grant_key"},
			{"REQUESTED", "request_key"},
		},
		selects: []filter{{"plan", "list the subscriptions of all profiles to this plan of the profile, a provider"}},
		members: []memberFlag{
			{"starts", "created_at", "start of the subscription (required)", timeMember},
			{"ends", "ends_at", "first moment after the subscription (required)", timeMember},
			{"renew", "auto_renew", "the billing system renews the subscription", boolMember},
			{"balance-due", "balance_due", "the profile owes money for it: it gives nothing until that is paid", boolMember},
			{"description", "description", "text about the subscription", textMember},
		},
	},
	{
		name: "agreement", plural: "agreements", args: []string{"slug"},
		list:    func(c *call, _ []string) (string, url.Values) { return "/api/agreements", selected(c, searchFlag) },
		one:     func(args []string) string { return "/api/agreements/" + joined(args...) },
		columns: []column{{"SLUG", "slug"}, {"TITLE", "title"}, {"VERSION", "updated_at"}},
		selects: searchFlag,
		members: []memberFlag{
			{"title", "title", "title of the agreement (required)", textMember},
			{"text", "text", "file with the text of the agreement", fileMember},
			{"version", "updated_at", "moment from which signatures count (default: now for a new one)", timeMember},
		},
	},
}

// accountCommands returns the function that adds the commands of a noun.
func (n *noun) accountCommands(cmd *cobra.Command) {
	record := "<" + strings.Join(n.args, "> <") + ">"
	listUse, listArgs := "list", cobra.NoArgs
	if n.scoped {
		listUse, listArgs = "list [<"+n.args[0]+">]", cobra.MaximumNArgs(1)
	}
	list := subcommand(cmd, listUse, "Lists "+n.plural+": at most --limit of them", listArgs, n.listRecords)
	for _, f := range n.selects {
		list.Flags().String(f.flag, "", f.usage)
	}
	list.Flags().Int("limit", 0, "maximum number of records (default: all)")
	subcommand(cmd, "show "+record, "Prints a "+n.name, cobra.ExactArgs(len(n.args)), n.showRecord)
	add := subcommand(cmd, "add "+record, "Stores a "+n.name+", in the place of one of the same name; it counts at once", cobra.ExactArgs(len(n.args)), n.addRecord)
	for _, m := range n.members {
		m.declare(add)
	}
	removes := "Removes a " + n.name
	if n.name == "subscription" {
		removes = "Ends a subscription now; its record stays"
	}
	subcommand(cmd, "remove "+record, removes, cobra.ExactArgs(len(n.args)), n.removeRecord)
	n.streamCommands(cmd)
}

func (m *memberFlag) declare(cmd *cobra.Command) {
	switch m.kind {
	case boolMember:
		cmd.Flags().Bool(m.flag, false, m.usage)
	case numberMember:
		cmd.Flags().Int64(m.flag, 0, m.usage)
	case listMember:
		cmd.Flags().StringArray(m.flag, nil, m.usage)
	default:
		cmd.Flags().String(m.flag, "", m.usage)
	}
}

// value returns the member of a flag that is set.
func (m *memberFlag) value(c *call) (any, error) {
	switch m.kind {
	case boolMember:
		return c.on(m.flag), nil
	case numberMember:
		return c.cmd.Flags().GetInt64(m.flag)
	case listMember:
		return c.cmd.Flags().GetStringArray(m.flag)
	case timeMember:
		return c.time(m.flag)
	case fileMember:
		text, err := os.ReadFile(c.text(m.flag))
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", m.flag, err)
		}
		return string(text), nil
	default:
		return c.text(m.flag), nil
	}
}

// numbered is a page of a listing.
type numbered struct {
	Next    *string          `json:"next"`
	Results []map[string]any `json:"results"`
}

// maxPageSize is the number of records that one request asks for.
const maxPageSize = 100

// pages returns the records of a listing with numbered pages, at most limit unless that is
// zero. More reports that there are further ones.
func (c *call) pages(path string, query url.Values, limit int) (all []map[string]any, more bool, err error) {
	all = []map[string]any{}
	query.Set("page_size", strconv.Itoa(maxPageSize))
	for page := 1; ; page++ {
		query.Set("page", strconv.Itoa(page))
		var answer numbered
		if err := c.request(http.MethodGet, path, maps.Clone(query), nil, &answer); err != nil {
			return nil, false, err
		}
		all = append(all, answer.Results...)
		if limit > 0 && len(all) >= limit {
			return all[:limit], len(all) > limit || answer.Next != nil, nil
		}
		if answer.Next == nil {
			return all, false, nil
		}
	}
}

func (n *noun) listRecords(c *call) error {
	path, query := n.list(c, c.args)
	limit, _ := c.cmd.Flags().GetInt("limit")
	records, more, err := c.pages(path, query, limit)
	if err != nil {
		return err
	}
	if more {
		c.warn(fmt.Sprintf("there are more than %d %s", limit, n.plural))
	}
	n.complete(c, records)
	headers := make([]string, len(n.columns))
	for i, column := range n.columns {
		headers[i] = column.header
	}
	return c.print(records, table(strings.Join(headers, "\t"), records, func(record map[string]any) []string {
		cells := make([]string, len(n.columns))
		for i, column := range n.columns {
			cells[i] = cell(member(record, column.path))
		}
		return cells
	}))
}

// complete adds what a listing leaves out because its path says it.
func (n *noun) complete(c *call, records []map[string]any) {
	if n.name != "role" {
		return
	}
	for _, record := range records {
		for name, slug := range map[string]string{"profile": profileArg(c, c.args), "user": c.text("user")} {
			if record[name] == nil {
				record[name] = map[string]any{"slug": slug}
			}
		}
	}
}

// member returns a member of a record by its path.
func member(record map[string]any, path string) any {
	var value any = record
	for name := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return value // a slug in the place of an object
		}
		value = object[name]
	}
	return value
}

// cell formats a value in a table.
func cell(value any) string {
	switch value := value.(type) {
	case nil:
		return "-"
	case string:
		return cmp.Or(value, "-")
	case bool:
		return map[bool]string{true: "yes", false: "no"}[value]
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case []any:
		texts := make([]string, len(value))
		for i := range value {
			texts[i] = cell(value[i])
		}
		return cmp.Or(strings.Join(texts, ","), "-")
	default:
		text, _ := json.Marshal(value) // decoded from JSON
		return string(text)
	}
}

func (n *noun) showRecord(c *call) error {
	var record map[string]any
	var err error
	if n.find != nil {
		record, err = n.find(c, c.args)
	} else {
		err = c.request(http.MethodGet, n.one(c.args), nil, nil, &record)
	}
	if err != nil {
		return err
	}
	var pairs [][]string
	for _, name := range slices.Sorted(maps.Keys(record)) {
		pairs = append(pairs, []string{name, cell(record[name])})
	}
	return c.print(record, fields(pairs))
}

func (n *noun) addRecord(c *call) error {
	row := map[string]any{}
	for i, name := range n.args {
		row[name] = c.args[i]
	}
	for _, m := range n.members {
		if !c.changed(m.flag) {
			if strings.HasSuffix(m.usage, "(required)") {
				return fmt.Errorf("--%s is required", m.flag)
			}
			continue
		}
		value, err := m.value(c)
		if err != nil {
			return err
		}
		row[m.member] = value
	}
	if n.add != nil {
		n.add(row, c.args)
	}
	state, err := n.store(c, row)
	if err != nil {
		return err
	}
	return c.print(map[string]any{n.name: row, "status": state}, line("%s %s %s", state, n.name, strings.Join(c.args, " ")))
}

func (n *noun) removeRecord(c *call) error {
	removal := n.remove
	if removal == nil {
		removal = func(_ *call, args []string) (string, error) { return n.one(args), nil }
	}
	path, err := removal(c, c.args)
	if err != nil {
		return err
	}
	if err := c.request(http.MethodDelete, path, nil, nil, nil); err != nil {
		return err
	}
	done := "removed"
	if n.name == "subscription" {
		done = "ended"
	}
	return c.print(map[string]any{n.name: strings.Join(c.args, "/"), "status": done}, line("%s %s %s", done, n.name, strings.Join(c.args, " ")))
}

// listRoles lists the roles on a profile, or those of --user.
func listRoles(c *call, args []string) (string, url.Values) {
	if user := c.text("user"); user != "" && len(args) == 0 {
		return "/api/users/" + joined(user, "accessibles"), url.Values{}
	}
	query := url.Values{}
	if user := c.text("user"); user != "" {
		query.Set("q", user)
	}
	return "/api/profile/" + joined(profileArg(c, args)) + "/roles", query
}

// findRole finds the role of a user on a profile.
func findRole(c *call, args []string) (map[string]any, error) {
	query := url.Values{"q": {`"` + strings.ReplaceAll(args[1], `"`, "") + `"`}, "q_f": {"user"}}
	roles, _, err := c.pages("/api/profile/"+joined(args[0])+"/roles", query, 0)
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		if member(role, "user.slug") == args[1] {
			return role, nil
		}
	}
	return nil, fmt.Errorf("%s has no role on %s", args[1], args[0])
}

// removeRole returns the path of the role of a user on a profile, which contains its type.
func removeRole(c *call, args []string) (string, error) {
	role, err := findRole(c, args)
	if err != nil {
		return "", err
	}
	kind, _ := member(role, "role_description.slug").(string)
	return "/api/profile/" + joined(args[0], "roles", cmp.Or(kind, "contributor"), args[1]), nil
}

// listSubscriptions lists the subscriptions of a profile, or those to a plan of it.
func listSubscriptions(c *call, args []string) (string, url.Values) {
	if plan := c.text("plan"); plan != "" {
		return "/api/profile/" + joined(profileArg(c, args), "plans", plan, "subscriptions"), url.Values{}
	}
	return "/api/profile/" + joined(profileArg(c, args)) + "/subscriptions", url.Values{}
}

var errNotStored = errors.New("the server did not store the record")
