package pagecache

import (
	"net/http"

	"github.com/gatefold/gatefold/policy"
)

// caller is a Caller of functions.
type caller struct {
	fetch Fetcher
	pass  func(http.ResponseWriter) error
	again func() bool // nil is always
}

func (c *caller) Fetcher() Fetcher { return c.fetch }

func (c *caller) Pass(w http.ResponseWriter) error {
	if c.pass == nil {
		return nil
	}
	return c.pass(w)
}

func (c *caller) Again() bool { return c.again == nil || c.again() }

func (*caller) Purge(*policy.PagePurge) {}
