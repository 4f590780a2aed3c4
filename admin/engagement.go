package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// activeWithin is how lately a reader was there who counts as active.
	activeWithin = 24 * time.Hour
	// recentWithin is how far the list of recent readers goes back.
	recentWithin = 7 * 24 * time.Hour
)

// engagement is what readers had to do with.
type engagement struct {
	ActiveUsers    int        `json:"active_users" doc:"Readers seen within a day; 100000 means that many or more."`
	Authentication string     `json:"authentication" enum:"enabled" doc:"Always enabled: readers log in elsewhere."`
	Engagements    []tagCount `json:"engagements" doc:"The tags in order, limited by page and page_size."`
}

type tagCount struct {
	Slug  string `json:"slug" doc:"The engagement tag."`
	Count int64  `json:"count" doc:"The number of readers who ever visited a page with this tag." example:"1"`
}

// userEngagement is what one reader had to do with.
type userEngagement struct {
	Username    string   `json:"username" doc:"The reader's user id." example:"user-123"`
	Engagements []string `json:"engagements" doc:"The engagement tags in order."`
}

// recentUser is a reader who was there lately.
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
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[engagement], error) {
		answer, err := a.engagement(ctx, vendor, in.site(vendor), in.PageNumber)
		return &body[engagement]{Body: answer}, err
	})
	register(a, huma.Operation{
		OperationID: "list-engaged-users", Method: http.MethodGet, Path: path + "/users", Tags: tags, Security: needs("proxy:read"),
		Summary:     "Lists readers with their engagement tags, most recent first",
		Description: "Readers without a visit for 90 days are omitted.",
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[NumberedPage[userEngagement]], error) {
		visitors, page, err := visitors[userEngagement](ctx, a, vendor, in.site(vendor), in.PageNumber, store.VisitorPage{Tags: true})
		for _, v := range visitors {
			page.Results = append(page.Results, userEngagement{Username: v.UserID, Engagements: orEmpty(v.Tags)})
		}
		return &body[NumberedPage[userEngagement]]{Body: page}, err
	})
	register(a, huma.Operation{
		OperationID: "list-recent-users", Method: http.MethodGet, Path: proxyPath + "/recent", Tags: tags, Security: needs("proxy:read"),
		Summary: "Lists the readers of the last week, most recent first",
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[NumberedPage[recentUser]], error) {
		since := store.VisitorPage{Since: a.Now().Add(-recentWithin)}
		visitors, page, err := visitors[recentUser](ctx, a, vendor, in.site(vendor), in.PageNumber, since)
		for _, v := range visitors {
			page.Results = append(page.Results, recentUser{
				Slug: v.UserID, PrintableName: v.UserID, Description: "recently active", CreatedAt: v.Seen, Type: "user",
			})
		}
		return &body[NumberedPage[recentUser]]{Body: page}, err
	})
}

func (a *api) engagement(ctx context.Context, vendor, site string, page PageNumber) (engagement, error) {
	_, active, err := a.Store.Visitors(ctx, vendor, site, store.VisitorPage{Since: a.Now().Add(-activeWithin)})
	if err != nil {
		return engagement{}, err
	}
	list, err := a.Store.Engagements(ctx, vendor, site)
	if err != nil {
		return engagement{}, err
	}
	if err := page.check(len(list)); err != nil {
		return engagement{}, err
	}
	answer := engagement{ActiveUsers: active, Authentication: "enabled", Engagements: []tagCount{}}
	first := page.first()
	for _, tag := range list[first:min(first+page.PageSize, len(list))] {
		answer.Engagements = append(answer.Engagements, tagCount{Slug: tag.Tag, Count: tag.Count})
	}
	return answer, nil
}

// visitors returns the readers of a numbered page, and the page without them.
func visitors[T any](
	ctx context.Context, a *api, vendor, site string, number PageNumber, wanted store.VisitorPage,
) ([]store.Visitor, NumberedPage[T], error) {
	wanted.Skip, wanted.Limit = number.first(), number.PageSize
	list, count, err := a.Store.Visitors(ctx, vendor, site, wanted)
	if err == nil {
		err = number.check(count)
	}
	return list, newPage[T](ctx, number, count), err
}

func orEmpty(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}
