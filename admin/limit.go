package admin

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// Failed attempts to authenticate are limited per client and source, and per
// source. A limit per client alone would allow an attacker to lock a client out.
var (
	perClientAndSource = allowance{burst: 10, every: 30 * time.Second}
	perSource          = allowance{burst: 100, every: 3 * time.Second}
)

// maxBuckets bounds the buckets of each of the two generations of a limit. When
// the younger generation is full, the older one is dropped.
const maxBuckets = 8192

// allowance is a token bucket: burst failures at once, and one more per period.
type allowance struct {
	burst float64
	every time.Duration
}

// failureLimit limits failed attempts. It is safe for concurrent use.
type failureLimit struct {
	mu         sync.Mutex
	young, old map[attempt]*bucket
}

// attempt is the key of a bucket: a digest, because client and source are what a
// stranger sent, of any length.
type attempt [sha256.Size]byte

func attemptOf(client, source string) attempt {
	first := sha256.Sum256([]byte(client))
	return sha256.Sum256(append(first[:], source...))
}

// bucket is the number of failures that were free at a time.
type bucket struct {
	free float64
	at   time.Time
}

func newFailureLimit() *failureLimit { return &failureLimit{young: make(map[attempt]*bucket)} }

// begin counts an attempt as failed before it is made, so that concurrent attempts
// cannot exceed the limit. If the limit is reached it returns the time to wait;
// otherwise succeeded takes the count back.
func (l *failureLimit) begin(client, source string, now time.Time) (wait time.Duration, succeeded func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.bucket(attemptOf("", source), perSource, now)
	if wait := all.wait(perSource); wait > 0 {
		return wait, nil // no bucket for a further client
	}
	one := l.bucket(attemptOf(client, source), perClientAndSource, now)
	if wait := one.wait(perClientAndSource); wait > 0 {
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

// bucket returns a bucket, refilled up to now.
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

// wait returns the time until the next failure is free.
func (b *bucket) wait(allowed allowance) time.Duration {
	if b.free >= 1 {
		return 0
	}
	return time.Duration((1 - b.free) * float64(allowed.every))
}

// sourceOf returns the part of an address that identifies one subscriber: an IPv4
// address, or the /64 prefix of an IPv6 address.
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
