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

var errNotStored = errors.New("the server did not store the record")
