package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/command/starter"
)

// question is one of the questions of init. Its flag answers it without asking.
type question struct {
	flag, text, usage string
	// usual returns the answer if none is given.
	usual func(*starter.Site) string
	set   func(*starter.Site, string) error
}

var questions = []question{
	{
		"host", "Under which host do readers reach the site?", "host of the site, such as news.example.com or localhost:8080",
		func(*starter.Site) string { return "localhost:8080" }, (*starter.Site).SetHost,
	},
	{
		"kind", "What is the origin: " + strings.Join(starter.Kinds(), ", ") + "?", "kind of the origin: " + strings.Join(starter.Kinds(), ", "),
		func(*starter.Site) string { return "other" }, (*starter.Site).SetKind,
	},
	{
		"origin", "Where is the origin?", "host and port of the origin; for files and PHP the folder, for PHP followed by the address of PHP-FPM",
		(*starter.Site).DefaultOrigin, (*starter.Site).SetOrigin,
	},
	{
		"identity", "Which identity provider logs readers in (its issuer's URL, then the audience of its tokens)?",
		"URL of the identity provider's issuer, followed by the audience of its tokens (default: the host); none for Gatefold's own tokens",
		func(*starter.Site) string { return starter.OwnTokens }, (*starter.Site).SetIdentity,
	},
	{
		"paid", "Which paths are paid for?", "paths that are paid for, separated by commas",
		func(*starter.Site) string { return "/articles/{publisherContentId}" }, (*starter.Site).SetPaid,
	},
}

func initCommand(cmd *cobra.Command) {
	cmd.Long = `
Writes a Caddyfile that gates a site before its own origin. It asks five questions;
each flag answers one, and --yes takes the usual answer for the others.
`
	flags := cmd.Flags()
	for _, q := range questions {
		flags.String(q.flag, "", q.usage)
	}
	flags.StringP("output", "o", "Caddyfile", "file to write; - for standard output")
	flags.Bool("yes", false, "ask nothing")
	flags.Bool("force", false, "replace an existing file")
	setRun(cmd, cobra.NoArgs, writeStarter)
}

func writeStarter(c *call) error {
	file := c.text("output")
	if _, err := os.Lstat(file); err == nil && file != "-" && !c.on("force") {
		return fmt.Errorf("%s exists already: choose another name with --output, or --force to replace it", file)
	}
	site, answers := new(starter.Site), bufio.NewReader(c.cmd.InOrStdin())
	for _, q := range questions {
		if err := c.answer(q, site, answers); err != nil {
			return err
		}
	}
	text := caddyfile.Format([]byte(site.Caddyfile()))
	if file == "-" {
		_, err := c.out.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // it holds no secret
		return err
	}
	_, err := io.WriteString(c.out, fmt.Sprintf("wrote %[1]s. Next:\n\n\tgatefold validate --config %[1]s\n\tgatefold run --config %[1]s\n", printable(file)))
	return err
}

// maxAsked bounds how often a question is repeated.
const maxAsked = 5

// answer takes the answer to a question from its flag, or asks. A wrong answer at a prompt
// is asked for again.
func (c *call) answer(q question, site *starter.Site, answers *bufio.Reader) error {
	usual := q.usual(site)
	if c.changed(q.flag) || c.on("yes") {
		text := usual
		if c.changed(q.flag) {
			text = c.text(q.flag)
		}
		if err := q.set(site, text); err != nil {
			return fmt.Errorf("--%s: %w", q.flag, err)
		}
		return nil
	}
	for range maxAsked {
		fmt.Fprintf(c.cmd.ErrOrStderr(), "%s [%s] ", q.text, usual)
		text, err := answers.ReadString('\n')
		if err != nil && text == "" {
			fmt.Fprintln(c.cmd.ErrOrStderr())
			return fmt.Errorf("no answer: give it with --%s, or take the usual answers with --yes", q.flag)
		}
		if text = strings.TrimSpace(text); text == "" {
			text = usual
		}
		if err = q.set(site, text); err == nil {
			return nil
		}
		c.warn(err.Error())
	}
	return errors.New("no answer fits: `gatefold init --help` describes them")
}
