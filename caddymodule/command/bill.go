package command

import (
	"maps"
	"net/url"

	"github.com/spf13/cobra"
)

const (
	billsPath        = "/management/bills"
	transactionsPath = "/management/transactions"
)

// sentFilters select bills and transactions.
var sentFilters = filters{
	"q":          {"search", "begin of an id, a SKU or a title"},
	"contractId": {"contract", "id of the contract"},
	"userId":     {"user", "user id of the reader"},
	"dateFrom":   {"from", "first time or day (UTC) of the creation"},
	"dateTo":     {"to", "last time or day (UTC) of the creation"},
}

// billCommands are those of bills, and of what was paid. The gate moves no money: they show
// what sellers sent, and send it.
func billCommands(cmd *cobra.Command) {
	sentCommand(cmd, "list", "Finds bills, the newest first", billsPath, "ID\tSTATUS\tPRICE\tCURRENCY\tCONTRACT\tREADER\tCREATED", func(b raw) []string {
		return []string{b.text("id"), b.text("status"), b.text("price"), b.text("currency"), b.text("contractId"), b.text("userId"), b.text("createdAt")}
	}, "status", filter{"status", "DRAFT, PENDING, PAID, RETRYING, OVERDUE, CANCELED, EXPIRED, DELETED or VOIDED"})
	subcommand(cmd, "show <id>", "Prints a bill", cobra.ExactArgs(1), func(c *call) error { return c.showRaw(c.record(billsPath)) })
	(&noun{name: "bill", plural: "bills", stream: true}).streamCommands(cmd)

	paid := &cobra.Command{Use: "transaction", Short: "Finds, shows, imports and exports transactions: what was paid or refunded"}
	cmd.AddCommand(paid)
	sentCommand(paid, "list", "Finds transactions, the newest first", transactionsPath, "ID\tAMOUNT\tCURRENCY\tREFUND\tBILL\tCONTRACT\tREADER\tCREATED", func(t raw) []string {
		return []string{
			t.text("id"), t.text("amount"), t.text("currency"), t.text("isRefund"), t.text("billId"), t.text("contractId"), t.text("userId"), t.text("createdAt"),
		}
	}, "billId", filter{"bill", "id of the bill"})
	subcommand(paid, "show <id>", "Prints a transaction", cobra.ExactArgs(1), func(c *call) error { return c.showRaw(c.record(transactionsPath)) })
	(&noun{name: "transaction", plural: "transactions", stream: true}).streamCommands(paid)
}

// sentCommand adds the command that lists what sellers sent, with one filter of its own.
func sentCommand(parent *cobra.Command, use, short, path, header string, row func(raw) []string, parameter string, own filter) {
	by := filters{parameter: own}
	maps.Copy(by, sentFilters)
	list := subcommand(parent, use, short, cobra.NoArgs, func(c *call) error {
		query := url.Values{}
		if selected, set := by.query(c); set {
			query = selected
		}
		return c.listRaw(path, query, header, row)
	})
	for _, of := range by {
		list.Flags().String(of.flag, "", of.usage)
	}
	list.PreRunE = func(cmd *cobra.Command, _ []string) error { return by.refuseEmpty(cmd) }
	list.Flags().Int("limit", 0, "maximum number of records (default: all)")
}
