package pagecache

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// waitMost bounds how long a request waits for a fetch that another one began.
	waitMost = 5 * time.Second
	// maxRanges bounds the ranges of a request; one with more gets the whole page.
	maxRanges = 10
)

// Serve answers a request from memory, from a fetch that it shares with others, or by
// passing it on.
func (c *Cache) Serve(w http.ResponseWriter, r *http.Request, q *Request) error {
	if why := cacheable(r); why != WhyNone {
		if why == WhyMethod {
			w = c.invalidating(w, r, q)
		}
		return c.pass(w, q, "bypass", why)
	}
	if !q.Stored {
		return c.pass(w, q, "bypass", WhyStore)
	}
	q.Target.Query = ignoreQuery(q.Target.Query, c.options.IgnoreQuery)
	var buf [512]byte
	accept, encoding := acceptClass(r.Header), encodingClass(r.Header)
	base, ok := appendKey(buf[:0], &q.Target, accept, r.Header, c.options.Headers)
	if !ok {
		return c.pass(w, q, "bypass", WhyRequest)
	}
	var found bool
	q.found, found = c.index.get(c.index.variant(base, encoding))
	stored := &q.found
	if found {
		defer stored.release()
		at := c.options.Now()
		switch c.usable(stored, at) {
		case isFresh:
			return c.answer(w, r, q, stored, Hit, at)
		case isStale:
			if c.within(stored, stored.life().whileRevalid, at) {
				c.refresh(q, r.Header, base, accept, encoding, stored)
				return c.answer(w, r, q, stored, Stale, at)
			}
		case isPurged:
			found = false
		}
	}
	switch {
	case onlyIfCached(r.Header):
		c.result(w, q, Pass, WhyRequest, "")
		w.WriteHeader(http.StatusGatewayTimeout)
		return nil
	case r.Method != http.MethodGet:
		return c.pass(w, q, "uri-miss", WhyMethod)
	case r.Header["Range"] != nil:
		return c.pass(w, q, "uri-miss", WhyRequest)
	case c.index.marked(base, c.options.Now()) != WhyNone:
		return c.pass(w, q, "bypass", WhyMarked)
	}
	if !found {
		stored = nil
	}
	return c.share(w, r, q, base, accept, encoding, stored)
}

// cacheable reports why a request is never answered from memory.
func cacheable(r *http.Request) Why {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return WhyMethod
	case r.ContentLength != 0:
		return WhyBody
	case r.Header["Upgrade"] != nil || r.Header["If-Match"] != nil || r.Header["If-Unmodified-Since"] != nil:
		return WhyRequest
	}
	return WhyNone
}

func onlyIfCached(header http.Header) bool {
	for _, line := range header["Cache-Control"] {
		if strings.Contains(strings.ToLower(line), "only-if-cached") {
			return true
		}
	}
	return false
}

// usability is how a stored page may be used.
type usability uint8

const (
	isPurged usability = iota
	isStale
	isFresh
)

func (c *Cache) usable(e *entry, at time.Time) usability {
	var buf [64]uint16
	hard, soft := c.options.Purges.Pages(e.slots(buf[:0]))
	switch {
	case hard != uint64(e.number(5)):
		return isPurged
	case soft != uint64(e.number(6)) || e.noCache() || e.age(at) >= e.fresh():
		return isStale
	}
	return isFresh
}

// within reports whether a stale page may be used for a time after it expired. When a page
// was purged softly is not known: it counts as expired since it was stored.
func (c *Cache) within(e *entry, allowed time.Duration, at time.Time) bool {
	expired := e.fresh()
	var buf [64]uint16
	if _, soft := c.options.Purges.Pages(e.slots(buf[:0])); soft != uint64(e.number(6)) {
		expired = min(expired, millis(e.number(1)))
	}
	return allowed > 0 && e.age(at)-expired < allowed
}

// refresh fetches a page again while the stored one is used.
func (c *Cache) refresh(q *Request, header http.Header, base []byte, accept, encoding uint8, stored *entry) {
	version := c.options.Purges.PagesVersion()
	flightKey := append(append([]byte(nil), base...), encoding)
	if c.flights.running(flightKey, version) {
		return
	}
	if f, reader, _ := c.flights.join(flightKey, version, func() *flight { return c.begin(q, header, base, accept, encoding, stored) }); f != nil {
		reader.leave()
	}
}

