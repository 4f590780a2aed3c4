package keys

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// maxNetwork bounds the text of a network, in bytes.
const maxNetwork = 64

var errNetwork = errors.New("is not an IP address or a CIDR network, such as 203.0.113.0/24 or 2001:db8::/32")

// ParseNetwork parses a network in CIDR notation (RFC 4632, section 3.1; RFC 4291, section
// 2.3), or a single address. IPv4-mapped IPv6 addresses are read as IPv4. It returns an
// error for a network of every address, and for one with bits beyond its prefix, which
// could mean the address as well as the network.
func ParseNetwork(text string) (netip.Prefix, error) {
	if len(text) > maxNetwork {
		return netip.Prefix{}, errNetwork
	}
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, errNetwork
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, errNetwork
	}
	if address := network.Addr(); address.Is4In6() {
		// A shorter prefix covers addresses that are not mapped.
		if network = netip.PrefixFrom(address.Unmap(), network.Bits()-96); network.Bits() < 0 {
			return netip.Prefix{}, errNetwork
		}
	}
	switch masked := network.Masked(); {
	case network.Bits() == 0:
		return netip.Prefix{}, errors.New("is every address: leave it out for a link that opens from every network")
	case masked != network:
		return netip.Prefix{}, fmt.Errorf("has bits beyond its prefix: write %s for the network, or %s for the one address", masked, network.Addr())
	}
	return network, nil
}

// Network returns the network from which the link opens pages; it is not valid if the link
// opens them from every network.
func (c *LinkClaims) Network() (network netip.Prefix) {
	if c.IPPrefix != "" {
		network, _ = ParseNetwork(c.IPPrefix) // check has parsed it
	}
	return network
}

// checkNetwork returns an error unless the network is absent or as ParseNetwork prints it.
func (c *LinkClaims) checkNetwork() error {
	if c.IPPrefix == "" {
		return nil
	}
	network, err := ParseNetwork(c.IPPrefix)
	if err != nil {
		return &claimError{"ipPrefix", err.Error()}
	}
	if normal := network.String(); normal != c.IPPrefix {
		return &claimError{"ipPrefix", "is not in its normal form, " + normal}
	}
	return nil
}
