package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

func (f *fakeRecords) MeterViews(_ context.Context, _ string, reader MeterReader) ([]MeterView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.views[reader]), cmp.Or(f.down, f.redeemDown)
}

func (f *fakeRecords) CountView(_ context.Context, _ string, spend MeterSpend) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmp.Or(f.down, f.redeemDown); err != nil {
		return err
	}
	current := slices.DeleteFunc(slices.Clone(f.views[spend.MeterReader]), func(v MeterView) bool { return v.At < spend.Since })
	switch {
	case slices.ContainsFunc(current, func(v MeterView) bool { return v.Content == spend.Content }):
		return nil
	case len(current) >= spend.Limit:
		return ErrMeterUsedUp
	case f.views == nil:
		f.views = map[MeterReader][]MeterView{}
	}
	f.views[spend.MeterReader] = append(current, spend.MeterView)
	return nil
}

// metered is a step of a meter, as in a Caddyfile.
func metered(t testing.TB, words string) Allow {
	t.Helper()
	step, err := StandardOperators().Words("metered", strings.Fields(words))
	must(t, err)
	return step
}

// meteredSite is a site whose articles are entitled, or metered.
func meteredSite(t testing.TB, meters ...string) *testEnv {
	t.Helper()
	env := newTestEnv(t)
	env.site = meteredRules(env, meters...)
	return env
}

func meteredRules(env *testEnv, meters ...string) *Site {
	t := env.t
	t.Helper()
	rule := Rule{Rank: 1, Path: "/articles/{publisherContentId}", Allow: entitledTo("premium")}
	plain := Rule{Rank: 2, Path: "/", Allow: entitledTo("premium")}
	for _, words := range meters {
		rule.Then, plain.Then = append(rule.Then, metered(t, words)), append(plain.Then, metered(t, words))
	}
	rules, err := CompileRules([]Rule{rule, plain}, StandardOperators())
	must(t, err)
	return NewSite("acme", "news", rules, PathOptions{}, env.keys)
}

// meter makes the site one with a meter of one page, and returns a request of a reader who has
// opened so many.
func (env *testEnv) meter(user string, opened int) testRequest {
	env.t.Helper()
	env.site = meteredRules(env, "free 1 per month")
	for i := range opened {
		view := MeterView{uint64(i), env.now().Unix()}
		must(env.t, env.records.CountView(context.Background(), "acme", MeterSpend{MeterReader: MeterReader{"news", "free", user}, MeterView: view, Limit: 9}))
	}
	return testRequest{reader: Reader{UserID: user}, meter: MeterEvidence{Spendable: true}}
}

// meterReader is a reader at a metered site, with the cookie of their browser.
type meterReader struct {
	env    *testEnv
	reader Reader
	cookie []MeterCookie // nil: none was set yet
	hidden bool          // the request is no page view
	method string
	query  string
}

// open opens a page, and returns the reason. What is spent is written as by the gate.
func (m *meterReader) open(path string) Reason {
	m.env.t.Helper()
	return m.ask(path).Reason
}

func (m *meterReader) ask(path string) Decision {
	r := m.env.request(testRequest{method: m.method, path: path, query: m.query, reader: m.reader})
	r.Meter = MeterEvidence{Cookies: m.cookie, Spendable: !m.hidden && cmp.Or(m.method, "GET") == "GET"}
	decision := m.env.policy.Decide(context.Background(), r)
	if decision.Pending() {
		decision = m.env.policy.Prepare(context.Background(), r, decision)
	}
	if decision.Allow() && decision.Spends() {
		decision = m.env.policy.Redeem(context.Background(), r, decision, "")
	}
	if use := decision.Meter; use != nil && use.Anonymous() && (decision.Allow() || use.Unconfirmed) {
		m.cookie = []MeterCookie{{Meter: use.Name, Views: use.Views}}
	}
	return decision
}

func (m *meterReader) wants(path string, want Reason) {
	m.env.t.Helper()
	if got := m.open(path); got != want {
		m.env.t.Errorf("%s: %s, want %s", path, got, want)
	}
}

