package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const explainPath = "/management/explain"

func explainCommand(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("user", "", "user id of the reader")
	flags.String("email", "", "e-mail address of the reader, as if verified")
	flags.String("token", "", "token of the reader")
	flags.StringSlice("sku", nil, "skus of the reader, instead of those that were granted")
	flags.String("link", "", "token of a signed link, if the url has none")
	flags.String("client-ip", "", "address of the client, for a link that opens from one network and for site licences by address")
	flags.String("user-agent", "", "agent of the client, for a rule about crawlers")
	flags.String("method", http.MethodGet, "HTTP method of the request")
	flags.String("rewritten", "", "path as a handler before the gate rewrites it")
	flags.String("require", "", "Gatefold-Require of the origin's response, for a rule with the operator origin")
	flags.String("site", "", "site whose gate decides (default: the vendor's only one, or the one of its name)")
	flags.String("code", "", "support code of a refusal, which is explained as it was and as it would be now; with --email of its reader")
	for _, other := range []string{"user", "token", "sku", "link", "client-ip", "method", "rewritten", "site", "require", "user-agent"} {
		cmd.MarkFlagsMutuallyExclusive("code", other)
	}
	cmd.MarkFlagsMutuallyExclusive("user", "token")
	cmd.MarkFlagsMutuallyExclusive("email", "token")
	setRun(cmd, cobra.MaximumNArgs(1), explain)
}

func explain(c *call) error {
	if c.changed("code") {
		return explainCode(c)
	}
	if len(c.args) == 0 {
		return errors.New("explain: give the URL of the request, or --code with the support code of a refusal")
	}
	request := admin.ExplainRequest{
		URL: c.args[0], Method: strings.ToUpper(c.text("method")), Site: c.text("site"), RewrittenPath: c.text("rewritten"), Require: c.text("require"),
		UserID: c.text("user"), Email: c.text("email"), ReaderToken: c.text("token"), LinkToken: c.text("link"), ClientIP: c.text("client-ip"), UserAgent: c.text("user-agent"),
	}
	if c.changed("sku") {
		skus, err := c.cmd.Flags().GetStringSlice("sku")
		if err != nil {
			return err
		}
		request.SKUs = &skus
	}
	return run(c, http.MethodPost, explainPath, request, func(e admin.Explanation) string {
		var text strings.Builder
		WriteExplanation(&text, &e)
		return text.String()
	})
}

// WriteExplanation writes an explanation as text, one line for each finding, in the
// order of the gate's steps.
func WriteExplanation(w io.Writer, e *admin.Explanation) {
	add := func(step, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s", step, line(format, args...))
	}
	add("request", "%s %s at site %s of vendor %s", e.Method, e.Path.Received, e.Site, e.Vendor)
	if e.Path.Rewritten != "" {
		add("path", "rewritten before the gate to %s", e.Path.Rewritten)
	}
	if e.Path.Error != "" {
		add("path", "refused: %s", e.Path.Error)
	}
	if e.Reader.Source != "" { // else the decision needed no reader
		add("reader", "%s", readerText(&e.Reader))
	}
	for _, reading := range e.Readings {
		if len(e.Readings) > 1 {
			add("reading", "%s: %s", readingText(&reading), reading.Reason)
		}
		for _, rule := range reading.PassedOver {
			add("rule", "passed over: %s: its methods do not fit", explainedRule(&rule))
		}
		if reading.Rule == nil {
			add("rule", "none of %d rules matches", reading.OtherRules)
			continue
		}
		add("rule", "%s (%d earlier rules do not match the path)", explainedRule(reading.Rule), reading.OtherRules)
		if len(reading.SKUs) > 0 {
			add("asks for", "any of %s", strings.Join(reading.SKUs, ", "))
		}
		if loss := reading.OnStoreLoss; loss != nil {
			add("store", "if it is lost for %s: %s", loss.After, loss.Then)
		}
	}
	writeGrants(e, add)
	writeMembership(e, add)
	if e.Link != nil {
		writeLink(e.Link, add)
	}
	add("decision", "%s", decisionText(&e.Decision))
	if e.Cache != nil {
		add("cache", "%s: %s", e.Cache.Result, e.Cache.Why)
	}
	add("hint", "%s", e.Hint)
}

func writeLink(link *admin.ExplainedLink, add func(step, format string, args ...any)) {
	for _, check := range link.Checks {
		verdict := "ok"
		if !check.OK {
			verdict = "FAILS"
		}
		add("link", "%s %s: %s", check.Check, verdict, check.Detail)
	}
}

