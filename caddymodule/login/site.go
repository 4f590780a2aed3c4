package login

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Settings say how the readers of a site log in.
type Settings struct {
	Vendor, Site string
	// Name tells the logins of a site apart; empty if it has one. Label is what the reader
	// sees of it; by default the issuer's host.
	Name, Label string
	// Issuer is the provider, and ClientID the site's name there.
	Issuer, ClientID string
	// ClientSecret authenticates the client; empty for private_key_jwt, by the vendor's key.
	ClientSecret string
	Scopes       []string
	Claims       keys.ClaimNames
	// UserPrefix begins the ids of this login's readers, and Reserved those of other logins:
	// two providers may have one `sub` for two readers.
	UserPrefix string
	Reserved   []string
	IntegerIDs bool
	// Idle is how long an unused session goes on, Lifetime how long any, and MaxSessions how
	// many a reader has.
	Idle, Lifetime time.Duration
	MaxSessions    int
	// LocalLogout leaves the reader logged in at the provider.
	LocalLogout bool
}

// Options are what a Site uses.
type Options struct {
	Settings
	Store  *store.Store
	Sealer *keys.Sealer
	// Sets call the provider, and Keys are its keys.
	Sets *keys.Sets
	Keys policy.RefreshedKeys
	// Ring returns the vendor's own keys, which sign client assertions.
	Ring func(context.Context) (*keys.Ring, error)
	Now  func() time.Time
	// Report is called with what became of a login, a logout or a renewal.
	Report func(Event)
}

// Event is what became of a login, a logout or a renewal. Its error has no part of a token.
type Event struct {
	Kind   Kind
	Result Result
	Err    error
	// SupportID is that of the page that the reader sees.
	SupportID string
}

// Kind is the kind of an Event.
type Kind string

// Result is the result of an Event, of a closed list.
type Result string

// The kinds and results of events.
const (
	KindLogin       Kind = "login"
	KindLogout      Kind = "logout"
	KindBackchannel Kind = "backchannel"
	KindRenewal     Kind = "renewal"

	ResultOK        Result = "ok"
	ResultRestarted Result = "restarted" // the attempt was lost, and begins again
	ResultRefused   Result = "refused"   // what the browser or the provider sent is not acceptable
	ResultCancelled Result = "cancelled" // by the reader, at the provider
	ResultLoop      Result = "loop"      // the browser came back without a session
	ResultProvider  Result = "provider"  // the provider does not answer, or with an error
	ResultStore     Result = "store"     // the store does not answer
	ResultEnded     Result = "ended"     // the provider ended the session
)

// Kinds and Results return all kinds and results.
func Kinds() []Kind { return []Kind{KindLogin, KindLogout, KindBackchannel, KindRenewal} }

// Results returns all results.
func Results() []Result {
	return []Result{ResultOK, ResultRestarted, ResultRefused, ResultCancelled, ResultLoop, ResultProvider, ResultStore, ResultEnded}
}

// Site is a site with a login. It is safe for concurrent use.
type Site struct {
	Options
	client   keys.Client
	tickets  *policy.Tickets
	verifier *policy.SessionVerifier
	provider provider
	renewals chan struct{} // has a place for each renewal at once
	calls    chan struct{} // has a place for each login that calls the provider at once
	used     usedStates
}

// New returns a site.
func New(options Options) (*Site, error) {
	key, err := options.Sealer.Derive(keys.PurposeLoginTicket)
	if err != nil {
		return nil, err
	}
	s := &Site{
		Options:  options,
		client:   keys.Client{Issuer: options.Issuer, ID: options.ClientID, Claims: options.Claims, IntegerIDs: options.IntegerIDs},
		tickets:  policy.NewTickets(key, options.Vendor, options.Site),
		renewals: make(chan struct{}, maxRenewals),
		calls:    make(chan struct{}, maxCalls),
	}
	origin := store.LoginSession{Site: options.Site, Issuer: options.Issuer, ClientID: options.ClientID}
	s.verifier = policy.NewSessionVerifier(s.tickets, options.Store, options.Vendor, origin.Origin(), s.due)
	return s, nil
}

