package keys

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// dialer opens the connections on which keys are fetched.
//
// Whoever names an address that we fetch could otherwise make us talk to what
// only we can reach: the cloud's metadata service, a database on this machine, a
// neighbour. So the address is checked when the connection is made, after the
// name was resolved: a name that resolves to another address a moment later
// (DNS rebinding) meets the same check.
type dialer struct {
	any    *net.Dialer // for what the operator wrote
	public *net.Dialer // for what came through the API
	hosts  map[string]string
}

// azureMetadata serves metadata from an address that is public by its number.
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

// newDialer returns a dialer that takes private addresses within the given
// prefixes for public ones.
func newDialer(allowed []netip.Prefix, resolver *net.Resolver, hosts map[string]string) *dialer {
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
	base := net.Dialer{KeepAlive: -1, Resolver: resolver}
	public := base
	public.Control = func(network, address string, connection syscall.RawConn) error {
		if err := guardian.Safe(network, address, connection); err != nil {
			return errAddress
		}
		return nil
	}
	return &dialer{any: &base, public: &public, hosts: hosts}
}

// errAddress is the error of a connection to an address that must not be
// reached. It does not name the address: whoever gave the name is not to learn
// how it resolves here.
var errAddress = errors.New("the host resolves to an address that is not public")

// dial connects to a host and port. Anywhere says that the address may be a
// private one.
func (d *dialer) dial(ctx context.Context, network, address string, anywhere bool) (net.Conn, error) {
	if elsewhere, ok := d.hosts[address]; ok {
		address = elsewhere
	}
	if anywhere {
		return d.any.DialContext(ctx, network, address)
	}
	return d.public.DialContext(ctx, network, address)
}

// FetchTimeout bounds one fetch of keys, from the first look at the name to the
// last byte of the body.
const FetchTimeout = 3 * time.Second
