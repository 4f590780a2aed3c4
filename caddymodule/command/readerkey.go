package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const feedsPath = "/management/feeds"

func apiKeyCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create <user>", "Creates an API key for a program of a reader, and prints it once", cobra.ExactArgs(1), createAPIKey)
	create.Flags().String("site", "", "site at which the key counts (default: the one with the vendor's name)")
	create.Flags().String("title", "", "what the key is for")
	create.Flags().Int("days", 0, "days after which the key ends (default 365)")
	create.Flags().String("email", "", "verified e-mail address of the reader, if their grants name it")
	subcommand(cmd, "list <user>", "Lists the API keys of a reader", cobra.ExactArgs(1), listAPIKeys)
	subcommand(cmd, "revoke <user> <id>", "Revokes an API key: the next request with it is refused", cobra.ExactArgs(2), revokeAPIKey)
}

func apiKeysOf(user string) string { return "/api/users/" + url.PathEscape(user) + "/api-keys" }

func createAPIKey(c *call) error {
	days, _ := c.cmd.Flags().GetInt("days")
	in := map[string]any{}
	for name, value := range map[string]string{"site": c.text("site"), "title": c.text("title"), "email": c.text("email")} {
		if value != "" {
			in[name] = value
		}
	}
	if c.changed("days") {
		in["days"] = days
	}
	return run(c, http.MethodPost, apiKeysOf(c.args[0]), in, func(made admin.CreatedAPIKey) string { return line("%s", made.Secret) })
}

func listAPIKeys(c *call) error {
	var page admin.NumberedPage[admin.APIKey]
	if err := c.request(http.MethodGet, apiKeysOf(c.args[0]), nil, nil, &page); err != nil {
		return err
	}
	return c.print(page.Results, table("ID\tSITE\tTITLE\tCREATED\tENDS\tUSES\tLAST USED", page.Results, func(k admin.APIKey) []string {
		used := "-"
		if k.LastUsedAt != nil {
			used = k.LastUsedAt.Format(time.RFC3339)
		}
		return []string{k.ID, k.Site, k.Title, k.CreatedAt.Format(time.RFC3339), k.EndsAt.Format(time.RFC3339), fmt.Sprint(k.Uses), used}
	}))
}

func revokeAPIKey(c *call) error {
	if err := c.request(http.MethodDelete, apiKeysOf(c.args[0])+"/"+url.PathEscape(c.args[1]), nil, nil, nil); err != nil {
		return err
	}
	return c.print(map[string]string{"id": c.args[1], "status": "revoked"}, line("revoked %s", c.args[1]))
}

func feedCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create <url>", "Makes the feed of a reader, or with --each of many, and prints its URL; again, it is the same", cobra.ExactArgs(1), createFeeds)
	create.Flags().String("user", "", "id of the reader")
	create.Flags().String("each", "", "file with the id of a reader in each line")
	create.Flags().String("space", "", "content space of the feed and its enclosures")
	create.Flags().String("site", "", "site of the feed (default: the one with the vendor's name)")
	create.Flags().String("email", "", "verified e-mail address of the reader, if their grants name it")
	subcommand(cmd, "list <user>", "Lists the feeds of a reader", cobra.ExactArgs(1), listFeeds)
	revoke := subcommand(cmd, "revoke [<id>]", "Revokes a feed, or with --user all of a reader: the next request with its URL is refused", cobra.MaximumNArgs(1), revokeFeeds)
	revoke.Flags().String("user", "", "id of the reader all of whose feeds are revoked")
}

func createFeeds(c *call) error {
	feed := admin.FeedBody{UserID: c.text("user"), Site: c.text("site"), ContentSpace: c.text("space"), URL: c.args[0], Email: c.text("email")}
	each := c.text("each")
	switch {
	case feed.ContentSpace == "":
		return errors.New("name the content space of the feed by --space, as its rule does by content_space")
	case (each == "") == (feed.UserID == ""):
		return errors.New("name either a reader, by --user, or a file with the ids of readers, by --each")
	case each == "":
		return run(c, http.MethodPost, feedsPath, feed, func(made admin.FeedLink) string { return line("%s", made.URL) })
	case feed.Email != "":
		return errors.New("--email is of one reader: leave it out with --each")
	}
	body := &payload{kind: "application/x-ndjson", open: func() io.ReadCloser {
		reader, writer := io.Pipe()
		go func() { _ = writer.CloseWithError(writeFeeds(writer, each, feed)) }()
		return reader
	}}
	response, err := c.upload(feedsPath+"/batch", nil, body, "application/x-ndjson")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return c.printFeeds(response.Body)
}

// writeFeeds writes the feed of each reader in a file.
func writeFeeds(out io.Writer, file string, feed admin.FeedBody) error {
	in, err := os.Open(file) //nolint:gosec // the caller names it
	if err != nil {
		return err
	}
	defer in.Close()
	encoder := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if feed.UserID = strings.TrimSpace(lines.Text()); feed.UserID == "" {
			continue
		}
		if err := encoder.Encode(&feed); err != nil {
			return err
		}
	}
	return lines.Err()
}

// printFeeds prints the readers and the URLs of a stream of feeds, separated by a tab.
func (c *call) printFeeds(in io.Reader) error {
	decoder := json.NewDecoder(in)
	out := bufio.NewWriter(c.out)
	for {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			return out.Flush()
		} else if err != nil {
			return errors.Join(out.Flush(), fmt.Errorf("the server's answer is incomplete: run the command again, it returns the same URLs: %w", err))
		}
		if c.json {
			fmt.Fprintf(out, "%s\n", raw)
			continue
		}
		var made admin.FeedLink
		if err := json.Unmarshal(raw, &made); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s\n", made.UserID, made.URL)
	}
}

func listFeeds(c *call) error {
	var feeds []admin.Feed
	if err := c.request(http.MethodGet, feedsPath, url.Values{"userId": {c.args[0]}}, nil, &feeds); err != nil {
		return err
	}
	return c.print(feeds, table("ID\tSITE\tCONTENT SPACE\tCREATED", feeds, func(f admin.Feed) []string {
		return []string{f.ID, f.Site, f.ContentSpace, f.CreatedAt.Format(time.RFC3339)}
	}))
}

func revokeFeeds(c *call) error {
	user := c.text("user")
	if (user == "") == (len(c.args) == 0) {
		return errors.New("name either a feed, by its id in `gatefold feed list`, or a reader by --user")
	}
	if user == "" {
		return c.end(c.record(feedsPath), nil, "id", "revoked", "revoked %s")
	}
	return run(c, http.MethodPost, feedsPath+"/end", admin.SessionsEnd{UserID: user}, func(done admin.SessionsEnded) string {
		return line("revoked %d feeds of %s", done.Ended, user)
	})
}
