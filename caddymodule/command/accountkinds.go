package command

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
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
