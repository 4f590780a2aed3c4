package caddymodule

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// addressGuard says which addresses an entry point may lead to: those that are
// public, and those that the operator listed.
type addressGuard struct {
	listed   []listedAddress
	guardian *ssrf.Guardian
}

// listedAddress is a prefix, at one port or, with port zero, at any.
type listedAddress struct {
	prefix netip.Prefix
	port   uint16
}

// azureMetadata serves metadata from an address that is public by its number.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

func newAddressGuard(allow []string) (*addressGuard, error) {
	g := &addressGuard{guardian: ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(azureMetadata))}
	for _, text := range allow {
		listed, err := parseListed(text)
		if err != nil {
			return nil, fmt.Errorf("allow: %q %w", text, err)
		}
		g.listed = append(g.listed, listed)
	}
	return g, nil
}

// ownAddresses are those of this machine: what listens there trusts whoever
// reaches it, Caddy's own admin endpoint first of all.
var ownAddresses = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::/128"),
}

func parseListed(text string) (listedAddress, error) {
	var listed listedAddress
	if at, err := netip.ParseAddrPort(text); err == nil {
		if at.Port() == 0 {
			return listed, errors.New("names the port 0")
		}
		address := at.Addr().Unmap()
		return listedAddress{netip.PrefixFrom(address, address.BitLen()), at.Port()}, nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		listed.prefix = prefix.Masked()
	} else if address, err := netip.ParseAddr(text); err == nil {
		address = address.Unmap()
		listed.prefix = netip.PrefixFrom(address, address.BitLen())
	} else {
		return listed, errors.New("is not an address, a prefix such as 10.1.0.0/16, or an address with a port")
	}
	for _, own := range ownAddresses {
		if own.Overlaps(listed.prefix) {
			return listed, errors.New("is of this machine: say the port as well, as in 127.0.0.1:3000, so that nobody reaches what else listens here")
		}
	}
	return listed, nil
}

// admits says whether an entry point may lead to an address.
func (g *addressGuard) admits(address netip.Addr, port uint16) bool {
	address = address.WithZone("").Unmap()
	for _, listed := range g.listed {
		if listed.prefix.Contains(address) && (listed.port == 0 || listed.port == port) {
			return true
		}
	}
	return g.guardian.SafeAddr(address) == nil
}

// errAddress does not name the address: whoever gave the name is not to learn how
// it resolves here.
var errAddress = errors.New("it leads to an address that is not public, and that `dynamic gatefold { allow … }` does not list")

// control is called with the address that a connection is about to be made to,
// after a name was resolved: that it resolved to another one a moment before (DNS
// rebinding) is of no use to anybody.
func (g *addressGuard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !g.admits(at.Addr(), at.Port()) {
		return fmt.Errorf("the entry point: %w", errAddress)
	}
	return nil
}

// addressGuards are those of all reverse proxies of a configuration.
type addressGuards []*addressGuard

// admits says whether any of them admits an address; without any, only public
// addresses are.
func (g addressGuards) admits(address netip.Addr, port uint16) bool {
	if len(g) == 0 {
		public, err := newAddressGuard(nil)
		return err == nil && public.admits(address, port)
	}
	for _, guard := range g {
		if guard.admits(address, port) {
			return true
		}
	}
	return false
}
