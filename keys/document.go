package keys

import (
	"context"
	"time"
)

// Document is a small document of another host that is no key set. Its location is one of
// the operator's configuration.
type Document struct {
	Body []byte
	// ETag is the entity tag of the body; empty for none.
	ETag string
	// FetchedAt is when the host last said that it is current.
	FetchedAt time.Time
}

// Document fetches a document as a key set is fetched: over https, without redirects and
// compression, within FetchTimeout, and at most MaxJWKSSize bytes. With an earlier one the
// request is conditional, and the result may be that document, fetched again. It returns a
// *FetchError.
func (s *Sets) Document(ctx context.Context, address string, earlier Document) (Document, error) {
	settings := s.settings.Load()
	ctx, cancel := context.WithTimeout(ctx, settings.timeout)
	defer cancel()
	got, err := settings.fetcher.get(ctx, address, earlier.ETag, true)
	if err != nil {
		return Document{}, err
	}
	if got.notModified {
		got.body, got.etag = earlier.Body, earlier.ETag
	}
	return Document{Body: got.body, ETag: got.etag, FetchedAt: s.options.Now()}, nil
}

// documentPrefix begins the names of documents in a SetStore.
const documentPrefix = "document "

// SavedDocument returns the document that was saved for an address, by another process or
// before a restart. It reports false if there is none, or if it cannot be read.
func (s *Sets) SavedDocument(ctx context.Context, address string) (Document, bool) {
	if s.options.Store == nil {
		return Document{}, false
	}
	stored, err := s.options.Store.LoadKeySet(ctx, documentPrefix+address)
	if err != nil || stored == nil {
		return Document{}, false
	}
	return Document{Body: stored.Body, ETag: stored.ETag, FetchedAt: stored.FetchedAt}, true
}

// SaveDocument keeps a document for SavedDocument until expires. It is best effort: while the
// store cannot be written, the document is fetched again after a restart.
func (s *Sets) SaveDocument(ctx context.Context, address string, document Document, expires time.Time) error {
	if s.options.Store == nil {
		return nil
	}
	return s.options.Store.SaveKeySet(ctx, documentPrefix+address, &StoredSet{Body: document.Body, ETag: document.ETag, From: address, FetchedAt: document.FetchedAt}, expires)
}
