package pagecache

import (
	"io"
	"net/http"
	"net/url"

	"github.com/dunglas/httpsfv"

	"github.com/gatefold/gatefold/policy"
)

// wrapped passes everything on to a writer, and lets http.ResponseController find it.
type wrapped struct{ http.ResponseWriter }

func wrap(w http.ResponseWriter) wrapped { return wrapped{w} }

// Unwrap implements the interface of http.ResponseController.
func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom implements io.ReaderFrom.
func (w wrapped) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// headerWriter calls do before the header of a response is sent.
type headerWriter struct {
	wrapped
	do    func(status int, header http.Header)
	wrote bool
}

// WriteHeader implements http.ResponseWriter.
func (w *headerWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.wrote = true
		w.do(status, w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *headerWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom.
func (w *headerWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.wrapped.ReadFrom(r)
}

// FlushError implements the interface of http.ResponseController.
func (w *headerWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// copyingWriter writes copies of what it is given. Write of HTTP/2 returns when the client
// resets the stream, while another goroutine may still send the bytes: those of a page whose
// memory is given to another one meanwhile. A copy is the collector's. It is used again only
// after a write that ended without an error, which keeps nothing.
type copyingWriter struct {
	to   io.Writer
	room int
	buf  []byte
}

// Write implements io.Writer.
func (w *copyingWriter) Write(b []byte) (n int, err error) {
	if w.buf == nil {
		w.buf = make([]byte, w.room)
	}
	for len(b) > 0 {
		part := w.buf[:copy(w.buf, b)]
		wrote, err := w.to.Write(part)
		if n += wrote; err != nil {
			return n, err
		}
		b = b[len(part):]
	}
	return n, nil
}

// invalidating returns a writer that purges what an unsafe request changed:
// its own page, those that Location and Content-Location name, and the groups of
// Cache-Group-Invalidation (RFC 9111, section 4.4; RFC 9875, section 3).
func (c *Cache) invalidating(w http.ResponseWriter, r *http.Request, q *Request) http.ResponseWriter {
	switch r.Method {
	case http.MethodOptions, http.MethodTrace, http.MethodConnect, "PROPFIND", "REPORT", "SEARCH":
		return w
	}
	return &headerWriter{wrapped: wrap(w), do: func(status int, header http.Header) {
		if status >= 400 {
			return
		}
		purge := policy.PagePurge{Site: q.Target.Site, Paths: []string{q.Target.Path}}
		if received := q.Target.received(); received != "" {
			purge.Paths = append(purge.Paths, received)
		}
		for _, name := range [...]string{"Location", "Content-Location"} {
			if at, err := url.Parse(header.Get(name)); err == nil && at.Path != "" && (at.Host == "" || at.Host == q.Target.Host) {
				purge.Paths = append(purge.Paths, at.EscapedPath())
			}
		}
		if groups, err := httpsfv.UnmarshalList(header["Cache-Group-Invalidation"]); err == nil && len(groups) <= maxTags {
			for _, member := range groups {
				if item, ok := member.(httpsfv.Item); ok {
					if group, ok := item.Value.(string); ok {
						purge.Tags = append(purge.Tags, group)
					}
				}
			}
		}
		q.Caller.Purge(&purge)
	}}
}

// entryReader reads the body of an entry.
type entryReader struct {
	entry    *entry
	position int64
}

// Seek implements io.Seeker.
func (r *entryReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.position
	case io.SeekEnd:
		offset += int64(r.entry.length())
	}
	r.position = max(offset, 0)
	return r.position, nil
}

// Read implements io.Reader.
func (r *entryReader) Read(b []byte) (n int, err error) {
	at, want := int64(0), r.position
	_ = r.entry.each(func(part []byte) error {
		if n < len(b) && want < at+int64(len(part)) {
			n += copy(b[n:], part[want-at:])
			want = at + int64(len(part))
		}
		at += int64(len(part))
		return nil
	})
	r.position += int64(n)
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}
