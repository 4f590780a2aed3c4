package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin"
)

const (
	maxAnswer     = 16 << 20 // bytes of an answer in JSON
	answerTimeout = 30 * time.Second
)

// subcommand adds a command.
func subcommand(parent *cobra.Command, use, short string, args cobra.PositionalArgs, run func(*call) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	setRun(cmd, args, run)
	parent.AddCommand(cmd)
	return cmd
}

// setRun sets the function of a command.
func setRun(cmd *cobra.Command, args cobra.PositionalArgs, run func(*call) error) {
	cmd.Args, cmd.SilenceUsage = args, true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		defer silenceCaddy()()
		c := &call{cmd: cmd, args: args, out: cmd.OutOrStdout()}
		c.json, c.vendor = c.on("json"), c.text("vendor")
		err := run(c)
		if err == nil {
			c.warnOfGate()
		}
		return err
	}
}

// warnOfGate warns of a vendor or a site that no gate of the running server has, as when
// it is misspelt: what the command stored then applies to no request here. It is no
// error, because another server on the same store may have that gate.
func (c *call) warnOfGate() {
	if c.client == nil || !c.changed("vendor") && !c.changed("site") {
		return
	}
	report, err := sites(c)
	if err != nil || report == nil || report.Truncated {
		return
	}
	gates, wanted := report.Gates(), c.vendor+"/"
	if site := c.text("site"); site != "" {
		wanted += site
	}
	if slices.ContainsFunc(gates, func(gate string) bool {
		return gate == wanted || strings.HasSuffix(wanted, "/") && strings.HasPrefix(gate, wanted)
	}) {
		return
	}
	c.warn(fmt.Sprintf("warning: no gate of this server is %s: what is stored for it applies to no request here; it has %s (vendor/site).",
		strings.TrimSuffix(wanted, "/"), cmp.Or(strings.Join(gates, ", "), "none")))
}

// silenceCaddy drops what Caddy logs until the returned function is called: reading a
// configuration is no news, and its errors are returned.
func silenceCaddy() (end func()) {
	caddy.BufferedLog()
	return func() { caddy.UnbufferDefaultLogger(zap.NewNop()) }
}

// RefuseUnknown makes a command that only has subcommands fail for any other word, with
// the name that is probably meant. Cobra prints the help and reports success.
func RefuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		RefuseUnknown(sub)
	}
	if !cmd.HasSubCommands() || cmd.Runnable() {
		return
	}
	cmd.SilenceUsage, cmd.SuggestionsMinimumDistance = true, 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
		if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
			return fmt.Errorf("%w: did you mean %s?", err, strings.Join(names, " or "))
		}
		return fmt.Errorf("%w: `%s --help` lists them", err, cmd.CommandPath())
	}
}

// call is one run of a command.
type call struct {
	cmd    *cobra.Command
	args   []string
	json   bool
	vendor string
	out    io.Writer
	client *client // made by the first request
}

func (c *call) text(flag string) string { value, _ := c.cmd.Flags().GetString(flag); return value }

func (c *call) on(flag string) bool { value, _ := c.cmd.Flags().GetBool(flag); return value }

func (c *call) changed(flag string) bool { return c.cmd.Flags().Changed(flag) }

// time returns the value of a flag that is an RFC 3339 time, or a date, which is
// its first moment in UTC. It returns nil when the flag is not set.
func (c *call) time(flag string) (*time.Time, error) {
	text := c.text(flag)
	if text == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return &at, nil
		}
	}
	return nil, fmt.Errorf("--%s: %q is not a time such as 2027-01-31T12:00:00Z or 2027-01-31", flag, text)
}

// lifetime returns the value of --expires. A number without a unit is in seconds.
func (c *call) lifetime() admin.Lifetime {
	text := c.text("expires")
	if strings.Trim(text, "0123456789") == "" {
		text += "s"
	}
	return admin.Lifetime(text)
}

// open sends a request with a JSON body to the running server and returns the response.
func (c *call) open(ctx context.Context, method, path string, query url.Values, in any, accept string) (*http.Response, error) {
	body, err := jsonPayload(in)
	if err != nil {
		return nil, err
	}
	return c.openWith(ctx, method, path, query, body, accept)
}

