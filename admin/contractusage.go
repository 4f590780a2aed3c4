package admin

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const contractUsagePath = "/management/contracts/{id}/usage"

// ContractUsage is the use of a contract with seats or a site licence.
type ContractUsage struct {
	ContractID string         `json:"contractId" doc:"The contract." example:"1d78271264b9c76d5842911dd70b4353"`
	Months     []MonthlyUsage `json:"months" doc:"Each month of the report, also those without any use."`
}

// MonthlyUsage is the use of a contract in one month. The doc tags are those of a COUNTER
// report; docs/contracts.md says what is counted.
type MonthlyUsage struct {
	Month   string `json:"month" doc:"The month in UTC." example:"2027-01"`
	Pages   int64  `json:"pages" doc:"The GET requests that the contract allowed." example:"1250"`
	Readers int64  `json:"uniqueReaders" doc:"The readers who made them, each counted once: identified ones by their user id, others by their address." example:"310"`
	Refused int64  `json:"refused" doc:"The GET requests of the contract's readers that neither it nor anything else allowed, as COUNTER's No_License." example:"12"`
}

func (a *api) registerContractUsage() {
	schemas := a.huma.OpenAPI().Components.Schemas
	month := func(name, description, example string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Description: description, Example: example, Schema: &huma.Schema{Type: huma.TypeString, Pattern: `^\d{4}-(0[1-9]|1[0-2])$`}}
	}
	a.stream(huma.Operation{
		OperationID: "get-contract-usage", Method: http.MethodGet, Path: contractUsagePath, Tags: []string{"Contracts"}, Security: needs("contracts:read"),
		Summary: "Reports how much a contract with seats or a site licence was used, by month",
		Description: "The Accept header selects JSON or CSV. What was counted within the last seconds may be missing. The use of the current month and of the 37 before it is kept. " +
			"No reader and no address can be found from what is kept.",
		Parameters: []*huma.Param{
			{Name: "id", In: "path", Description: "The contract.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "1d78271264b9c76d5842911dd70b4353"},
			month("from", "The first month. Default: that of `to`.", "2027-01"),
			month("to", "The last month. Default: the current month.", "2027-03"),
		},
		Responses: map[string]*huma.Response{"200": {
			Description: "The use of each month",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: schemas.Schema(reflect.TypeFor[ContractUsage](), true, "ContractUsage")},
				typeCSV:            {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, nil, a.contractUsage)
}

// usageMonths returns the first and the last month of a report.
func (a *api) usageMonths(r *http.Request) (first, last time.Time, err error) {
	query := r.URL.Query()
	month := func(name string, absent time.Time) time.Time {
		if !query.Has(name) {
			return absent
		}
		at, failed := time.Parse(store.MonthLayout, query.Get(name))
		if failed != nil && err == nil {
			err = invalidAt("query."+name, "must be a month, such as 2027-01")
		}
		return at
	}
	now := a.Now().UTC()
	last = month("to", time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC))
	first = month("from", last)
	switch {
	case err != nil:
	case first.After(last):
		err = invalidAt("query.from", "is after the last month of the report")
	case !last.Before(first.AddDate(0, store.MaxUsageMonths, 0)):
		err = invalidAt("query.from", "a report has at most "+strconv.Itoa(store.MaxUsageMonths)+" months")
	}
	return first, last, err
}

func (a *api) contractUsage(ctx context.Context, b *bulk) error {
	first, last, err := a.usageMonths(b.r)
	if err != nil {
		return err
	}
	table, err := b.acceptsTable()
	if err != nil {
		return err
	}
	id := b.r.PathValue("id")
	list, err := a.Store.ContractUsage(ctx, b.Vendor, id, first, last)
	if err != nil {
		return err
	}
	report := ContractUsage{ContractID: id, Months: wireAll(list, func(u store.Usage) MonthlyUsage {
		return MonthlyUsage{Month: u.Month, Pages: u.Pages, Readers: u.Readers, Refused: u.Refused}
	})}
	if !table {
		b.w.Header().Set("Content-Type", "application/json")
		b.started = true
		return json.NewEncoder(b.w).Encode(report)
	}
	b.begin(FormatCSV, "usage")
	rows := csv.NewWriter(b.w)
	_ = rows.Write([]string{"contractId", "month", "pages", "uniqueReaders", "refused"}) // Error returns the error
	for _, m := range report.Months {
		row := []string{escapeCell(id), m.Month}
		for _, n := range [...]int64{m.Pages, m.Readers, m.Refused} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		_ = rows.Write(row)
	}
	rows.Flush()
	return rows.Error()
}

// acceptsTable reports whether Accept asks for CSV rather than for JSON, which is the
// default.
func (b *bulk) acceptsTable() (bool, error) {
	accept := strings.Join(b.r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return false, nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, parameters, err := mime.ParseMediaType(part)
		if err != nil || parameters["q"] != "" && strings.Trim(parameters["q"], "0.") == "" {
			continue
		}
		switch kind {
		case typeCSV, "text/*":
			return true, nil
		case "application/json", "application/*", "*/*":
			return false, nil
		}
	}
	return false, newProblem(http.StatusNotAcceptable, "The response is application/json or "+typeCSV+": request one of them with Accept.")
}
