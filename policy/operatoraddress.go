package policy

import (
	"fmt"
	"net/netip"
)

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: "address", Words: wordList("ranges"), Compile: compileAddress})
}

// maxAddressRanges bounds the ranges of one step.
const maxAddressRanges = 256

// addressTest allows requests from the networks of an institution, by any reader.
type addressTest []netip.Prefix

func compileAddress(arguments Arguments, _ []string) (Test, error) {
	if err := arguments.only("ranges"); err != nil {
		return nil, err
	}
	texts, err := arguments.list("ranges")
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 || len(texts) > maxAddressRanges {
		return nil, fmt.Errorf("it needs 1 to %d ranges, such as 203.0.113.0/24", maxAddressRanges)
	}
	test := make(addressTest, len(texts))
	for i, text := range texts {
		if test[i], err = ParseAddressRange(text); err != nil {
			return nil, err
		}
	}
	return test, nil
}

// ParseAddressRange parses a network in CIDR notation, or one address. One that is mapped to
// IPv6 is one of IPv4.
func ParseAddressRange(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if address, single := netip.ParseAddr(text); single == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	if err == nil && network.Addr().Is4In6() {
		if network.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("the range %s mixes IPv4 with IPv6: write each as its own", text)
		}
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no range of addresses: write it as 203.0.113.0/24, 2001:db8::/48 or one address", text)
	case network.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("the range %s is every address: for a public page write any", text)
	case network != network.Masked():
		return netip.Prefix{}, fmt.Errorf("the range %s has bits of an address behind its length: write %s or one address", text, network.Masked())
	}
	return network, nil
}

func (t addressTest) Test(q *Question) Reason {
	address := q.clientAddress()
	for _, network := range t {
		if network.Contains(address) {
			return ReasonAddress
		}
	}
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	return ReasonNotEntitled
}

// clientAddress returns the address of the client, or the zero value, which no network
// contains, if it is unknown.
func (q *Question) clientAddress() netip.Addr {
	if q.client == nil {
		return netip.Addr{}
	}
	return q.client.ClientAddress().Unmap().WithZone("")
}
