package pagecache

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// slow is a client that takes the next part of a body when it is told to.
type slow struct {
	discard
	wrote, take chan struct{}
}

func (s *slow) Write(b []byte) (int, error) {
	s.wrote <- struct{}{}
	<-s.take
	return len(b), nil
}

// A body that was fetched counts as long as a slow client keeps it in memory, and the client
// keeps no more of it than it has to be sent still.
func TestFlightCountsUntilTheLastReaderLeft(t *testing.T) {
	const parts = 2
	w := newWorld(t, MinMemory)
	client := &slow{discard{http.Header{}}, make(chan struct{}), make(chan struct{})}
	q := Request{
		Target: Target{Vendor: "acme", Site: "news", Host: "news.example", Path: "/a"}, TTL: time.Minute, Stored: true, Result: new(Result),
		Caller: &caller{fetch: func(_ context.Context, _ Anonymous, to http.ResponseWriter) error {
			_, err := to.Write(make([]byte, parts*chunkBytes))
			return err
		}},
	}
	served := make(chan error, 1)
	go func() {
		served <- w.Serve(client, httptest.NewRequest(http.MethodGet, "http://news.example/a", nil), &q)
	}()
	<-client.wrote
	w.running.Wait() // the fetch has ended, and stored its response
	if stats := w.Stats(); stats.Fetches != 1 || stats.FillBytes != parts*chunkBytes {
		t.Errorf("while a client is sent the body, %d fetches have %d bytes, want 1 and %d", stats.Fetches, stats.FillBytes, parts*chunkBytes)
	}
	var f *flight
	for f = range w.flights.all {
	}
	client.take <- struct{}{}
	<-client.wrote
	if f == nil || len(f.chunks) != parts-1 {
		t.Error("a part that every client has is kept")
	}
	client.take <- struct{}{}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if stats := w.Stats(); stats.Fetches != 0 || stats.FillBytes != 0 {
		t.Errorf("after the last client %d fetches have %d bytes", stats.Fetches, stats.FillBytes)
	}
}

// Close ends a fetch that cannot be joined any more, too, and a request that comes later
// passes.
func TestCloseEndsAllFetches(t *testing.T) {
	w := newWorld(t, MinMemory)
	began := make(chan struct{})
	ask := func() Result {
		q := Request{
			Target: Target{Vendor: "acme", Site: "news", Host: "news.example", Path: "/a"}, Stored: true, Result: new(Result),
			Caller: &caller{fetch: func(ctx context.Context, _ Anonymous, _ http.ResponseWriter) error {
				close(began)
				<-ctx.Done()
				return ctx.Err()
			}},
		}
		if err := w.Serve(&discard{http.Header{}}, httptest.NewRequest(http.MethodGet, "http://news.example/a", nil), &q); err != nil {
			t.Error(err)
		}
		return *q.Result
	}
	first := make(chan Result, 1)
	go func() { first <- ask() }()
	<-began
	w.flights.mu.Lock()
	clear(w.flights.byKey) // as once a body is too large
	w.flights.mu.Unlock()
	w.Close()
	if got := <-first; got.What != Pass {
		t.Errorf("the request whose fetch was ended: %v", got)
	}
	if got := ask(); got.What != Pass || got.Why != WhyBusy {
		t.Errorf("a request after the end: %v", got)
	}
}
