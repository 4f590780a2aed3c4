package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

func auditCommand(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("actor", "", `only changes by this client, or by "local operator" for the commands`)
	flags.String("operation", "", "only changes by this operation of the API, such as import-grants")
	flags.String("kind", "", "only changes of records of this kind, such as grant or signed-link")
	flags.String("record", "", "only changes of the record with this id or path, and of those below it")
	flags.String("since", "", "start of the period: RFC 3339, or a date")
	flags.String("until", "", "first moment after the period")
	flags.Int("limit", 50, "number of entries, newest first; 0 is all")
	flags.Bool("system", false, "changes of vendors and API clients, which belong to no vendor")
	setRun(cmd, cobra.NoArgs, audit)
}

func audit(c *call) error {
	query := url.Values{}
	for _, name := range []string{"actor", "operation", "kind", "record"} {
		if text := c.text(name); text != "" {
			query.Set(name, text)
		}
	}
	since, sinceErr := c.time("since")
	until, untilErr := c.time("until")
	if err := errors.Join(sinceErr, untilErr); err != nil {
		return err
	}
	for name, at := range map[string]*time.Time{"since": since, "until": until} {
		if at != nil {
			query.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	path := "/management/audit"
	if c.on("system") {
		path = "/management/system-audit"
	}
	limit, _ := c.cmd.Flags().GetInt("limit")
	if limit < 0 {
		return errors.New("--limit: must be 0 or more")
	}
	entries, more, err := find[admin.AuditEntry](c, path, query, limit)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, entry := range entries {
		rows = append(rows, auditRows(&entry)...)
	}
	if more {
		c.warn(fmt.Sprintf("there are older entries: narrow the search, or raise --limit %d", limit))
	}
	return c.print(entries, table("AT\tACTOR\tOPERATION\tRECORD\tCHANGE", rows, func(row []string) []string { return row }))
}

// auditRows returns one row for each record of an entry.
func auditRows(entry *admin.AuditEntry) (rows [][]string) {
	for _, record := range entry.Records {
		rows = append(rows, []string{
			entry.At.Format(time.RFC3339), entry.Actor, entry.Operation, record.Kind + " " + record.ID, auditChange(&record),
		})
	}
	if entry.More > 0 {
		rows = append(rows, []string{"", "", "", fmt.Sprintf("and %d more", entry.More), ""})
	}
	return rows
}

// maxAuditCell bounds the text of a change, in characters.
const maxAuditCell = 120

// auditChange says how a record was changed.
func auditChange(record *admin.AuditRecord) string {
	var before, after map[string]json.RawMessage
	if json.Unmarshal(record.Before, &before) != nil {
		before = nil
	}
	if json.Unmarshal(record.After, &after) != nil {
		after = nil
	}
	switch {
	case record.Truncated:
		return "changed; too long to be shown"
	case before == nil && after == nil:
		return "changed"
	case before == nil:
		return cut("created " + string(record.After))
	case after == nil:
		return cut("removed " + string(record.Before))
	}
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(both(before, after))) {
		changes = append(changes, fmt.Sprintf("%s: %s -> %s", name, orNone(before[name]), orNone(after[name])))
	}
	return cut(strings.Join(changes, ", "))
}

func both(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func orNone(value json.RawMessage) string {
	if value == nil {
		return "none"
	}
	return string(value)
}

// cut shortens a text for a cell.
func cut(text string) string {
	if letters := []rune(text); len(letters) > maxAuditCell {
		return string(letters[:maxAuditCell]) + "…"
	}
	return text
}
