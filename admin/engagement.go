package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// activeWithin is the period in which a reader with a visit is active.
	activeWithin = 24 * time.Hour
	// recentWithin is the period of the list of recent readers.
	recentWithin = 7 * 24 * time.Hour
)

// engagement is the number of readers by engagement tag.
type engagement struct {
	ActiveUsers    int        `json:"active_users" doc:"Readers seen within a day; 100000 means that many or more."`
	Authentication string     `json:"authentication" enum:"enabled" doc:"Always enabled: readers log in elsewhere."`
	Engagements    []tagCount `json:"engagements" doc:"The tags in order, limited by page and page_size."`
}

type tagCount struct {
	Slug  string `json:"slug" doc:"The engagement tag."`
	Count int64  `json:"count" doc:"The number of readers who ever visited a page with this tag." example:"1"`
}

// userEngagement is a reader with the tags of the pages that they visited.
type userEngagement struct {
	Username    string   `json:"username" doc:"The reader's user id." example:"user-123"`
	Engagements []string `json:"engagements" doc:"The engagement tags in order."`
}

// recentUser is a reader with a recent visit.
type recentUser struct {
	Slug          string    `json:"slug" doc:"The reader's user id."`
	PrintableName string    `json:"printable_name" doc:"The same as slug: names of readers are not stored."`
	Description   string    `json:"descr" doc:"Always recently active."`
	CreatedAt     time.Time `json:"created_at" doc:"The time of the last visit, to five minutes." example:"2027-01-01T09:30:00Z"`
	Type          string    `json:"type" enum:"user" doc:"The kind of record."`
}

func (a *api) registerEngagement() {
	tags := []string{"Proxy"}
	path := proxyPath + "/engagement"
	register(a, huma.Operation{
		OperationID: "get-engagement", Method: http.MethodGet, Path: path, Tags: tags, Security: needs("proxy:read"),
		Summary: "Counts readers by engagement tag",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[engagement], error) {
		return a.engagement(ctx, c, in.site(c.Vendor), in.PageNumber)
	})
	register(a, huma.Operation{
		OperationID: "list-engaged-users", Method: http.MethodGet, Path: path + "/users", Tags: tags, Security: needs("proxy:read"),
		Summary:     "Lists readers with their engagement tags, most recent first",
		Description: "Readers without a visit for 90 days are omitted.",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[NumberedPage[userEngagement]], error) {
		return listVisitors(ctx, c, in.site(c.Vendor), in.PageNumber, store.VisitorPage{Tags: true}, func(v store.Visitor) userEngagement {
			return userEngagement{Username: v.UserID, Engagements: orEmpty(v.Tags)}
		})
	})
	register(a, huma.Operation{
		OperationID: "list-recent-users", Method: http.MethodGet, Path: proxyPath + "/recent", Tags: tags, Security: needs("proxy:read"),
		Summary: "Lists the readers of the last week, most recent first",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[NumberedPage[recentUser]], error) {
		since := store.VisitorPage{Since: a.Now().Add(-recentWithin)}
		return listVisitors(ctx, c, in.site(c.Vendor), in.PageNumber, since, func(v store.Visitor) recentUser {
			return recentUser{Slug: v.UserID, PrintableName: v.UserID, Description: "recently active", CreatedAt: v.Seen, Type: "user"}
		})
	})
}

func (a *api) engagement(ctx context.Context, c *call, site string, page PageNumber) (*body[engagement], error) {
	_, active, err := c.store.Visitors(ctx, c.Vendor, site, store.VisitorPage{Since: a.Now().Add(-activeWithin)})
	if err != nil {
		return nil, err
	}
	list, err := c.store.Engagements(ctx, c.Vendor, site)
	if err != nil {
		return nil, err
	}
	list, err = pageOf(page, list)
	return &body[engagement]{Body: engagement{
		ActiveUsers: active, Authentication: "enabled",
		Engagements: wireAll(list, func(tag store.Engagement) tagCount { return tagCount{Slug: tag.Tag, Count: tag.Count} }),
	}}, err
}

// listVisitors returns a numbered page of readers on the wire.
func listVisitors[T any](
	ctx context.Context, c *call, site string, number PageNumber, query store.VisitorPage, wire func(store.Visitor) T,
) (*body[NumberedPage[T]], error) {
	query.Skip, query.Limit = number.first(), number.PageSize
	list, count, err := c.store.Visitors(ctx, c.Vendor, site, query)
	if err == nil {
		err = number.check(count)
	}
	return &body[NumberedPage[T]]{Body: newPage(c, number, count, wireAll(list, wire))}, err
}

func orEmpty(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}
