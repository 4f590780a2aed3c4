// Package dialguard restricts the addresses to which the gate connects for others: for key
// sets, entry points and webhooks, whose URLs clients of the API set. Without it, such a
// URL could make the server connect to what only the server can reach: the cloud's
// metadata service, a database on this machine, a neighbour (SSRF).
//
// A guard checks the resolved address of every connection, so that DNS rebinding does not
// avoid it. It is safe for concurrent use.
package dialguard

import (
	"cmp"
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

// Guard admits public addresses and those that the operator listed.
type Guard struct {
	listed   []Listed
	guardian *ssrf.Guardian
}

// Listed is a network with a port; port zero is any port.
type Listed struct {
	netip.Prefix
	Port uint16
}

// azureMetadata is the metadata service of Azure, at a public address.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

// New returns a guard that admits public addresses and the listed ones.
func New(listed ...Listed) *Guard {
	return &Guard{listed: listed, guardian: ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(azureMetadata))}
}

// Allow is New for texts that Parse parses.
func Allow(texts []string) (*Guard, error) {
	listed := make([]Listed, len(texts))
	for i, text := range texts {
		var err error
		if listed[i], err = Parse(text); err != nil {
			return nil, fmt.Errorf("allow: %q %w", text, err)
		}
	}
	return New(listed...), nil
}

// ownAddresses are those of this machine. Services that listen there trust every
// client: Caddy's admin endpoint is one.
var ownAddresses = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::/128"),
}

// Parse parses an address, a prefix, or an address with a port. An address of this
// machine needs a port.
func Parse(text string) (Listed, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		if at.Port() == 0 {
			return Listed{}, errors.New("names the port 0")
		}
		address := at.Addr().Unmap()
		return Listed{netip.PrefixFrom(address, address.BitLen()), at.Port()}, nil
	}
	prefix, err := ParsePrefix(text)
	if err != nil {
		return Listed{}, errors.New("is not an address, a prefix such as 10.1.0.0/16, or an address with a port")
	}
	if slices.ContainsFunc(ownAddresses, prefix.Overlaps) {
		return Listed{}, errors.New("is of this machine: add the port, as in 127.0.0.1:3000, to exclude other services that listen here")
	}
	return Listed{Prefix: prefix}, nil
}

// ParsePrefix parses a network, or an address as a network of its own.
func ParsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Unmap().Prefix(address.Unmap().BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, errors.New("is neither an address nor a network such as 10.0.0.0/8")
	}
	return prefix.Masked(), nil
}

// Admits reports whether a connection may lead to an address.
func (g *Guard) Admits(at netip.AddrPort) bool {
	address := at.Addr().WithZone("").Unmap()
	return slices.ContainsFunc(g.listed, func(l Listed) bool { return l.Contains(address) && (l.Port == 0 || l.Port == at.Port()) }) ||
		g.guardian.SafeAddr(address) == nil
}

// Control returns a net.Dialer.Control that returns an error for addresses that are not
// admitted. The error must not contain the address: clients of the API must not learn how
// a host name resolves in this network.
func (g *Guard) Control(refused error) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		if at, err := netip.ParseAddrPort(address); err != nil || !g.Admits(at) {
			return refused
		}
		return nil
	}
}

// resolveTimeout bounds Resolve.
const resolveTimeout = 2 * time.Second

// Resolve returns the addresses to which a URL leads now. A host name that does not resolve
// has none: it is checked again at each connection. It returns an error for an invalid
// port.
func Resolve(ctx context.Context, resolver *net.Resolver, address *url.URL) ([]netip.AddrPort, error) {
	_, text, _ := net.SplitHostPort(HostPort(address))
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, errors.New("its port is invalid")
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, _ := resolver.LookupNetIP(ctx, "ip", address.Hostname())
	addresses := make([]netip.AddrPort, len(found))
	for i := range found {
		addresses[i] = netip.AddrPortFrom(found[i].Unmap(), uint16(port))
	}
	return addresses, nil
}

// HostPort returns the host and port of an http or https URL.
func HostPort(address *url.URL) string {
	port := "80"
	if address.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(address.Hostname(), cmp.Or(address.Port(), port))
}
