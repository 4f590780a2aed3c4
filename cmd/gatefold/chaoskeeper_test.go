package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// chaosKeeper is one more gate over a Redis, which decides without it for longer than the
// others: from its memory, from its snapshot, and by the on_store_loss of its rules. Clients do
// not visit it.
type chaosKeeper struct {
	*server
	redis *redistest.Server
}

const (
	keeperStaleFor = 15 * time.Second
	keeperLoss     = 5 * time.Second // on_store_loss of its rules
	// keeperRows is more than the changes after which a snapshot is written again.
	keeperRows = 700
)

var keeperRules = fmt.Sprintf(`rule /deny entitled premium {
			on_store_loss %[1]s
		}
		rule /teaser entitled premium {
			teaser cut
			on_store_loss %[1]s teaser
		}
		rule /public entitled premium {
			on_store_loss %[1]s public
		}
		`, keeperLoss)

const keeperPage = "header Content-Type \"text/html; charset=utf-8\"\n\trespond \"<p>The lead.</p><!-- gatefold:premium --><p>SECRET</p><!-- /gatefold:premium -->\""

func startChaosKeeper(c *chaosSite, redis *redistest.Server) *chaosKeeper {
	c.Helper()
	s := newNodeWith(c.T, redis.URL(), "stale_for "+keeperStaleFor.String(), []byte("the same secret on all nodes\n"))
	text := strings.Replace(s.configText(), "rule /articles/", keeperRules+"rule /articles/", 1)
	s.writeConfig(strings.Replace(text, `respond "origin saw {http.request.uri}"`, keeperPage, 1))
	s.start()
	return &chaosKeeper{s, redis}
}

func (k *chaosKeeper) faults() []*chaosFault {
	return []*chaosFault{
		{name: "a gate starts from its snapshot while Redis is away", provoke: k.startsFromSnapshot},
		{name: "Redis away for longer than on_store_loss", provoke: k.outlasts},
	}
}

// health returns the state of the gate towards its Redis, and how long its memory or snapshot
// may still be used.
func (k *chaosKeeper) health() (state string, left time.Duration) {
	got, err := fetch("http://" + k.admin + "/gatefold/health")
	var health struct {
		Store struct {
			State       string
			LeftSeconds float64
		}
	}
	if err != nil || json.Unmarshal([]byte(got.body), &health) != nil {
		return "", 0
	}
	return health.Store.State, time.Duration(health.Store.LeftSeconds * float64(time.Second))
}

// page requests a page, and says what the answer is: the page, its teaser, a denial or a status.
func (k *chaosKeeper) page(path string, headers ...string) string {
	got, err := fetch(k.site+path, headers...)
	switch {
	case err != nil:
		return "nothing"
	case got.StatusCode == http.StatusOK && strings.Contains(got.body, "SECRET"):
		return "page"
	case got.StatusCode == http.StatusOK && strings.Contains(got.body, "The lead."):
		return "teaser"
	case got.StatusCode == http.StatusForbidden || got.StatusCode == http.StatusUnauthorized:
		return "denial"
	default:
		return strconv.Itoa(got.StatusCode)
	}
}

// reader makes a reader, with a grant if subscribed, and returns the headers of their requests.
func (k *chaosKeeper) reader(r *chaosRound, subscribed bool) (headers []string, grant *chaosRecord) {
	r.Helper()
	user := r.newUser()
	if subscribed {
		r.waitFor("a reader is subscribed", func() bool {
			grant, _ = r.ledger.createHeld(k.server, true, user)
			return grant != nil
		})
	}
	return []string{"Authorization", "Bearer " + k.readerToken(user), "Accept", "text/html"}, grant
}

var snapshotChanged = regexp.MustCompile(`(?m)^gatefold_snapshot_changed_ratio (\S+)$`)

// snapshotHas reports whether the gate could start from a snapshot with all that it wrote
// before an import of keeperRows.
func (k *chaosKeeper) snapshotHas() bool {
	got, err := fetch("http://" + k.admin + "/metrics")
	if err != nil || !strings.Contains(got.body, "\ngatefold_snapshot_usable 1\n") {
		return false
	}
	changed := snapshotChanged.FindStringSubmatch(got.body)
	if changed == nil {
		return false
	}
	share, err := strconv.ParseFloat(changed[1], 64)
	return err == nil && share*(1<<16) < 512
}

