package pagecache

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Anonymous is a request without its reader: all that an origin is told for a fetch that
// fills the cache.
type Anonymous struct {
	Target Target
	Header http.Header
}

const (
	// fetchStall bounds how long a fetch may go on without a byte of its response.
	fetchStall = time.Minute
	// markFor is how long pages of a key pass that were found not storable.
	markFor = time.Minute
	// largeWindow is how far the fetch of a body that is too large to be stored goes ahead of
	// its slowest reader, in bytes.
	largeWindow = 1 << 20
	// chunkBytes is the size of the chunks in which a body is kept while it arrives.
	chunkBytes = 32 << 10
)

// anonymous returns the request of a fetch. Everything in it is in the key of the page, or
// is the same for all pages.
func (c *Cache) anonymous(q *Request, header http.Header, accept, encoding uint8, stored *entry) Anonymous {
	sent := http.Header{"Accept": {accepts[accept]}, "User-Agent": {"gatefold"}}
	if encodings[encoding] != "" {
		sent["Accept-Encoding"] = []string{encodings[encoding]}
	} else {
		sent["Accept-Encoding"] = []string{"identity"}
	}
	for _, name := range c.options.Headers {
		if values := header[name]; len(values) > 0 {
			sent[name] = []string{strings.Join(values, ", ")}
		}
	}
	if stored != nil {
		have := make(http.Header)
		stored.setHeader(have, "")
		if tag := have.Get("ETag"); tag != "" {
			sent["If-None-Match"] = []string{tag}
		}
		if modified := have.Get("Last-Modified"); modified != "" {
			sent["If-Modified-Since"] = []string{modified}
		}
	}
	return Anonymous{Target: q.Target, Header: sent}
}

// fill is a fetch with what it needs to store its response.
type fill struct {
	cache    *Cache
	flight   *flight
	target   Target
	ttl      time.Duration
	fetch    Fetcher
	base     []byte // the key without the encoding
	encoding uint8
	stored   *entry // the page that is asked to be confirmed, or nil

	header      http.Header
	wroteHeader bool
	stall       *time.Timer
}

// begin starts the fetch of a page. It does not depend on the request for which it is made:
// a client that leaves ends nothing.
func (c *Cache) begin(q *Request, header http.Header, base []byte, accept, encoding uint8, stored *entry) *flight {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flight{cancel: cancel, asked: c.options.Now()}
	f.version = c.options.Purges.PagesVersion()
	f.hard, f.soft = c.options.Purges.Pages(slotsOf(&q.Target, nil))
	w := &fill{
		cache: c, flight: f, target: q.Target, ttl: q.TTL, fetch: q.Caller.Fetcher(), base: slices.Clone(base), encoding: encoding, header: make(http.Header),
		stall: time.AfterFunc(fetchStall, cancel),
	}
	if stored != nil {
		if again, ok := c.index.entries.use(stored.handle); ok {
			w.stored, f.confirms = &again, again.handle
		}
	}
	asked := c.anonymous(q, header, accept, encoding, w.stored)
	c.running.Go(func() { w.run(ctx, asked) })
	return f
}

// run makes the fetch. A panic of a handler, by which a proxy reports that a body broke
// off, fails the fetch alone.
func (w *fill) run(ctx context.Context, asked Anonymous) {
	defer func() {
		thrown := recover()
		w.stall.Stop()
		w.flight.cancel()
		if thrown != nil {
			w.fail(errBroken)
		}
		w.cache.flights.ended(w.flight)
		if w.stored != nil {
			w.stored.release()
		}
	}()
	err := w.fetch(ctx, asked, w)
	switch {
	case err != nil:
		w.fail(err)
	case ctx.Err() != nil:
		w.fail(ctx.Err())
	default:
		if !w.wroteHeader {
			w.WriteHeader(http.StatusOK)
		}
		w.complete()
	}
}

// fail ends a fetch that has no complete response.
func (w *fill) fail(err error) {
	w.cache.flights.leave(w.flight)
	f := w.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ready {
		f.err = err
	}
	f.ready, f.done, f.broken = true, true, true
	f.change()
}

