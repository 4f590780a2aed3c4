package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// addressGuard restricts the addresses of entry points to public addresses and those
// that the operator listed.
type addressGuard struct {
	listed   []listedAddress
	guardian *ssrf.Guardian
}

// listedAddress is a network with a port; port zero is any port.
type listedAddress struct {
	prefix netip.Prefix
	port   uint16
}

// azureMetadata is the metadata service of Azure, at a public address.
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

// ownAddresses are those of this machine. Services that listen there trust every
// client: Caddy's admin endpoint is one.
var ownAddresses = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::/128"),
}

func parseListed(text string) (listedAddress, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		if at.Port() == 0 {
			return listedAddress{}, errors.New("names the port 0")
		}
		address := at.Addr().Unmap()
		return listedAddress{netip.PrefixFrom(address, address.BitLen()), at.Port()}, nil
	}
	prefix, err := parsePrefix(text)
	if err != nil {
		return listedAddress{}, errors.New("is not an address, a prefix such as 10.1.0.0/16, or an address with a port")
	}
	if slices.ContainsFunc(ownAddresses, prefix.Overlaps) {
		return listedAddress{}, errors.New("is of this machine: add the port, as in 127.0.0.1:3000, to exclude other services that listen here")
	}
	return listedAddress{prefix: prefix}, nil
}

// admits reports whether a connection may lead to an address.
func (g *addressGuard) admits(address netip.Addr, port uint16) bool {
	address = address.WithZone("").Unmap()
	for _, listed := range g.listed {
		if listed.prefix.Contains(address) && (listed.port == 0 || listed.port == port) {
			return true
		}
	}
	return g.guardian.SafeAddr(address) == nil
}

// errAddress does not name the address: API clients must not learn how a host name
// resolves in this network.
var errAddress = errors.New("it leads to an address that is not public, and that `dynamic gatefold { allow … }` does not list")

// control implements net.Dialer.Control. It checks the resolved address, which
// defeats DNS rebinding.
func (g *addressGuard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !g.admits(at.Addr(), at.Port()) {
		return fmt.Errorf("the entry point: %w", errAddress)
	}
	return nil
}

// checkEntryPoint refuses an entry point that leads to an address which no reverse
// proxy of the configuration admits. It passes a host name that does not resolve:
// the address is checked again at each connection.
func (a *App) checkEntryPoint(ctx context.Context, entry *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addresses, err := resolver.LookupNetIP(ctx, "ip", entry.Hostname())
	if err != nil {
		return nil //nolint:nilerr // checked again at each connection
	}
	port, err := portOf(entry)
	if err != nil {
		return err
	}
	guards := a.guards.list()
	if len(guards) == 0 {
		public, err := newAddressGuard(nil)
		if err != nil {
			return err
		}
		guards = append(guards, public)
	}
	for _, address := range addresses {
		if !slices.ContainsFunc(guards, func(g *addressGuard) bool { return g.admits(address, port) }) {
			return errAddress
		}
	}
	return nil
}

// portOf returns the port of a URL, by default that of its scheme.
func portOf(address *url.URL) (uint16, error) {
	_, text, _ := net.SplitHostPort(hostPort(address))
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errors.New("its port is invalid")
	}
	return uint16(port), nil
}
