package policy

import (
	"net/url"
	"strings"
	"sync/atomic"
)

// PagePurge names stored pages of a site that must not be used any more.
type PagePurge struct {
	// Site is the site whose pages are purged.
	Site string
	// All purges all pages of the site.
	All bool
	// Paths are paths of pages, with any query. Prefixes purge a path and every path below
	// it. Tags are tags that the origin gave to pages.
	Paths, Prefixes, Tags []string
	// Soft makes the pages stale instead: they are used while the origin fails, as
	// long as they would be if they had expired.
	Soft bool
}

// Slots returns the slots that a purge invalidates.
func (p *PagePurge) Slots(vendor string) []uint16 {
	var slots []uint16
	if p.All {
		slots = append(slots, Stripe(kindPageSite, vendor, p.Site))
	}
	for _, path := range p.Paths {
		slots = append(slots, Stripe(kindPage, vendor, p.Site, purgedPath(path)))
	}
	for _, path := range p.Prefixes {
		slots = append(slots, Stripe(kindPagePrefix, vendor, p.Site, cutPrefix(purgedPath(path))))
	}
	for _, tag := range p.Tags {
		slots = append(slots, TagSlot(vendor, p.Site, tag))
	}
	return slots
}

// AddPages adds what a purge invalidates.
func (c *Invalidation) AddPages(vendor string, purge *PagePurge) {
	if slots := purge.Slots(vendor); purge.Soft {
		c.SoftPages = append(c.SoftPages, slots...)
	} else {
		c.Pages = append(c.Pages, slots...)
	}
}

// maxPagePrefixes bounds the prefixes of a path by which its page can be purged. A longer
// path is purged by the first of them.
const maxPagePrefixes = 16

// PageSlots returns the slots of a stored page: of its site, its path, and each prefix of
// its path.
func PageSlots(vendor, site, path string) []uint16 {
	path = purgedPath(path)
	slots := []uint16{
		Stripe(kindPageSite, vendor, site), Stripe(kindPage, vendor, site, path), Stripe(kindPagePrefix, vendor, site, "/"),
	}
	for i, prefixes := 1, 1; i <= len(path) && len(path) > 1 && prefixes < maxPagePrefixes; i++ {
		if i == len(path) || path[i] == '/' {
			slots = append(slots, Stripe(kindPagePrefix, vendor, site, path[:i]))
			prefixes++
		}
	}
	return slots
}

// cutPrefix returns the longest prefix of a path by which its pages can be purged.
func cutPrefix(path string) string {
	prefixes := 1 // of the site
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if prefixes++; prefixes == maxPagePrefixes {
			return path[:i]
		}
	}
	return path
}

// TagSlot returns the slot of a tag of a site's pages.
func TagSlot(vendor, site, tag string) uint16 { return Stripe(kindPageTag, vendor, site, tag) }

// purgedPath returns the form of a path that purges compare: decoded, in lower case and
// without slashes at its end. More spellings than the origin's count as one page: a purge
// may invalidate too much, and never too little.
func purgedPath(path string) string {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	path = strings.TrimRight(strings.ToLower(path), "/")
	if path == "" || path[0] != '/' {
		return "/" + path
	}
	return path
}

// pageVersions are the versions of stored pages. Two pages on one slot are purged
// together: needlessly, but never too rarely.
type pageVersions struct {
	all, any   atomic.Uint64
	hard, soft [stripes]atomic.Uint64
}

// Pages returns the stamps of a page with these slots: a page whose first one differs must
// not be used, and one whose second one differs is stale.
func (v *Versions) Pages(slots []uint16) (hard, soft uint64) {
	hard = v.pages.all.Load()
	for _, slot := range slots {
		hard += v.pages.hard[slot].Load()
		soft += v.pages.soft[slot].Load()
	}
	return hard, soft
}

// PagesVersion returns a number that grows with each purge, before the stamps of Pages do.
func (v *Versions) PagesVersion() uint64 { return v.pages.any.Load() }

func (v *Versions) bumpPages(change *Invalidation) {
	if !change.purges() {
		return
	}
	v.pages.any.Add(1)
	if change.AllPages {
		v.pages.all.Add(1)
	}
	for _, slot := range change.Pages {
		v.pages.hard[slot].Add(1)
	}
	for _, slot := range change.SoftPages {
		v.pages.soft[slot].Add(1)
	}
}
