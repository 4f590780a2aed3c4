package admin_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// heapInUse returns the bytes of the heap after a collection.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// Attempts with client ids of 64 KB, each from another address, in the header or in the
// body: 16,000 of them once kept 1.6 GB. A client with the right secret is served
// afterwards.
func TestFloodOfTokenRequestsKeepsNothing(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "grants:read")
	p.token(id, secret)
	before := heapInUse()
	for i := range 4_000 {
		long := fmt.Sprint(i, strings.Repeat("x", 64<<10))
		address := fmt.Sprintf("203.%d.%d.9:1", i>>8, i&255)
		if i%2 == 0 {
			header := basic(long, "guess")
			header.Set("X-Test-From", address)
			p.ask(http.MethodPost, "/oauth/token", "grant_type=client_credentials", header).tokenError(http.StatusUnauthorized, "invalid_client")
			continue
		}
		header := isForm.Clone()
		header.Set("X-Test-From", address)
		p.ask(http.MethodPost, "/oauth/token", form("grant_type", "client_credentials", "client_id", long, "client_secret", "guess"), header).
			tokenError(http.StatusRequestEntityTooLarge, "invalid_request")
	}
	grown := heapInUse() - before
	t.Logf("4,000 attempts keep %d bytes", grown)
	if grown > 8<<20 {
		t.Errorf("4,000 attempts keep %d bytes", grown)
	}
	if len(p.failed) > 0 {
		t.Errorf("a stranger fills the server's log: %v", p.failed[0])
	}
	p.token(id, secret)
}

// Requests to the API with long paths, methods, tokens, keys and origins keep nothing,
// and no part of them is longer in the answer than it may be.
func TestFloodOfCallsWithoutATokenKeepsNothing(t *testing.T) {
	p := newPublic(t, "https://office.example")
	p.ask(http.MethodGet, "/management/access-lists", "", nil)
	before := heapInUse()
	for i := range 500 {
		long := fmt.Sprint(i, strings.Repeat("x", 64<<10))
		header := http.Header{
			"Authorization": {"Bearer " + long}, "Idempotency-Key": {long}, "If-Match": {long}, "Origin": {"https://" + long}, "Accept": {long},
			"Content-Type": {long},
		}
		for _, got := range []answer{
			p.ask(http.MethodGet, "/management/access-lists/"+long, "", header),
			p.ask("X"+long, "/management/access-lists", "", header),
			p.ask(http.MethodOptions, "/management/access-lists", "", http.Header{"Origin": header["Origin"], "Access-Control-Request-Method": {long}, "Access-Control-Request-Headers": {long}}),
			p.ask(http.MethodPost, "/oauth/token", long, header),
		} {
			if size := len(got.body) + headerSize(got.head); size > 4<<10 || got.code < 400 && got.code != http.StatusNoContent {
				t.Fatalf("status %d with %d bytes", got.code, size)
			}
		}
	}
	grown := heapInUse() - before
	t.Logf("2,000 calls keep %d bytes", grown)
	if grown > 8<<20 {
		t.Errorf("2,000 calls keep %d bytes", grown)
	}
}

func headerSize(header http.Header) (size int) {
	for name, values := range header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	return size
}
