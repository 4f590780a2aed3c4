package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// recordKind is how commands handle the records of one kind of the access model.
type recordKind struct {
	name, plural string
	// keys are the members of a row that identify it, in the order of arguments.
	keys []string
	// columns are the members that a list shows.
	columns []string
	flags   []recordFlag
	// stream is whether records are imported and exported in one stream.
	stream bool
	// remove returns the path of which a DELETE removes a row.
	remove func(row map[string]any) string
	ended  string // what a removal is
}

// recordFlag is a flag of add, and the member of a row that it sets.
type recordFlag struct {
	name, member, usage string
	kind                flagKind
}

type flagKind int

const (
	flagText flagKind = iota
	flagTime
	flagOn   // true if the flag is given
	flagOff  // false if the flag is given
	flagList // may be repeated
	flagNumber
)

const recordsPath = "/management/records"

var recordKinds = []*recordKind{
	{
		name: "profile", plural: "profiles", keys: []string{"slug"}, stream: true, columns: []string{"slug", "type", "full_name", "email", "is_active"},
		flags: []recordFlag{
			{name: "name", member: "full_name", usage: "name of the profile"},
			{name: "email", member: "email", usage: "e-mail address"},
			{name: "type", member: "type", usage: "organization or personal"},
			{name: "owner", member: "owner", usage: "user whose personal profile it is"},
			{name: "provider", member: "is_provider", usage: "the profile can have plans", kind: flagOn},
			{name: "inactive", member: "is_active", usage: "roles on the profile do not count", kind: flagOff},
		},
		remove: func(row map[string]any) string { return apiPath("profile", row["slug"]) }, ended: "removed",
	},
	{
		name: "role", plural: "roles", keys: []string{"profile", "user"}, stream: true, columns: []string{"profile", "user", "role", "ends_at"},
		flags: []recordFlag{
			{name: "type", member: "role", usage: "role type, such as manager or contributor (required)"},
			{name: "ends", member: "ends_at", usage: "end of the role (exclusive)", kind: flagTime},
		},
		remove: func(row map[string]any) string {
			return apiPath("profile", row["profile"], "roles", row["role"], row["user"])
		}, ended: "removed",
	},
	{
		name: "plan", plural: "plans", keys: []string{"slug"}, stream: true, columns: []string{"slug", "profile", "title", "period_amount", "unit", "is_active"},
		flags: []recordFlag{
			{name: "profile", member: "profile", usage: "slug of the provider (required)"},
			{name: "title", member: "title", usage: "title (required)"},
			{name: "description", member: "description", usage: "what the plan offers"},
			{name: "amount", member: "period_amount", usage: "amount of a period, in the smallest unit of the currency", kind: flagNumber},
			{name: "unit", member: "unit", usage: "currency"},
			{name: "sku", member: "skus", usage: "what a subscription gives; may be repeated (default: the plan's slug)", kind: flagList},
			{name: "inactive", member: "is_active", usage: "the plan takes no new subscriptions", kind: flagOff},
		},
		remove: func(row map[string]any) string { return apiPath("profile", row["profile"], "plans", row["slug"]) }, ended: "removed",
	},
	{
		name: "subscription", plural: "subscriptions", keys: []string{"profile", "plan"}, stream: true,
		columns: []string{"profile", "plan", "created_at", "ends_at", "auto_renew", "balance_due"},
		flags: []recordFlag{
			{name: "starts", member: "created_at", usage: "start (inclusive; required)", kind: flagTime},
			{name: "ends", member: "ends_at", usage: "end (exclusive; required)", kind: flagTime},
			{name: "description", member: "description", usage: "text about the subscription"},
			{name: "auto-renew", member: "auto_renew", usage: "the billing system renews it", kind: flagOn},
			{name: "balance-due", member: "balance_due", usage: "the profile owes money: it gives nothing", kind: flagOn},
		},
		remove: func(row map[string]any) string {
			return apiPath("profile", row["profile"], "subscriptions", row["plan"])
		}, ended: "ended",
	},
	{
		name: "agreement", plural: "agreements", keys: []string{"slug"}, columns: []string{"slug", "title", "updated_at"},
		flags: []recordFlag{
			{name: "title", member: "title", usage: "title (required)"},
			{name: "text", member: "text", usage: "text of the agreement"},
			{name: "version", member: "updated_at", usage: "time since which signatures count (default: now)", kind: flagTime},
		},
		remove: func(row map[string]any) string { return apiPath("agreements", row["slug"]) }, ended: "removed",
	},
}