// openWith is open with any body.
func (c *call) openWith(ctx context.Context, method, path string, query url.Values, body *payload, accept string) (*http.Response, error) {
	if c.client == nil {
		var err error
		if c.client, err = newClient(c.cmd); err != nil {
			return nil, err
		}
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("vendor", c.vendor)
	return c.client.send(ctx, method, path, query, body, accept)
}

// send calls the management API and returns the status and the body of the answer.
func (c *call) send(method, path string, query url.Values, in any) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(c.cmd.Context(), answerTimeout)
	defer cancel()
	response, err := c.open(ctx, method, path, query, in, "application/json")
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	return response.StatusCode, answer, nil
}

// request calls the management API and decodes the answer into out, unless it is
// nil.
func (c *call) request(method, path string, query url.Values, in, out any) error {
	status, answer, err := c.send(method, path, query, in)
	switch {
	case err != nil:
		return err
	case status >= http.StatusBadRequest:
		return answerError(status, answer)
	case out == nil:
		return nil
	default:
		return decode(answer, out)
	}
}

func decode(answer []byte, out any) error {
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	return nil
}

// download starts a download of any length. The caller closes the body.
func (c *call) download(path, accept string) (*http.Response, error) {
	response, err := c.open(c.cmd.Context(), http.MethodGet, path, nil, nil, accept)
	if err != nil || response.StatusCode < http.StatusBadRequest {
		return response, err
	}
	return nil, failure(response)
}

// failure returns the error in a response, and closes its body.
func failure(response *http.Response) error {
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return errors.Join(answerError(response.StatusCode, answer), err)
}

// run calls the management API and prints the answer.
func run[T any](c *call, method, path string, in any, text func(T) string) error {
	var answer T
	if err := c.request(method, path, nil, in, &answer); err != nil {
		return err
	}
	return c.print(answer, text(answer))
}

// record returns the path of the record that the argument of the command names.
func (c *call) record(collection string) string {
	return collection + "/" + url.PathEscape(c.args[0])
}

// end ends the record that the argument of the command names, by a DELETE. In
// JSON, member holds the argument.
func (c *call) end(path string, query url.Values, member, status, format string) error {
	if err := c.request(http.MethodDelete, path, query, nil, nil); err != nil {
		return err
	}
	return c.print(map[string]string{member: c.args[0], "status": status}, line(format, c.args[0]))
}

// list prints all records of a listing.
func list[T any](c *call, path string, id func(T) string, header string, row func(T) []string) error {
	records, err := collect(c, path, func(page []T) []T { return page }, id)
	if err != nil {
		return err
	}
	return c.print(records, table(header, records, row))
}

// collect returns the records of all pages of a listing, each of which starts after
// the last id of the page before.
func collect[P, T any](c *call, path string, records func(P) []T, id func(T) string) ([]T, error) {
	const size = 500
	all, query := []T{}, url.Values{"limit": {strconv.Itoa(size)}}
	for {
		var answer P
		if err := c.request(http.MethodGet, path, query, nil, &answer); err != nil {
			return nil, err
		}
		page := records(answer)
		all = append(all, page...)
		if len(page) < size {
			return all, nil
		}
		query.Set("from", id(page[size-1]))
	}
}

// print prints a value as JSON if --json is set, else the text.
func (c *call) print(value any, text string) error {
	if !c.json {
		_, err := io.WriteString(c.out, text)
		return err
	}
	encoder := json.NewEncoder(c.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// warn prints a remark on stderr, unless it is empty.
func (c *call) warn(text string) {
	if text != "" {
		fmt.Fprint(c.cmd.ErrOrStderr(), line("%s", text))
	}
}

// line formats one line.
func line(format string, args ...any) string { return printable(fmt.Sprintf(format, args...)) + "\n" }

// table formats records in columns.
func table[T any](header string, records []T, row func(T) []string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, record := range records {
		cells := row(record)
		for i, cell := range cells {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // a strings.Builder does not fail
	return text.String()
}

// fields formats pairs of a name and a value.
func fields(pairs [][]string) string {
	return table("FIELD\tVALUE", pairs, func(pair []string) []string { return pair })
}

// printableLines is printable for a text of lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// printable replaces control characters, so that stored texts cannot control the
// terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, text)
}
