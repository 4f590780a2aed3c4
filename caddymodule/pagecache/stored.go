package pagecache

import (
	"context"
	"encoding/binary"
	"net/http"
	"time"
)

// Stored describes a stored response.
type Stored struct {
	// Target is what it was asked for by.
	Target Target
	// Accept is the value of Accept that it answers, and Encoding its Content-Encoding.
	Accept, Encoding string
	// Status is its status, and Bytes the length of its body.
	Status int
	Bytes  int64
	// At is when it was received or confirmed, Age its age now, and Fresh the age from which
	// on it has expired.
	At         time.Time
	Age, Fresh time.Duration
	// State is whether it is used.
	State State
	// WhileFails reports whether it is used now if the origin fails.
	WhileFails bool
}

// State is how a stored response may be used, from a closed list.
type State string

// The states.
const (
	Fresh   State = "fresh"   // without asking the origin
	Expired State = "expired" // once the origin confirmed it, or while it fails
	Purged  State = "purged"  // not any more: its memory is still to be freed
)

// SiteStats returns the number of stored responses of a site, and the bytes that they take.
func (c *Cache) SiteStats(vendor, site string) (pages, bytes int64) {
	e := c.index.entries
	e.mu.Lock()
	defer e.mu.Unlock()
	if i, ok := e.siteIndex[string(appendText(appendText(nil, vendor), site))]; ok {
		count := e.sites[i]
		return count.pages, count.bytes + count.pages*entryCost
	}
	return 0, 0
}

// findBatch is how many places Find looks at between two looks at its context.
const findBatch = 4096

// Find returns the stored responses of a page, whose target has the vendor, the site and the
// path, received or rewritten, at most limit, and how many more there are. An empty host is not
// compared, nor a query unless exact or there is one; exact compares the scheme and the place too. It looks at every stored response: a million
// take about half a second, so only one call at a time does. It returns the error of the context.
func (c *Cache) Find(ctx context.Context, page *Target, exact bool, limit int) (found []Stored, more int, err error) {
	c.finding.Lock()
	defer c.finding.Unlock()
	e := c.index.entries
	e.mu.Lock()
	places := e.places
	e.mu.Unlock()
	for i := range places {
		if i%findBatch == 0 && ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		h := e.handleAt(i)
		one, ok := e.use(h)
		if !ok {
			continue
		}
		target, accept, ok := parseKey(one.key())
		ok = ok && target.Vendor == page.Vendor && target.Site == page.Site && (page.Host == "" || target.Host == page.Host) &&
			(target.Path == page.Path || target.Received != "" && target.Received == page.Path) && (!exact && page.Query == "" || target.Query == page.Query) && (!exact || target.Secure == page.Secure && target.Place == page.Place)
		if current, found := c.index.found.Get(c.index.hash(one.key())); !ok || !found || current != h {
			one.release() // another page, or one that was evicted while a reader still gets it
			continue
		}
		if len(found) < limit {
			found = append(found, c.describe(&one, target, accept))
		} else {
			more++
		}
		one.release()
	}
	return found, more, nil
}

// handleAt returns the handle of the entry at a place, zero if there is none.
func (e *entries) handleAt(index uint32) handle {
	state := e.at(index).state.Load()
	if uint32(state) == 0 {
		return 0
	}
	return handle(state>>32<<32 | uint64(index))
}

func (c *Cache) describe(e *entry, target Target, accept uint8) Stored {
	at := c.options.Now()
	header := make(http.Header)
	e.setHeader(header, "")
	stored := Stored{
		Target: target, Encoding: header.Get("Content-Encoding"), Status: e.status(), Bytes: int64(e.length()),
		At: e.stored(), Age: e.age(at), Fresh: e.fresh(),
	}
	if int(accept) < len(accepts) {
		stored.Accept = accepts[accept]
	}
	switch c.usable(e, at) {
	case isFresh:
		stored.State = Fresh
	case isStale:
		stored.State = Expired
	case isPurged:
		stored.State = Purged
	}
	stored.WhileFails = stored.State != Purged && (stored.State == Fresh || c.within(e, e.life().ifError, at))
	return stored
}

// Expect returns what would become of a request, without making it: Hit, Stale, Miss or Pass,
// and of a Miss for which a page is stored that page. It asks for no encoding and any type.
// Followed is Request.Stored.
func (c *Cache) Expect(ctx context.Context, method string, page *Target, followed bool) (Result, *Stored, error) {
	switch {
	case method != http.MethodGet && method != http.MethodHead:
		return Result{Pass, WhyMethod}, nil, nil
	case !followed:
		return Result{Pass, WhyStore}, nil, nil
	}
	asked := *page
	asked.Query = ignoreQuery(asked.Query, c.options.IgnoreQuery)
	found, _, err := c.Find(ctx, &asked, true, maxFound)
	if err != nil {
		return Result{}, nil, err
	}
	var expired *Stored
	for i := range found {
		switch stored := &found[i]; stored.State {
		case Fresh:
			return Result{Hit, WhyNone}, stored, nil
		case Expired:
			expired = stored
		case Purged: // as if it were not stored
		}
	}
	for accept := range accepts {
		base, ok := appendKey(nil, &asked, uint8(accept), nil, c.options.Headers)
		if !ok {
			return Result{Pass, WhyRequest}, nil, nil
		}
		if why := c.index.marked(base, c.options.Now()); why != WhyNone && expired == nil {
			return Result{Pass, why}, nil, nil
		}
	}
	return Result{Miss, WhyNone}, expired, nil
}

// maxFound bounds the responses at which Expect looks.
const maxFound = 100

// parseKey returns what a key was made of, without the values of configured headers.
func parseKey(key []byte) (target Target, accept uint8, ok bool) {
	if len(key) < 2 {
		return target, 0, false
	}
	target.Secure, accept, key = key[0] == 1, key[1], key[2:]
	for _, to := range [...]*string{&target.Vendor, &target.Site, &target.Host, &target.Path, &target.Query, &target.Root, &target.Received, &target.Place} {
		length, n := binary.Uvarint(key)
		if n <= 0 || length > uint64(len(key)-n) {
			return target, 0, false
		}
		*to, key = string(key[n:n+int(length)]), key[n+int(length):]
	}
	return target, accept, true
}

// siteOfKey returns the part of a key that names the vendor and the site.
func siteOfKey(key []byte) []byte {
	if len(key) < 2 {
		return nil
	}
	rest := key[2:]
	end := 0
	for range 2 {
		length, n := binary.Uvarint(rest[end:])
		if n <= 0 || length > uint64(len(rest)-end-n) {
			return nil
		}
		end += n + int(length)
	}
	return rest[:end]
}
