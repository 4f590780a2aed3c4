package policy

import (
	"errors"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// refusals are the checks that precede every rule, in order. The first that returns a
// reason decides.
var refusals = [...]func(*Request) (Reason, error){
	refuseMethod,
	refuseUncarried,
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

// ErrNotHTTP1 is the error of a request whose method, query or trailers HTTP/1 cannot carry
// (RFC 9112, section 3). HTTP/2 and HTTP/3 can carry it: Go refuses control characters and
// invalid fields and hosts there, but none of these. An origin that is asked with
// HTTP/1 would read another request line.
var ErrNotHTTP1 = errors.New("the method, the query or a trailer contains a character that HTTP/1 cannot carry")

// refuseMethod refuses methods that no rule can serve. Whether a rule names an uncommon
// method is judged when rules are matched. HEAD is judged as GET, and so is an extended
// CONNECT for a WebSocket, which is a GET in HTTP/1.1.
func refuseMethod(r *Request) (Reason, error) {
	r.method = r.Method
	switch {
	case r.Method == http.MethodHead, r.Method == http.MethodConnect && r.WebSocket:
		r.method = http.MethodGet
	case isCommon(r.Method):
	case !httpguts.ValidHeaderFieldName(r.Method): // a token, as a method is
		return ReasonBadRequest, ErrNotHTTP1
	default:
		if checkMethod(r.Method) != nil {
			return ReasonBadMethod, nil
		}
	}
	return ReasonNone, nil
}

// refuseUncarried refuses a space in the query, where HTTP/1 ends the target (in a path it is
// escaped again), and trailers that
// HTTP/1 cannot announce.
func refuseUncarried(r *Request) (Reason, error) {
	if r.BadTrailer || strings.IndexByte(r.Query, ' ') >= 0 {
		return ReasonBadRequest, ErrNotHTTP1
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
