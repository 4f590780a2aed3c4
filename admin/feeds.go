package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const feedsPath = "/management/feeds"

// Feed is the feed of a reader, without its URL, which create-feed returns again.
type Feed struct {
	ID           string    `json:"id" doc:"The feed's id: a hash, which is no credential." example:"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"`
	UserID       string    `json:"userId" doc:"The reader for whom the feed's URL speaks." example:"reader-1001"`
	Site         string    `json:"site" doc:"The site of the feed." example:"news"`
	ContentSpace string    `json:"contentSpace" doc:"The content space whose pages the URL opens." example:"podcasts"`
	Email        string    `json:"email,omitempty" doc:"The verified e-mail address of the reader." example:"reader@example.com"`
	CreatedAt    time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
}

// FeedLink is a feed with its URL.
type FeedLink struct {
	Feed
	URL      string `json:"url" doc:"The URL of the feed for this reader." example:"https://news.example.com/.gatefold/l/gff_…/podcasts/daily/feed.xml"`
	Password string `json:"password" doc:"For programs that ask for a user and a password, beside the plain URL: the password; any user does." example:"gff_…"`
}

// FeedBody names a feed of a reader.
type FeedBody struct {
	UserID          string `json:"userId" minLength:"1" maxLength:"255" doc:"The reader." example:"reader-1001"`
	Site            string `json:"site,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site of the feed. Default: the one with the vendor's name." example:"news"`
	ContentSpace    string `json:"contentSpace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The content space of the feed and its enclosures, as their rules name it." example:"podcasts"`
	URL             string `json:"url" minLength:"1" maxLength:"2048" doc:"The URL of the feed, without a key." example:"https://news.example.com/podcasts/daily/feed.xml"`
	Email           string `json:"email,omitempty" maxLength:"254" doc:"The reader's e-mail address, if it is verified: their grants may name it." example:"reader@example.com"`
	PublisherUserID string `json:"publisherUserId,omitempty" maxLength:"255" doc:"The publisher's own id of the reader: their grants may name it." example:"4711"`
}

func wireFeed(k store.ReaderKey) Feed {
	return Feed{ID: k.ID, UserID: k.UserID, Site: k.Site, ContentSpace: k.Space, Email: k.Email, CreatedAt: k.CreatedAt}
}

// check returns the problem of a feed that cannot be made, or nil.
func (f *FeedBody) check() error {
	parsed, err := url.Parse(f.URL)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.User != nil || parsed.Fragment != "" {
		return invalid("url", "must be an absolute http or https URL without a user and a fragment")
	}
	return nil
}

// feedMint makes the feeds of a vendor.
type feedMint struct {
	api    *api
	vendor string
	keys   map[string]*policy.ReaderKeys // by site
}

func (a *api) newFeedMint(vendor string) *feedMint {
	return &feedMint{a, vendor, map[string]*policy.ReaderKeys{}}
}

// record returns what is stored of a feed.
func (m *feedMint) record(f *FeedBody) store.ReaderKey {
	site := f.Site
	if site == "" {
		site = m.vendor
	}
	return store.ReaderKey{Site: site, Space: f.ContentSpace, UserID: f.UserID, Email: f.Email, PublisherUserID: f.PublisherUserID}
}

// prepare makes the keys of a site, before derived is called for it.
func (m *feedMint) prepare(site string) (err error) {
	if m.keys[site] == nil {
		m.keys[site], err = m.api.Keyring.ReaderKeys(policy.PrefixFeed, m.vendor, site)
	}
	return err
}

func (m *feedMint) derived(k *store.ReaderKey) (key, id string) {
	return m.keys[k.Site].Derived(k.FeedTexts()...)
}

// put stores feeds, at most store.MaxFeedBatch of them, and returns them with their URLs.
func (m *feedMint) put(ctx context.Context, w store.Writer, feeds []FeedBody) ([]FeedLink, error) {
	records := make([]store.ReaderKey, len(feeds))
	for i := range feeds {
		records[i] = m.record(&feeds[i])
		if err := m.prepare(records[i].Site); err != nil {
			return nil, err
		}
	}
	stored, err := w.PutFeeds(ctx, m.vendor, records, func(k *store.ReaderKey) string {
		_, id := m.derived(k)
		return id
	})
	if err != nil {
		return nil, err
	}
	links := make([]FeedLink, len(stored))
	for i := range stored {
		key, _ := m.derived(&stored[i])
		links[i] = FeedLink{Feed: wireFeed(stored[i]), URL: keys.InsertToken(feeds[i].URL, key), Password: key} //nolint:gosec // a record for each feed
	}
	return links, nil
}

func (a *api) registerFeeds() {
	tags := []string{"Readers"}
	register(a, huma.Operation{
		OperationID: "list-feeds", Method: http.MethodGet, Path: feedsPath, Tags: tags, Security: needs("sessions:read"),
		Summary: "Lists the feeds of a reader, the oldest first",
	}, func(ctx context.Context, c *call, in *struct {
		UserID string `query:"userId" required:"true" minLength:"1" maxLength:"255" doc:"The reader." example:"reader-1001"`
	},
	) (*body[[]Feed], error) {
		found, err := a.Store.ReaderKeysOf(ctx, c.Vendor, in.UserID, policy.PrefixFeed)
		return &body[[]Feed]{Body: wireAll(found, wireFeed)}, err
	})
	register(a, huma.Operation{
		OperationID: "create-feed", Method: http.MethodPost, Path: feedsPath, Tags: tags, Security: needs("sessions:write"),
		Summary: "Makes the feed of a reader, or returns its URL again", DefaultStatus: http.StatusCreated,
		Description: "The URL speaks for the reader in one content space, for programs that keep no cookies. It has no end of its own: it opens what the reader's grants and roles open. " +
			"Until the feed is revoked, the same call returns the same URL.",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *body[FeedBody]) (*created[FeedLink], error) {
		if err := in.Body.check(); err != nil {
			return nil, err
		}
		links, err := a.newFeedMint(c.Vendor).put(ctx, c.store, []FeedBody{in.Body})
		if err != nil {
			return nil, err
		}
		return newCreated(feedsPath, links[0].ID, links[0], nil)
	})
	register(a, huma.Operation{
		OperationID: "revoke-feed", Method: http.MethodDelete, Path: feedsPath + "/{id}", Tags: tags, Security: needs("sessions:write"),
		Summary: "Revokes a feed: the next request with its URL is refused, on every node", DefaultStatus: http.StatusNoContent,
		Description: "A feed that is made for the reader later has another URL.",
	}, func(ctx context.Context, c *call, in *struct {
		ID string `path:"id" maxLength:"64" doc:"The feed's id." example:"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"`
	},
	) (*empty, error) {
		return &empty{}, c.store.RevokeReaderKey(ctx, c.Vendor, policy.PrefixFeed, "", in.ID)
	})
	register(a, huma.Operation{
		OperationID: "revoke-feeds", Method: http.MethodPost, Path: feedsPath + "/end", Tags: tags, Security: needs("sessions:write"),
		Summary: "Revokes all feeds of a reader", DefaultStatus: http.StatusOK,
	}, func(ctx context.Context, c *call, in *body[SessionsEnd]) (*body[SessionsEnded], error) {
		revoked, err := c.store.RevokeReaderKeysOf(ctx, c.Vendor, policy.PrefixFeed, in.Body.UserID)
		return &body[SessionsEnded]{Body: SessionsEnded{Ended: revoked}}, err
	})
	a.registerFeedStream()
}
