package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// A listener closes their app while the file is read from a slow disk. Nothing of it was sent,
// and nothing is counted; the next request gets the page.
func TestClientThatIsGoneSpendsNoUse(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	handler := &Handler{Rules: []ruleconfig.Rule{{Path: "/articles/{publisherContentId}", Operator: "entitled", Arguments: policy.Arguments{"sku": []byte(`["premium"]`)}}}}
	ctx, stop := caddy.NewContext(caddy.ActiveContext())
	defer stop()
	if err := handler.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	ask := func(gone bool, w client) (string, error) {
		client, leave := context.WithCancel(t.Context())
		defer leave()
		r := caddyhttp.PrepareRequest(httptest.NewRequestWithContext(client, http.MethodGet, link, nil), caddy.NewReplacer(), w, &caddyhttp.Server{})
		r.Header.Set("User-Agent", "podcasts/1")
		err := handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			if gone {
				leave()
			}
			_, err := w.Write([]byte("the file"))
			return err
		}))
		return w.got(), err
	}
	if body, err := ask(true, recorder{httptest.NewRecorder()}); err == nil || body != "" {
		t.Errorf("%q, %v", body, err)
	}
	s.wantUses(id, 0, "the client is gone")
	// The connection breaks when the use is counted already.
	if body, err := ask(false, broken{httptest.NewRecorder()}); err == nil || body != "" {
		t.Errorf("%q, %v", body, err)
	}
	s.wantUses(id, 0, "nothing could be written")
	if body, err := ask(false, recorder{httptest.NewRecorder()}); err != nil || body != "the file" {
		t.Errorf("%q, %v", body, err)
	}
	s.wantUses(id, 1, "the client is there")
}

// A reader closes the page while the gate asks the store who they are. Nothing is wrong with
// the store, and the log has no error that an operator would look for.
func TestClientThatLeftIsNoErrorOfTheStore(t *testing.T) {
	s := newTestSite(t, standardRules)
	handler := &Handler{Rules: []ruleconfig.Rule{{Path: "/articles/{publisherContentId}", Operator: "entitled", Arguments: policy.Arguments{"sku": []byte(`["premium"]`)}}}}
	ctx, stop := caddy.NewContext(caddy.ActiveContext())
	defer stop()
	if err := handler.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	client, leave := context.WithCancel(t.Context())
	leave()
	w := httptest.NewRecorder()
	r := caddyhttp.PrepareRequest(httptest.NewRequestWithContext(client, http.MethodGet, "/articles/hello", nil), caddy.NewReplacer(), w, &caddyhttp.Server{})
	r.Header.Set("Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "leaves"}))
	if err := handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the page was opened")
		return nil
	})); err != nil {
		t.Error(err)
	}
	entries := slices.DeleteFunc(logged.entries(t, ""), func(e map[string]any) bool { return e["msg"] != "denied" })
	if len(entries) != 1 || entries[0]["level"] != "info" || !strings.Contains(fmt.Sprint(entries[0]["error"]), context.Canceled.Error()) {
		t.Errorf("the log has %v", entries)
	}
}

// A site admits encoded slashes, so that a path is judged as two articles. A reader has a gift
// for each, and neither is counted yet: one request would count one of them, and deliver both.
func TestPathOfTwoLinksSpendsNoSingleUse(t *testing.T) {
	s := newTestSite(t, "paths {\n\t\t\tallow encoded_slash\n\t\t}\n\t\trule /articles/{publisherContentId} entitled premium\n\t\trule / any")
	outer, outerID := s.link(keys.LinkClaims{PublisherContentID: "a", MaxUses: 1})
	inner, innerID := s.link(keys.LinkClaims{PublisherContentID: "a/b", MaxUses: 1})
	_, token, _ := strings.Cut(outer, "?")
	pending := s.get("/articles/a?"+token, navigation...).linkCookie()
	_, token, _ = strings.Cut(inner, "?")
	s.get("/articles/a%2Fb?"+token, "Cookie", pending).denied(http.StatusBadRequest, "bad_path")
	s.origin.WantNone(t)
	s.wantUses(outerID, 0, "two uses")
	s.wantUses(innerID, 0, "two uses")
	counted := s.get("/articles/a", append(navigation, "Cookie", pending)...).page().linkCookie()
	s.get("/articles/a%2Fb?"+token, "Cookie", counted).page()
	s.wantUses(outerID, 1, "one after the other")
	s.wantUses(innerID, 1, "one after the other")
}

// client is a recorder that gets what is written, or one whose connection is broken.
type client interface {
	http.ResponseWriter
	got() string
}

type (
	recorder struct{ *httptest.ResponseRecorder }
	broken   struct{ *httptest.ResponseRecorder }
)

func (r recorder) got() string { return r.Body.String() }

func (b broken) got() string { return b.Body.String() }

func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }
