package nodestate

import (
	"fmt"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
)

// StalePages is the use of expired pages because the origin fails.
type StalePages struct {
	// Since is when it began, Last the last use, and Pages counts the uses since.
	Since, Last time.Time
	Pages       int64
}

// pages finds out whether readers get expired pages because the origin fails.
func (n *Node) pages() []condition.Finding {
	if n.options.StalePages == nil {
		return nil
	}
	stale := n.options.StalePages()
	if stale == nil {
		return nil
	}
	return []condition.Finding{{
		Kind: pagesStale, Since: stale.Since,
		What: fmt.Sprintf("Readers get expired pages, because the origin fails: %d so far, the last one at %s", stale.Pages, stale.Last.UTC().Format(time.TimeOnly)),
	}}
}
