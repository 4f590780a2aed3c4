package upstreamtest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// protectedMark is in every part of an answer with a protected page.
const protectedMark = "SECRET-"

var (
	servedArticle = regexp.MustCompile(`SECRET-ARTICLE:([^;]*);`)
	servedAccount = "SECRET-ACCOUNT;"
)

// fault is an answer that should not have been.
type fault struct {
	request *request
	what    string
}

// tally is what the answers to a corpus were.
type tally struct {
	sync.Mutex
	statuses map[int]int
	served   int // answers with a protected page
	errors   int
	faults   []fault
}

func (y *tally) add(r *request, answer *reply, err error, check func(*request, *reply) string) {
	y.Lock()
	defer y.Unlock()
	if err != nil {
		y.errors++
		return
	}
	y.statuses[answer.status]++
	if strings.Contains(answer.raw+answer.body, protectedMark) {
		y.served++
	}
	if what := check(r, answer); what != "" {
		y.faults = append(y.faults, fault{r, what})
	}
}

// connections is how many requests are sent to a site at once.
const connections = 4

// ask sends requests to an address, and checks every answer.
func ask(address string, corpus []*request, lines []string, check func(*request, *reply) string) *tally {
	result := &tally{statuses: map[int]int{}}
	next := make(chan *request)
	var workers sync.WaitGroup
	for range connections {
		workers.Go(func() {
			c := &client{address: address}
			defer c.close()
			for r := range next {
				answer, err := c.send(r, lines...)
				result.add(r, answer, err, check)
			}
		})
	}
	for _, r := range corpus {
		next <- r
	}
	close(next)
	workers.Wait()
	return result
}

func anything(*request, *reply) string { return "" }

// nothingProtected is what must hold of an answer to an anonymous client.
func nothingProtected(_ *request, answer *reply) string {
	text := answer.raw + answer.body
	if at := strings.Index(text, protectedMark); at >= 0 {
		return fmt.Sprintf("%d with %q", answer.status, text[at:min(at+40, len(text))])
	}
	return ""
}

// servedAsJudged is what must hold of an answer to a reader who may read
// everything: the origin served the page that the gate judged.
func servedAsJudged(o origin) func(*request, *reply) string {
	return func(_ *request, answer *reply) string { return o.misread(answer) }
}

func (o origin) misread(answer *reply) string {
	rule := answer.header.Get("X-Judged-Rule")
	name := strings.TrimSuffix(strings.TrimPrefix(answer.header.Get("X-Judged-Name"), "["), "]")
	if found := servedArticle.FindStringSubmatch(answer.body); found != nil {
		served, err := url.PathUnescape(found[1])
		captured := name
		if o.plusIsBlank {
			captured = strings.ReplaceAll(name, "+", " ")
		}
		if err != nil || !strings.HasPrefix(rule, "/articles/") || served != captured {
			return fmt.Sprintf("the origin serves the article %.80q, the gate judged %s %.80q", found[1], rule, name)
		}
	}
	if strings.Contains(answer.body, servedAccount) && !strings.HasPrefix(rule, "/account") {
		return fmt.Sprintf("the origin serves the account, the gate judged %s %q", rule, name)
	}
	return ""
}

// onlyArticle is what must hold of an answer to a reader who may read one article.
func onlyArticle(name string) func(*request, *reply) string {
	return func(_ *request, answer *reply) string {
		for _, found := range servedArticle.FindAllStringSubmatch(answer.body, -1) {
			if found[1] != name {
				return fmt.Sprintf("the reader of %s gets the article %q", name, found[1])
			}
		}
		return ""
	}
}

// report prints the faults of an origin by kind, so that one cause is one line.
func report(t *testing.T, who string, y *tally) {
	t.Helper()
	kinds := map[string][]fault{}
	for _, f := range y.faults {
		kinds[f.request.kind] = append(kinds[f.request.kind], f)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		var lines strings.Builder
		for i, f := range kinds[kind] {
			if i == 40 {
				lines.WriteString("\n\t…")
				break
			}
			fmt.Fprintf(&lines, "\n\t%s: %s", f.request, f.what)
		}
		t.Errorf("%s: %d faults of the kind %s:%s", who, len(kinds[kind]), kind, &lines)
	}
}

