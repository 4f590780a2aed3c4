package command

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

func explainCommand(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("user", "", "ask as the reader with this user id")
	flags.String("token", "", "ask as the reader of this token")
	flags.StringSlice("sku", nil, "ask as if the reader had been granted exactly this, and nothing else")
	flags.String("link", "", "a signed link's token, where the url carries none")
	flags.String("method", http.MethodGet, "HTTP method of the request")
	flags.String("site", "", "site whose gate is asked (default: the vendor's only one, or the one of its name)")
	cmd.MarkFlagsMutuallyExclusive("user", "token")
	runnable(cmd, cobra.ExactArgs(1), explain)
}

func explain(c *call) error {
	// Tokens go in the body: the admin endpoint logs its URIs.
	request := admin.ExplainRequest{
		URL: c.args[0], Method: strings.ToUpper(c.text("method")), Site: c.text("site"),
		UserID: c.text("user"), ReaderToken: c.text("token"), LinkToken: c.text("link"),
	}
	if c.changed("sku") {
		skus, err := c.cmd.Flags().GetStringSlice("sku")
		if err != nil {
			return err
		}
		request.SKUs = &skus
	}
	var result admin.Explanation
	if err := c.request(http.MethodPost, "/management/explain", nil, request, &result); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(result)
	}
	WriteExplanation(c.out, &result)
	return nil
}

// WriteExplanation writes an explanation, one line for each finding, in the order
// in which the gate comes to them.
func WriteExplanation(w io.Writer, e *admin.Explanation) {
	add := func(step, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", step, printable(fmt.Sprintf(format, args...)))
	}
	add("request", "%s %s at site %s of vendor %s", e.Method, e.Path.Received, e.Site, e.Vendor)
	if e.Path.Error != "" {
		add("path", "refused: %s", e.Path.Error)
	}
	if e.Reader.Source != "" { // else nobody asked who it is
		add("reader", "%s", readerText(&e.Reader))
	}
	for _, reading := range e.Readings {
		if len(e.Readings) > 1 {
			add("reading", "%s: %s", reading.Path, reading.Reason)
		}
		for _, rule := range reading.PassedOver {
			add("rule", "passed over: %s: its methods do not fit", ruleText(&rule))
		}
		if reading.Rule == nil {
			add("rule", "none matches; %d were looked at", reading.OtherRules)
			continue
		}
		add("rule", "%s (%d earlier rules do not match the path)", ruleText(reading.Rule), reading.OtherRules)
		if len(reading.SKUs) > 0 {
			add("asks for", "any of %s", strings.Join(reading.SKUs, ", "))
		}
	}
	for _, grant := range e.Grants {
		counts := "counts"
		if !grant.Counts {
			counts = "does not count: " + grant.Why
		}
		add("grant", "%s gives %s, in %s, %s: %s", grant.ID, grant.SKU, grant.List, windowText(grant.StartsAt, grant.EndsAt), counts)
	}
	if e.Reader.UserID != "" && len(e.Readings) > 0 && len(e.Readings[0].SKUs) > 0 {
		add("grants", "%d of what is asked for, %d of other skus", len(e.Grants), e.OtherGrants)
	}
	if e.Link != nil {
		for _, check := range e.Link.Checks {
			verdict := "ok"
			if !check.OK {
				verdict = "FAILS"
			}
			add("link", "%s %s: %s", check.Check, verdict, check.Detail)
		}
	}
	add("decision", "%s", decisionText(&e.Decision))
	add("hint", "%s", e.Hint)
}

func readerText(reader *admin.ExplainedReader) string {
	switch {
	case reader.Error != "":
		return "unknown: " + reader.Source + ": " + reader.Error
	case reader.UserID == "":
		return "anonymous: " + reader.Source
	default:
		return reader.UserID + ": " + reader.Source
	}
}

func ruleText(rule *admin.ExplainedRule) string {
	text := fmt.Sprintf("%d %s", rule.Rank, rule.Path)
	if len(rule.Methods) > 0 {
		text += " " + strings.Join(rule.Methods, ",")
	}
	text += " " + rule.Allow
	if rule.Origin != "" {
		text += " at " + rule.Origin
	}
	return text
}

func windowText(from, to *time.Time) string {
	moment := func(at *time.Time, none string) string {
		if at == nil {
			return none
		}
		return at.Format(time.RFC3339)
	}
	return "from " + moment(from, "ever") + " until " + moment(to, "ever")
}

func decisionText(decision *admin.ExplainedDecision) string {
	text := fmt.Sprintf("deny, %s, status %d", decision.Reason, decision.Status)
	if decision.Allow {
		text = "allow, " + decision.Reason
	}
	if decision.Spends {
		text += ", spending one use of the link"
	}
	if decision.Until != nil {
		text += ", until " + decision.Until.Format(time.RFC3339)
	}
	if decision.Error != "" {
		text += ": " + decision.Error
	}
	return text
}
