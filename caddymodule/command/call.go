package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// subcommand adds a command that calls the running server.
func subcommand(parent *cobra.Command, use, short string, args cobra.PositionalArgs, run func(*call) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	runnable(cmd, args, run)
	parent.AddCommand(cmd)
	return cmd
}

// runnable makes a command call the running server.
func runnable(cmd *cobra.Command, args cobra.PositionalArgs, run func(*call) error) {
	cmd.Args, cmd.SilenceUsage = args, true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(cmd)
		if err != nil {
			return err
		}
		asJSON, _ := cmd.Flags().GetBool("json")
		return run(&call{client: c, cmd: cmd, args: args, json: asJSON, out: cmd.OutOrStdout()})
	}
}

// call is one run of a command.
type call struct {
	*client
	cmd  *cobra.Command
	args []string
	json bool
	out  io.Writer
}

func (c *call) text(flag string) string { value, _ := c.cmd.Flags().GetString(flag); return value }

func (c *call) changed(flag string) bool { return c.cmd.Flags().Changed(flag) }

// request calls the API and decodes the answer.
func (c *call) request(method, path string, query url.Values, in, out any) error {
	return c.do(c.cmd.Context(), method, path, query, in, out)
}

// printJSON prints a value for machines.
func (c *call) printJSON(value any) error {
	encoder := json.NewEncoder(c.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// table prints rows in columns for people.
func (c *call) table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// printable keeps what others wrote from steering the terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, text)
}

// pages calls yield with every record of a listing, page after page.
func pages[T any](c *call, path string, query url.Values, id func(T) string, yield func(T) error) error {
	const size = 500
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", strconv.Itoa(size))
	for {
		var page []T
		if err := c.request(http.MethodGet, path, query, nil, &page); err != nil {
			return err
		}
		for _, record := range page {
			if err := yield(record); err != nil {
				return err
			}
		}
		if len(page) < size {
			return nil
		}
		query.Set("from", id(page[len(page)-1]))
	}
}

// list prints every record of a listing: a JSON array for machines, a table for
// people.
func list[T any](c *call, path string, id func(T) string, header string, row func(T) []string) error {
	records := []T{}
	err := pages(c, path, nil, id, func(record T) error {
		records = append(records, record)
		return nil
	})
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(records)
	}
	rows := make([][]string, len(records))
	for i, record := range records {
		rows[i] = row(record)
	}
	return c.table(header, rows)
}

// timeFlag reads a flag that is an RFC 3339 time, or a date, which is its first
// moment in UTC.
func (c *call) timeFlag(name string) (*time.Time, error) {
	text := c.text(name)
	if text == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return &at, nil
		}
	}
	return nil, fmt.Errorf("--%s: %q is not a time such as 2027-01-31T12:00:00Z or 2027-01-31", name, text)
}