// An identified reader opens three articles a month, on the telephone and on the computer, as
// often as they like. The fourth is refused until the month is over. Each article is one view,
// with all that is below it.
func TestMeterOfIdentifiedReader(t *testing.T) {
	env := meteredSite(t, "free 3 per month")
	env.clock.Set(time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC))
	phone, computer := meterReader{env: env, reader: Reader{UserID: "ann"}}, meterReader{env: env, reader: Reader{UserID: "ann"}}
	for range 3 {
		phone.wants("/articles/a1", ReasonMetered)
		computer.wants("/articles/a1/photo.jpg", ReasonMetered)
		computer.wants("/articles/a2", ReasonMetered)
		phone.wants("/articles/a3", ReasonMetered)
	}
	decision := phone.ask("/articles/a4")
	if decision.Reason != ReasonMeterUsedUp || decision.Meter == nil || decision.Meter.Used() != 3 || decision.Meter.Limit != 3 ||
		!decision.Meter.Resets.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the fourth: %+v, %+v", decision, decision.Meter)
	}
	computer.wants("/articles/a2", ReasonMetered)
	(&meterReader{env: env, reader: Reader{UserID: "bob"}}).wants("/articles/a4", ReasonMetered)
	env.advance(time.Hour)
	phone.wants("/articles/a4", ReasonMetered)
	if views := env.records.views[MeterReader{"news", "free", "ann"}]; len(views) != 1 {
		t.Errorf("the new month has %d views", len(views))
	}
}

// A subscriber, and the reader of a licence, spend nothing although the meter would open the
// page as well. They spend nothing of it for later, either.
func TestMeterIsNotSpentOnWhatReadersHave(t *testing.T) {
	env := meteredSite(t, "free 1 per month")
	env.records.grant(fakeGrant{Grant: Grant{ID: "g", SKU: "premium"}, userID: "ann"})
	ann := meterReader{env: env, reader: Reader{UserID: "ann"}}
	for _, path := range []string{"/articles/a1", "/articles/a2", "/articles/a3"} {
		ann.wants(path, ReasonEntitled)
	}
	link := env.newLink(keys.LinkClaims{SKU: "premium", MaxUses: 1})
	r := env.request(testRequest{link: LinkEvidence{Token: link, Spendable: true}, reader: Reader{UserID: "bob"}})
	r.Meter.Spendable = true
	if decision := env.policy.Decide(context.Background(), r); decision.Reason != ReasonSignedLink || decision.Meter != nil {
		t.Errorf("with a link: %+v", decision)
	}
	if len(env.records.views) != 0 {
		t.Errorf("views: %v", env.records.views)
	}
}

// An anonymous reader gets nothing before the cookie of the meter came back, and then the
// number of pages. Nothing of it is in the store.
func TestMeterOfAnonymousReader(t *testing.T) {
	env := meteredSite(t, "free 2 per week")
	m := meterReader{env: env}
	decision := m.ask("/articles/a1")
	if decision.Reason != ReasonLoginRequired || decision.Meter == nil || !decision.Meter.Unconfirmed {
		t.Fatalf("without a cookie: %+v", decision)
	}
	m.wants("/articles/a1", ReasonMetered)
	m.wants("/articles/a1", ReasonMetered)
	old := slices.Clone(m.cookie)
	m.wants("/articles/a2", ReasonMetered)
	m.wants("/articles/a3", ReasonMeterUsedUp)
	m.wants("/articles/a1", ReasonMetered)
	// An old cookie gives views back, as a private window does.
	(&meterReader{env: env, cookie: old}).wants("/articles/a3", ReasonMetered)
	// That of another meter is none.
	other := meterReader{env: env, cookie: []MeterCookie{{Meter: "other"}}}
	if decision := other.ask("/articles/a3"); decision.Allow() || !decision.Meter.Unconfirmed {
		t.Errorf("with another cookie: %+v", decision)
	}
	env.advance(7 * 24 * time.Hour)
	m.wants("/articles/a3", ReasonMetered)
	if len(env.records.views) != 0 {
		t.Errorf("the store has views: %v", env.records.views)
	}
}

// What no reader looks at spends nothing and opens nothing new: prefetches, previews and the
// images of another page. A HEAD is answered as the GET would be, and spends nothing. A form
// is not metered.
func TestMeterIsSpentOnPageViewsOnly(t *testing.T) {
	for name, m := range map[string]meterReader{
		"identified": {reader: Reader{UserID: "ann"}},
		"anonymous":  {cookie: []MeterCookie{{Meter: "free"}}},
	} {
		t.Run(name, func(t *testing.T) {
			env := meteredSite(t, "free 1 per day")
			m.env = env
			denied := ReasonLoginRequired
			if name == "identified" {
				denied = ReasonNotEntitled
			}
			m.hidden = true
			m.wants("/articles/a1", denied)
			m.method = "HEAD"
			m.wants("/articles/a1", ReasonMetered)
			m.wants("/articles/a2", ReasonMetered)
			m.method = "POST"
			m.wants("/articles/a1", denied)
			m.method, m.hidden = "", false
			m.wants("/articles/a1", ReasonMetered)
			m.wants("/articles/a2", ReasonMeterUsedUp)
			m.hidden = true
			m.wants("/articles/a1/photo.jpg", ReasonMetered)
			m.method = "HEAD"
			m.wants("/articles/a2", ReasonMeterUsedUp)
		})
	}
}

