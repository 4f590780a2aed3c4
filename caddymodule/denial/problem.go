package denial

import (
	"encoding/json"
	"net/http"
	"strings"
)

// RetryAfter is when clients should repeat a request that got a 503, in seconds.
const RetryAfter = "5"

// Denial is what a denied request is answered.
type Denial struct {
	Status int
	// Title and Detail address the reader. They never repeat what the client sent.
	Title, Detail string
}

// Step is what a reader can do about a denial.
type Step struct {
	// Action is a word for programs, such as `login`; empty if nothing helps.
	Action string
	// Label is the text of a link to URL, which is the page where the reader can do it;
	// both are empty if the site names none.
	Label, URL string
}

// problem is an RFC 9457 problem.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// NextAction and URL are those of a Step. Extension members (RFC 9457, section 3.2).
	NextAction string `json:"next_action,omitempty"`
	URL        string `json:"url,omitempty"`
	// LoginURL is the login page, for programs that cannot be redirected. An extension member.
	LoginURL string `json:"login_url,omitempty"`
	// RequestID finds the request in the log. An extension member.
	RequestID string `json:"requestId,omitempty"`
	// SupportCode is what a reader gives to a support desk. An extension member.
	SupportCode string `json:"supportCode,omitempty"`
}

// WriteProblem answers with a problem; code is for programs, login is the login page if a
// login helps, id finds the request in the log, and support is the support
// code.
func WriteProblem(w http.ResponseWriter, d Denial, code, login string, next Step, id, support string) error {
	if d.Status != http.StatusUnauthorized {
		login = ""
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(d.Status)
	return json.NewEncoder(w).Encode(problem{"about:blank", d.Title, d.Status, d.Detail, code, next.Action, next.URL, login, id, support})
}

// AcceptsHTML reports whether Accept names text/html, as it does when a browser opens
// a page. A wildcard does not count.
func AcceptsHTML(r *http.Request) bool {
	for _, value := range r.Header["Accept"] {
		for part := range strings.SplitSeq(value, ",") {
			kind, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") {
				return true
			}
		}
	}
	return false
}