// Header implements http.ResponseWriter.
func (w *fill) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational responses are not shared.
func (w *fill) WriteHeader(status int) {
	if w.wroteHeader || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.wroteHeader = true
	w.stall.Reset(fetchStall)
	c, f := w.cache, w.flight
	header := cleanHeader(w.header)
	if _, err := http.ParseTime(header.Get("Date")); err != nil { // RFC 9110, section 6.6.1
		header["Date"] = []string{c.options.Now().UTC().Format(http.TimeFormat)}
	}
	fresh := status == http.StatusNotModified && w.stored != nil
	var life lifetime
	var why Why
	switch {
	case fresh:
		merged := make(http.Header)
		w.stored.setHeader(merged, "")
		freshen(merged, header)
		header = merged
		life, why = storable(w.stored.status(), header, w.ttl, c.options.StaleIfError)
	case status >= 500:
		why = WhyOriginError
	default:
		life, why = storable(status, header, w.ttl, c.options.StaleIfError)
		if length := declaredLength(w.header); why == WhyNone && length > c.options.MaxSize {
			why = WhyTooLarge
		}
	}
	if why == WhyNone {
		why = w.vary(header)
	}
	if _, ok := tagsOf(header); why == WhyNone && !ok {
		why = WhyTags
	}
	shared := why == WhyNone || why == WhyOriginError
	if !shared {
		c.index.mark(w.base, why, c.options.Now().Add(markFor))
		c.index.remove(c.index.variant(slices.Clone(w.base), w.encoding)) // it is not the page any more
		c.flights.leave(f)
		defer f.cancel()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.header, f.life, f.why, f.fresh, f.length, f.ready = status, header, life, why, fresh, declaredLength(w.header), true
	f.change()
}

// vary makes the encoding a part of the key if the response varies by it.
func (w *fill) vary(header http.Header) Why {
	byEncoding, why := varies(header, w.cache.options.Headers)
	if byEncoding && why == WhyNone {
		w.cache.index.vary(w.base)
	}
	return why
}

// Write implements http.ResponseWriter. It returns an error once the response is not for
// sharing.
func (w *fill) Write(b []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	w.stall.Reset(fetchStall)
	f, c := w.flight, w.cache
	f.mu.Lock()
	unshared, counts := f.why != WhyNone && f.why != WhyOriginError, !f.large
	f.mu.Unlock()
	if unshared {
		return 0, context.Canceled
	}
	room := true
	if counts {
		room = c.flights.grow(int64(len(b)), c.options.Memory/4)
	}
	f.mu.Lock()
	if f.append(b); counts {
		f.counted += int64(len(b))
	}
	if !f.large && (f.size > c.options.MaxSize || !room) {
		f.large = true
	}
	large := f.large
	f.change()
	f.mu.Unlock()
	if !large {
		return len(b), nil
	}
	c.flights.leave(f) // a reader who joined it would miss the beginning
	c.index.mark(w.base, WhyTooLarge, c.options.Now().Add(markFor))
	return len(b), w.awaitReaders()
}

// awaitReaders waits until the readers of a large body are not far behind. It returns an
// error when none is left.
func (w *fill) awaitReaders() error {
	f := w.flight
	none := false
	ctx, cancel := context.WithTimeout(context.Background(), fetchStall)
	defer cancel()
	err := f.await(ctx, func() bool {
		none = len(f.readers) == 0
		return none || f.size-f.slowest() <= largeWindow
	})
	w.stall.Reset(fetchStall)
	if none {
		return context.Canceled
	}
	return err
}

// append adds bytes to the body.
func (f *flight) append(b []byte) {
	f.size += int64(len(b))
	for len(b) > 0 {
		last := len(f.chunks) - 1
		if last < 0 || len(f.chunks[last]) == cap(f.chunks[last]) {
			f.chunks = append(f.chunks, make([]byte, 0, chunkBytes))
			last++
		}
		chunk := f.chunks[last]
		n := min(cap(chunk)-len(chunk), len(b))
		f.chunks[last] = append(chunk, b[:n]...)
		b = b[n:]
	}
}

// complete ends a fetch whose response is complete, and stores it.
func (w *fill) complete() {
	f := w.flight
	f.mu.Lock()
	length, fits := declaredLength(w.header), !f.large && f.why == WhyNone
	size, body := f.size, f.chunks
	f.mu.Unlock()
	if length >= 0 && length != size && !f.fresh {
		w.fail(errBroken)
		return
	}
	stored := fits && w.store(body)
	w.cache.flights.leave(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.stored = true, stored
	f.change()
}

// store stores a complete response. It does not if a purge came meanwhile that may be of
// the page.
func (w *fill) store(body [][]byte) bool {
	c, f := w.cache, w.flight
	tags, _ := tagsOf(f.header)
	slots := slotsOf(&w.target, tags)
	purges := c.options.Purges
	hard, soft := purges.Pages(slots)
	if purges.PagesVersion() != f.version {
		if nowHard, nowSoft := purges.Pages(slotsOf(&w.target, nil)); len(tags) > 0 || nowHard != f.hard || nowSoft != f.soft {
			return false
		}
	}
	status := f.status
	if f.fresh {
		status, body = w.stored.status(), w.stored.bodyParts()
	}
	length := 0
	for _, part := range body {
		length += len(part)
	}
	received := c.options.Now()
	age := initialAge(f.header, f.asked, received)
	header := maps.Clone(f.header)
	delete(header, "Age")
	header["Content-Length"] = []string{strconv.Itoa(length)}
	key := c.index.variant(slices.Clone(w.base), w.encoding)
	err := c.index.put(&page{
		status: status, header: header, body: body, life: f.life, stored: received, age: age, hard: hard, soft: soft, slots: slots, key: key,
	})
	if err != nil {
		c.counts.full.Add(1)
	}
	return err == nil
}

// declaredLength returns the Content-Length of a response, or -1.
func declaredLength(header http.Header) int64 {
	values := header["Content-Length"]
	if len(values) != 1 {
		return -1
	}
	length, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return -1
	}
	return length
}

// FlushError implements the interface of http.ResponseController: what arrives is shared
// at once anyway.
func (w *fill) FlushError() error { return nil }

// cleanHeader returns the fields of a response that are stored: without those of the
// connection (RFC 9110, section 7.6.1) and of this cache alone.
func cleanHeader(received http.Header) http.Header {
	header := maps.Clone(received)
	for _, line := range received["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			delete(header, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	for _, name := range [...]string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authentication-Info", "Te", "Transfer-Encoding", "Upgrade", "Content-Length",
	} {
		delete(header, name)
	}
	return header
}

// freshen updates stored fields by those of a 304 (RFC 9111, section 3.2).
func freshen(stored, confirmed http.Header) {
	for name, values := range confirmed {
		switch name {
		case "Content-Encoding", "Content-Range", "Content-Length", "Etag", "Content-Md5", "Content-Digest", "Digest": // of the stored body
		default:
			stored[name] = values
		}
	}
	if confirmed["Age"] == nil {
		delete(stored, "Age")
	}
}

// Interface guard
var _ http.ResponseWriter = (*fill)(nil)

// isCanceled reports whether an error is that of an ended context.
func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
