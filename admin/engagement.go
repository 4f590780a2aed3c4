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
	ActiveUsers    int        `json:"active_users" doc:"Readers who were there within a day; 100000 stands for that many or more."`
	Authentication string     `json:"authentication" enum:"enabled" doc:"Readers log in elsewhere, and nothing here keeps them from it."`
	Engagements    []tagCount `json:"engagements" doc:"The tags in their order; page and page_size cut a part out."`
}

type tagCount struct {
	Slug  string `json:"slug" doc:"The engagement tag."`
	Count int64  `json:"count" doc:"How many readers ever had to do with it."`
}

// userEngagement is what one reader had to do with.
type userEngagement struct {
	Username    string   `json:"username"`
	Engagements []string `json:"engagements" doc:"The engagement tags in their order."`
}

// recentUser is a reader who was there lately.
type recentUser struct {
	Slug          string    `json:"slug" doc:"The reader's id."`
	PrintableName string    `json:"printable_name" doc:"The same: her name is not known here."`
	Description   string    `json:"descr" doc:"What she did."`
	CreatedAt     time.Time `json:"created_at" doc:"When she was last there, to five minutes."`
	Type          string    `json:"type" enum:"user"`
}

func (a *api) registerEngagement() {
	tags := []string{"Proxy"}
	path := proxyPath + "/engagement"
	register(a, huma.Operation{
		OperationID: "get-engagement", Method: http.MethodGet, Path: path, Tags: tags, Security: needs("proxy:read"),
		Summary: "Counts the readers who had to do with each engagement tag",
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
		Summary:     "Lists readers, the last one first, with what they had to do with",
		Description: "A reader who did not come for 90 days is not listed.",
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
		Summary: "Lists the readers who were there within a week, the last one first",
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