// apiPath returns a path of DjaoApp's API.
func apiPath(segments ...any) string {
	path := "/api"
	for _, segment := range segments {
		path += "/" + url.PathEscape(fmt.Sprint(segment))
	}
	return path
}

// commands adds the commands of a kind.
func (k *recordKind) commands(cmd *cobra.Command) {
	named, count := "", cobra.ExactArgs(len(k.keys))
	for _, key := range k.keys {
		named += " <" + key + ">"
	}
	subcommand(cmd, "list", "Lists the "+k.plural, cobra.NoArgs, k.list)
	subcommand(cmd, "show"+named, "Shows one of the "+k.plural, count, k.show)
	add := subcommand(cmd, "add"+named, "Creates or replaces one of the "+k.plural, count, k.add)
	for _, flag := range k.flags {
		switch flag.kind {
		case flagOn, flagOff:
			add.Flags().Bool(flag.name, false, flag.usage)
		case flagList:
			add.Flags().StringArray(flag.name, nil, flag.usage)
		case flagNumber:
			add.Flags().Int64(flag.name, 0, flag.usage)
		default:
			add.Flags().String(flag.name, "", flag.usage)
		}
	}
	short := "Removes one of the " + k.plural
	if k.ended == "ended" {
		short = "Ends one of the " + k.plural + " now; its record stays"
	}
	subcommand(cmd, "remove"+named, short, count, k.end)
	into := subcommand(cmd, "import <file>", "Creates or replaces "+k.plural+" by the lines of an NDJSON file; - is standard input", cobra.ExactArgs(1), k.importFile)
	into.Flags().Bool("dry-run", false, "print what would change, and change nothing")
	subcommand(cmd, "export", "Prints all "+k.plural+" as NDJSON, for a later import", cobra.NoArgs, k.export)
	if !k.stream {
		_ = into.Flags().MarkHidden("dry-run")
	}
}

// rows calls yield with each record, until that returns false.
func (k *recordKind) rows(c *call, yield func(row map[string]any) bool) error {
	if !k.stream {
		return k.pages(c, yield)
	}
	response, err := c.download(recordsPath+"/"+k.plural+"/export", "application/x-ndjson")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		var row map[string]any
		err := lines.Decode(&row)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the server's answer was cut short: %w", err)
		case !yield(row):
			return nil
		}
	}
}

// pages is rows for the agreements, which have numbered pages.
func (k *recordKind) pages(c *call, yield func(row map[string]any) bool) error {
	for page := 1; ; page++ {
		var answer struct {
			Next    *string          `json:"next"`
			Results []map[string]any `json:"results"`
		}
		query := url.Values{"page": {fmt.Sprint(page)}, "page_size": {"100"}}
		if err := c.request(http.MethodGet, apiPath(k.plural), query, nil, &answer); err != nil {
			return err
		}
		for _, row := range answer.Results {
			var whole map[string]any // a list has no texts
			if err := c.request(http.MethodGet, apiPath(k.plural, row["slug"]), nil, nil, &whole); err != nil {
				return err
			}
			if !yield(whole) {
				return nil
			}
		}
		if answer.Next == nil {
			return nil
		}
	}
}

