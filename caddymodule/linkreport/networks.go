package linkreport

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy/store"
)

// The actions on a link that exceeds its limit.
const (
	ActionReport     = "report"
	ActionQuarantine = "quarantine"
)

// Networks configures the leak detector of a site.
type Networks struct {
	// Limit is the number of networks (`/24` of IPv4, `/48` of IPv6) from which a link may
	// be opened within an hour, at most 256.
	Limit setting.Count `json:"limit"`
	// Action is what happens to a link that exceeds the limit: `report` or `quarantine`,
	// which revokes it. Default: `report`.
	Action string `json:"action,omitempty"`
}

// Validate returns an error if the limit or the action cannot be used.
func (n *Networks) Validate() error {
	if n.Limit.V < 1 || n.Limit.V > store.MaxLinkNetworks {
		return errors.New("the limit must be a number from 1 to " + strconv.Itoa(store.MaxLinkNetworks))
	}
	switch n.Action {
	case "", ActionReport, ActionQuarantine:
		return nil
	}
	return fmt.Errorf("%q is unknown; known are %s, %s", n.Action, ActionReport, ActionQuarantine)
}

// Of returns the limit for the store.
func (n *Networks) Of() store.NetworkLimit {
	return store.NetworkLimit{Networks: n.Limit.V, Quarantine: n.Action == ActionQuarantine}
}
