package upstreamtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// coworking is the origin of docs/proxy.md: desks, and the pages to which denials lead.
type coworking struct {
	address string
	token   atomic.Value // of the reader who logs in
}

func startCoworking(t *testing.T) *coworking {
	t.Helper()
	c := new(coworking)
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.address = strings.TrimPrefix(server.URL, "http://")
	return c
}

func (c *coworking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page := r.URL.Path
	switch {
	case page == "/login/":
		token, _ := c.token.Load().(string)
		http.SetCookie(w, &http.Cookie{Name: "reader", Value: token, Path: "/", HttpOnly: true})
		next, err := url.Parse(r.URL.Query().Get("next"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, next.Path, http.StatusSeeOther)
	case strings.HasPrefix(page, "/legal/"):
		fmt.Fprint(w, `<body>the terms <button id="sign">I agree</button><script>
			document.getElementById("sign").onclick = async () => {
				const answer = await fetch("/api/legal/terms-of-use/sign", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"read_terms": true}'});
				document.body.textContent = "signed with " + answer.status + ", on to " + new URLSearchParams(location.search).get("next");
			}</script></body>`)
	default:
		fmt.Fprintf(w, "<body>the page of %s</body>", regexp.MustCompile(`[^a-z0-9/-]`).ReplaceAllString(page, ""))
	}
}

// startDay runs the Caddyfile of docs/proxy.md.
func startDay(t *testing.T, origin *coworking) (r *recipe, blocks [][]string) {
	t.Helper()
	text := strings.ReplaceAll(sectionOf(t, "docs/proxy.md", "A day of a co-working site"), "cowork.example.com", "news.example.com")
	r = startSection(t, text, "https", nil, "localhost:3000", origin.address)
	for _, match := range regexp.MustCompile("(?s)<!-- day -->\n```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, strings.Split(strings.TrimSpace(match[1]), "\n"))
	}
	if len(blocks) != 5 {
		t.Fatalf("docs/proxy.md has %d blocks of commands of the day", len(blocks))
	}
	return r, blocks
}

// shell runs lines in one shell, and returns the output of each. Curl accepts the
// certificate of the test's gate.
func (r *recipe) shell(lines []string) []string {
	r.t.Helper()
	const end = "\x1e"
	script := "set -e\ncurl() { command curl -k \"$@\"; }\ngatefold() { '" + binary + "' \"$@\" --address '" + r.admin + "'; }\n"
	for _, line := range lines {
		script += r.substitute.Replace(line) + "\nprintf '" + end + "'\n"
	}
	command := exec.CommandContext(r.t.Context(), "bash", "-c", script)
	command.Dir, command.Env = r.dir, r.environment()
	output, err := command.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v after\n%s", err, output)
	}
	return strings.Split(string(output), end)
}

// Every command of the day in docs/proxy.md is run by curl, and each comment is true: it is a
// part of the output. A request for a page without a comment has the page.
func TestDayOfACoworkingSiteByCurl(t *testing.T) {
	r, blocks := startDay(t, startCoworking(t))
	var lines []string
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	outputs := r.shell(lines)
	pages, denials := 0, 0
	for i, line := range lines {
		command, comment, commented := strings.Cut(line, "# ")
		switch page := strings.Contains(command, ".com/desk/") || strings.Contains(command, ".com/app/"); {
		case commented:
			denials++
			if !strings.Contains(outputs[i], comment) {
				t.Errorf("%s\ngives %s", line, outputs[i])
			}
		case page:
			pages++
			if !strings.Contains(outputs[i], "the page of /") {
				t.Errorf("%s\ngives %s", line, outputs[i])
			}
		}
	}
	if pages != 3 || denials != 5 {
		t.Errorf("the day has %d pages and %d denials", pages, denials)
	}
}

// The same day in Chromium: the reader is sent to log in, to sign and to subscribe, and
// comes back to the desk each time. The browser's own headers let the site's pages change
// something, and not the page of another site.
func TestDayOfACoworkingSiteInChromium(t *testing.T) {
	origin := startCoworking(t)
	r, blocks := startDay(t, origin)
	functions := blocks[0][:2]
	r.shell(blocks[0])
	origin.token.Store(strings.TrimSpace(r.must("token", "reader", "--vendor", "cowork", "--site", "cowork", "--user", "xia")))
	reader := startBrowser(t)
	desk := r.address + "/desk/abc"
	shows := func(step, want string) {
		t.Helper()
		if _, text := reader.open(desk); !strings.Contains(text, want) {
			t.Fatalf("%s: the desk shows %q, want %q", step, text, want)
		}
	}
	sign := func() {
		t.Helper()
		reader.do("signing", chromedp.Click(chromedp.ID("sign")))
		signed := fmt.Sprintf("document.body.textContent === %q", "signed with 200, on to "+desk)
		if _, err := chromedp.Run(reader.tab, chromedp.Poll[bool](signed, chromedp.WithPollingTimeout(deadline/2))); err != nil {
			t.Fatalf("signing: %v", err)
		}
	}
	shows("after the login", "the terms")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<body><form id="f" method="post" enctype="text/plain" action="%s/api/legal/terms-of-use/sign"><input name='{"read_terms": true, "x": "' value='"}'></form><button id="sign" onclick="f.submit()">a game</button></body>`, r.address)
	}))
	t.Cleanup(evil.Close)
	reader.open(evil.URL)
	if response, err := chromedp.RunResponse(reader.tab, chromedp.Click(chromedp.ID("sign"))); err != nil || response.Status < http.StatusBadRequest {
		t.Errorf("the form of another site: %+v, %v", response, err)
	}
	shows("after the form of another site", "the terms")
	sign()
	shows("after signing", "the page of /billing/abc/cart/")

	offered := r.shell(append(functions, `call POST /api/profile/cowork/plans/premium/subscriptions '{"profile": {"slug": "abc"}}'`))
	key := regexp.MustCompile(`"grant_key":"([0-9a-f]{40})"`).FindStringSubmatch(offered[2])
	if key == nil {
		t.Fatalf("the offer has no key: %s", offered[2])
	}
	accept := fmt.Sprintf("accepted = 0; fetch('/api/profile/abc/subscriptions/accept/%s', {method: 'PUT', headers: {'Content-Type': 'application/json'}}).then(answer => { accepted = answer.status }); 'asked'", key[1])
	if _, err := chromedp.Run(reader.tab, chromedp.Evaluate[string](accept)); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(reader.tab, chromedp.Poll[bool]("accepted === 200", chromedp.WithPollingTimeout(deadline/2))); err != nil {
		t.Fatalf("accepting: %v", err)
	}
	shows("after subscribing", "the page of /desk/abc")
	r.shell(append(functions, blocks[3][0]))
	shows("after the end", "the page of /billing/abc/cart/")
	r.shell(append(functions, blocks[3][2]))
	shows("after the renewal", "the page of /desk/abc")
	r.shell(append(functions, blocks[4][0]))
	shows("after new terms", "the terms")
	sign()
	shows("after signing again", "the page of /desk/abc")
	r.shell(append(functions, blocks[4][2]))
	shows("after leaving", "the page of /billing/abc/cart/")
}
