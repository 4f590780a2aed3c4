package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// linkHistoryPath has the history of a link. It is at the older path
// /management/signed-links/{id}/uses as well.
const linkHistoryPath = "/management/links/{id}/uses"

// LinkUse is an entry in the history of a link.
type LinkUse struct {
	ID         string    `json:"id" doc:"The id of the entry in this listing." example:"q3JY2hGm0aVdT5sK"`
	Kind       string    `json:"kind" enum:"confirmed,refused,refunded" doc:"confirmed: a use was counted. refused: a reader with the link got no page. refunded: a use that was counted was taken back." example:"confirmed"`
	Reason     string    `json:"reason,omitempty" doc:"Why it was refused, as the code of the denial, or refunded: not_acknowledged if too few replicas had the write, not_delivered if the page was not delivered." example:"link_used_up"`
	At         time.Time `json:"at" doc:"The time of the use, or of the last of several refusals." example:"2027-01-01T09:30:00Z"`
	Since      time.Time `json:"since" doc:"The time of the first of them." example:"2027-01-01T09:30:00Z"`
	Count      int64     `json:"count" minimum:"1" doc:"How many requests the entry counts; 1 for a use." example:"1"`
	Country    string    `json:"country,omitempty" doc:"The country of the client (ISO 3166-1 alpha-2), if the site has link_country_header and the CDN named it." example:"SE"`
	AgentClass string    `json:"agentClass,omitempty" enum:"browser,app,preview,bot,feed_reader,podcast_app,command_line,other" doc:"The class of the program, by its User-Agent; absent for uses counted by earlier versions." example:"browser"`
}

func wireLinkEvent(e store.LinkEvent) LinkUse {
	return LinkUse{
		ID: e.ID, Kind: e.Kind, Reason: e.Reason, At: e.At, Since: e.Since, Count: e.Count, Country: e.Country, AgentClass: e.Agent,
	}
}

func (a *api) registerLinkUses() {
	for _, operation := range [][2]string{{"list-link-uses", linkHistoryPath}, {"list-signed-link-uses", linksPath + "/{id}/uses"}} {
		register(a, huma.Operation{
			OperationID: operation[0], Method: http.MethodGet, Path: operation[1], Tags: []string{"Links"}, Security: needs("links:read"),
			Summary: "Lists the history of a signed link: who used it up",
			Description: "First refusals and refunds, the newest first, then the uses of a counted link, in no particular order. Nothing in it identifies a reader. " +
				"It is kept as long as the link. Refusals of one minute, reason, country and class are one entry; " +
				"of more than 64 entries older ones are counted together. Refusals are written a few seconds later, and at most once a minute by each node.",
		}, a.listLinkUses)
	}
}

func (a *api) listLinkUses(ctx context.Context, c *call, in *struct {
	LinkID
	WholeParams
},
) (*wholeListing[LinkUse], error) {
	if in.From != "" && !store.IsLinkEventID(in.From) {
		return nil, notAPosition()
	}
	return newWholeListing(ctx, a, c, in.WholeParams, byID(func(ctx context.Context, page store.Page) ([]store.LinkEvent, error) {
		return c.store.LinkEvents(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), in.ID, page)
	}, func(e *store.LinkEvent) string { return e.ID }), wireLinkEvent)
}
