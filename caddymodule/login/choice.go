package login

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatefold/gatefold/policy/paywall"
)

// Logins are the logins of a site, one for each provider. With several, each has a name, and
// the paths by which its provider answers end with it: a code that one provider made is never
// sent to another one (RFC 9700, section 4.4.2.2). It is safe for concurrent use.
type Logins []*Site

// IsName reports whether a text can be the name of a login: lower-case letters, digits and
// hyphens, at most MaxName of them.
func IsName(text string) bool {
	return text != "" && len(text) <= MaxName && !strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' })
}

const (
	// MaxName bounds the name of a login, in bytes.
	MaxName = 32
	// MaxLogins is the most logins of a site.
	MaxLogins = 8
)

// splitPath returns a path of the login without the name of a provider at its end, and the
// name.
func splitPath(path string) (base, name string) {
	for _, base := range [...]string{pathCallback, pathBackchannel} {
		if name, found := strings.CutPrefix(path, base+"/"); found && IsName(name) {
			return base, name
		}
	}
	return path, ""
}

// own returns a path of the login that is the provider's own.
func (s *Site) own(path string) string {
	if s.Name == "" {
		return path
	}
	return path + "/" + s.Name
}

// loginURL returns the path and query of this login, which leads back to a page of the site.
func (s *Site) loginURL(next string) string {
	if s.Name == "" {
		return URL(next)
	}
	return withQuery(URL(next), url.Values{"idp": {s.Name}})
}

// label returns what the page of choices calls the login.
func (s *Site) label() string {
	if s.Label != "" {
		return s.Label
	}
	if parsed, err := url.Parse(s.Issuer); err == nil && parsed.Host != "" {
		return parsed.Host
	}
	return s.Name
}

// named returns the login of a name, or nil.
func (l Logins) named(name string) *Site {
	for _, s := range l {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Serve answers a request to a path of the login, for which IsPath is true.
func (l Logins) Serve(w http.ResponseWriter, r *Request) {
	base, name := splitPath(r.URL.Path)
	r.path = base
	switch base {
	case pathLogout: // at the provider where the reader logged in
		cmp.Or(r.Session, l[0]).serve(w, r)
	case pathLogin:
		l.begin(w, r)
	default:
		if s := l.named(name); s != nil {
			s.serve(w, r)
			return
		}
		l[0].answer(w, r, func() {
			l[0].page(w, r, page{Status: http.StatusNotFound, Title: "There is no such login", Detail: "The operator of this site names its logins in the option name of identify oidc."})
		})
	}
}

// begin begins the login that the request names in `idp`, or the only one; otherwise the
// reader chooses.
func (l Logins) begin(w http.ResponseWriter, r *Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		query = nil
	}
	asked := authenticationOf(query)
	r.now = l[0].Now()
	chosen := l[0]
	if len(l) > 1 {
		// A page that asks for another login of a reader asks the provider where they logged in.
		chosen = cmp.Or(l.named(query.Get("idp")), r.Session)
	}
	if chosen != nil || r.loggedIn(asked) || !mayBegin(r) {
		cmp.Or(chosen, l[0]).serve(w, r)
		return
	}
	l[0].answer(w, r, func() {
		texts := paywall.BuiltIn().For(r.Header["Accept-Language"])
		choice := page{Status: http.StatusOK, Title: texts.Text("login"), Language: texts.Tag.String()}
		next := nextOf(query, r)
		for _, s := range l {
			to := StepUpURL(s.loginURL(next), asked)
			if query.Get("prompt") == promptCreate {
				to = withQuery(to, url.Values{"prompt": {promptCreate}})
			}
			if hint := hintOf(query); hint != "" {
				to = withQuery(to, url.Values{paramHint: {hint}})
			}
			choice.Choices = append(choice.Choices, link{s.label(), to})
		}
		w.Header().Add("Vary", "Accept-Language")
		l[0].page(w, r, choice)
	})
}
