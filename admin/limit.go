package admin

import (
	"net/netip"
	"sync"
	"time"
)

// Failed attempts to authenticate are limited: for one client from one source,
// and for one source whatever the client. Nobody can lock a client out from
// elsewhere, as a limit by client alone would let him.
var (
	perClientAndSource = allowance{burst: 10, every: 30 * time.Second}
	perSource          = allowance{burst: 100, every: 3 * time.Second}
)

// maxBuckets bounds the memory of a limit: of two generations of buckets with
// this many each, the older one is forgotten when the newer is full.
const maxBuckets = 8192

// allowance is how many failures are free at once, and how soon one more is.
type allowance struct {
	burst float64
	every time.Duration
}

// failureLimit counts failures. It is safe for concurrent use.
type failureLimit struct {
	mu         sync.Mutex
	young, old map[attempt]*bucket
}

// attempt is whose failures are counted together; the client is empty for all of
// a source.
type attempt struct{ client, source string }

// bucket is how many failures were free at a moment.
type bucket struct {
	free float64
	at   time.Time
}

func newFailureLimit() *failureLimit { return &failureLimit{young: make(map[attempt]*bucket)} }

// begin counts an attempt as failed before it is made, so that of many at once
// not one more is made than may fail. It says how long to wait where there were
// too many; succeeded takes the count back.
func (l *failureLimit) begin(client, source string, now time.Time) (wait time.Duration, succeeded func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, all := l.bucket(attempt{client, source}, perClientAndSource, now), l.bucket(attempt{source: source}, perSource, now)
	if wait := max(one.wait(perClientAndSource), all.wait(perSource)); wait > 0 {
		return wait, nil
	}
	one.free--
	all.free--
	return 0, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		one.free = min(one.free+1, perClientAndSource.burst)
		all.free = min(all.free+1, perSource.burst)
	}
}

// bucket returns a bucket as it is now.
func (l *failureLimit) bucket(of attempt, allowed allowance, now time.Time) *bucket {
	b := l.young[of]
	if b == nil {
		if b = l.old[of]; b == nil {
			b = &bucket{free: allowed.burst, at: now}
		}
		if len(l.young) >= maxBuckets {
			l.old, l.young = l.young, make(map[attempt]*bucket)
		}
		l.young[of] = b
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.free = min(b.free+float64(passed)/float64(allowed.every), allowed.burst)
		b.at = now
	}
	return b
}

// wait says how long it takes until one more may fail.
func (b *bucket) wait(allowed allowance) time.Duration {
	if b.free >= 1 {
		return 0
	}
	return time.Duration((1 - b.free) * float64(allowed.every))
}

// sourceOf is the part of an address that one customer of a network has: an IPv4
// address, or the first 64 bits of an IPv6 address.
func sourceOf(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		withPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return address
		}
		ip = withPort.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if prefix, err := ip.Prefix(64); err == nil && ip.Is6() {
		return prefix.String()
	}
	return ip.String()
}
