package pagecache

import (
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// stores reports whether a page with a header is stored. It fails the test if another header is
// read back.
func stores(t *testing.T, e *entries, header http.Header) bool {
	t.Helper()
	h, _, err := e.put(&page{status: 200, header: header, key: []byte("key")})
	if err != nil {
		return false
	}
	defer e.release(h)
	got, _ := e.use(h)
	defer got.release()
	read := http.Header{}
	if got.setHeader(read, ""); !reflect.DeepEqual(read, header) {
		t.Fatalf("%d fields become %d: %.200q", len(header), len(read), read)
	}
	if got.setHeader(read, "7"); read.Get("Age") != "7" {
		t.Fatal("there is no Age")
	}
	return true
}

// Whatever bytes a header has, it is read back as it was, up to the size of a record's head.
func TestStoredHeader(t *testing.T) {
	e := newTestEntries(t, 32<<20)
	random := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			if b[i] = byte(1 + random.IntN(255)); strings.IndexByte("\r\n:", b[i]) >= 0 {
				b[i] = 'x'
			}
		}
		return string(b)
	}
	for range 2000 {
		header := http.Header{}
		for range random.IntN(20) {
			name := text(1 + random.IntN(30))
			for range 1 + random.IntN(4) {
				header[name] = append(header[name], text(random.IntN(40)))
			}
		}
		if !stores(t, e, header) {
			t.Fatalf("a header of %d fields is not stored", len(header))
		}
	}
	for what, header := range map[string]func(n int) http.Header{
		"a long value": func(n int) http.Header { return http.Header{"A": {strings.Repeat("v", n)}} },
		"a long name":  func(n int) http.Header { return http.Header{strings.Repeat("n", n): {""}} },
		"many values":  func(n int) http.Header { return http.Header{"A": make([]string, n/4)} },
	} {
		if !stores(t, e, header(maxHead-300)) || stores(t, e, header(maxHead)) || stores(t, e, header(1<<20)) {
			t.Errorf("%s: the bound is not %d bytes", what, maxHead)
		}
		for n := maxHead - 300; n < maxHead+20; n++ {
			stores(t, e, header(n))
		}
	}
}
