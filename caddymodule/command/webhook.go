package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const webhooksPath = "/management/webhooks"

func webhookCommands(cmd *cobra.Command) {
	add := subcommand(cmd, "add <url>", "Sends events to a URL from now on and prints the secret that signs them, once", cobra.ExactArgs(1), addWebhook)
	add.Flags().StringArray("type", nil, "type of events to send, such as role.invited or role.*; may be repeated (default: all)")
	add.Flags().String("description", "", "description, for other operators")
	subcommand(cmd, "list", "Lists where events are sent", cobra.NoArgs, listWebhooks)
	subcommand(cmd, "show <webhook>", "Shows a webhook and how its deliveries go", cobra.ExactArgs(1), showWebhook)
	subcommand(cmd, "remove <webhook>", "Removes a webhook; what waits for it is not sent", cobra.ExactArgs(1), removeWebhook)
	for _, status := range []struct{ verb, status, short string }{
		{"enable", "active", "Enables a webhook: events that wait are sent"},
		{"disable", "disabled", "Disables a webhook: what happens meanwhile is not sent"},
	} {
		subcommand(cmd, status.verb+" <webhook>", status.short, cobra.ExactArgs(1), func(c *call) error {
			return run(c, http.MethodPatch, c.record(webhooksPath), admin.WebhookPatch{Status: &status.status}, func(h admin.Webhook) string {
				return line("%s is %s", h.ID, h.Status)
			})
		})
	}
	rotate := subcommand(cmd, "rotate-secret <webhook>", "Makes a new secret and prints it, once; the replaced one signs beside it for the overlap", cobra.ExactArgs(1), rotateWebhook)
	rotate.Flags().Duration("overlap", 24*time.Hour, "how long events are signed with both secrets")
	subcommand(cmd, "test <webhook>", "Sends a test event now and prints the answer; exit code 1 if it was not accepted", cobra.ExactArgs(1), testWebhook)
	dead := subcommand(cmd, "dead <webhook>", "Lists events that are not attempted any more", cobra.ExactArgs(1), listDeliveries)
	dead.Flags().String("state", "dead", "state of the listed events: dead, retrying, waiting or delivered")
	dead.Flags().Int("limit", 100, "number of events to list, at most 500")
	replay := subcommand(cmd, "replay <webhook>", "Sends all dead letters again", cobra.ExactArgs(1), replayDeliveries)
	replay.Flags().String("event", "", "id of the only event to send again")
}

func addWebhook(c *call) error {
	types, _ := c.cmd.Flags().GetStringArray("type")
	return c.printWebhookSecret(webhooksPath, admin.WebhookBody{URL: c.args[0], Types: types, Description: c.text("description")})
}

// printWebhookSecret prints a webhook and its new secret, as shell assignments unless
// --json is set.
func (c *call) printWebhookSecret(path string, body any) error {
	var created admin.CreatedWebhook
	if err := c.request(http.MethodPost, path, nil, body, &created); err != nil {
		return err
	}
	if !c.json {
		c.warn("The secret is shown only once: give it to the receiver.")
	}
	return c.print(created, line("WEBHOOK_ID=%s", created.ID)+line("WEBHOOK_SECRET=%s", created.Secret))
}

func typesOf(h *admin.Webhook) string {
	if len(h.Types) == 0 {
		return "all"
	}
	return strings.Join(h.Types, " ")
}

func listWebhooks(c *call) error {
	return run(c, http.MethodGet, webhooksPath, nil, func(hooks []admin.Webhook) string {
		return table("ID\tURL\tEVENTS\tSTATUS\tDESCRIPTION", hooks, func(h admin.Webhook) []string {
			return []string{h.ID, h.URL, typesOf(&h), h.Status, h.Description}
		})
	})
}

func showWebhook(c *call) error {
	return run(c, http.MethodGet, c.record(webhooksPath), nil, func(h admin.WebhookStatus) string {
		rows := [][]string{
			{"id", h.ID},
			{"url", h.URL},
			{"events", typesOf(&h.Webhook)},
			{"description", h.Description},
			{"status", h.Status},
			{"secret since", h.SecretSince.Format(time.RFC3339)},
			{"delivered", timeText(h.DeliveredAt)},
		}
		if h.ReplacedUntil != nil {
			rows = append(rows, []string{"replaced secret until", timeText(h.ReplacedUntil)})
		}
		if h.FailingSince != nil {
			rows = append(rows, []string{"failing since", timeText(h.FailingSince)}, []string{"because", h.LastError}, []string{"tried again", timeText(h.NextAt)})
		}
		return fields(rows)
	})
}

func timeText(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.Format(time.RFC3339)
}

func removeWebhook(c *call) error {
	return c.end(c.record(webhooksPath), nil, "id", "removed", "removed %s")
}

func rotateWebhook(c *call) error {
	overlap, _ := c.cmd.Flags().GetDuration("overlap")
	seconds := int(overlap / time.Second)
	return c.printWebhookSecret(c.record(webhooksPath)+"/rotate-secret", admin.SecretRotation{Overlap: &seconds})
}

func testWebhook(c *call) error {
	var done admin.Delivery
	if err := c.request(http.MethodPost, c.record(webhooksPath)+"/test", nil, struct{}{}, &done); err != nil {
		return err
	}
	text := line("%s was accepted with the status %d", done.ID, done.Status)
	if done.Error != "" {
		text = ""
	}
	err := c.print(done, text)
	if done.Error != "" {
		err = errors.Join(err, fmt.Errorf("%s was not accepted: %s", done.ID, printable(done.Error)))
	}
	return err
}

func listDeliveries(c *call) error {
	limit, _ := c.cmd.Flags().GetInt("limit")
	var found []admin.Delivery
	query := url.Values{"state": {c.text("state")}, "limit": {strconv.Itoa(limit)}}
	if err := c.request(http.MethodGet, c.record(webhooksPath)+"/deliveries", query, nil, &found); err != nil {
		return err
	}
	return c.print(found, table("EVENT\tTYPE\tCHANGED\tATTEMPTS\tLAST\tNEXT\tPROBLEM", found, func(d admin.Delivery) []string {
		return []string{d.ID, d.Type, d.At.Format(time.RFC3339), strconv.Itoa(d.Attempts), timeText(d.TriedAt), timeText(d.NextAt), d.Error}
	}))
}

// replayDeliveries sends dead letters again, until there are none.
func replayDeliveries(c *call) error {
	body, all := admin.ReplayBody{Event: c.text("event")}, admin.Replayed{}
	if c.changed("event") && body.Event == "" {
		return errors.New("--event: is empty: give it a value, or leave it out")
	}
	for {
		var done admin.Replayed
		if err := c.request(http.MethodPost, c.record(webhooksPath)+"/deliveries/replay", nil, body, &done); err != nil {
			return err
		}
		if all.Replayed += done.Replayed; done.Replayed == 0 || body.Event != "" {
			return c.print(all, line("%d events are sent again", all.Replayed))
		}
	}
}
