package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/siteaudit"
)

// ConfigChecks read an adapted configuration.
type ConfigChecks struct {
	// Audit returns the ways through its routes.
	Audit func(config []byte) (*siteaudit.Report, error)
	// Store reports why a server could not start with its store, beyond what provisioning
	// shows. It is not called beside a server that runs with the store.
	Store func(config []byte) error
}

// Validate sets up a command as Caddy's `validate`, which then prints the warnings and the
// ways to content in the configuration that pass no gate. It fails for whatever `run`
// would refuse, also ports and a database that another process has. Warnings do not change
// the exit code.
func Validate(cmd *cobra.Command, checks ConfigChecks) {
	own := caddycmd.Commands()["validate"]
	cmd.Use, cmd.Short, cmd.Long = own.Name+" "+own.Usage, own.Short+", and lists what passes no gate", own.Long
	own.CobraFunc(cmd)
	cmd.Flags().Bool("json", false, "print the list as JSON")
	validate := cmd.RunE
	setRun(cmd, cobra.NoArgs, func(c *call) error {
		said, err := captured(func() error { return validate(cmd, nil) })
		if err != nil {
			cmd.SilenceErrors = false // Caddy's own command has logged it
			return placeFirst(err)
		}
		config, _, _, err := caddycmd.LoadConfig(c.text("config"), c.text("adapter"))
		if err != nil {
			return err
		}
		if err := checkStart(c.cmd.Context(), config, checks.Store); err != nil {
			return err
		}
		report, err := checks.Audit(config)
		if err != nil {
			return err
		}
		text := strings.Builder{}
		text.WriteString("Valid configuration\n\n")
		for _, warning := range said {
			text.WriteString(line("WARNING  %s", warning))
		}
		return c.print(validated{report, said}, text.String()+printableLines(report.Text()))
	})
}

// validated is what validate prints as JSON.
type validated struct {
	*siteaudit.Report
	Warnings []string `json:"warnings,omitempty"`
}

// captured runs a function of Caddy, and returns the warnings among what it logs.
func captured(run func() error) (warnings []string, err error) {
	file, err := os.CreateTemp("", "gatefold-validate-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = file, file
	err = run()
	os.Stdout, os.Stderr = stdout, stderr
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if warning := loggedWarning(lines.Bytes()); warning != "" && !slices.Contains(warnings, warning) {
			warnings = append(warnings, warning)
		}
	}
	return warnings, lines.Err()
}

// loggedWarning formats a log line of at least the level of a warning: with its place first
// and its remedy last if it has them.
func loggedWarning(entry []byte) string {
	var fields map[string]any
	if json.Unmarshal(entry, &fields) != nil {
		return ""
	}
	take := func(name string) string {
		text, _ := fields[name].(string)
		delete(fields, name)
		return text
	}
	level, text, place, remedy := take("level"), take("msg"), take("at"), take("remedy")
	if level != "warn" && level != "error" {
		return ""
	}
	delete(fields, "ts")
	logger := take("logger")
	if warning := take("warning"); warning != "" {
		text, fields = warning, nil
	}
	var more []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		more = append(more, fmt.Sprintf("%s %v", name, fields[name]))
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	switch {
	case place != "":
		text = place + ": " + text
	case logger != "" && !strings.Contains(logger, "gatefold"):
		text = logger + ": " + text
	}
	if remedy != "" {
		text += ": " + remedy
	}
	return text
}

var placePattern = regexp.MustCompile(`: ([^\s:]+:[0-9]+: )`)

// placeFirst drops what Caddy puts before the place of a mistake: the names of the modules
// that were being loaded.
func placeFirst(err error) error {
	at := placePattern.FindStringSubmatchIndex(err.Error())
	if at == nil {
		return err
	}
	return errors.New(err.Error()[at[2]:])
}
