package login

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Names of the cookies. Browsers accept `__Host-` only from the host itself, over https, so
// that no sibling domain can set one.
const (
	CookieSession = "__Host-gatefold-session"
	// CookiePrefix begins the names of the cookies of attempts.
	CookiePrefix = "__Host-gatefold-login-"
	cookieDone   = CookiePrefix + "done"
)

const (
	// attemptFor is how long a reader has to log in at the provider.
	attemptFor = 10 * time.Minute
	// maxAttempts is the number of attempts of a browser at once, such as of several tabs.
	maxAttempts = 4
	// doneFor is within how long a browser that comes back without a session is in a loop.
	doneFor = time.Minute
	// maxRounds is the number of attempts in a row that one page leads to.
	maxRounds = 2
	// maxNextInState bounds the page that the state has, besides the cookie: providers
	// bound the length of their URLs.
	maxNextInState = 512
	// maxCookie bounds a cookie of the login, in bytes. Browsers keep 4,096.
	maxCookie = 3900
)

// state is the parameter of that name: what is known of an attempt whose cookie is lost. It is
// sealed, so that only this site makes and reads it.
type state struct {
	ID    string `json:"i"` // random
	At    int64  `json:"t"` // Unix seconds
	Host  string `json:"h"` // scheme and host of the site
	Next  string `json:"n,omitempty"`
	Round int    `json:"r,omitempty"`
	// ACR and MaxAge are what the page asks of the login.
	ACR    string `json:"a,omitempty"`
	MaxAge int64  `json:"m,omitempty"`
}

// attempt is the content of an attempt's cookie. It binds the attempt to the browser in which
// it began: without it, an attacker could log their victim in as themselves.
type attempt struct {
	State    string `json:"s"` // the hash of the whole parameter
	At       int64  `json:"t"` // Unix milliseconds
	Nonce    string `json:"o"`
	Verifier string `json:"v"` // RFC 7636
	Next     string `json:"n"`
}

func (a *attempt) began() time.Time { return time.UnixMilli(a.At) }

// done is the content of the cookie of a browser that logged in just now.
type done struct {
	At    int64  `json:"t"`
	Round int    `json:"r"`
	Next  string `json:"n"` // a hash
}

// random returns 256 random bits.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// seal seals a value for a use of this site: another site, another use and, unless it is a
// cookie, another login cannot open it.
func (s *Site) seal(use string, value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // each & of a page's URL would take six bytes of the cookie
	if err := encoder.Encode(value); err != nil {
		return "" // of texts and numbers it cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(s.Sealer.Seal(text.Bytes(), s.sealedFor(use)))
}

// open opens what seal sealed. It reports false for anything else.
func (s *Site) open(use, sealed string, value any) bool {
	if sealed == "" || len(sealed) > maxCookie {
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return false
	}
	text, err := s.Sealer.Open(b, s.sealedFor(use))
	return err == nil && json.Unmarshal(text, value) == nil
}

func (s *Site) sealedFor(use string) []byte {
	of := []string{"login", use, s.Vendor, s.Site}
	if !strings.HasPrefix(use, CookiePrefix) {
		// A cookie is counted and dropped by every login of the site. The state, whose hash an
		// attempt has, is of one.
		of = append(of, s.Issuer, s.ClientID)
	}
	return []byte(strings.Join(of, "\x00"))
}

// attemptCookie returns the name of the cookie of an attempt.
func attemptCookie(stateParam string) string { return CookiePrefix + hashOf(stateParam)[:12] }

// newAttempt begins an attempt: it returns it with its state, and sets its cookie.
func (s *Site) newAttempt(w http.ResponseWriter, r *Request, next string, round int, asked policy.Authentication) (stateParam string, a attempt) {
	known := state{ID: random(), At: r.now.Unix(), Host: r.Origin, Round: round, ACR: asked.ACR, MaxAge: asked.MaxAge}
	if len(next) <= maxNextInState {
		known.Next = next
	}
	stateParam = s.seal("state", known)
	a = attempt{State: hashOf(stateParam), At: r.now.UnixMilli(), Nonce: random(), Verifier: random(), Next: next}
	name := attemptCookie(stateParam)
	s.dropOldest(w, r)
	setCookie(w, name, s.seal(name, a), attemptFor)
	return stateParam, a
}

// dropOldest expires the oldest attempts of a browser, so that one more is not too many.
func (s *Site) dropOldest(w http.ResponseWriter, r *Request) {
	type cookie struct {
		at   int64
		name string
	}
	var kept []cookie
	for name, value := range r.Cookies {
		if name == cookieDone {
			continue
		}
		var a attempt
		if !s.open(name, value, &a) || r.now.Sub(a.began()) >= attemptFor {
			clearCookie(w, name)
			continue
		}
		kept = append(kept, cookie{a.At, name})
	}
	slices.SortFunc(kept, func(a, b cookie) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.name, b.name)
	})
	for _, oldest := range kept[:max(0, len(kept)+1-maxAttempts)] {
		clearCookie(w, oldest.name)
	}
}

// takeAttempt returns the attempt of a state in this browser, and clears its cookie. An
// attempt counts once on a node, also for a browser that keeps its cookie: otherwise one
// attempt would be good for any number of calls to the provider.
func (s *Site) takeAttempt(w http.ResponseWriter, r *Request, stateParam string) (a attempt, ok bool) {
	name := attemptCookie(stateParam)
	value := r.Cookies[name]
	if value == "" {
		return a, false
	}
	clearCookie(w, name)
	ok = s.open(name, value, &a) && hmac.Equal([]byte(a.State), []byte(hashOf(stateParam))) && fresh(r.now, a.began()) &&
		s.used.take(a.State, r.now, a.began().Add(attemptFor))
	return a, ok
}

// fresh reports whether an attempt of a time is not over.
func fresh(now, began time.Time) bool {
	age := now.Sub(began)
	return age > -time.Minute && age < attemptFor
}

// rounds returns how often in a row this browser came back from a login to a page.
func (s *Site) rounds(r *Request, next string) int {
	var last done
	if !s.open(cookieDone, r.Cookies[cookieDone], &last) || r.now.Sub(time.Unix(last.At, 0)).Abs() >= doneFor || last.Next != hashOf(next) {
		return 0
	}
	return last.Round
}

func (s *Site) markDone(w http.ResponseWriter, r *Request, next string, round int) {
	setCookie(w, cookieDone, s.seal(cookieDone, done{At: r.now.Unix(), Round: round, Next: hashOf(next)}), doneFor)
}

func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second), HttpOnly: true, Secure: true,
		// Strict would not be sent with the redirect from the provider, None with what other sites ask for.
		SameSite: http.SameSiteLaxMode,
	})
}

func clearCookie(w http.ResponseWriter, name string) { setCookie(w, name, "", -time.Second) }
