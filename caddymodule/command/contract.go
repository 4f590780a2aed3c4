package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const (
	promosPath    = "/management/promos"
	contractsPath = "/management/contracts"
)

// raw is a record whose numbers keep their digits, as amounts need it.
type raw map[string]json.RawMessage

// text formats a member of a record in a table; a path names one of an object.
func (r raw) text(path string) string {
	name, rest, nested := strings.Cut(path, ".")
	value := r[name]
	if nested {
		var object raw
		_ = json.Unmarshal(value, &object) // no object has no members
		return object.text(rest)
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		return cmp.Or(text, "-")
	}
	return cmp.Or(string(value), "-")
}

// skus formats the SKUs of a promo or contract.
func (r raw) skus() string {
	var items []struct{ SKU string }
	_ = json.Unmarshal(r["items"], &items) // the API has an array
	skus := make([]string, len(items))
	for i := range items {
		skus[i] = items[i].SKU
	}
	return strings.Join(skus, ",")
}

// termFlags are what promos and contracts have in common.
var termFlags = []memberFlag{
	{"name", "name", "name for people", textMember},
	{"duration", "contractDuration", "RECURRING, RENEWABLE or PERPETUAL (default: RECURRING with --interval, else PERPETUAL or, with an end, RENEWABLE)", textMember},
	{"interval", "recurringInterval", "unit of a period: DAY, WEEK, MONTH or YEAR", textMember},
	{"times", "recurringTime", "number of those units in a period (default: 1)", numberMember},
	{"price", "price", "price of a period, such as 9.90", textMember},
	{"currency", "currency", "currency (ISO 4217)", textMember},
}

var promoFlags = append(slices.Clone(termFlags), []memberFlag{
	{"ends", "endsAt", "first moment after all contracts (default: counted from their start)", timeMember},
	{"max-quantity", "maxQuantity", "largest quantity of an order (default: 1)", numberMember},
	{"max-contracts", "maxContracts", "how many contracts are sold at most (default: no bound)", numberMember},
	{"confirm-within", "confirmWithinDays", "days after which a contract that is not confirmed ends (default: 30)", numberMember},
	{"valid-from", "validFrom", "start of the sale (default: now)", timeMember},
	{"valid-until", "validUntil", "first moment after the sale (default: none)", timeMember},
	{"provider", "paymentProviders", "accepted payment provider, may be repeated (default: any)", listMember},
	{"method", "paymentMethods", "accepted payment method, may be repeated (default: any)", listMember},
	{"seller", "sellers", "id of a client that may sell, may be repeated (default: any with sales:write)", listMember},
}...)

var contractFlags = append(slices.Clone(termFlags), []memberFlag{
	{"order", "externalOrderId", "id of the order: the same order again is the same contract", textMember},
	{"starts", "startsAt", "start of the access (default: now)", timeMember},
	{"ends", "expiresAt", "first moment after the access (default: a period, if there is one)", timeMember},
}...)

func declareAll(cmd *cobra.Command, flags []memberFlag) {
	for i := range flags {
		flags[i].declare(cmd)
	}
}

// members returns the members that flags set.
func (c *call) members(flags []memberFlag) (map[string]any, error) {
	row := map[string]any{}
	for i := range flags {
		if !c.changed(flags[i].flag) {
			continue
		}
		value, err := flags[i].value(c)
		if err != nil {
			return nil, err
		}
		row[flags[i].member] = value
	}
	return row, nil
}

// terms returns the members that flags set, with the items and the duration.
func (c *call) terms(flags []memberFlag) (map[string]any, error) {
	row, err := c.members(flags)
	if err != nil {
		return nil, err
	}
	skus, _ := c.cmd.Flags().GetStringArray("sku")
	if len(skus) == 0 {
		return nil, errors.New("--sku is required")
	}
	seats, _ := c.cmd.Flags().GetInt("seats")
	var items []map[string]any
	for _, sku := range skus {
		item := map[string]any{"sku": sku}
		if seats > 0 {
			item["seats"] = seats
		}
		items = append(items, item)
	}
	row["items"] = items
	if row["recurringInterval"] != nil && row["recurringTime"] == nil {
		row["recurringTime"] = 1
	}
	if row["contractDuration"] == nil {
		switch {
		case row["recurringInterval"] != nil:
			row["contractDuration"] = "RECURRING"
		case row["endsAt"] != nil || row["expiresAt"] != nil:
			row["contractDuration"] = "RENEWABLE"
		default:
			row["contractDuration"] = "PERPETUAL"
		}
	}
	return row, nil
}

func itemFlags(cmd *cobra.Command, flags []memberFlag) {
	declareAll(cmd, flags)
	cmd.Flags().StringArray("sku", nil, "sku that is given, may be repeated (required)")
	cmd.Flags().Int("seats", 0, "seats of one such item (default: none, it is its owner's alone)")
}

