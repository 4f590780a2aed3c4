package keystest

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports for servers are below those that the kernel gives to connections (from 32768 on
// Linux): a connection of another test cannot take one between its choice and its use.
const (
	firstPort  = 10_000
	blockPorts = 500 // more than any test takes at once
	lastPort   = 32_000
)

// ports are those of this process: a block of which it holds the first port, so that
// other test processes take other blocks.
var ports struct {
	mu   sync.Mutex
	lock net.Listener
	next int
}

// FreePort returns a port of the loopback address at which nothing listens. The same
// process gets it again only after all others of its block. It is safe for concurrent use.
func FreePort(tb testing.TB) string {
	tb.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range 2 * blockPorts {
		if ports.lock == nil && !takeBlock() {
			tb.Fatal("each block of ports is taken")
		}
		first := ports.lock.Addr().(*net.TCPAddr).Port
		ports.next = ports.next%(blockPorts-1) + 1
		if listener := listen(first + ports.next); listener != nil {
			_ = listener.Close()
			return strconv.Itoa(first + ports.next)
		}
	}
	tb.Fatal("no port is free")
	return ""
}

// FreePorts returns n different ports, see FreePort.
func FreePorts(tb testing.TB, n int) []string {
	tb.Helper()
	if n >= blockPorts {
		tb.Fatalf("a block has no %d ports", n)
	}
	free := make([]string, n)
	for i := range free {
		free[i] = FreePort(tb)
	}
	return free
}

func takeBlock() bool {
	for first := firstPort; first < lastPort; first += blockPorts {
		if ports.lock = listen(first); ports.lock != nil {
			return true
		}
	}
	return false
}

// listen listens at a port of all addresses, so that a server at another one is found.
func listen(port int) net.Listener {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port)) //nolint:noctx,gosec // it returns at once, and accepts nothing
	if err != nil {
		return nil
	}
	return listener
}
