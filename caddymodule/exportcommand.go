package caddymodule

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func exportCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "export", "Prints every grant of an access list, to be imported again", cobra.NoArgs, exportGrants)
	cmd.Flags().String("format", formatNDJSON, "csv or ndjson")
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
	case formatNDJSON:
		err := pages(c, c.grantsPath(), nil, id, func(g exportedGrant) error {
			_, err := fmt.Fprintf(out, "%s\n", g.json)
			return err
		})
		if err != nil {
			return err
		}
	case formatCSV:
		table := csv.NewWriter(out)
		if err := table.Write(csvColumns()); err != nil {
			return err
		}
		if err := pages(c, c.grantsPath(), nil, id, func(g exportedGrant) error {
			record, err := csvRecord(g.json)
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
		return fmt.Errorf("--format: must be %s or %s", formatCSV, formatNDJSON)
	}
	return out.Flush()
}

// csvRecord returns a grant in the order of the columns.
func csvRecord(grant json.RawMessage) ([]string, error) {
	var fields map[string]any
	if err := json.Unmarshal(grant, &fields); err != nil {
		return nil, err
	}
	columns := csvColumns()
	record := make([]string, len(columns))
	for i, column := range columns {
		value := fields[column]
		if parent, field, nested := strings.Cut(column, "."); nested {
			address, _ := fields[parent].(map[string]any)
			value = address[field]
		}
		switch value := value.(type) {
		case nil:
		case string:
			record[i] = value
		default:
			encoded, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			record[i] = string(encoded)
		}
	}
	return record, nil
}
