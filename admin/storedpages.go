package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// PageCaches reads the page caches of this node. It is safe for concurrent use.
type PageCaches interface {
	// Stats returns the numbers of a site. Node is set for the operator only.
	Stats(vendor, site string, operator bool) PageStats
	// Stored returns the stored pages of a URL or a path, at most MaxStoredPages. It returns
	// the error of the context.
	Stored(ctx context.Context, vendor, site string, page *url.URL) (StoredPages, error)
}

// MaxStoredPages bounds the stored pages in a response.
const MaxStoredPages = 100

// PageStats are the numbers of the page cache of this node.
type PageStats struct {
	Site  string          `json:"site" doc:"The site." example:"acme"`
	Pages int64           `json:"pages" doc:"The stored pages of the site on this node, with all variants." example:"1200"`
	Bytes int64           `json:"bytes" doc:"The memory that they take, in bytes." example:"25165824"`
	Node  []PageCacheNode `json:"node,omitempty" doc:"The caches of this node, with the pages of all sites; for the operator only."`
}

// PageCacheNode is one cache of a node.
type PageCacheNode struct {
	Pages    int64  `json:"pages" doc:"The stored pages."`
	Bytes    int64  `json:"bytes" doc:"The memory that they take, in bytes."`
	MaxBytes int64  `json:"maxBytes" doc:"The bound of the memory, in bytes."`
	Evicted  uint64 `json:"evicted" doc:"Pages that made room for others, since the start of the cache."`
	Refused  uint64 `json:"refused" doc:"Pages that were not stored, because others are asked for more often or for want of memory."`
	Fetches  int    `json:"fetches" doc:"Fetches from the origin that run now."`
	Waiting  int    `json:"waiting" doc:"Requests that wait for one of them."`
	// StaleSince is present while expired pages are used because the origin fails.
	StaleSince *time.Time `json:"staleSince,omitempty" doc:"Since when expired pages are used because the origin fails; absent while none is."`
}

// StoredPages are the stored pages of a URL on this node.
type StoredPages struct {
	Site  string       `json:"site" doc:"The site." example:"acme"`
	Pages []StoredPage `json:"pages" doc:"The stored pages of the URL, one for each variant; at most 100."`
	More  int          `json:"more,omitempty" doc:"The number of omitted ones."`
}

// StoredPage is one stored page.
type StoredPage struct {
	URL        string    `json:"url" doc:"The URL by which the origin was asked." example:"https://news.example.com/articles/hello"`
	Received   string    `json:"received,omitempty" doc:"The path that the client sent, if a handler rewrote it." example:"/hello"`
	Accept     string    `json:"accept" doc:"The value of Accept that it answers." example:"*/*"`
	Encoding   string    `json:"encoding,omitempty" doc:"Its Content-Encoding." example:"gzip"`
	Status     int       `json:"status" doc:"Its status." example:"200"`
	Bytes      int64     `json:"bytes" doc:"The length of its body." example:"16384"`
	StoredAt   time.Time `json:"storedAt" doc:"When it was fetched or confirmed." example:"2027-01-01T09:30:00Z"`
	AgeSeconds int64     `json:"ageSeconds" doc:"Its age." example:"12"`
	Lifetime   int64     `json:"lifetimeSeconds" doc:"The age from which on it has expired." example:"300"`
	State      string    `json:"state" enum:"fresh,expired,purged" doc:"fresh: it is used. expired: it is used once the origin confirmed it. purged: it is not used any more." example:"fresh"`
	WhileFails bool      `json:"usedWhileOriginFails" doc:"Whether it is used now if the origin fails." example:"true"`
}

// registerStoredPages adds what this node has stored.
func (a *api) registerStoredPages() {
	tags := []string{"Proxy"}
	register(a, huma.Operation{
		OperationID: "get-page-stats", Method: http.MethodGet, Path: "/management/pages/stats", Tags: tags, Security: needs("cache:read"),
		Summary: "Counts the stored pages of a site on this node", Description: "Each node has its own pages.",
	}, func(_ context.Context, c *call, in *struct{ SiteParam }) (*body[PageStats], error) {
		site := in.site(c.Vendor)
		if a.Pages == nil {
			return &body[PageStats]{Body: PageStats{Site: site}}, nil
		}
		return &body[PageStats]{Body: a.Pages.Stats(c.Vendor, site, a.Operator)}, nil
	})
	register(a, huma.Operation{
		OperationID: "list-stored-pages", Method: http.MethodGet, Path: "/management/pages/stored", Tags: tags, Security: needs("cache:read"),
		Summary:     "Lists the stored pages of a URL on this node",
		Description: "Each variant of the page is one entry. Each node has its own pages. Nothing is fetched, and no body is returned.",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		URL string `query:"url" required:"true" minLength:"1" maxLength:"8192" doc:"A URL or a path. Without a query, pages with any query are listed; without a host, those of all hosts of the site." example:"https://news.example.com/articles/hello"`
	},
	) (*body[StoredPages], error) {
		page, err := url.Parse(in.URL)
		if err != nil || !isPage(page) {
			return nil, invalidAt("query.url", notAPage)
		}
		site := in.site(c.Vendor)
		if a.Pages == nil {
			return &body[StoredPages]{Body: StoredPages{Site: site, Pages: []StoredPage{}}}, nil
		}
		stored, err := a.Pages.Stored(ctx, c.Vendor, site, page)
		return &body[StoredPages]{Body: stored}, err
	})
}

const notAPage = "holds what is neither a URL nor a path: write https://news.example.com/articles/hello or /articles/hello"

// isPage reports whether a URL is an absolute one or a path.
func isPage(page *url.URL) bool {
	return (strings.HasPrefix(page.EscapedPath(), "/") || page.Path == "" && page.Host != "") && (page.Host == "") == (page.Scheme == "")
}