func promoCommands(cmd *cobra.Command) {
	itemFlags(subcommand(cmd, "add <code>", "Makes a promo: what a promo code sells", cobra.ExactArgs(1), func(c *call) error {
		row, err := c.terms(promoFlags)
		if err != nil {
			return err
		}
		row["code"] = c.args[0]
		return run(c, http.MethodPost, promosPath, row, func(p raw) string { return line("%s sells %s", p.text("code"), p.skus()) })
	}), promoFlags)
	subcommand(cmd, "list", "Lists promos", cobra.NoArgs, func(c *call) error {
		return c.listRaw(promosPath, url.Values{}, "CODE\tNAME\tSKUS\tSTATUS\tSOLD\tOF\tUNTIL", func(p raw) []string {
			return []string{p.text("code"), p.text("name"), p.skus(), p.text("status"), p.text("sold"), p.text("maxContracts"), p.text("validUntil")}
		})
	})
	subcommand(cmd, "show <code>", "Prints a promo", cobra.ExactArgs(1), func(c *call) error { return c.showRaw(c.record(promosPath)) })
	subcommand(cmd, "end <code>", "Ends a promo: it sells nothing more, its contracts go on", cobra.ExactArgs(1), func(c *call) error {
		return run(c, http.MethodPost, c.record(promosPath)+"/end", nil, func(p raw) string { return line("ended %s after %s contracts", p.text("code"), p.text("sold")) })
	})
}

// contractFilters are the flags that select contracts.
var contractFilters = filters{
	"q":               {"search", "begin of the owner's or payer's user id, e-mail address or name, or of the contract's id or order"},
	"userId":          {"user", "user id of the owner"},
	"email":           {"email", "e-mail address of the owner"},
	"payerEmail":      {"payer", "e-mail address of the payer"},
	"sku":             {"sku", "sku that the contract gives"},
	"promo":           {"promo", "promo code that sold it"},
	"externalOrderId": {"order", "id of the order"},
	"status":          {"status", "UNCONFIRMED, ABANDONED, ACTIVE, CANCEL_REQUESTED, CANCELED or EXPIRED"},
}

func contractCommands(cmd *cobra.Command) {
	add := subcommand(cmd, "add", "Makes a contract, confirmed unless --unconfirmed is set", cobra.NoArgs, addContract)
	itemFlags(add, contractFlags)
	readerFlags(add)
	add.Flags().String("payer", "", "e-mail address of the payer (default: the reader)")
	add.Flags().Int("quantity", 1, "how many of the items, by which their seats are multiplied")
	add.Flags().Bool("unconfirmed", false, "leave the contract unconfirmed: it gives nothing")
	list := subcommand(cmd, "list", "Finds contracts, the newest first", cobra.NoArgs, func(c *call) error {
		query, _ := contractFilters.query(c)
		return c.listRaw(contractsPath, query, "ID\tOWNER\tSKUS\tSTATUS\tENDS\tSEATS\tORDER", func(k raw) []string {
			return []string{k.text("id"), owner(k), k.skus(), k.text("status"), ends(k), k.text("seatsTaken") + "/" + k.text("seats"), k.text("externalOrderId")}
		})
	})
	for _, filter := range contractFilters {
		list.Flags().String(filter.flag, "", filter.usage)
	}
	list.Flags().Int("limit", 0, "maximum number of contracts (default: all)")
	subcommand(cmd, "show <id>", "Prints a contract", cobra.ExactArgs(1), func(c *call) error { return c.showRaw(c.record(contractsPath)) })
	cancel := subcommand(cmd, "cancel <id>", "Cancels a contract: access ends with its period, or as --at says", cobra.ExactArgs(1), func(c *call) error {
		return c.change("cancel", map[string]any{"at": cmp.Or(c.text("at"), "PERIOD_END"), "reason": c.text("reason")})
	})
	cancel.Flags().String("at", "", "NOW, PERIOD_END or a time (default: PERIOD_END)")
	cancel.Flags().String("reason", "", "reason, for people")
	renewal := []memberFlag{
		{"ends", "expiresAt", "new end (default: one period after the old one)", timeMember},
		{"price", "price", "price of the new period", textMember},
	}
	declareAll(subcommand(cmd, "renew <id>", "Moves the end of a contract on", cobra.ExactArgs(1), func(c *call) error {
		row, err := c.members(renewal)
		if err != nil {
			return err
		}
		return c.change("renew", row)
	}), renewal)
	readerFlags(subcommand(cmd, "transfer <id>", "Gives a contract to another reader, at once", cobra.ExactArgs(1), func(c *call) error {
		reader, err := c.reader()
		if err != nil {
			return err
		}
		return c.change("transfer", map[string]any{"ownerData": reader})
	}))
	subcommand(cmd, "seats <id> <n>", "Changes the number of seats of a contract", cobra.ExactArgs(2), func(c *call) error {
		return run(c, http.MethodPut, c.record(contractsPath)+"/seats", map[string]any{"seats": json.Number(c.args[1])}, func(k raw) string {
			return line("%s has %s seats, %s of them taken", k.text("id"), k.text("seats"), k.text("seatsTaken"))
		})
	})
	seatCommands(cmd)
}

