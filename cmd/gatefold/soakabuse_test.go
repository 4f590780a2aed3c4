package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// slowly sends a request byte by byte, and reads the answer slowly.
func (s *soak) slowly(r *rand.Rand, n *soakNode) {
	v := visit{kind: "slow client", node: n, method: http.MethodGet, path: articlePath(r), denials: []string{"login_required"}}
	if r.IntN(2) == 0 {
		v.path, v.when = fmt.Sprint("/page-", r.IntN(100)), always
	}
	number := fmt.Sprint(s.number.Add(1))
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nConnection: close\r\n\r\n", v.path, newsHost, visitHeader, number)
	reloads := n.ended.Load()
	got, err := s.bytewise(n, request, time.Duration(r.IntN(5))*time.Millisecond)
	arrived := s.seen.take(number)
	switch {
	case err != nil && n.begun.Load() != reloads && !arrived:
		s.tally.add(v.kind, lost, false)
		return
	case err != nil:
		s.fault(&v, "%v", err)
	case isDenial(got):
		s.checkDenial(&v, got, arrived, v.when == nil)
		s.tally.add(v.kind, denied, false)
	default:
		s.checkAllow(&v, got, v.when != nil)
		s.tally.add(v.kind, allowed, false)
	}
}

func (s *soak) bytewise(n *soakNode, request string, pause time.Duration) (answer, error) {
	conn, err := net.DialTimeout("tcp", n.address, deadline)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	for i := range len(request) {
		if _, err := conn.Write([]byte{request[i]}); err != nil {
			return answer{}, err
		}
		time.Sleep(pause)
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	var text strings.Builder
	for piece := make([]byte, 64); ; time.Sleep(pause) {
		read, err := response.Body.Read(piece)
		text.Write(piece[:read])
		if err == io.EOF {
			return answer{response, text.String()}, nil
		}
		if err != nil {
			return answer{}, err
		}
	}
}

// abort leaves in the middle of a request or of an answer.
func (s *soak) abort(r *rand.Rand, n *soakNode) {
	conn, err := net.DialTimeout("tcp", n.address, deadline)
	if err != nil {
		s.fail("an aborting client cannot connect: %v", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	number := fmt.Sprint(s.number.Add(1))
	head := fmt.Sprintf("Host: %s\r\n%s: %s\r\n", newsHost, visitHeader, number)
	gated := false
	switch r.IntN(4) {
	case 0: // half a request line
		_, _ = io.WriteString(conn, "GET "+articlePath(r))
	case 1: // half a body, which is not read for a denial
		gated = true
		_, _ = io.WriteString(conn, "POST "+articlePath(r)+" HTTP/1.1\r\n"+head+"Content-Length: 100000\r\n\r\nhalf of it")
	case 2: // half a page
		_, _ = io.WriteString(conn, "GET /big HTTP/1.1\r\n"+head+"\r\n")
		_, _ = io.CopyN(io.Discard, conn, int64(r.IntN(100_000)))
	default: // a gated page, gone before the answer
		gated = true
		_, _ = io.WriteString(conn, "GET "+articlePath(r)+" HTTP/1.1\r\n"+head+"\r\n")
	}
	if r.IntN(2) == 0 {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	if s.seen.take(number) && gated {
		s.fail("the request of an anonymous client that left reached the origin")
	}
	s.tally.add("aborting client", lost, false)
}

// floodTokens guesses the secrets of API clients.
func (s *soak) floodTokens(r *rand.Rand, n *soakNode) {
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {fmt.Sprint("client_", randomText(r, 1+r.IntN(2000)))},
		"client_secret": {"gfsecret_" + randomText(r, 43)},
	}
	if r.IntN(10) == 0 {
		form.Set("scope", strings.Repeat("links:read ", 1+r.IntN(300)))
	}
	response, err := oneShot.PostForm("http://"+n.api+"/oauth/token", form)
	if err != nil { // Caddy's own listeners lose connections in a reload
		s.tally.add("token endpoint", lost, false)
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode < 400 || response.StatusCode >= 500 {
		s.fail("the token endpoint answers a guess with %d", response.StatusCode)
	}
	s.tally.add("token endpoint", denied, false)
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func randomText(r *rand.Rand, length int) string {
	text := make([]byte, length)
	for i := range text {
		text[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(text)
}
