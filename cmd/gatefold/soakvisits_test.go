package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// soakNode is a gatefold process under the soak's traffic.
type soakNode struct {
	*server
	index   int
	address string // host:port of its sites
	api     string // host:port of its management API
	client  *http.Client
	log     *soakLog
	begun   atomic.Int64 // reloads
	ended   atomic.Int64
}

const (
	newsHost = "news.test" // rules in the Caddyfile
	deskHost = "desk.test" // rules in the store
)

// newSoakClient returns a client that sends every request to an address, whatever its
// host is.
func newSoakClient(address string) *http.Client {
	return &http.Client{
		Timeout:       deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &devices{RoundTripper: &http.Transport{
			MaxIdleConnsPerHost: soakWorkers,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		}},
	}
}

// visit is a request with its expected verdict.
type visit struct {
	kind   string
	node   *soakNode
	method string // default: GET
	host   string // default: newsHost
	path   string
	header []string // name, value pairs
	body   string
	// when is what allows the request, and denials are the codes of its denial.
	when    condition
	denials []string
	// shaky: the origin may fail, so an allowed request may have any 5xx or none.
	shaky bool
}

// The outcomes of a visit.
type outcome int

const (
	lost outcome = iota // a reload or a failing origin took the answer
	allowed
	denied
)

var errLost = errors.New("no answer")

// visit sends a request, compares its answer with the model, and counts it.
func (s *soak) visit(v visit) (answer, outcome) {
	number := fmt.Sprint(s.number.Add(1))
	expected := v.when.at(v.node.index)
	reloads := v.node.ended.Load()
	got, reused, err := s.send(&v, number)
	mayAllow, mayDeny := expected.verdicts()
	arrived := s.seen.take(number)
	reloaded := v.node.begun.Load() != reloads
	result := lost
	switch {
	case err != nil && v.shaky && mayAllow:
	case err != nil && (!reused || v.body != "") && !arrived && reloaded && (errors.Is(err, io.EOF) || isReset(err)):
		// Go's server closes a connection whose first request it reads after its
		// shutdown began, see TestThousandReloadsUnderLoad. Go's client does not repeat
		// a request whose body was being sent.
	case err != nil:
		s.fault(&v, "%v; on an old connection: %v, at the origin: %v, during a reload: %v", err, reused, arrived, reloaded)
	case v.shaky && mayAllow && got.StatusCode >= 500:
	case isDenial(got):
		result = denied
		s.checkDenial(&v, got, arrived, mayDeny)
	default:
		result = allowed
		s.checkAllow(&v, got, mayAllow)
	}
	s.tally.add(v.kind, result, mayAllow && mayDeny)
	return got, result
}

func (s *soak) send(v *visit, number string) (got answer, reused bool, err error) {
	ctx := httptrace.WithClientTrace(s.t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
	if v.method == "" {
		v.method = http.MethodGet
	}
	if v.host == "" {
		v.host = newsHost
	}
	var body io.Reader
	if v.body != "" {
		body = strings.NewReader(v.body)
	}
	request, err := http.NewRequestWithContext(ctx, v.method, "http://"+v.host+v.path, body)
	if err != nil {
		return answer{}, false, err
	}
	request.Header.Set(visitHeader, number)
	request.Header.Set("X-Idempotency-Key", number) // Go's client then repeats a POST as it does a GET
	for i := 0; i < len(v.header); i += 2 {
		request.Header.Add(v.header[i], v.header[i+1])
	}
	response, err := v.node.client.Do(request)
	if err != nil {
		return answer{}, reused, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response, string(text)}, reused, err
}

// gated reports whether an allowed visit's page is not public.
func (v *visit) gated() bool { return v.host == newsHost && len(v.when) > 0 && len(v.when[0]) > 0 }

func isReset(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed)
}

// isDenial reports whether the gate answered itself.
func isDenial(got answer) bool { return got.Header.Get("X-Origin") == "" && got.StatusCode >= 400 }

