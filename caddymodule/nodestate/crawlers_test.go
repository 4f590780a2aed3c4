package nodestate

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A list that was never fetched, is late or does not count any more is reported, and one that
// is fetched for the first time, or failed a moment ago, is not.
func TestCrawlerLists(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	var list CrawlerList
	n := &Node{options: Options{Now: func() time.Time { return now }, CrawlerLists: func() []CrawlerList { return []CrawlerList{list} }}}
	down, day := errors.New("it is down"), 24*time.Hour
	for _, c := range []struct {
		age  time.Duration // negative: never fetched
		err  error
		want string
	}{
		{-1, nil, ""},
		{-1, down, "never fetched"},
		{day, nil, ""},
		{day, down, ""},
		{3 * day, down, "cannot be fetched again"},
		{7 * day, down, "does not count any more"},
		{8 * day, nil, "does not count any more"},
	} {
		list = CrawlerList{Address: "https://search.example/bot.json?key=secret", Err: c.err, CountsFor: 7 * day}
		if c.age >= 0 {
			list.FetchedAt = now.Add(-c.age)
		}
		found := n.crawlerLists()
		switch {
		case c.want == "" && len(found) == 0:
		case len(found) != 1 || c.want == "" || !strings.Contains(found[0].What, c.want) || strings.Contains(found[0].Subject, "secret"):
			t.Errorf("%v old, %v: %+v, want %q", c.age, c.err, found, c.want)
		}
	}
}
