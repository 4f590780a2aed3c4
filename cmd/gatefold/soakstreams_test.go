package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// streamEnds bounds how long a stream may go on after the grant that opened it was
// removed: what a change needs to reach a node, the interval of decisions, and a busy
// machine.
const streamEnds = reachesWithin + 5*time.Second

// stream opens streams of a reader, lets them run, and removes the reader's grant: the
// stream must be cut then, and not before, unless the configuration is reloaded.
func (s *soak) stream(r *rand.Rand, n *soakNode, kind, article string) {
	user := fmt.Sprintf("streamer-%d-%s", n.index, article)
	grant := &grantFact{fact: newFact(false)}
	for s.ctx.Err() == nil {
		if err := s.toggle(grant, n, user, article); err != nil {
			s.failUnlessDone("granting %s: %v", user, err)
			return
		}
		s.streamOnce(r, n, kind, article, user, grant)
		if grant.id != "" {
			if err := s.toggle(grant, n, user, article); err != nil {
				s.failUnlessDone("removing the grant of %s: %v", user, err)
				return
			}
		}
	}
}

func (s *soak) failUnlessDone(format string, args ...any) {
	if s.ctx.Err() == nil {
		s.fail(format, args...)
	}
}

func (s *soak) streamOnce(r *rand.Rand, n *soakNode, kind, article, user string, grant *grantFact) {
	key, _ := s.issuer.keys()
	reloads := n.ended.Load()
	conn, ended, err := s.openStream(n, kind, article, s.issuer.token(key, key.kid, user))
	if err != nil {
		// A key that was just made may be unknown, and a reload may take the
		// connection.
		if n.begun.Load() == reloads && key.trusted.known(n.index, time.Now()) != 0 {
			s.failUnlessDone("%s at node %d: %v", kind, n.index, err)
		}
		return
	}
	defer conn.Close()
	select {
	case <-ended:
		if n.begun.Load() == reloads && !key.trusted.may(0, false) && s.ctx.Err() == nil {
			s.fail("%s at node %d ended while its reader was entitled", kind, n.index)
		}
		s.tally.count(kind + " ended by a reload or a rotation")
		return
	case <-time.After(time.Duration(r.IntN(3000)) * time.Millisecond):
	case <-s.ctx.Done():
		return
	}
	// Any node may remove the grant.
	if err := s.toggle(grant, s.nodes[r.IntN(len(s.nodes))], user, article); err != nil {
		s.failUnlessDone("removing the grant of %s: %v", user, err)
		return
	}
	removed := time.Now()
	select {
	case <-ended:
		s.tally.late(kind+" cut after its grant was removed", time.Since(removed))
	case <-time.After(streamEnds):
		s.fail("%s at node %d goes on %v after its grant was removed", kind, n.index, streamEnds)
	}
}

// openStream opens a stream and reads its beginning. The channel is closed when the
// stream ends.
func (s *soak) openStream(n *soakNode, kind, article, token string) (net.Conn, <-chan struct{}, error) {
	conn, err := net.DialTimeout("tcp", n.address, deadline)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(deadline))
	request := "GET /articles/" + article + " HTTP/1.1\r\nHost: " + newsHost + "\r\nAuthorization: Bearer " + token + "\r\n"
	if kind == kindSocket {
		request += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	reader := bufio.NewReader(conn)
	_, err = io.WriteString(conn, request+"\r\n")
	var response *http.Response
	if err == nil {
		response, err = http.ReadResponse(reader, nil)
	}
	if err == nil && response.StatusCode != http.StatusOK && response.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(response.Body)
		err = fmt.Errorf("%s %s", response.Status, text)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	s.group.Go(func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, reader)
	})
	return conn, ctx.Done(), nil
}

const (
	kindSocket = "WebSocket"
	kindEvents = "event stream"
)
