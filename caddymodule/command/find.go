package command

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// findPage is the number of records that one request asks for.
const findPage = 500

// find returns the records of a listing, at most limit unless that is zero. It follows
// the listing's own links, as a page may have fewer records than were asked for. More
// reports that there may be further records.
func find[T any](c *call, path string, query url.Values, limit int) (all []T, more bool, err error) {
	all = []T{}
	for {
		size := findPage
		if limit > 0 {
			size = min(size, limit-len(all))
		}
		query.Set("limit", strconv.Itoa(size))
		var page []T
		next, err := c.page(path, query, &page)
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if next == nil || limit > 0 && len(all) >= limit {
			return all, next != nil, nil
		}
		query = next
	}
}

// page requests a page of a listing, and returns the query of the next one, nil for none.
func (c *call) page(path string, query url.Values, out any) (next url.Values, err error) {
	response, err := c.open(c.cmd.Context(), http.MethodGet, path, query, nil, "application/json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	case response.StatusCode >= http.StatusBadRequest:
		return nil, answerError(response.StatusCode, answer)
	}
	if err := decode(answer, out); err != nil {
		return nil, err
	}
	link, _, found := strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<?"), ">")
	if !found {
		return nil, nil
	}
	return url.ParseQuery(link)
}

// orderFlags adds the flags that order a list by the time of creation, and bound it.
func orderFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("sort", "", "createdAt for the oldest first, -createdAt for the newest first")
	flags.String("from", "", "first time or day (UTC) of the creation")
	flags.String("to", "", "last time or day (UTC) of the creation")
}

// orderQuery adds what these flags select to a query.
func (c *call) orderQuery(query url.Values) error {
	for name, flag := range map[string]string{"sort": "sort", "dateFrom": "from", "dateTo": "to"} {
		if !c.changed(flag) {
			continue
		}
		if c.text(flag) == "" {
			return fmt.Errorf("--%s: is empty: give it a value, or leave it out", flag)
		}
		query.Set(name, c.text(flag))
	}
	return nil
}

// filters adds flags that select records to a command, by the name of the query
// parameter.
type filters map[string]filter

type filter struct{ flag, usage string }

const metaFlag = "meta"

func (f filters) add(cmd *cobra.Command, meta string) {
	for _, filter := range f {
		cmd.Flags().String(filter.flag, "", filter.usage)
	}
	cmd.Flags().StringToString(metaFlag, nil, meta)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return f.refuseEmpty(cmd) }
}

// refuseEmpty returns an error for a flag that is given without a value, as by a variable
// of a script that is not set: the others alone would select far more.
func (f filters) refuseEmpty(cmd *cobra.Command) error {
	for _, filter := range f {
		if flag := cmd.Flags().Lookup(filter.flag); flag.Changed && flag.Value.String() == "" {
			return fmt.Errorf("--%s: is empty: give it a value, or leave it out", filter.flag)
		}
	}
	return nil
}

// query returns the query that the flags select, and whether any of them is set.
func (f filters) query(c *call) (query url.Values, set bool) {
	query = url.Values{}
	for name, filter := range f {
		if c.changed(filter.flag) {
			query.Set(name, c.text(filter.flag))
		}
	}
	for _, pair := range c.meta() {
		query.Add("meta", pair)
	}
	return query, len(query) > 0
}

// meta returns the pairs of --meta.
func (c *call) meta() (pairs []string) {
	meta, _ := c.cmd.Flags().GetStringToString(metaFlag)
	for name, value := range meta {
		pairs = append(pairs, name+"="+value)
	}
	return pairs
}

// body returns the selection as the members of a JSON body.
func (f filters) body(c *call) (body map[string]any, set bool) {
	query, set := f.query(c)
	body = make(map[string]any, len(query))
	for name, values := range query {
		body[name] = values[0]
	}
	if pairs := c.meta(); len(pairs) > 0 {
		body["meta"] = pairs
	}
	return body, set
}
