package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
)

const purgePath = "/management/pages/purge"

// PurgeBody names stored pages.
type PurgeBody struct {
	URLs     []string `json:"urls,omitempty" maxItems:"500" doc:"URLs or paths of pages. The query is not compared: all variants of the path are purged, on all hosts of the site." example:"[\"https://news.example.com/articles/hello\"]"`
	Prefixes []string `json:"prefixes,omitempty" maxItems:"500" doc:"URLs or paths: the page itself, and all pages below it." example:"[\"/articles\"]"`
	Tags     []string `json:"tags,omitempty" maxItems:"500" doc:"Tags that the origin gave to pages, in Cache-Groups, Surrogate-Key or Cache-Tag." example:"[\"post-17\"]"`
	All      bool     `json:"all,omitempty" doc:"Purges all pages of the site."`
	Soft     bool     `json:"soft,omitempty" doc:"Makes the pages stale instead: they are used while the origin fails, and are asked for again otherwise."`
}

// Purged is what was purged.
type Purged struct {
	Site string `json:"site" doc:"The site."`
	PurgeBody
}

// registerPages adds the purge of stored pages.
func (a *api) registerPages() {
	register(a, huma.Operation{
		OperationID: "purge-pages", Method: http.MethodPost, Path: purgePath, Tags: []string{"Proxy"}, Security: needs("cache:write"),
		Summary: "Purges stored pages of a site on every node",
		Description: "When the call returns, this node does not use the pages any more; other nodes follow as with a revocation. Pages that are just being fetched are not stored. " +
			"A purge of what is not stored succeeds.",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		Body PurgeBody
	},
	) (*body[Purged], error) {
		site := in.site(c.Vendor)
		purge := policy.PagePurge{Site: site, All: in.Body.All, Tags: in.Body.Tags, Soft: in.Body.Soft}
		var err error
		if purge.Paths, err = purgedPaths("body.urls", in.Body.URLs); err != nil {
			return nil, err
		}
		if purge.Prefixes, err = purgedPaths("body.prefixes", in.Body.Prefixes); err != nil {
			return nil, err
		}
		if err := c.store.PurgePages(ctx, c.Vendor, &purge); err != nil {
			return nil, err
		}
		return &body[Purged]{Body: Purged{site, in.Body}}, nil
	})
}

// purgedPaths returns the escaped paths of URLs or paths.
func purgedPaths(location string, texts []string) ([]string, error) {
	paths := make([]string, 0, len(texts))
	for _, text := range texts {
		address, err := url.Parse(text)
		if err != nil || !isPage(address) {
			return nil, invalidAt(location, notAPage)
		}
		paths = append(paths, address.EscapedPath())
	}
	return paths, nil
}
