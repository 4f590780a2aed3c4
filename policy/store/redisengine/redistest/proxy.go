package redistest

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy is a proxy between a client and a server that injects faults.
type Proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[net.Conn]bool
	// loseAnswers: what the server says to a request that holds this is lost, and
	// its connection with it.
	loseAnswers []byte
	lost        int
	refuse      bool // new connections
	// rewrite changes what the server says, to something of the same length.
	from, to []byte
}

// NewProxy starts a proxy in front of an address.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listener: listener, target: target, conns: make(map[net.Conn]bool)}
	t.Cleanup(p.Close)
	go p.accept()
	return p
}

// Address returns where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Port returns the port of the address.
func (p *Proxy) Port() string {
	_, port, _ := net.SplitHostPort(p.Address())
	return port
}

// URL returns it as a URL.
func (p *Proxy) URL() string { return "redis://" + p.Address() }

// LoseAnswers cuts the connection instead of passing on the answer to a request
// that holds these bytes, so many times.
func (p *Proxy) LoseAnswers(to string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loseAnswers, p.lost = []byte(to), times
}

// Lost says how many answers are still to be lost.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Rewrite replaces bytes in what the server says, by others of the same length.
func (p *Proxy) Rewrite(from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from, p.to = []byte(from), []byte(to)
}

// Cut closes all connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Refuse cuts all connections and accepts no new ones, until it is told otherwise.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	p.refuse = refuse
	p.mu.Unlock()
	if refuse {
		p.Cut()
	}
}

// Freeze lets nothing through any more on the connections that there are, and
// leaves them open. New ones work.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		p.conns[conn] = true
	}
}

// Close ends the proxy.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Cut()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	refuse := p.refuse
	if !refuse {
		p.conns[client], p.conns[server] = false, false
	}
	p.mu.Unlock()
	if refuse {
		_, _ = client.Close(), server.Close()
		return
	}
	doomed := make(chan struct{}, 1) // the next answer is to be lost
	go p.copy(server, client, func(chunk []byte) ([]byte, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.lost > 0 && bytes.Contains(chunk, p.loseAnswers) {
			p.lost--
			doomed <- struct{}{}
		}
		return chunk, !p.conns[client]
	})
	p.copy(client, server, func(chunk []byte) ([]byte, bool) {
		select {
		case <-doomed:
			_ = client.Close()
			return nil, false
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.from != nil {
			chunk = bytes.ReplaceAll(chunk, p.from, p.to)
		}
		return chunk, !p.conns[client]
	})
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// copy passes on what change lets through. It ends with either side.
func (p *Proxy) copy(to io.WriteCloser, from io.ReadCloser, change func([]byte) ([]byte, bool)) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if chunk, pass := change(buffer[:n]); pass {
				if _, err := to.Write(chunk); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}
