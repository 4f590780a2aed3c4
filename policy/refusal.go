package policy

import (
	"errors"
	"net/http"
	"strings"
)

// refusals are the checks that precede every rule, in order. The first that returns a
// reason decides.
var refusals = [...]func(*Request) (Reason, error){
	refuseMethod,
	refuseFragment,
	refusePath,
}

// refuse returns why a request is refused whatever the rules are, or ReasonNone. It
// sets the request's method as judged and the readings of its path.
func (r *Request) refuse() (Reason, error) {
	for _, check := range refusals {
		if reason, err := check(r); reason != ReasonNone {
			return reason, err
		}
	}
	return ReasonNone, nil
}

// refuseMethod refuses methods that are not served. HEAD is judged as GET, and so is
// an extended CONNECT for a WebSocket, which is a GET in HTTP/1.1.
func refuseMethod(r *Request) (Reason, error) {
	r.method = r.Method
	switch r.Method {
	case http.MethodHead:
		r.method = http.MethodGet
	case http.MethodTrace:
		return ReasonBadMethod, nil
	case http.MethodConnect:
		if !r.WebSocket {
			return ReasonBadMethod, nil
		}
		r.method = http.MethodGet
	}
	return ReasonNone, nil
}

// ErrFragment is the error of a request whose target contains a fragment. No client
// sends one, and servers differ on where such a path ends (CVE-2026-41059,
// CVE-2023-47106).
var ErrFragment = errors.New("the request target contains a fragment (#)")

func refuseFragment(r *Request) (Reason, error) {
	if strings.IndexByte(r.Target, '#') >= 0 {
		return ReasonBadPath, ErrFragment
	}
	return ReasonNone, nil
}

// refusePath refuses a path that two servers could read differently.
func refusePath(r *Request) (Reason, error) {
	if err := r.readPath(); err != nil {
		return ReasonBadPath, err
	}
	return ReasonNone, nil
}
