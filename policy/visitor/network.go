package visitor

import "net/netip"

// The lengths of networks, in bits: what an access provider commonly assigns to one
// customer or uses for its customers in one place.
const (
	networkIPv4 = 24
	networkIPv6 = 48
)

// Network returns the network of an address: 24 bits of IPv4, also if it is mapped to
// IPv6, and 48 bits of IPv6. It returns false for the zero value.
func Network(addr netip.Addr) (netip.Prefix, bool) {
	addr = addr.Unmap().WithZone("")
	bits := networkIPv6
	if addr.Is4() {
		bits = networkIPv4
	}
	network, err := addr.Prefix(bits)
	return network, addr.IsValid() && err == nil
}
