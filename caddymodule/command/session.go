package command

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const sessionsPath = "/management/sessions"

func sessionCommands(cmd *cobra.Command) {
	subcommand(cmd, "list <user>", "Lists the sessions of a reader who logged in at the gate", cobra.ExactArgs(1), listSessions)
	end := subcommand(cmd, "end [<id>]", "Ends a session, or with --user all of a reader: their next request is anonymous", cobra.MaximumNArgs(1), endSessions)
	end.Flags().String("user", "", "id of the reader all of whose sessions end")
}

func listSessions(c *call) error {
	var sessions []admin.LoginSession
	if err := c.request(http.MethodGet, sessionsPath, url.Values{"userId": {c.args[0]}}, nil, &sessions); err != nil {
		return err
	}
	return c.print(sessions, table("ID\tSITE\tISSUER\tSINCE\tSEEN\tENDS", sessions, func(s admin.LoginSession) []string {
		return []string{s.ID, s.Site, s.Issuer, s.CreatedAt.Format(time.RFC3339), s.SeenAt.Format(time.RFC3339), s.EndsAt.Format(time.RFC3339)}
	}))
}

func endSessions(c *call) error {
	user := c.text("user")
	if (user == "") == (len(c.args) == 0) {
		return errors.New("name either a session, by its id in `gatefold session list`, or a reader by --user")
	}
	if user == "" {
		return c.end(c.record(sessionsPath), nil, "id", "ended", "ended %s")
	}
	return run(c, http.MethodPost, sessionsPath+"/end", admin.SessionsEnd{UserID: user}, func(done admin.SessionsEnded) string {
		return line("ended %d sessions of %s", done.Ended, user)
	})
}