// share answers a request from a fetch, which it begins if none runs.
func (c *Cache) share(w http.ResponseWriter, r *http.Request, q *Request, base []byte, accept, encoding uint8, stored *entry) error {
	flightKey := append(append(make([]byte, 0, len(base)+1), base...), encoding)
	f, reader, first := c.flights.join(flightKey, c.options.Purges.PagesVersion(), func() *flight {
		return c.begin(q, r.Header, base, accept, encoding, stored)
	})
	if f == nil {
		return c.pass(w, q, "uri-miss", WhyBusy)
	}
	defer reader.leave()
	ctx := r.Context()
	if !first {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waitMost)
		defer cancel()
	}
	if err := f.await(ctx, func() bool { return f.ready }); err != nil {
		if r.Context().Err() != nil {
			return r.Context().Err()
		}
		f = nil
	}
	if !q.Caller.Again() {
		return ErrDenied
	}
	if f == nil {
		return c.pass(w, q, "uri-miss", WhyBusy)
	}
	failed := f.err != nil || f.why == WhyOriginError
	if at := c.options.Now(); failed && stored != nil && c.usable(stored, at) != isPurged && c.within(stored, stored.life().ifError, at) {
		c.stale.served(at)
		q.Result.Why = WhyOriginError
		return c.answer(w, r, q, stored, Stale, at)
	}
	switch {
	case f.why != WhyNone && f.why != WhyOriginError:
		return c.pass(w, q, "uri-miss", f.why)
	case f.err != nil && isCanceled(f.err):
		return c.pass(w, q, "uri-miss", WhyBusy)
	case f.err != nil:
		c.result(w, q, outcomeOf(first), WhyOriginError, "")
		return f.err
	case f.fresh:
		return c.confirmed(w, r, q, f, stored)
	}
	return c.stream(w, r, q, reader, first)
}

func outcomeOf(first bool) Outcome {
	if first {
		return Miss
	}
	return Collapsed
}

// confirmed answers with the stored page that the origin confirmed, which may be another one
// than this request found.
func (c *Cache) confirmed(w http.ResponseWriter, r *http.Request, q *Request, f *flight, stored *entry) error {
	if stored == nil || stored.handle != f.confirms {
		asked, ok := c.index.entries.use(f.confirms)
		if !ok { // another one replaced it meanwhile
			return c.pass(w, q, "uri-miss", WhyBusy)
		}
		defer asked.release()
		stored = &asked
	}
	if c.usable(stored, c.options.Now()) == isPurged { // it was purged meanwhile
		return c.pass(w, q, "uri-miss", WhyBusy)
	}
	header := w.Header()
	maps.Copy(header, f.header.Clone()) // other handlers may change the values
	c.result(w, q, Revalidated, WhyNone, "; fwd=stale; fwd-status=304")
	c.finishHeader(header, initialAge(f.header, f.asked, c.options.Now()))
	header["Content-Length"] = []string{strconv.Itoa(stored.length())}
	return c.send(w, r, stored)
}

