package upstreamtest

import (
	"bytes"
	"context"
	sound "encoding/binary"
	"encoding/json"
	"fmt"
	"html/template"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// magazine is an origin with articles that consist of many files. It keeps what the gate
// asks of it.
type magazine struct {
	address string
	page    *template.Template

	mu       sync.Mutex
	requests []string // as received, with the headers
	served   []string // method and URI of the same requests
}

func startMagazine(t *testing.T) *magazine {
	t.Helper()
	m := &magazine{page: template.Must(template.ParseFiles("testdata/browser/article.html"))}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.address = strings.TrimPrefix(server.URL, "http://")
	return m
}

// lead and deep are the widths of an article's two images.
const lead, deep = 31, 17

// filmSeconds is the duration of a segment.
const filmSeconds = 2

func (m *magazine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received, err := httputil.DumpRequest(r, false)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	m.mu.Lock()
	m.requests, m.served = append(m.requests, string(received)), append(m.served, r.Method+" "+r.RequestURI)
	m.mu.Unlock()
	switch name := path.Base(r.URL.Path); {
	case strings.HasPrefix(r.URL.Path, "/articles/"):
		_ = m.page.Execute(w, name)
	case name == "lead.png":
		_ = png.Encode(w, image.NewGray(image.Rect(0, 0, lead, 1)))
	case name == "deep.png":
		_ = png.Encode(w, image.NewGray(image.Rect(0, 0, deep, 1)))
	case name == "index.m3u8":
		w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
		fmt.Fprintf(w, "#EXTM3U\n#EXT-X-TARGETDURATION:%d\n#EXTINF:%[1]d,\nseg-1.wav\n#EXTINF:%[1]d,\nseg-2.wav\n#EXT-X-ENDLIST\n", filmSeconds)
	case strings.HasPrefix(name, "seg-"):
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(silence()))
	case strings.HasSuffix(name, ".pdf"):
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(onePage()))
	case name == "posts":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"post":%q}`, r.URL.Query().Get("id"))
	default:
		http.NotFound(w, r)
	}
}

// silence is a sound file (RIFF WAVE, 8 bits, 8,000 Hz), which a video element plays.
func silence() []byte {
	const rate = 8000
	samples := slices.Repeat([]byte{128}, rate*filmSeconds)
	file := []byte("RIFF")
	file = sound.LittleEndian.AppendUint32(file, uint32(36+len(samples)))
	file = append(file, "WAVEfmt "...)
	file = sound.LittleEndian.AppendUint32(file, 16)
	for _, half := range []uint16{1, 1, rate, 0, rate, 0, 1, 8} { // PCM, one channel, two rates of 32 bits, one byte, 8 bits
		file = sound.LittleEndian.AppendUint16(file, half)
	}
	file = append(file, "data"...)
	file = sound.LittleEndian.AppendUint32(file, uint32(len(samples)))
	return append(file, samples...)
}

// onePage is a PDF file with an empty page.
func onePage() []byte {
	file := []byte("%PDF-1.4\n")
	var offsets []int
	for i, object := range []string{"<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>", "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>"} {
		offsets = append(offsets, len(file))
		file = fmt.Appendf(file, "%d 0 obj%s endobj\n", i+1, object)
	}
	begin := len(file)
	file = append(file, "xref\n0 4\n0000000000 65535 f \n"...)
	for _, offset := range offsets {
		file = fmt.Appendf(file, "%010d 00000 n \n", offset)
	}
	return fmt.Appendf(file, "trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", begin)
}

// asked returns what the origin served since the last call.
func (m *magazine) asked() (served []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	served, m.served = m.served, nil
	return served
}

// received returns all requests so far.
func (m *magazine) received() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

// Elements of the pages.
const (
	body = chromedp.CSS("body")
	film = chromedp.ID("film")
	next = chromedp.ID("next")
)

// browser is a tab of a headless Chromium, with cookies of its own.
type browser struct {
	t   *testing.T
	tab context.Context
}

// startBrowser starts a Chromium that accepts the certificate of the test's gate.
func startBrowser(t *testing.T, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("Chromium is missing: run `make test`, or `.ci/chromium <folder>` and put the folder on the path")
	}
	bounded, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	// The sandbox does not work for root, as whom a container runs tests. The browser opens the
	// test's own pages only.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.NoFirstRun,
		chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(folder(t)),
		chromedp.Flag("disable-extensions", false)) // the viewer of PDFs is one
	options = append(options, more...)
	allocator, end := chromedp.NewExecAllocator(bounded, options...)
	t.Cleanup(end)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return &browser{t, tab}
}

// another returns a tab with other cookies: the browser of another reader.
func (b *browser) another() *browser {
	b.t.Helper()
	tab, end := chromedp.NewContext(b.tab, chromedp.WithNewBrowserContext())
	b.t.Cleanup(end)
	return &browser{b.t, tab}
}

func (b *browser) do(what string, action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.tab, action); err != nil {
		b.t.Fatalf("%s: %v; the page has %v", what, err, b.results())
	}
}

// open opens a URL as one that is typed or clicked in a mail, and returns the status of the
// page and its text.
func (b *browser) open(address string) (status int64, text string) {
	b.t.Helper()
	response, err := chromedp.Run(b.tab, chromedp.NavigateResponse(address))
	if err != nil {
		b.t.Fatalf("opening a page: %v", err)
	}
	// By script: ids of nodes are those of the page before for a moment.
	if text, err = chromedp.Run(b.tab, chromedp.Evaluate[string]("document.body.innerText")); err != nil {
		b.t.Fatalf("reading a page: %v", err)
	}
	return response.Status, text
}

// results returns what the page says it loaded.
func (b *browser) results() map[string]string {
	text, err := chromedp.Run(b.tab, chromedp.Evaluate[string]("typeof results === 'object' ? JSON.stringify(results) : '{}'"))
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	found := map[string]string{}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		b.t.Fatal(err)
	}
	return found
}

// wants waits until the page loaded some things, and compares them.
func (b *browser) wants(want map[string]string) {
	b.t.Helper()
	for name := range want {
		waiting := chromedp.Poll[bool](fmt.Sprintf("typeof results === 'object' && %q in results", name), chromedp.WithPollingTimeout(deadline/2))
		if _, err := chromedp.Run(b.tab, waiting); err != nil {
			b.t.Fatalf("waiting for %s: %v; the page has %v", name, err, b.results())
		}
	}
	found := b.results()
	for name, value := range want {
		if found[name] != value {
			b.t.Errorf("%s is %q, not %q", name, found[name], value)
		}
	}
}

// uses returns how often a link was used, as the command shows it.
func (r *recipe) uses(link string) int64 {
	r.t.Helper()
	var shown struct{ Uses int64 }
	if err := json.Unmarshal([]byte(r.must("link", "show", link, "--json")), &shown); err != nil {
		r.t.Fatal(err)
	}
	return shown.Uses
}

// giveAway makes a link by the command, and returns its URL and its id.
func (r *recipe) giveAway(args ...string) (address, id string) {
	r.t.Helper()
	var made struct{ SignedURL, TokenID string }
	if err := json.Unmarshal([]byte(r.must(append([]string{"link", "create", "--json"}, args...)...)), &made); err != nil {
		r.t.Fatal(err)
	}
	return made.SignedURL, made.TokenID
}

// A reader opens a gift link in Chromium. The whole article is there: its images, the video
// that is loaded when the reader scrolls to it, the API's answer, the PDF. It is one use, also
// when the reader opens the link again; no script, address or Referer has the token. The next
// article, and all that belongs to it, is refused, and so is the next reader.
func TestGiftLinkInChromium(t *testing.T) {
	origin := startMagazine(t)
	r := startSection(t, sectionOf(t, "docs/links.md", "The whole article"), "https", nil, "localhost:3000", origin.address)
	link, id := r.giveAway(r.address+"/articles/hello", "--max-uses", "1", "--expires", "14d")
	reader := startBrowser(t)

	if status, text := reader.open(link); status != http.StatusOK || !strings.Contains(text, secretHello) {
		t.Fatalf("the link gives %d %s", status, text)
	}
	reader.wants(map[string]string{
		"load": "done", "lead": fmt.Sprint(lead), "pdf": "done", "pdf bytes": fmt.Sprint(len(onePage())), "xhr": `200 {"post":"hello"}`,
		"address": r.address + "/articles/hello", "referrer": "", "cookies": "", "entry": r.address + "/articles/hello",
	})
	before := origin.asked()
	slices.Sort(before)
	if want := []string{"GET /articles/hello", "GET /media/hello/lead.png", "GET /pdf/hello.pdf", "GET /wp-json/wp/v2/posts?id=hello"}; !slices.Equal(slices.Compact(before), want) {
		t.Errorf("before the reader scrolls the origin is asked for %q", before)
	}
	reader.do("scrolling", chromedp.ScrollIntoView(film))
	segment := fmt.Sprintf("200 %d", len(silence()))
	reader.wants(map[string]string{
		"deep": fmt.Sprint(deep), "playlist": "200", "playlist segments": segment + ", " + segment, "playlist video": fmt.Sprint(filmSeconds),
	})
	if uses := r.uses(id); uses != 1 {
		t.Errorf("the whole article is %d uses", uses)
	}

	origin.asked()
	if _, err := chromedp.Run(reader.tab, chromedp.Evaluate[string](`other("next"); "asked"`)); err != nil {
		t.Fatal(err)
	}
	reader.wants(map[string]string{"other page": "401", "other pdf": "401", "other xhr": "401 ", "other playlist": "401", "other image": "error"})
	response, err := chromedp.RunResponse(reader.tab, chromedp.Click(next))
	if err != nil || response.Status != http.StatusUnauthorized || !strings.HasSuffix(response.URL, "/articles/next") {
		t.Errorf("the next article is %+v, %v", response, err)
	}
	if served := origin.asked(); len(served) > 0 {
		t.Errorf("the origin was asked for %q", served)
	}

	if status, text := reader.open(link); status != http.StatusOK || !strings.Contains(text, secretHello) {
		t.Errorf("the link gives the same reader %d %s", status, text)
	}
	reader.wants(map[string]string{"lead": fmt.Sprint(lead), "address": r.address + "/articles/hello", "entry": r.address + "/articles/hello"})
	origin.asked()
	if status, text := reader.another().open(link); status != http.StatusForbidden || strings.Contains(text, "SECRET") {
		t.Errorf("the link gives the next reader %d %s", status, text)
	}
	if served := origin.asked(); len(served) > 0 {
		t.Errorf("for the next reader the origin was asked for %q", served)
	}
	if uses := r.uses(id); uses != 1 {
		t.Errorf("the link has %d uses", uses)
	}

	_, token, _ := strings.Cut(link, "token=")
	for _, request := range origin.received() {
		if strings.Contains(request, token) || strings.Contains(request, "token") {
			t.Errorf("the origin received a token:\n%s", request)
		}
	}
}
