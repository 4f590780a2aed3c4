package keys

import (
	"errors"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// azureMetadata is the address of a metadata service that is not in a private
// range.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

// errAddress says that a connection was refused because of its address. It does
// not contain the address: the error must not reveal how a name resolves here.
var errAddress = errors.New("the host resolves to an address that is not public")

// allowPublic returns a net.Dialer.Control that refuses addresses that are
// neither public nor within the given prefixes.
//
// Without it, a key set address from the API could make the server connect to
// what only the server can reach: the cloud's metadata service, a database on
// this machine, a neighbour. The check runs on the resolved address of every
// connection, so DNS rebinding does not avoid it.
func allowPublic(allowed []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	var v4, v6 []netip.Prefix
	for _, prefix := range allowed {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(azureMetadata))
	return func(network, address string, c syscall.RawConn) error {
		if err := guardian.Safe(network, address, c); err != nil {
			return errAddress
		}
		return nil
	}
}