func (k *recordKind) list(c *call) error {
	all := []map[string]any{}
	if err := k.rows(c, func(row map[string]any) bool { all = append(all, row); return true }); err != nil {
		return err
	}
	return c.print(all, table(strings.ToUpper(strings.ReplaceAll(strings.Join(k.columns, "\t"), "_", " ")), all, func(row map[string]any) []string {
		cells := make([]string, len(k.columns))
		for i, column := range k.columns {
			if cells[i] = "-"; row[column] != nil && row[column] != "" {
				cells[i] = fmt.Sprint(row[column])
			}
		}
		return cells
	}))
}

// find returns the rows that the arguments name.
func (k *recordKind) find(c *call) (found []map[string]any, err error) {
	err = k.rows(c, func(row map[string]any) bool {
		for i, key := range k.keys {
			if row[key] != c.args[i] {
				return true
			}
		}
		found = append(found, row)
		return k.name == "subscription" // a profile may have several
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no %s %s", k.name, strings.Join(c.args, " "))
	}
	return found, err
}

func (k *recordKind) show(c *call) error {
	found, err := k.find(c)
	if err != nil {
		return err
	}
	text := ""
	for _, row := range found {
		var pairs [][]string
		for _, member := range append(append([]string{}, k.columns...), "description", "text", "skus") {
			if value, ok := row[member]; ok && value != nil {
				pairs = append(pairs, []string{member, fmt.Sprint(value)})
			}
		}
		text += fields(pairs)
	}
	return c.print(found, text)
}

func (k *recordKind) add(c *call) error {
	row := map[string]any{}
	for i, key := range k.keys {
		row[key] = c.args[i]
	}
	for _, flag := range k.flags {
		if !c.changed(flag.name) {
			continue
		}
		switch flag.kind {
		case flagOn, flagOff:
			row[flag.member] = c.on(flag.name) == (flag.kind == flagOn)
		case flagList:
			row[flag.member], _ = c.cmd.Flags().GetStringArray(flag.name)
		case flagNumber:
			row[flag.member], _ = c.cmd.Flags().GetInt64(flag.name)
		case flagTime:
			at, err := c.time(flag.name)
			if err != nil {
				return err
			}
			row[flag.member] = at
		default:
			row[flag.member] = c.text(flag.name)
		}
	}
	result := recordResult{}
	if err := k.store(c, &result, row); err != nil {
		return err
	}
	if len(result.Errors) > 0 {
		return errors.New(printable(result.Errors[0].text()))
	}
	return c.print(row, line("%s %s is stored", k.name, strings.Join(c.args, " ")))
}

// store stores one row.
func (k *recordKind) store(c *call, result *recordResult, row map[string]any) error {
	if k.stream {
		body, err := json.Marshal(row)
		if err != nil {
			return err
		}
		return k.send(c, result, &payload{kind: "application/x-ndjson", size: int64(len(body)), open: func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }})
	}
	status, answer, err := c.send(http.MethodPut, apiPath(k.plural, row["slug"]), nil, row)
	if err == nil && status == http.StatusNotFound {
		if status, answer, err = c.send(http.MethodPost, apiPath(k.plural), nil, row); err == nil && status < 300 {
			result.Created++
			return nil
		}
	}
	if err == nil && status >= http.StatusBadRequest {
		return answerError(status, answer)
	}
	result.Changed++
	return err
}

func (k *recordKind) end(c *call) error {
	found, err := k.find(c)
	if err != nil {
		return err
	}
	if err := c.request(http.MethodDelete, k.remove(found[0]), nil, nil, nil); err != nil {
		return err
	}
	named := strings.Join(c.args, " ")
	return c.print(map[string]string{k.name: named, "status": k.ended}, line("%s %s %s", k.ended, k.name, named))
}

func (k *recordKind) export(c *call) error {
	out := bufio.NewWriter(c.out)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	var failed error
	err := k.rows(c, func(row map[string]any) bool { failed = lines.Encode(row); return failed == nil })
	return errors.Join(err, failed, out.Flush())
}
