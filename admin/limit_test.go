package admin

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A million client ids from a million addresses use bounded memory and do not
// affect a client at a normal rate.
func TestFailureLimitIsBounded(t *testing.T) {
	limit, now := newFailureLimit(), time.Unix(1e9, 0)
	for i := range 4 * maxBuckets {
		limit.begin("client_"+strconv.Itoa(i), "192.0.2."+strconv.Itoa(i), now)
		if size := len(limit.young) + len(limit.old); size > 2*maxBuckets+1 {
			t.Fatalf("%d buckets after %d attempts", size, i)
		}
	}
	for i := range 20 {
		if wait, _ := limit.begin("honest", "198.51.100.1", now.Add(time.Duration(i)*time.Minute)); wait != 0 {
			t.Errorf("attempt %d must wait %v", i, wait)
		}
	}
}

// Attempts with client ids and addresses of 64 KiB keep none of them.
func TestFailureLimitKeepsNoText(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	limit, now := newFailureLimit(), time.Unix(1e9, 0)
	for i := range 2_000 {
		long := strconv.Itoa(i) + strings.Repeat("x", 64<<10)
		limit.begin(long, long, now)
	}
	if grown := int64(heap()) - int64(before); grown > 8<<20 {
		t.Errorf("2,000 attempts keep %d bytes", grown)
	}
	runtime.KeepAlive(limit)
}

// Concurrent attempts do not exceed the limit.
func TestFailureLimitOfConcurrentAttempts(t *testing.T) {
	limit, now := newFailureLimit(), time.Unix(1e9, 0)
	var made atomic.Int64
	var attempts sync.WaitGroup
	for range 200 {
		attempts.Go(func() {
			if wait, _ := limit.begin("client", "192.0.2.1", now); wait == 0 {
				made.Add(1)
			}
		})
	}
	attempts.Wait()
	if made.Load() != int64(perClientAndSource.burst) {
		t.Errorf("%d attempts were made", made.Load())
	}
	// A clock that goes backwards adds nothing.
	if wait, _ := limit.begin("client", "192.0.2.1", now.Add(-time.Hour)); wait != perClientAndSource.every {
		t.Errorf("the wait is %v", wait)
	}
}

func TestSourceOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "192.0.2.1": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"@": "@", "": "",
	} {
		if got := sourceOf(address); got != want {
			t.Errorf("%q is of %q, want %q", address, got, want)
		}
	}
}