// Verifier returns the verifier of the site's sessions.
func (s *Site) Verifier() *policy.SessionVerifier { return s.verifier }

// Names reports whether a user id can be that of a reader of this login. One of a session that
// began under another user_prefix could be another login's reader.
func (s *Site) Names(userID string) bool {
	return strings.HasPrefix(userID, s.UserPrefix) &&
		!slices.ContainsFunc(s.Reserved, func(prefix string) bool { return strings.HasPrefix(userID, prefix) })
}

// Prefix begins the paths of the login.
const Prefix = "/.gatefold/"

// The paths of the login.
const (
	pathLogin       = Prefix + "login"
	pathCallback    = Prefix + "callback"
	pathLogout      = Prefix + "logout"
	pathBackchannel = Prefix + "backchannel"
)

// methodsOf has the methods of each path.
var methodsOf = map[string][]string{
	pathLogin: {http.MethodGet}, pathCallback: {http.MethodGet}, pathLogout: {http.MethodGet, http.MethodPost}, pathBackchannel: {http.MethodPost},
}

// IsPath reports whether a path is one of the login.
func IsPath(path string) bool {
	if !strings.HasPrefix(path, Prefix) {
		return false
	}
	base, _ := splitPath(path)
	return methodsOf[base] != nil
}

// URL returns the path and query of the login that leads back to a page of the site.
func URL(next string) string {
	if next == "" {
		return pathLogin
	}
	return pathLogin + "?next=" + url.QueryEscape(next)
}

// promptCreate is the value of `prompt` by which a reader makes an account.
const promptCreate = "create"

// RegisterURL is URL for a reader who makes an account first, where the provider can do that.
func RegisterURL(next string) string {
	return withQuery(URL(next), url.Values{"prompt": {promptCreate}})
}

// Request is a request to a path of the login.
type Request struct {
	*http.Request
	// Origin is the scheme and the host of the site, as the browser knows it.
	Origin string
	// Secure reports whether the browser uses https.
	Secure bool
	// Session is the login of the reader's session; nil for none. Ticket is that of the
	// browser's session, and Cookies are its other cookies of the login, by name.
	Session *Site
	Ticket  string
	Cookies map[string]string
	// Reader is who the request is from.
	Reader policy.Reader
	// SupportID finds the request in the log.
	SupportID string

	path string // without the name of a provider
	now  time.Time
}

// serve answers a request of this login.
func (s *Site) serve(w http.ResponseWriter, r *Request) {
	s.answer(w, r, func() {
		switch r.path {
		case pathLogin:
			s.begin(w, r)
		case pathCallback:
			s.callback(w, r)
		case pathLogout:
			s.logout(w, r)
		default:
			s.backchannel(w, r)
		}
	})
}

// answer sets the headers of every response, and calls send unless the request is not one
// that can be answered.
func (s *Site) answer(w http.ResponseWriter, r *Request, send func()) {
	r.now = s.Now()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	methods := methodsOf[r.path]
	switch {
	case !slices.Contains(methods, r.Method):
		header.Set("Allow", strings.Join(methods, ", "))
		s.page(w, r, page{Status: http.StatusMethodNotAllowed, Title: "This page takes " + strings.Join(methods, " and ")})
	case !r.Secure:
		// Its cookies could be read, and browsers refuse them.
		s.page(w, r, page{
			Status: http.StatusBadRequest, Title: "Login needs https",
			Detail: "Open this site with https. If you did, its server does not know: tell its operator to name the proxy before it in trusted_proxies.",
		})
	default:
		send()
	}
}

// report reports an event about a request.
func (s *Site) report(kind Kind, result Result, r *Request, err error) {
	event := Event{Kind: kind, Result: result, Err: err}
	if r != nil {
		event.SupportID = r.SupportID
	}
	s.Report(event)
}

// redirect sends a browser to a URL, as a GET.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