// stream sends a response while it arrives.
func (c *Cache) stream(w http.ResponseWriter, r *http.Request, q *Request, reader *flightReader, first bool) error {
	f := reader.flight
	parameters := "; fwd=uri-miss; fwd-status=" + strconv.Itoa(f.status)
	if !first {
		parameters += "; collapsed"
	}
	header := w.Header()
	maps.Copy(header, f.header.Clone()) // other handlers may change the values
	c.result(w, q, outcomeOf(first), f.why, parameters)
	c.finishHeader(header, initialAge(f.header, f.asked, f.asked))
	if f.status == http.StatusOK && notModified(r.Header, f.header) {
		for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language"} {
			delete(header, name)
		}
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if length := f.knownLength(); length >= 0 {
		header["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	w.WriteHeader(f.status)
	flush := http.NewResponseController(w)
	for {
		part, err := reader.next(r.Context())
		switch {
		case err != nil && r.Context().Err() != nil:
			return nil // the client left
		case err != nil:
			panic(http.ErrAbortHandler) // so that the client does not take it for complete
		case part == nil:
			return nil
		}
		if _, err := w.Write(part); err != nil {
			return nil //nolint:nilerr // the client left, or a use could not be counted
		}
		reader.advance(len(part))
		if !reader.waits() {
			continue
		}
		_ = flush.Flush()
	}
}

// waits reports whether all of the body that arrived is sent, and more is to come.
func (r *flightReader) waits() bool {
	r.flight.mu.Lock()
	defer r.flight.mu.Unlock()
	return !r.flight.done && r.position >= r.flight.size
}

// answer sends a stored page.
func (c *Cache) answer(w http.ResponseWriter, r *http.Request, q *Request, e *entry, what Outcome, at time.Time) error {
	age, header := e.age(at), w.Header()
	why := q.Result.Why
	e.setHeader(header, ageText(age))
	delete(header, OwnControl)
	if q.StatusField {
		parameters := "; hit; ttl=" + strconv.FormatInt(int64((e.fresh()-age)/time.Second), 10)
		if why == WhyOriginError {
			parameters = "; fwd=stale"
		}
		c.result(w, q, what, why, parameters)
	} else {
		*q.Result = Result{What: what, Why: why}
	}
	return c.send(w, r, e)
}

// finishHeader sets Age, and removes what is for this cache alone.
func (c *Cache) finishHeader(header http.Header, age time.Duration) {
	delete(header, OwnControl)
	header["Age"] = []string{ageText(age)}
}

// ageText returns the value of Age (RFC 9111, section 5.1).
func ageText(age time.Duration) string { return strconv.FormatInt(max(int64(age/time.Second), 0), 10) }

// send writes a stored page, of which the header is set: all of it, the ranges that are
// asked for, or that it did not change.
func (c *Cache) send(w http.ResponseWriter, r *http.Request, e *entry) error {
	if e.status() == http.StatusOK && (r.Header["Range"] != nil || r.Header["If-None-Match"] != nil || r.Header["If-Modified-Since"] != nil) {
		c.sendSelected(w, r, e)
		return nil
	}
	w.WriteHeader(e.status())
	if r.Method == http.MethodHead {
		return nil
	}
	var to io.Writer = w
	if r.ProtoMajor >= 2 {
		to = &copyingWriter{to: w, room: min(e.length(), chunkBytes)}
	}
	_ = e.each(func(part []byte) error { // an error means that the client left
		_, err := to.Write(part)
		return err
	})
	return nil
}

// sendSelected answers conditional requests and those for ranges.
func (c *Cache) sendSelected(w http.ResponseWriter, r *http.Request, e *entry) {
	header := w.Header()
	delete(header, "Content-Length")
	if header["Content-Type"] == nil {
		header["Content-Type"] = []string{} // it is not guessed
	}
	if ranges := r.Header.Get("Range"); strings.Count(ranges, ",") >= maxRanges {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	modified, _ := http.ParseTime(header.Get("Last-Modified"))
	http.ServeContent(w, r, "", modified, &entryReader{entry: e})
}

// notModified reports whether a client has the response already (RFC 9110, section
// 13.2.2).
func notModified(asked, header http.Header) bool {
	if tags := asked["If-None-Match"]; len(tags) > 0 {
		tag := strings.TrimPrefix(header.Get("ETag"), "W/")
		for _, line := range tags {
			for one := range strings.SplitSeq(line, ",") {
				if one = strings.TrimSpace(one); one == "*" || tag != "" && strings.TrimPrefix(one, "W/") == tag {
					return true
				}
			}
		}
		return false
	}
	since, err := http.ParseTime(asked.Get("If-Modified-Since"))
	modified, modifiedErr := http.ParseTime(header.Get("Last-Modified"))
	return err == nil && modifiedErr == nil && !modified.After(since)
}

// pass passes a request on as it is.
func (c *Cache) pass(w http.ResponseWriter, q *Request, fwd string, why Why) error {
	*q.Result = Result{What: Pass, Why: why}
	if q.StatusField {
		value := "gatefold; fwd=" + fwd + "; detail=" + string(why)
		w = &headerWriter{wrapped: wrap(w), do: func(_ int, header http.Header) { header[statusField] = append(header[statusField], value) }}
	}
	return q.Caller.Pass(w)
}

// statusField is the field of RFC 9211.
const statusField = "Cache-Status"

// result notes what became of a request, and adds Cache-Status.
func (c *Cache) result(w http.ResponseWriter, q *Request, what Outcome, why Why, parameters string) {
	*q.Result = Result{What: what, Why: why}
	if q.StatusField && parameters != "" {
		if why != WhyNone {
			parameters += "; detail=" + string(why)
		}
		header := w.Header()
		// The slice may be that of a shared header.
		header[statusField] = append(slices.Clip(header[statusField]), "gatefold"+parameters)
	}
}
