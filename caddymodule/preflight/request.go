package preflight

import "net/http"

// Is reports whether a request is a CORS preflight.
func Is(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// Strip removes from a preflight what browsers never send with one: the credentials, the
// body and an upgrade of the connection.
func Strip(r *http.Request) {
	for _, name := range []string{
		"Authorization", "Cookie", "Proxy-Authorization", "Content-Length", "Content-Type", "Content-Encoding",
		"Transfer-Encoding", "Trailer", "Expect", "Upgrade", "Connection", "Range", "If-Range",
	} {
		r.Header.Del(name)
	}
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, 0, nil, nil
}
