package pagecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// lateSender is the response writer of HTTP/2 for a client that resets the stream: Write
// returns, and another goroutine sends what it was given later.
type lateSender struct {
	discard
	sends [][]byte
}

func (l *lateSender) Write(b []byte) (int, error) {
	l.sends = append(l.sends, b)
	if len(l.sends) < 2 {
		return len(b), nil
	}
	return 0, errors.New("stream closed")
}

// A client of HTTP/2 resets its stream in the middle of a paid page, while the server is still
// sending. Then the page is replaced, and its memory holds another page, which this reader may
// not have. What is sent late is what they were to get.
func TestLateSendIsOfThePage(t *testing.T) {
	const size = 48 << 10
	w := newWorld(t, MinMemory)
	target := Target{Vendor: "acme", Site: "news", Host: "news.example", Path: "/a"}
	put := func(path string, with byte) {
		one := target
		one.Path = path
		key, _ := appendKey(nil, &one, 0, nil, nil)
		err := w.index.put(&page{
			status: 200, header: fields("Etag", `"1"`), body: [][]byte{bytes.Repeat([]byte{with}, size)}, life: lifetime{fresh: time.Minute}, stored: w.now,
			slots: slotsOf(&one, nil), key: w.index.variant(key, 0),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.index.found.Wait()
	}
	put("/a", 'a')
	client, request := &lateSender{discard: discard{http.Header{}}}, httptest.NewRequest(http.MethodGet, "http://news.example/a", nil)
	request.ProtoMajor = 2
	if err := w.Serve(client, request, &Request{Target: target, Stored: true, Result: new(Result)}); err != nil {
		t.Fatal(err)
	}
	w.index.found.Clear()
	for i := range 100 {
		put(fmt.Sprint("/other/", i), 'b')
	}
	if last := client.sends[len(client.sends)-1]; len(client.sends) != 2 || bytes.ContainsRune(last, 'b') || len(last) == 0 {
		t.Errorf("of %d writes the last one sends %d bytes of another page", len(client.sends), bytes.Count(last, []byte("b")))
	}
}

// Two readers wait for one confirmation of a page. The second one found a newer copy than the
// one that the origin is asked to confirm: both get the confirmed copy, with its own body.
func TestConfirmationIsOfOneCopy(t *testing.T) {
	w := newWorld(t, MinMemory)
	target := Target{Vendor: "acme", Site: "news", Host: "news.example", Path: "/a"}
	put := func(version string) {
		key, _ := appendKey(nil, &target, 0, nil, nil)
		err := w.index.put(&page{
			status: 200, header: fields("Etag", `"`+version+`"`, "Content-Length", "3"), body: [][]byte{[]byte(version)}, stored: w.now,
			slots: slotsOf(&target, nil), key: w.index.variant(key, 0),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.index.found.Wait()
	}
	asked, reply := make(chan string), make(chan struct{})
	type answer struct {
		result Result
		tag    string
		body   string
	}
	answers := make(chan answer, 2)
	ask := func() {
		recorder := httptest.NewRecorder()
		q := Request{
			Target: target, Stored: true, Result: new(Result),
			Caller: &caller{fetch: func(_ context.Context, sent Anonymous, to http.ResponseWriter) error {
				asked <- sent.Header.Get("If-None-Match")
				<-reply
				to.Header().Set("Cache-Control", "max-age=60")
				to.WriteHeader(http.StatusNotModified)
				return nil
			}},
		}
		if err := w.Serve(recorder, httptest.NewRequest(http.MethodGet, "http://news.example/a", nil), &q); err != nil {
			t.Error(err)
		}
		answers <- answer{*q.Result, recorder.Header().Get("Etag"), recorder.Body.String()}
	}
	put("old")
	go ask()
	if tag := <-asked; tag != `"old"` {
		t.Fatalf("the origin is asked to confirm %s", tag)
	}
	put("new")
	go ask()
	for w.Stats().Waiting < 2 {
		time.Sleep(time.Millisecond)
	}
	close(reply)
	confirmed := 0
	for range 2 { // the second one may come too late to get the copy, and passes then
		switch got := <-answers; {
		case got.result.What != Revalidated:
		case got.tag != `"`+got.body+`"`:
			t.Errorf("the copy with the tag %s has the body %q", got.tag, got.body)
		default:
			confirmed++
		}
	}
	if confirmed == 0 && !t.Failed() {
		t.Error("no reader got the confirmed copy")
	}
}