func readingText(reading *admin.ExplainedReading) string {
	text := reading.Path
	if reading.Rewritten {
		text += ", as rewritten"
	}
	if reading.AnyCase {
		text += ", in any case"
	}
	return text
}

func writeGrants(e *admin.Explanation, add func(step, format string, args ...any)) {
	period := func(grant *admin.ExplainedGrant) (text string) {
		if grant.StartsAt != nil {
			text = ", from " + grant.StartsAt.Format(time.RFC3339)
		}
		if grant.EndsAt != nil {
			text += ", until " + grant.EndsAt.Format(time.RFC3339)
		}
		return cmp.Or(text, ", at any time")
	}
	for _, grant := range e.Grants {
		counts := "counts"
		if !grant.Counts {
			counts = "does not count: " + grant.Why
		}
		add("grant", "%s gives %s, in %s%s: %s", grant.ID, grant.SKU, grant.List, period(&grant), counts)
	}
	if e.Reader.UserID+e.Reader.Email != "" && len(e.Readings) > 0 && len(e.Readings[0].SKUs) > 0 {
		add("grants", "%d of these skus, %d of other skus", len(e.Grants), e.OtherGrants)
	}
}

func writeMembership(e *admin.Explanation, add func(step, format string, args ...any)) {
	verdict := func(counts bool, why string) string {
		if counts {
			return "counts"
		}
		return "does not count: " + why
	}
	for _, role := range e.Roles {
		until := ""
		if role.EndsAt != nil {
			until = ", until " + role.EndsAt.Format(time.RFC3339)
		}
		add("role", "%s on %s%s: %s", cmp.Or(role.Role, "any role"), role.Profile, until, verdict(role.Counts, role.Why))
	}
	for _, s := range e.Subscriptions {
		add("plan", "%s of %s, for %s, from %s until %s: %s", s.Plan, s.Provider, s.Profile,
			s.StartsAt.Format(time.RFC3339), s.EndsAt.Format(time.RFC3339), verdict(s.Counts, s.Why))
	}
	if s := e.Signature; s != nil {
		signed := "not signed"
		if s.SignedAt != nil {
			signed = "signed at " + s.SignedAt.Format(time.RFC3339)
		}
		add("agreement", "%s, %s: %s", s.Agreement, signed, verdict(s.Counts, s.Why))
	}
}

func readerText(reader *admin.ExplainedReader) string {
	switch {
	case reader.FailedCheck != "":
		return "unknown: " + reader.Source + ": check " + reader.FailedCheck + " failed: " + reader.Error
	case reader.UserID+reader.Email == "":
		return "anonymous: " + reader.Source
	case reader.UserID == "":
		return reader.Email + ", as if verified: " + reader.Source
	default:
		return reader.UserID + ": " + reader.Source
	}
}

func explainedRule(rule *admin.ExplainedRule) string {
	text := fmt.Sprintf("%d %s", rule.Rank, rule.Path)
	if len(rule.Methods) > 0 {
		text += " " + strings.Join(rule.Methods, ",")
	}
	text += " " + strings.Join(append([]string{rule.Allow}, rule.Then...), ", then ")
	if rule.Origin != "" {
		text += " at " + rule.Origin
	}
	return text
}

// licenceCovers are what of a reader a site licence can cover.
var licenceCovers = map[string]string{"domain": "the domain of the e-mail address", "address": "the client's address"}

// maxAgeText returns the greatest age of a login, empty for none.
func maxAgeText(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return (time.Duration(seconds) * time.Second).String()
}

func decisionText(decision *admin.ExplainedDecision) string {
	text := fmt.Sprintf("deny, %s, status %d", decision.Reason, decision.Status)
	if decision.Allow {
		text = "allow, " + decision.Reason
	}
	if covers, ok := licenceCovers[decision.Licence]; ok {
		text += ", by the site licence of " + decision.Grant + ", which covers " + covers
	}
	if d := decision.Demand; d != nil {
		verb := "missing"
		if decision.Allow {
			verb = "by"
		}
		var parts []string
		for _, part := range [][2]string{{"role", d.Role}, {"profile", d.Profile}, {"plan", d.Plan}, {"agreement", d.Agreement}, {"acr", d.ACR}, {"max_age", maxAgeText(d.MaxAge)}} {
			if part[1] != "" {
				parts = append(parts, part[0]+" "+part[1])
			}
		}
		text += ", " + verb + ": " + strings.Join(parts, ", ")
	}
	if m := decision.Meter; m != nil {
		text += fmt.Sprintf(", meter %s: %d of %d pages read", m.Name, m.Used, m.Limit)
		if m.Counts {
			text += ", and this would be one more"
		}
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
