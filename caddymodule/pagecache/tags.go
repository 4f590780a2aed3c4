package pagecache

import (
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/gatefold/gatefold/policy"
)

// maxTags bounds the tags of a page, and maxTag each of them in bytes.
const (
	maxTags = 128
	maxTag  = 255
)

// tagsOf returns the tags of a response: Cache-Groups (RFC 9875), Surrogate-Key, separated by
// spaces, and Cache-Tag, separated by commas. It returns false if there are too many, or if
// one is too long, because a purge of it would miss the page.
func tagsOf(header http.Header) ([]string, bool) {
	var tags []string
	if values := header["Cache-Groups"]; len(values) > 0 {
		groups, err := httpsfv.UnmarshalList(values)
		if err != nil {
			return nil, false
		}
		for _, member := range groups {
			if item, ok := member.(httpsfv.Item); ok {
				if group, ok := item.Value.(string); ok {
					tags = append(tags, group)
				}
			}
		}
	}
	for _, line := range header["Surrogate-Key"] {
		tags = append(tags, strings.Fields(line)...)
	}
	for _, line := range header["Cache-Tag"] {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	if len(tags) > maxTags {
		return nil, false
	}
	for _, tag := range tags {
		if len(tag) > maxTag {
			return nil, false
		}
	}
	return tags, true
}

// slotsOf returns the slots of the purges that a page belongs to.
func slotsOf(target *Target, tags []string) []uint16 {
	slots := policy.PageSlots(target.Vendor, target.Site, target.Path)
	if received := target.received(); received != "" {
		slots = append(slots, policy.PageSlots(target.Vendor, target.Site, received)...)
	}
	for _, tag := range tags {
		slots = append(slots, policy.TagSlot(target.Vendor, target.Site, tag))
	}
	return slots
}