func (s *soak) checkDenial(v *visit, got answer, arrived, mayDeny bool) {
	var problem struct{ Code string }
	if v.method != http.MethodHead {
		_ = json.Unmarshal([]byte(got.body), &problem)
	}
	switch {
	case !mayDeny:
		s.fault(v, "denied with %d %s, must be allowed", got.StatusCode, problem.Code)
	case strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") && got.StatusCode == http.StatusForbidden: // a page has no code
	case v.method != http.MethodHead && !slices.Contains(v.denials, problem.Code):
		s.fault(v, "denied with %d %q, expected %v: %.300s", got.StatusCode, problem.Code, v.denials, got.body)
	case arrived && !slices.Contains(v.denials, "link_used_up"): // readers race for a last use at the origin's answer
		s.fault(v, "denied with %s, and the request reached the origin", problem.Code)
	case strings.Contains(got.body, originMark):
		s.fault(v, "denied with %s, and the answer has the origin's text", problem.Code)
	case got.Header.Get("Cache-Control") != "no-store":
		s.fault(v, "a denial with Cache-Control %q", got.Header.Get("Cache-Control"))
	}
}

func (s *soak) checkAllow(v *visit, got answer, mayAllow bool) {
	redirect := got.StatusCode == http.StatusSeeOther && strings.Contains(v.path, "token=")
	control := got.Header.Get("Cache-Control")
	switch {
	case !mayAllow:
		s.fault(v, "allowed with %d, must be denied: %.300s", got.StatusCode, got.body)
	case redirect:
		if strings.Contains(got.Header.Get("Location"), "token=") || control != "no-store" {
			s.fault(v, "redirected with %v", got.Header)
		}
	case got.StatusCode != http.StatusOK:
		s.fault(v, "answered %d: %.300s", got.StatusCode, got.body)
	case v.method == http.MethodGet && !strings.Contains(got.body, originMark):
		s.fault(v, "the page is %.300s", got.body)
	case v.gated() && (!strings.Contains(control, "private") || strings.Contains(control, "public")):
		s.fault(v, "a gated page with Cache-Control %q", control)
	}
}

// fault records a wrong answer; many of them end the run.
func (s *soak) fault(v *visit, format string, args ...any) {
	s.fail("%s at node %d: %s %s%.120s: %s", v.kind, v.node.index, v.method, v.host, v.path, fmt.Sprintf(format, args...))
}

func (s *soak) fail(format string, args ...any) {
	if s.ctx.Err() != nil && s.faults.Load() >= maxSoakFaults {
		return
	}
	s.t.Errorf("after %v: %s", time.Since(s.start).Round(time.Millisecond), fmt.Sprintf(format, args...))
	if s.faults.Add(1) >= maxSoakFaults {
		s.cancel()
	}
}

// maxSoakFaults ends a run early: the rest would repeat it.
const maxSoakFaults = 20

// call calls the management API at the node's admin endpoint, again if a reload took
// the connection.
func (n *soakNode) call(ctx context.Context, method, path, body string, into any) error {
	key := fmt.Sprintf("soak-%d-%d", n.index, callNumber.Add(1))
	for until := time.Now().Add(deadline); ; {
		status, text, err := n.callOnce(ctx, key, method, path, body)
		switch {
		case err != nil && ctx.Err() == nil && time.Now().Before(until):
			time.Sleep(20 * time.Millisecond) // the new endpoint is about to listen
			continue
		case err != nil:
			return fmt.Errorf("%s %s: %w", method, path, err)
		case status == http.StatusConflict && strings.Contains(text, "idempotency_in_progress"):
			continue
		case status >= 300:
			return fmt.Errorf("%s %s: %d %.500s", method, path, status, text)
		case into != nil:
			return json.Unmarshal([]byte(text), into)
		}
		return nil
	}
}

var callNumber atomic.Int64

func (n *soakNode) callOnce(ctx context.Context, key, method, path, body string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+n.admin+"/gatefold"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPost {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := oneShot.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