// imports has the snapshot written again.
func (k *chaosKeeper) imports(r *chaosRound) {
	r.Helper()
	rows := make([]string, keeperRows)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"userId":%q,"sku":"other"}`, r.newUser())
	}
	body := fmt.Sprintf(`{"importId":%q,"position":0,"grants":[%s]}`, r.newUser(), strings.Join(rows, ","))
	r.waitFor("grants are imported", func() bool {
		status, text := k.call(http.MethodPost, chaosGrants+"/batch", body)
		r.answers.Store(k.server, text)
		return status == http.StatusOK
	})
	r.waitFor("the snapshot is written", k.snapshotHas)
}

// startsFromSnapshot kills the gate and its Redis, and starts the gate alone. For stale_for of
// when it last heard its Redis it opens what it knew, then nothing; with the Redis it goes on.
func (k *chaosKeeper) startsFromSnapshot(r *chaosRound) {
	// Of each two: the snapshot refuses a record that shares its mark with one that changed later.
	var opens [2][]func() string
	for range 2 {
		headers, _ := k.reader(r, true)
		opens[0] = append(opens[0], func() string { return k.page("/articles/hello", headers...) })
		var token string
		r.waitFor("a link is made", func() bool { _, token = r.ledger.createHeld(k.server, false, ""); return token != "" })
		opens[1] = append(opens[1], func() string { return k.page("/articles/hello?token=" + token) })
	}
	former, grant := k.reader(r, true)
	counted, id := k.countedLink(9)
	k.imports(r)
	// After the tables were written: the journal of the snapshot has it.
	r.waitFor("a grant is removed", func() bool { return r.ledger.remove(k.server, grant) })

	k.redis.Kill()
	killed := time.Now()
	k.kill()
	k.start()
	started := time.Since(killed)
	var opened [2]int
	r.waitFor("the gate closes", func() bool {
		began := time.Now()
		var answers [2][]string
		for kind := range opens {
			for _, open := range opens[kind] {
				answers[kind] = append(answers[kind], open())
			}
		}
		state, left := k.health()
		for kind := range answers {
			switch page := slices.Contains(answers[kind], "page"); {
			case page && began.Sub(killed) > keeperStaleFor:
				r.violation("%v after Redis was killed a page is opened from the snapshot", began.Sub(killed))
			case page:
				opened[kind]++
			case state == store.StateRestored && left > 0:
				r.violation("the snapshot may be used for %v more, and pages are answered %v", left, answers[kind])
			}
		}
		if got := k.page("/articles/hello", former...); got == "page" {
			r.violation("a removed grant opens a page from the snapshot")
		}
		if got := k.page(counted); got != "503" {
			r.violation("without Redis a counted link is answered %s", got)
		}
		if status, _ := k.call(http.MethodPost, chaosGrants, `{"userId":"late","sku":"premium"}`); status != http.StatusServiceUnavailable {
			r.violation("without Redis a new grant is answered %d", status)
		}
		return state == store.StateClosed
	})
	if started < keeperStaleFor/2 && (opened[0] == 0 || opened[1] == 0) {
		r.violation("the gate started after %v, and opened %v pages from its snapshot", started, opened)
	}
	r.pages.Add(int64(opened[0] + opened[1]))
	k.redis.Start()
	for _, open := range append(opens[0], opens[1]...) {
		r.waitFor("with Redis it opens", func() bool { return open() == "page" })
	}
	r.waitFor("with Redis the removed grant is denied", func() bool {
		got := k.page("/articles/hello", former...)
		if got == "page" {
			r.violation("with Redis a removed grant opens a page")
		}
		return got == "denial"
	})
	r.waitFor("with Redis a counted link opens", func() bool { return k.page(counted) == "page" })
	r.waitFor("one use is counted of one page", func() bool { return k.usesOf(id) == 1 })
}

// outlasts kills Redis for longer than on_store_loss. Until then each rule answers from memory,
// and from then on as it declares.
func (k *chaosKeeper) outlasts(r *chaosRound) {
	subscriber, _ := k.reader(r, true)
	stranger, _ := k.reader(r, false)
	pages := []struct {
		path        string
		headers     []string
		before, now string
	}{
		{"/deny", subscriber, "page", "503"},
		{"/deny", stranger, "denial", "503"},
		{"/teaser", subscriber, "page", "teaser"},
		{"/teaser", stranger, "teaser", "teaser"},
		{"/public", subscriber, "page", "page"},
		{"/public", stranger, "denial", "page"},
	}
	withRedis := func() {
		r.Helper()
		for _, page := range pages {
			r.waitFor(fmt.Sprintf("%s is answered with %s", page.path, page.before), func() bool { return k.page(page.path, page.headers...) == page.before })
		}
	}
	withRedis()
	k.redis.Kill()
	killed := time.Now()
	for time.Since(killed) < keeperLoss+2*time.Second {
		for _, page := range pages {
			began := time.Now()
			got := k.page(page.path, page.headers...)
			state, left := k.health()
			switch lag := keeperStaleFor - left; {
			case began.Sub(killed) > keeperLoss && got != page.now:
				r.violation("%v after Redis was killed %s is answered with %s, and declared is %s", began.Sub(killed), page.path, got, page.now)
			case state != "" && lag < keeperLoss && got != page.before:
				r.violation("%v after Redis was heard %s is answered with %s, and from memory it is %s", lag, page.path, got, page.before)
			}
		}
	}
	k.redis.Start()
	withRedis()
}
