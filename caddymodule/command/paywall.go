package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/caddymodule/command/leakcheck"
)

const paywallsPath = "/management/paywalls"

func paywallCommands(cmd *cobra.Command) {
	subcommand(cmd, "list", "Lists paywalls", cobra.NoArgs, func(c *call) error {
		return run(c, http.MethodGet, paywallsPath, nil, func(found []raw) string {
			return table("ID\tNAME\tTEMPLATE\tSTATUS\tVERSION\tMODIFIED", found, func(p raw) []string {
				return []string{p.text("id"), p.text("name"), p.text("settings.template"), p.text("status"), p.text("version"), p.text("modifiedAt")}
			})
		})
	})
	show := subcommand(cmd, "show <paywall>", "Prints a paywall as JSON, for a file that add reads", cobra.ExactArgs(1), showPaywall)
	show.Flags().Bool("versions", false, "print the earlier versions that are kept, too")
	subcommand(cmd, "add <paywall> <file.json>", "Creates a paywall, or replaces it as a new version, by a file with what show prints", cobra.ExactArgs(2), addPaywall)
	subcommand(cmd, "remove <paywall>", "Removes a paywall with its versions; readers get the built-in page", cobra.ExactArgs(1), func(c *call) error {
		return c.end(c.record(paywallsPath), nil, "id", "removed", "removed %s")
	})
	check := subcommand(cmd, "check <url>", "Finds text of a page that refused readers can fetch elsewhere; exit code 1 if there is any", cobra.ExactArgs(1), checkPaywall)
	check.Flags().String("cookie", "", "Cookie header of a reader who may have the page, such as reader=<token>")
	check.Flags().String("bearer", "", "token of such a reader, as Authorization: Bearer")
	check.Flags().String("link", "", "link that opens the page; a counted one loses a use")
	check.Flags().Bool("all", false, "print all places that were compared, also those without a leak")
	check.MarkFlagsOneRequired("cookie", "bearer", "link")
	check.MarkFlagsMutuallyExclusive("cookie", "bearer", "link")
}

func showPaywall(c *call) error {
	path := c.record(paywallsPath)
	if versions, _ := c.cmd.Flags().GetBool("versions"); versions {
		return run(c, http.MethodGet, path+"/versions", nil, indented[[]raw])
	}
	return run(c, http.MethodGet, path, nil, indented[raw])
}

func indented[T any](value T) string {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return ""
	}
	return string(text) + "\n"
}

// serverMembers are the members of a paywall that the server sets. A file may have those
// that show printed.
var serverMembers = []string{"id", "vendorId", "version", "entity", "createdAt", "modifiedAt", "previewUrl"}

func addPaywall(c *call) error {
	text, err := os.ReadFile(c.args[1])
	if err != nil {
		return err
	}
	var file raw
	if err := json.Unmarshal(text, &file); err != nil || file == nil {
		return fmt.Errorf("%s: %w", c.args[1], errors.Join(err, errors.New("it must be a JSON object, as show prints it")))
	}
	for _, name := range serverMembers {
		delete(file, name)
	}
	return run(c, http.MethodPut, paywallsPath+"/"+url.PathEscape(c.args[0]), file, func(p raw) string {
		return line("%s is version %s", p.text("id"), p.text("version"))
	})
}

// checkPaywall compares what two readers get. It calls the site, and no server of Gatefold.
func checkPaywall(c *call) error {
	report, err := leakcheck.Check(c.cmd.Context(), nil, c.args[0], leakcheck.Entitled{Cookie: c.text("cookie"), Bearer: c.text("bearer"), Link: c.text("link")})
	if err != nil {
		return err
	}
	shown := report.Places
	if !c.on("all") {
		shown = slices.DeleteFunc(slices.Clone(shown), func(p leakcheck.Place) bool { return p.Leaked == 0 && p.Error == "" })
	}
	text := line("%d of %d words are gated; %d places were compared.", report.Gated, report.Words, len(report.Places))
	if len(shown) > 0 {
		text += "\n" + table("PLACE\tSTATUS\tLEAKED WORDS\tURL\tTEXT", shown, func(p leakcheck.Place) []string {
			return []string{p.What, strconv.Itoa(p.Status), strconv.Itoa(p.Leaked), p.URL, cmp.Or(p.Excerpt, p.Error)}
		})
	}
	if err := c.print(report, text); err != nil || report.Leaks == 0 {
		return err
	}
	return fmt.Errorf("refused readers get text of the gated part in %d places: take it out there, or give these paths rules of their own", report.Leaks)
}