// The ladder of one rule: two pages for strangers, three for those who log in, then the
// subscription.
func TestMeterLadder(t *testing.T) {
	env := meteredSite(t, "registered 3 per month authenticated", "strangers 2 per month anonymous")
	m := meterReader{env: env}
	m.open("/articles/a1")
	m.wants("/articles/a1", ReasonMetered)
	m.wants("/articles/a2", ReasonMetered)
	m.wants("/articles/a3", ReasonMeterUsedUp)
	m.reader.UserID = "ann"
	for _, path := range []string{"/articles/a3", "/articles/a4", "/articles/a5"} {
		m.wants(path, ReasonMetered)
	}
	m.wants("/articles/a6", ReasonMeterUsedUp)
	m.reader = Reader{Rejected: true}
	m.wants("/articles/a1", ReasonMetered) // of the cookie
	m.reader = Reader{Unknown: true}
	m.wants("/articles/a1", ReasonStoreUnavailable)
}

// Two meters of one reader are tried in order.
func TestTwoMeters(t *testing.T) {
	env := meteredSite(t, "day 1 per day", "month 2 per month")
	m := meterReader{env: env, reader: Reader{UserID: "ann"}}
	for _, path := range []string{"/articles/a1", "/articles/a2", "/articles/a3"} {
		m.wants(path, ReasonMetered)
	}
	m.wants("/articles/a4", ReasonMeterUsedUp)
	env.advance(24 * time.Hour)
	m.wants("/articles/a5", ReasonMetered)
}

// Pages without a content id are counted by their path, without the query.
func TestMeteredPaths(t *testing.T) {
	env := meteredSite(t, "free 1 per day")
	m := meterReader{env: env, reader: Reader{UserID: "ann"}}
	m.wants("/news/a", ReasonMetered)
	m.query = "utm_source=mail"
	m.wants("/news/a", ReasonMetered)
	m.wants("/news/b", ReasonMeterUsedUp)
}

