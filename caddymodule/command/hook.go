package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/hook"
)

const hooksPath = "/management/hooks"

func hookCommands(cmd *cobra.Command) {
	add := subcommand(cmd, "add <file.json>", "Takes the signed events of a billing system by the table of a file, and prints the path for the provider", cobra.ExactArgs(1), addHook)
	secretFlag(add)
	subcommand(cmd, "list", "Lists where billing systems send their events", cobra.NoArgs, func(c *call) error {
		return run(c, http.MethodGet, hooksPath, nil, func(hooks []admin.Hook) string {
			return table("ID\tNAME\tSCHEME\tSTATUS\tENTRIES\tSECRET SINCE", hooks, func(h admin.Hook) []string {
				return []string{h.ID, h.Name, h.Scheme, h.Status, strconv.Itoa(len(h.Table)), h.SecretSince.Format(time.RFC3339)}
			})
		})
	})
	subcommand(cmd, "show <hook>", "Prints a hook with its table", cobra.ExactArgs(1), func(c *call) error { return c.showRaw(c.record(hooksPath)) })
	events := subcommand(cmd, "events <hook>", "Lists the last events with what became of them, the newest first", cobra.ExactArgs(1), listHookEvents)
	events.Flags().Int("limit", 100, "number of events to list, at most 500")
	subcommand(cmd, "test <hook> <event.json>", "Prints what an event would do by the table, and does nothing; exit code 1 if it cannot be read", cobra.ExactArgs(2), testHook)
	subcommand(cmd, "table <hook> <file.json>", "Replaces the table of a hook by that of a file", cobra.ExactArgs(2), func(c *call) error {
		var file admin.HookBody
		if err := readJSON(c.args[1], &file); err != nil {
			return err
		}
		return changeHook(c, admin.HookPatch{Table: &file.Table})
	})
	for _, status := range []struct{ verb, status, short string }{
		{"enable", "active", "Enables a hook: the provider sends the events again that it refused"},
		{"disable", "disabled", "Disables a hook: all events are answered with 409"},
	} {
		subcommand(cmd, status.verb+" <hook>", status.short, cobra.ExactArgs(1), func(c *call) error { return changeHook(c, admin.HookPatch{Status: &status.status}) })
	}
	rotate := subcommand(cmd, "rotate-secret <hook>", "Sets the provider's new secret; the replaced one verifies beside it for the overlap", cobra.ExactArgs(1), rotateHook)
	secretFlag(rotate)
	rotate.Flags().Duration("overlap", 24*time.Hour, "how long events with the replaced secret are taken")
	subcommand(cmd, "remove <hook>", "Removes a hook: further events are refused, the contracts stay", cobra.ExactArgs(1), func(c *call) error {
		return c.end(c.record(hooksPath), nil, "id", "removed", "removed %s")
	})
}

func secretFlag(cmd *cobra.Command) {
	cmd.Flags().String("secret-file", "", "file with the secret that the provider shows (required); - is standard input")
}

// providerSecret returns the secret of --secret-file. It is no argument: the arguments of a
// process are visible to others on the machine.
func (c *call) providerSecret() (string, error) {
	name := c.text("secret-file")
	if name == "" {
		return "", errors.New("--secret-file is required: a file with the secret that the provider shows for the endpoint")
	}
	if name == "-" {
		name = "/dev/stdin"
	}
	secret, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("--secret-file: %w", err)
	}
	return strings.TrimSpace(string(secret)), nil
}

// readJSON reads a JSON file whose members are all known.
func readJSON(name string, to any) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func addHook(c *call) error {
	var made admin.HookBody
	if err := readJSON(c.args[0], &made); err != nil {
		return err
	}
	if made.Secret != "" {
		return fmt.Errorf("%s: has a secret: keep it in a file of its own, and name that with --secret-file", c.args[0])
	}
	var err error
	if made.Secret, err = c.providerSecret(); err != nil {
		return err
	}
	return run(c, http.MethodPost, hooksPath, made, func(h admin.Hook) string {
		return line("HOOK_ID=%s", h.ID) + line("HOOK_PATH=%s", h.Path)
	})
}

func changeHook(c *call, patch admin.HookPatch) error {
	return run(c, http.MethodPatch, c.record(hooksPath), patch, func(h admin.Hook) string {
		return line("%s is %s, with %d entries", h.ID, h.Status, len(h.Table))
	})
}

func rotateHook(c *call) error {
	secret, err := c.providerSecret()
	if err != nil {
		return err
	}
	overlap, _ := c.cmd.Flags().GetDuration("overlap")
	seconds := int(overlap / time.Second)
	return run(c, http.MethodPatch, c.record(hooksPath), admin.HookPatch{Secret: &secret, Overlap: &seconds}, func(h admin.Hook) string {
		return line("%s has the new secret; the replaced one verifies until %s", h.ID, timeText(h.ReplacedUntil))
	})
}

func listHookEvents(c *call) error {
	limit, _ := c.cmd.Flags().GetInt("limit")
	var found []admin.HookEvent
	if err := c.request(http.MethodGet, c.record(hooksPath)+"/events", url.Values{"limit": {strconv.Itoa(limit)}}, nil, &found); err != nil {
		return err
	}
	return c.print(found, table("EVENT\tTYPE\tDOES\tRESULT\tARRIVED\tATTEMPTS\tCONTRACT\tPROBLEM", found, func(e admin.HookEvent) []string {
		return []string{e.ID, e.Type, e.Do, e.Result, e.LastAt.Format(time.RFC3339), strconv.Itoa(e.Attempts), e.Contract, e.Problem}
	}))
}

// testHook reads an event by the table of a hook, as the server does with one that is signed.
func testHook(c *call) error {
	var h admin.Hook
	if err := c.request(http.MethodGet, c.record(hooksPath), nil, nil, &h); err != nil {
		return err
	}
	event, err := os.ReadFile(c.args[1])
	if err != nil {
		return err
	}
	source := hook.Source{Scheme: h.Scheme, Type: h.TypeAt, Time: h.TimeAt}
	for _, entry := range h.Table {
		source.Table = append(source.Table, hook.Entry(entry))
	}
	act, err := source.Read("the event", event)
	if err != nil {
		return fmt.Errorf("%s: %w", c.args[1], err)
	}
	rows := [][]string{{"type", act.Type}, {"does", act.Do}}
	if act.Do == "" {
		rows[1][1] = "nothing: no entry of the table has this type and these values"
	}
	for _, of := range [][]string{
		{"order", act.Order},
		{"contract", act.Contract},
		{"promo", act.Promo},
		{"payment provider", act.PaymentProvider},
		{"payment method", act.PaymentMethod},
		{"e-mail", act.Email},
		{"user", act.UserID},
		{"ends", timeText(act.EndsAt)},
		{"at", timeText(act.Until)},
		{"reason", act.Reason},
	} {
		if of[1] != "" && of[1] != "-" {
			rows = append(rows, of)
		}
	}
	return c.print(act, fields(rows))
}
