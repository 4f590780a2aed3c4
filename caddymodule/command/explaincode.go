package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatefold/gatefold/admin"
)

const decisionsPath = "/management/decisions/"

// explainCode explains the refusal with a support code.
func explainCode(c *call) error {
	if len(c.args) > 0 {
		return errors.New("explain: give a URL or --code, not both")
	}
	code := strings.TrimSpace(c.text("code"))
	if code == "" {
		return errors.New("explain: --code is empty: give the support code of a refusal, such as 7KQ2M4X9")
	}
	query := url.Values{}
	if email := c.text("email"); email != "" {
		query.Set("email", email)
	}
	var refused admin.RefusedRequest
	if err := c.request(http.MethodGet, decisionsPath+url.PathEscape(code), query, nil, &refused); err != nil {
		return err
	}
	text, err := refusedText(&refused)
	if err != nil {
		return err
	}
	return c.print(refused, text)
}

// refusedText returns a refusal as text: what was asked for, then, and now.
func refusedText(r *admin.RefusedRequest) (string, error) {
	var text strings.Builder
	add := func(step, format string, args ...any) {
		fmt.Fprintf(&text, "%-9s %s", step, line(format, args...))
	}
	query := ""
	if len(r.Query) > 0 {
		query = ", with the parameters " + strings.Join(r.Query, ", ")
	}
	add("code", "%s, kept until %s", r.Code, r.ExpiresAt.Format(time.RFC3339))
	add("refused", "%s: %s, status %d", r.RefusedAt.Format(time.RFC3339), r.Reason, r.Status)
	add("request", "%s %s%s%s", r.Method, r.Host, r.Path, query)
	add("reader", "%s", cmp.Or(r.UserID, "anonymous"))
	if r.RequestID != "" {
		add("log", "request_id %s", r.RequestID)
	}
	for _, part := range []struct {
		title   string
		encoded json.RawMessage
		none    string
	}{
		{"then", r.Then, "what was decided then was not kept: it could not be read, or was too large"},
		{"now", r.Now, "no running site serves this host now"},
	} {
		fmt.Fprintf(&text, "\n%s:\n", part.title)
		if len(part.encoded) == 0 {
			text.WriteString(part.none + "\n")
			continue
		}
		var explained admin.Explanation
		if err := json.Unmarshal(part.encoded, &explained); err != nil {
			return "", fmt.Errorf("the answer about %s cannot be read: %w", part.title, err)
		}
		WriteExplanation(&text, &explained)
	}
	if len(r.LinkNow) > 0 {
		var link admin.ExplainedLink
		if err := json.Unmarshal(r.LinkNow, &link); err != nil {
			return "", fmt.Errorf("the answer about the link cannot be read: %w", err)
		}
		writeLink(&link, add)
	}
	if r.Mailed {
		add("note", "the reader had a verified e-mail address, which is not kept: repeat with --email, so that grants by it count now")
	}
	return text.String(), nil
}
