package clientaddress

import (
	"fmt"
	"net/netip"
	"slices"
)

// ReaderPrefix begins the user ids of readers who are identified by their address, so that no
// other source has the same id by chance.
const ReaderPrefix = "address:"

// Readers are the readers whom networks identify. The zero value identifies none. It is immutable
// once every network is added.
type Readers struct {
	names   map[netip.Prefix]string
	lengths []int
}

// Add makes a masked network one of a name. It fails if another name has a part of the network:
// a client would be one reader or the other by the order of a configuration.
func (r *Readers) Add(name string, network netip.Prefix) error {
	for other, taken := range r.names {
		if taken != name && other.Overlaps(network) {
			return fmt.Errorf("the range %s is partly in %s, which is of %s: a client can be one reader only", network, other, taken)
		}
	}
	if r.names == nil {
		r.names = map[netip.Prefix]string{}
	}
	if r.names[network] = name; !slices.Contains(r.lengths, network.Bits()) {
		r.lengths = append(r.lengths, network.Bits())
	}
	return nil
}

// UserID returns the user id of the reader at an address as Of returns it, or "".
func (r *Readers) UserID(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	for _, bits := range r.lengths {
		network, err := address.Prefix(bits)
		if err != nil {
			continue // an address of IPv4, and a longer network of IPv6
		}
		if name, found := r.names[network]; found {
			return ReaderPrefix + name
		}
	}
	return ""
}
