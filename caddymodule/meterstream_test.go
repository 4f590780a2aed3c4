package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// setMeter gives the articles of a stream site a meter, or none for a limit of 0.
func (s *testSite) setMeter(limit int) {
	s.Helper()
	allow := policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium"]`)}}
	if limit > 0 {
		allow = policy.Allow{Operator: "metered", Arguments: policy.Arguments{"meter": json.RawMessage(fmt.Sprintf(`{"name":"registered","limit":%d,"per":"day"}`, limit))}}
	}
	s.setRules(
		policy.Rule{Rank: 1, Path: "/articles/{publisherContentId}", Forward: true, Allow: allow},
		policy.Rule{Rank: 2, Path: "/", Forward: true, Allow: policy.Allow{Operator: "any"}},
	)
}

// goOn checks that streams are decided again and not cut.
func (s *testSite) goOn(what string, streams map[string]chan struct{}) {
	s.Helper()
	<-time.After(3 * watchStreams)
	for name, ended := range streams {
		select {
		case <-ended:
			s.Errorf("%s: the stream of %s is cut", what, name)
		default:
		}
	}
}

// Events, a WebSocket and a download by a meter are one view each, of a reader and of a stranger.
// They go on when no view is left, when the limit is lowered and when the period ends, since
// their view is spent; without the meter they are cut.
func TestStreamsByAMeter(t *testing.T) {
	keepClock(t)
	s := newStreamSite(t)
	s.setMeter(3)
	bearer := s.bearer("ann")
	cookieOf := func(got answer) string {
		t.Helper()
		if len(got.Cookies()) != 1 {
			t.Fatalf("%d sets %v", got.StatusCode, got.Cookies())
		}
		return got.Cookies()[0].Name + "=" + got.Cookies()[0].Value
	}
	streams := map[string]chan struct{}{}
	for i, kind := range []string{"events", "tunnel", "download"} {
		_, streams["ann, "+kind] = s.open("/articles/"+kind, bearer...)
		if views := s.viewsOf("ann"); len(views) != i+1 {
			t.Fatalf("%s: %d views", kind, len(views))
		}
		stranger := cookieOf(s.get("/articles/" + kind))
		_, streams["a stranger, "+kind] = s.open("/articles/"+kind, "Cookie", stranger)
	}
	// A stranger who has read another page before: their stream is the second view.
	first, response, _ := s.openAnswered("/articles/first", "Cookie", cookieOf(s.get("/articles/first")))
	first.Close()
	_, streams["a stranger, second"] = s.open("/articles/second", "Cookie", cookieOf(answer{Response: response}))
	s.waitFor("the streams are watched", func() bool { clock.Advance(2 * time.Second); return openStreams.count() >= 7 })
	s.get("/articles/more", bearer...).denied(http.StatusForbidden, "meter_used_up")
	s.goOn("nothing is left", streams)
	s.setMeter(1)
	s.goOn("the limit is lower", streams)
	clock.Advance(25 * time.Hour)
	s.goOn("the next day", streams)
	if views := s.viewsOf("ann"); len(views) != 3 {
		t.Errorf("%d views: an open stream has spent one", len(views))
	}
	s.setMeter(0)
	for name, ended := range streams {
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Errorf("without the meter the stream of %s goes on", name)
		}
	}
}