// The content id in the query is one page each, however the query is spelt: a reader does not
// get other articles as the same page.
func TestMeteredQuery(t *testing.T) {
	env := newTestEnv(t)
	source, err := json.Marshal(ContentID{Query: "id"})
	must(t, err)
	rules, err := CompileRules([]Rule{{
		Rank: 1, Path: "/", Allow: metered(t, "free 1 per day"), Options: map[string]json.RawMessage{"content_id": source},
	}}, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
	m := meterReader{env: env, reader: Reader{UserID: "ann"}, query: "id=1"}
	m.wants("/article.php", ReasonMetered)
	m.query = "id=1&utm=x"
	m.wants("/article.php", ReasonMetered)
	for _, query := range []string{"id=2", "id=1&id=2", "ID=2&id=1", "", "id[]=2"} {
		m.query = query
		m.wants("/article.php", ReasonMeterUsedUp)
	}
}

// A view that cannot be read or counted closes the gate.
func TestMeterFailsClosed(t *testing.T) {
	env := meteredSite(t, "free 1 per day")
	m := meterReader{env: env, reader: Reader{UserID: "ann"}}
	env.records.redeemDown = errors.New("down")
	m.wants("/articles/a1", ReasonStoreUnavailable)
	env.records.redeemDown = nil
	r := env.request(testRequest{reader: m.reader})
	r.Meter.Spendable = true
	prepared := env.policy.Prepare(context.Background(), r, env.policy.Decide(context.Background(), r))
	if !prepared.Allow() || !prepared.Spends() {
		t.Fatalf("%+v", prepared)
	}
	m.wants("/articles/a2", ReasonMetered) // a request at once takes the last view
	if spent := env.policy.Redeem(context.Background(), r, prepared, ""); spent.Reason != ReasonMeterUsedUp || spent.Meter.Used() != 1 {
		t.Errorf("%+v", spent)
	}
	env.records.redeemDown = errors.New("down")
	if spent := env.policy.Redeem(context.Background(), r, prepared, ""); spent.Reason != ReasonStoreUnavailable {
		t.Errorf("%+v", spent)
	}
}

// The periods of the calendar are those of the site's time zone, also when it changes its
// clocks, and 30d begins with each view.
func TestMeterPeriods(t *testing.T) {
	stockholm, err := time.LoadLocation("Europe/Stockholm")
	if err != nil {
		t.Fatal(err) // Go has them in its root, and the binary in itself
	}
	at := func(text string) time.Time {
		moment, err := time.Parse(time.RFC3339, text)
		must(t, err)
		return moment
	}
	for _, c := range []struct {
		per              string
		zone             *time.Location
		now, begin, ends string
	}{
		{"month", nil, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"month", stockholm, "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z"},
		{"day", stockholm, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, // of 23 hours
		{"day", stockholm, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}, // of 25 hours
		{"week", nil, "2026-11-29T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},      // a Sunday
		{"week", nil, "2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"},      // a Monday
		{"30d", stockholm, "2026-11-30T00:00:00Z", "2026-10-31T00:00:01Z", "2026-12-30T00:00:00Z"},
	} {
		begin, end := meterPeriod(c.per, at(c.now), c.zone)
		if !begin.Equal(at(c.begin)) || !end.Equal(at(c.ends)) {
			t.Errorf("%s of %s: %s to %s, want %s to %s", c.per, c.now, begin.UTC(), end.UTC(), c.begin, c.ends)
		}
	}
}

func TestRollingMeter(t *testing.T) {
	env := meteredSite(t, "free 2 per 30d")
	m := meterReader{env: env, reader: Reader{UserID: "ann"}}
	first := env.now()
	m.wants("/articles/a1", ReasonMetered)
	env.advance(10 * 24 * time.Hour)
	m.wants("/articles/a2", ReasonMetered)
	decision := m.ask("/articles/a3")
	if want := first.Add(rollingPeriod); decision.Reason != ReasonMeterUsedUp || !decision.Meter.Resets.Equal(want) {
		t.Errorf("%+v, %+v", decision, decision.Meter)
	}
	env.clock.Set(first.Add(rollingPeriod - time.Second))
	m.wants("/articles/a3", ReasonMeterUsedUp)
	env.clock.Set(first.Add(rollingPeriod))
	m.wants("/articles/a3", ReasonMetered)
	m.wants("/articles/a1", ReasonMeterUsedUp)
	m.wants("/articles/a2", ReasonMetered)
}

// A path that can be read as two metered pages is refused: one request counts one view.
func TestMeterOfAmbiguousPath(t *testing.T) {
	env := newTestEnv(t)
	rules, err := CompileRules([]Rule{
		{Rank: 1, Path: "/articles/{publisherContentId}", Allow: metered(t, "free 9 per day")},
		{Rank: 2, Path: "/news/{publisherContentId}", Allow: metered(t, "free 9 per day")},
	}, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
	r := env.request(testRequest{path: "/articles/a1", current: "/news/a2", reader: Reader{UserID: "ann"}})
	r.Meter.Spendable = true
	if decision := env.policy.Decide(context.Background(), r); decision.Reason != ReasonBadPath {
		t.Errorf("%+v", decision)
	}
}

func TestMeteredArguments(t *testing.T) {
	for words, want := range map[string]string{
		"free 3":                          "write `metered",
		"free three per month":            "not a number",
		"free 0 per month":                "from 1 to 100",
		"free 101 per month":              "from 1 to 100",
		"Free 3 per month":                "lower-case",
		"free 3 per year":                 "none of day, week, month and 30d",
		"free 3 per month subscribers":    "neither anonymous nor authenticated",
		"free 3 per month anonymous more": "write `metered",
	} {
		step, err := StandardOperators().Words("metered", strings.Fields(words))
		if err == nil {
			_, err = CompileRules([]Rule{{Rank: 1, Path: "/", Allow: step}}, StandardOperators())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", words, err, want)
		}
	}
	twice := Rule{Rank: 1, Path: "/", Allow: metered(t, "free 3 per month"), Then: []Allow{metered(t, "free 4 per day")}}
	if _, err := CompileRules([]Rule{twice}, StandardOperators()); err == nil || !strings.Contains(err.Error(), "different names") {
		t.Errorf("twice: %v", err)
	}
	within, err := StandardOperators().Words("all", []string{"authenticated", metered(t, "free 3 per month").String()})
	must(t, err)
	if _, err := CompileRules([]Rule{{Rank: 1, Path: "/", Allow: within}}, StandardOperators()); err == nil || !strings.Contains(err.Error(), "step of its own") {
		t.Errorf("within all: %v", err)
	}
	for _, rule := range []Rule{
		{Rank: 1, Path: "/", Allow: Allow{Operator: "origin", Arguments: Arguments{"default": json.RawMessage(`"authenticated"`)}}, Then: []Allow{metered(t, "free 3 per month")}},
		{Rank: 1, Path: "/", Allow: Allow{Operator: "origin", Arguments: Arguments{"default": json.RawMessage(strconv.Quote(metered(t, "free 3 per month").String()))}}},
	} {
		if _, err := CompileRules([]Rule{rule}, StandardOperators()); err == nil || !strings.Contains(err.Error(), "metered") {
			t.Errorf("with origin: %v", err)
		}
	}
}
