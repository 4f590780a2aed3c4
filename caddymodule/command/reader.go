package command

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const readersPath = "/management/users"

func readerCommands(cmd *cobra.Command) {
	find := subcommand(cmd, "find <text>", "Finds readers by the begin of an id, an e-mail address or a name in their record, or by a whole user id or e-mail address in grants, contracts and links", cobra.ExactArgs(1), findReaders)
	find.Flags().Int("limit", 100, "maximum number of readers with a record")
	subcommand(cmd, "show <id>", "Prints a reader's record", cobra.ExactArgs(1), func(c *call) error { return c.showRaw(c.record(readersPath)) })
	emails := func(cmd *cobra.Command) {
		cmd.Flags().StringArray("email", nil, "further e-mail address of the reader, besides that of the record; may be repeated")
	}
	emails(subcommand(cmd, "export <id>", "Prints all that is kept about a reader as NDJSON, a record on each line", cobra.ExactArgs(1), exportReader))
	erase := subcommand(cmd, "erase <id>", "Erases a reader from all records, for ever; repeat it if it was cut", cobra.ExactArgs(1), eraseReader)
	emails(erase)
	erase.Flags().Bool("yes", false, "erase: it cannot be taken back (required)")
}

// personQuery returns the query that --email sets.
func (c *call) personQuery() url.Values {
	query := url.Values{}
	if emails, _ := c.cmd.Flags().GetStringArray("email"); len(emails) > 0 {
		query.Set("email", strings.Join(emails, ","))
	}
	return query
}

// exportReader prints what is kept about a reader.
func exportReader(c *call) error {
	response, err := c.open(c.cmd.Context(), http.MethodGet, c.record(readersPath)+"/export", c.personQuery(), nil, "application/x-ndjson")
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return failure(response)
	}
	defer response.Body.Close()
	if _, err = io.Copy(c.out, response.Body); err != nil {
		return fmt.Errorf("the export is incomplete: %w", err)
	}
	return nil
}

// eraseReader erases a reader.
func eraseReader(c *call) error {
	if !c.on("yes") {
		return errors.New("--yes is required: an erasure cannot be taken back. `gatefold reader export` prints what would be erased")
	}
	var done admin.ErasedReader
	if err := c.request(http.MethodDelete, c.record(readersPath), c.personQuery(), nil, &done); err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString(line("erased %s", c.args[0]))
	for _, kind := range slices.Sorted(maps.Keys(done.Erased)) {
		text.WriteString(line("%s: %d", kind, done.Erased[kind]))
	}
	return c.print(done, text.String())
}