func seatCommands(cmd *cobra.Command) {
	seat := &cobra.Command{Use: "seat", Short: "Gives, lists and withdraws seats of a contract"}
	cmd.AddCommand(seat)
	path := func(c *call) string { return c.record(contractsPath) + "/licenses" }
	readerFlags(subcommand(seat, "add <contract>", "Gives a seat to a reader, at once", cobra.ExactArgs(1), func(c *call) error {
		reader, err := c.reader()
		if err != nil {
			return err
		}
		return run(c, http.MethodPost, path(c), reader, func(seats []raw) string {
			texts := make([]string, len(seats))
			for i, s := range seats {
				texts[i] = line("%s has %s (%s)", readerOf(s), s.text("sku"), s.text("entitlementId"))
			}
			return strings.Join(texts, "")
		})
	}))
	subcommand(seat, "list <contract>", "Lists the readers with seats", cobra.ExactArgs(1), func(c *call) error {
		return c.listRaw(path(c), url.Values{}, "ID\tREADER\tNAME\tSKU\tSTATUS", func(s raw) []string {
			return []string{s.text("entitlementId"), readerOf(s), s.text("fullName"), s.text("sku"), s.text("status")}
		})
	})
	subcommand(seat, "remove <contract> <id>", "Withdraws a seat, at once", cobra.ExactArgs(2), func(c *call) error {
		if err := c.request(http.MethodDelete, path(c)+"/"+url.PathEscape(c.args[1]), nil, nil, nil); err != nil {
			return err
		}
		return c.print(map[string]string{"id": c.args[1], "status": "removed"}, line("removed %s", c.args[1]))
	})
}

func readerFlags(cmd *cobra.Command) {
	cmd.Flags().String("user", "", "user id of the reader")
	cmd.Flags().String("email", "", "e-mail address of the reader; applies to readers whose address is verified")
}

// reader returns the reader of --user and --email.
func (c *call) reader() (map[string]any, error) {
	reader := map[string]any{}
	for flag, name := range map[string]string{"user": "userId", "email": "email"} {
		if c.changed(flag) {
			reader[name] = c.text(flag)
		}
	}
	if len(reader) == 0 {
		return nil, errors.New("--user or --email is required")
	}
	return reader, nil
}

func readerOf(k raw) string {
	if id := k.text("userId"); id != "-" {
		return id
	}
	return k.text("email")
}

func owner(k raw) string {
	if id := k.text("userId"); id != "-" {
		return id
	}
	return k.text("ownerData.email")
}

// ends returns when the access of a contract ends.
func ends(k raw) string {
	if at := k.text("willCancelAt"); at != "-" {
		return at
	}
	return k.text("expiresAt")
}

func addContract(c *call) error {
	row, err := c.terms(contractFlags)
	if err != nil {
		return err
	}
	reader, err := c.reader()
	if err != nil {
		return err
	}
	row["userData"] = reader
	if payer := c.text("payer"); payer != "" {
		row["userData"], row["ownerData"] = map[string]any{"email": payer}, reader
	}
	row["quantity"], _ = c.cmd.Flags().GetInt("quantity")
	query := url.Values{"confirm": {"1"}}
	if c.on("unconfirmed") {
		query.Set("confirm", "0")
	}
	var made raw
	if err := c.request(http.MethodPost, contractsPath, query, row, &made); err != nil {
		return err
	}
	return c.print(made, line("%s has %s (%s, %s)", owner(made), made.skus(), made.text("id"), made.text("status")))
}

// change changes the contract of the first argument, and prints what it is then.
func (c *call) change(operation string, body any) error {
	return run(c, http.MethodPost, c.record(contractsPath)+"/"+operation, body, func(k raw) string {
		return line("%s of %s is %s; end: %s", k.text("id"), owner(k), k.text("status"), ends(k))
	})
}

func (c *call) listRaw(path string, query url.Values, header string, row func(raw) []string) error {
	limit := 0
	if c.cmd.Flags().Lookup("limit") != nil {
		limit, _ = c.cmd.Flags().GetInt("limit")
	}
	records, more, err := find[raw](c, path, query, limit)
	if err != nil {
		return err
	}
	if more {
		c.warn(fmt.Sprintf("there may be more than %d", limit))
	}
	return c.print(records, table(header, records, row))
}

func (c *call) showRaw(path string) error {
	return run(c, http.MethodGet, path, nil, func(record raw) string {
		pairs := make([][]string, 0, len(record))
		for _, name := range slices.Sorted(maps.Keys(record)) {
			pairs = append(pairs, []string{name, record.text(name)})
		}
		return fields(pairs)
	})
}
