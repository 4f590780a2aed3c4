package upstreamtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// press is an origin with issues of an e-paper, which fails on demand.
type press struct {
	address string
	issue   []byte
	broken  atomic.Bool

	mu     sync.Mutex
	ranges []string // the Range of each request, and its URI
}

func startPress(t *testing.T) *press {
	t.Helper()
	p := &press{issue: bytes.Repeat([]byte("%PDF-1.4 SECRET "), 20_000)}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.address = strings.TrimPrefix(server.URL, "http://")
	return p
}

func (p *press) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.ranges = append(p.ranges, r.Header.Get("Range")+" "+r.RequestURI)
	p.mu.Unlock()
	if p.broken.Load() {
		http.Error(w, "the press is broken", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Etag", `"1"`)
	http.ServeContent(w, r, "issue.pdf", time.Time{}, bytes.NewReader(p.issue))
}

// part asks for a part of a file as a program without cookies.
func (r *recipe) part(method, address, agent string, headers ...string) (status int, header http.Header, body []byte) {
	request, err := http.NewRequestWithContext(r.t.Context(), method, address, nil)
	if err != nil {
		r.t.Error(err)
		return 0, nil, nil
	}
	request.Header.Set("User-Agent", agent)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		r.t.Error(err)
		return 0, nil, nil
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		r.t.Error(err)
	}
	return response.StatusCode, response.Header, body
}

// A reader opens the e-paper in a program that loads its PDF in parts, by a link with one use.
// The program looks with HEAD, asks behind the end, loads eight parts at once and more later:
// the origin gets each Range as it is, its 206 and 416 arrive with their headers, and all of it
// is one use. A second program gets nothing. While the origin fails, nothing is spent.
func TestFileInPartsByALink(t *testing.T) {
	origin := startPress(t)
	r := startSection(t, sectionOf(t, "docs/links.md", "E-papers, PDFs and other files in parts"), "http", nil, "localhost:3000", origin.address)
	link, id := r.giveAway(r.address+"/epaper/2026-11-28.pdf", "--max-uses", "1", "--expires", "30d")
	const agent = "EPaper/7 (tablet)"
	wants := func(what string, uses int64) {
		t.Helper()
		if got := r.uses(id); got != uses {
			t.Errorf("after %s there are %d uses, not %d", what, got, uses)
		}
	}

	origin.broken.Store(true)
	if status, _, body := r.part(http.MethodGet, link, agent, "Range: bytes=0-99"); status != http.StatusServiceUnavailable || !strings.Contains(string(body), "the press is broken") {
		t.Errorf("the origin's error is %d %s", status, body)
	}
	wants("an error of the origin", 0)
	origin.broken.Store(false)
	if status, header, _ := r.part(http.MethodHead, link, agent); status != http.StatusOK || header.Get("Content-Length") != fmt.Sprint(len(origin.issue)) {
		t.Errorf("HEAD before the first part is %d %v", status, header)
	}
	if status, header, _ := r.part(http.MethodGet, link, agent, "Range: bytes=999999-"); status != http.StatusRequestedRangeNotSatisfiable || header.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(origin.issue)) {
		t.Errorf("behind the end it is %d %v", status, header)
	}
	wants("HEAD and 416", 0)

	const parts = 8
	size := len(origin.issue) / parts
	loaded := make([][]byte, parts)
	var programs sync.WaitGroup
	for i := range parts {
		programs.Go(func() {
			status, header, body := r.part(http.MethodGet, link, agent, fmt.Sprintf("Range: bytes=%d-%d", i*size, (i+1)*size-1))
			if status != http.StatusPartialContent || header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", i*size, (i+1)*size-1, len(origin.issue)) {
				t.Errorf("part %d is %d %v", i, status, header)
			}
			loaded[i] = body
		})
	}
	programs.Wait()
	if !bytes.Equal(slices.Concat(loaded...), origin.issue) {
		t.Error("the parts are not the file")
	}
	wants("eight parts", 1)
	for _, later := range []struct {
		headers []string
		status  int
		size    int
	}{
		{[]string{"Range: bytes=-50"}, http.StatusPartialContent, 50},
		{[]string{"Range: bytes=100-149", `If-Range: "1"`}, http.StatusPartialContent, 50},
		{[]string{"Range: bytes=100-149", `If-Range: "0"`}, http.StatusOK, len(origin.issue)},
		{[]string{`If-None-Match: "1"`}, http.StatusNotModified, 0},
		{nil, http.StatusOK, len(origin.issue)},
	} {
		if status, _, body := r.part(http.MethodGet, link, agent, later.headers...); status != later.status || len(body) != later.size {
			t.Errorf("%q is %d with %d bytes", later.headers, status, len(body))
		}
	}
	if status, header, body := r.part(http.MethodGet, link, agent, "Range: bytes=0-3,8-11"); status != http.StatusPartialContent || !strings.HasPrefix(header.Get("Content-Type"), "multipart/byteranges") || bytes.Count(body, []byte("Content-Range: ")) != 2 {
		t.Errorf("two ranges are %d %v", status, header)
	}
	if status, header, _ := r.part(http.MethodHead, link, agent); status != http.StatusOK || header.Get("Content-Length") != fmt.Sprint(len(origin.issue)) || header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD is %d %v", status, header)
	}
	wants("more parts and HEAD", 1)

	before := len(origin.ranges)
	if status, _, body := r.part(http.MethodGet, link, "Another/1", "Range: bytes=0-99"); status != http.StatusForbidden || !bytes.Contains(body, []byte("link_used_up")) || bytes.Contains(body, []byte("SECRET")) {
		t.Errorf("a second program gets %d %s", status, body)
	}
	wants("a second program", 1)
	if len(origin.ranges) != before {
		t.Errorf("the origin was asked for the second program: %q", origin.ranges[before:])
	}
	for _, asked := range origin.ranges {
		if !strings.HasSuffix(asked, " /epaper/2026-11-28.pdf") {
			t.Errorf("the origin was asked for %s", asked)
		}
	}
	for _, want := range []string{"bytes=999999-", "bytes=-50", "bytes=0-3,8-11", fmt.Sprintf("bytes=0-%d", size-1)} {
		if !slices.Contains(origin.ranges, want+" /epaper/2026-11-28.pdf") {
			t.Errorf("the origin did not get Range: %s", want)
		}
	}
}
