package command

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gatefold/gatefold/admin"
)

// maxShownUses bounds the entries of a link's history that `link show` prints.
const maxShownUses = 1000

// shownLink is the answer of `link show`.
type shownLink struct {
	admin.SignedLink
	History []admin.LinkUse `json:"history"`
}

// showLink shows a link and its history, the newest entry first.
func showLink(c *call) error {
	var link shownLink
	if err := c.request(http.MethodGet, c.record(linksPath), nil, nil, &link.SignedLink); err != nil {
		return err
	}
	history, more, err := find[admin.LinkUse](c, c.record("/management/links")+"/uses", url.Values{}, maxShownUses)
	if err != nil {
		return err
	}
	if more {
		c.warn(fmt.Sprintf("the history has more than %d entries, of which these are some: GET /management/links/{id}/uses has all", maxShownUses))
	}
	slices.SortStableFunc(history, func(a, b admin.LinkUse) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID)) })
	link.History = history
	text := linkFields(&link.SignedLink)
	if len(history) > 0 {
		text += "\n" + table("TIME\tWHAT\tREASON\tCOUNTRY\tPROGRAM\tREQUESTS", history, func(u admin.LinkUse) []string {
			return []string{linkUseTime(&u), u.Kind, cmp.Or(u.Reason, "-"), cmp.Or(u.Country, "-"), cmp.Or(u.AgentClass, "-"), strconv.FormatInt(u.Count, 10)}
		})
	}
	return c.print(link, text)
}

// linkUseTime returns when a use was, or from when to when several refusals were.
func linkUseTime(u *admin.LinkUse) string {
	at := u.At.Format(time.RFC3339)
	if since := u.Since.Format(time.RFC3339); since != at {
		return since + " to " + at
	}
	return at
}

func linkFields(l *admin.SignedLink) string {
	rows := [][]string{
		{"id", l.TokenID},
		{"status", l.Status},
		{"opens", linkTarget(l)},
		{"uses", linkUses(l)},
		{"created", l.CreatedAt.Format(time.RFC3339)},
		{"expires", l.ExpiresAt.Format(time.RFC3339)},
	}
	rows = append(rows, limitRows(l)...)
	if l.UserID != "" {
		rows = append(rows, []string{"user", l.UserID})
	}
	if l.RevokedAt != nil {
		rows = append(rows, []string{"revoked", l.RevokedAt.Format(time.RFC3339)})
	}
	if l.RevokedFor == "leak" {
		rows = append(rows, []string{"quarantined", "it was opened from more networks than link_networks allows; `gatefold link restore " + l.TokenID + "` lifts it"})
	}
	if len(l.Meta) > 0 {
		rows = append(rows, []string{"meta", string(l.Meta)})
	}
	return fields(rows)
}
