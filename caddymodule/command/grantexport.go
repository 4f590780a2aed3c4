package command

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

func exportCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "export", "Prints every grant of an access list, to be imported again", cobra.NoArgs, exportGrants)
	cmd.Flags().String("format", admin.FormatNDJSON, "csv or ndjson")
}

// exportedGrant is a grant as the API shows it, kept as it came.
type exportedGrant struct {
	id   string
	json json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (g *exportedGrant) UnmarshalJSON(data []byte) error {
	var named struct {
		ID string `json:"id"`
	}
	g.json = append(g.json[:0:0], data...)
	err := json.Unmarshal(data, &named)
	g.id = named.ID
	return err
}

func exportGrants(c *call) error {
	out := bufio.NewWriter(c.out)
	id := func(g exportedGrant) string { return g.id }
	switch c.text("format") {
	case admin.FormatNDJSON:
		err := pages(c, c.grantsPath(), nil, id, func(g exportedGrant) error {
			_, err := fmt.Fprintf(out, "%s\n", g.json)
			return err
		})
		if err != nil {
			return err
		}
	case admin.FormatCSV:
		table := csv.NewWriter(out)
		if err := table.Write(admin.GrantColumns()); err != nil {
			return err
		}
		if err := pages(c, c.grantsPath(), nil, id, func(g exportedGrant) error {
			record, err := admin.GrantRecord(g.json)
			if err != nil {
				return err
			}
			return table.Write(record)
		}); err != nil {
			return err
		}
		if table.Flush(); table.Error() != nil {
			return table.Error()
		}
	default:
		return fmt.Errorf("--format: must be %s or %s", admin.FormatCSV, admin.FormatNDJSON)
	}
	return out.Flush()
}
