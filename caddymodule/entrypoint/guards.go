package entrypoint

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"sync"

	"github.com/gatefold/gatefold/keys/dialguard"
)

// App is the app of a configuration.
type App interface{ EntryPoints() *Guards }

// Guards are the addresses that the reverse proxies of a configuration admit. They are safe for
// concurrent use.
type Guards struct {
	// Resolver resolves the host names of entry points.
	Resolver *net.Resolver

	mu     sync.Mutex
	guards []*dialguard.Guard
}

func (g *Guards) add(guard *dialguard.Guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.guards = append(g.guards, guard)
}

// errAddress does not name the address, see dialguard.
var errAddress = errors.New("it leads to an address that is not public, and that `dynamic gatefold { allow … }` does not list")

// Check refuses an entry point that leads to an address which no reverse proxy of the
// configuration admits.
func (g *Guards) Check(ctx context.Context, entry *url.URL) error {
	addresses, err := dialguard.Resolve(ctx, g.Resolver, entry)
	if err != nil {
		return err
	}
	g.mu.Lock()
	guards := slices.Clone(g.guards)
	g.mu.Unlock()
	if len(guards) == 0 {
		guards = append(guards, dialguard.New())
	}
	for _, address := range addresses {
		if !slices.ContainsFunc(guards, func(g *dialguard.Guard) bool { return g.Admits(address) }) {
			return errAddress
		}
	}
	return nil
}