// where returns the requests for which a condition holds.
func where(corpus []*request, holds func(*request) bool) []*request {
	var found []*request
	for _, r := range corpus {
		if holds(r) {
			found = append(found, r)
		}
	}
	return found
}

// twoArticles: the request names both articles.
func twoArticles(r *request) bool {
	return strings.Contains(r.target, "hello") && strings.Contains(r.target, "other")
}

// otherPath: the request differs from a plain one in its path, and not only in its
// method or its headers, which the gate judges without regard to the reader.
func otherPath(r *request) bool {
	return !slices.Contains([]string{"method", "override", "preflight", "condition"}, r.kind)
}

// fifth returns every fifth request, which is enough for what differs from the
// README's site block in one point. Fifths from different starts are disjoint.
func fifth(corpus []*request, start int) []*request {
	var found []*request
	for i := start; i < len(corpus); i += 5 {
		found = append(found, corpus[i])
	}
	return found
}

// attack sends a corpus to a site in each role.
func attack(t *testing.T, g *gate, s *site, corpus []*request) {
	t.Helper()
	anonymous := ask(s.address, corpus, nil, nothingProtected)
	report(t, "an anonymous client", anonymous)
	var served int
	if s.variant.unnamed {
		// A reader of one article gets only this one: under several readings of a path
		// the gate allows what each of them allows.
		paths := where(corpus, otherPath)
		hello := ask(s.address, paths, []string{g.entitled}, onlyArticle("hello"))
		report(t, "a reader of hello", hello)
		report(t, "a reader of other", ask(s.address, paths, []string{g.other}, onlyArticle("other")))
		served = hello.served
	} else {
		premium := ask(s.address, where(corpus, otherPath), []string{g.premium}, servedAsJudged(s.origin))
		report(t, "a reader of everything", premium)
		report(t, "a reader of hello", ask(s.address, where(corpus, twoArticles), []string{g.entitled}, onlyArticle("hello")))
		served = premium.served
	}
	t.Logf("%d requests; anonymous %v, %d without answer; %d served to a reader", len(corpus), anonymous.statuses, anonymous.errors, served)
	if denied := anonymous.statuses[http.StatusUnauthorized] + anonymous.statuses[http.StatusBadRequest]; !s.variant.errors && denied < len(corpus)/4 {
		t.Errorf("the gate answers %v: it denied too little for this to show anything", anonymous.statuses)
	}
	if reachable := !s.origin.fpm || s.variant.prefix == ""; reachable && served < 3 {
		t.Errorf("only %d requests of a reader are served: this shows little", served)
	}
	if limit := len(corpus) / 50; anonymous.errors > limit {
		t.Errorf("%d of %d requests have no answer", anonymous.errors, len(corpus))
	}
}

// What an origin serves is what the gate judged, however the request is written, for
// every form of the site block.
func TestOriginsServeWhatTheGateJudged(t *testing.T) {
	origins := startOrigins(t)
	g := startGate(t, origins, changed...)
	corpora := map[string][]*request{}
	for _, s := range g.sites {
		if corpora[s.variant.prefix] == nil {
			corpora[s.variant.prefix] = corpus(s.variant.prefix)
		}
	}
	for i, s := range g.sites {
		t.Run(s.variant.name+"/"+s.origin.name, func(t *testing.T) {
			t.Parallel()
			attack(t, g, s, fifth(corpora[s.variant.prefix], i/len(origins)))
		})
	}
}

// The README's own rules, copied as they are before each origin, leak nothing.
func TestREADMERulesLeakNothing(t *testing.T) {
	g := startGate(t, startOrigins(t), asItIs)
	requests := corpus("")
	if len(requests) < 3000 {
		t.Fatalf("the corpus has only %d requests", len(requests))
	}
	for _, s := range g.sites {
		t.Run(s.origin.name, func(t *testing.T) {
			t.Parallel()
			some := fifth(requests, 0)
			open := ask(s.open, some, nil, anything)
			t.Logf("without a gate %d of %d requests open a protected page", open.served, len(some))
			if open.served < s.origin.least {
				t.Errorf("without a gate only %d requests of the corpus open a protected page: it shows little", open.served)
			}
			attack(t, g, s, requests)
			attackOverHTTP2(t, g, s, requests)
		})
	}
}
