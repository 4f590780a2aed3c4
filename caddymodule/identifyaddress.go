package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

// sourceAddress is the source of readers who are identified by the address of the client.
const sourceAddress = "address"

const (
	// maxAddressReaders bounds the readers of a site who are identified by their address.
	maxAddressReaders = 64
	// maxReaderRanges bounds the ranges of one of them.
	maxReaderRanges = 256
)

// parseAddress parses `identify address <name> <range>…`.
func (i *Identity) parseAddress(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("write `identify address <name> <range>…`, such as `identify address city-library 203.0.113.0/24`")
	}
	i.Name, i.Ranges = args[0], args[1:]
	return block.Parse(d, "identify address")
}

// provisionAddress adds the reader of an identity to those of the site.
func (h *Handler) provisionAddress(i *Identity) error {
	if i.Source != sourceAddress {
		if i.Name != "" || i.Ranges != nil {
			return setting.In("ranges", fmt.Errorf("%s: name and ranges are for address", i.Source))
		}
		return nil
	}
	if h.addressNames++; h.addressNames > maxAddressReaders {
		return fmt.Errorf("address: there are more than %d", maxAddressReaders)
	}
	switch {
	case !setting.Slug.MatchString(i.Name):
		return setting.In("name", fmt.Errorf("address: the name %q must be lower-case letters, digits and hyphens, at most 63", i.Name))
	case len(i.Ranges) == 0 || len(i.Ranges) > maxReaderRanges:
		return setting.In("ranges", fmt.Errorf("address %s: it needs 1 to %d ranges, such as 203.0.113.0/24", i.Name, maxReaderRanges))
	case i.Issuer != "" || i.JWKS != "" || i.Audience != "" || i.Cookie != "" || i.Claims != nil || i.IntegerIDs || i.Headers != nil || i.Copied != nil || i.Login != nil:
		return errors.New("address: a network has a name and ranges only")
	}
	for _, text := range i.Ranges {
		network, err := policy.ParseAddressRange(text)
		if err == nil {
			err = h.addressReaders.Add(i.Name, network)
		}
		if err != nil {
			return setting.In("ranges", fmt.Errorf("address %s: %w", i.Name, err))
		}
	}
	return nil
}

// addressReader returns the reader whom the address of the client identifies. Only requests that
// read have one: browsers of the network send others for any page that makes them, without a
// credential by which the site's own pages would be known.
func (g *gateRequest) addressReader() policy.Reader {
	if g.gate.addressNames == 0 { // to read the address of a client takes longer than a decision
		return policy.Reader{}
	}
	if r := g.r; r.Method != http.MethodGet && r.Method != http.MethodHead || len(r.Header["Upgrade"]) > 0 {
		return policy.Reader{}
	}
	return policy.Reader{UserID: g.gate.addressReaders.UserID(g.ClientAddress())}
}

// addressReader returns the reader whom the address of the request to explain identifies.
func (e *explainer) addressReader() policy.Reader {
	if method := e.request.Method; method != "" && method != http.MethodGet && method != http.MethodHead {
		return policy.Reader{}
	}
	return policy.Reader{UserID: e.gate.addressReaders.UserID(e.address)}
}
