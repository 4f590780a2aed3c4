package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

const (
	soakArticles = 20
	soakReaders  = 24
	soakFlips    = 8 // rules that change
	// soakPool is the number of links, cookies and old tokens that traffic chooses from.
	soakPool = 48
)

func articlePath(r *rand.Rand) string { return fmt.Sprint("/articles/a", r.IntN(soakArticles)) }

// soakToken is a reader token that Gatefold signed.
type soakToken struct {
	raw string
	key *fact // is the key that signed it in use?
}

// soakReader is a reader with grants that come and go.
type soakReader struct {
	user    string
	premium grantFact // any article
	one     grantFact // one article
	article string
	mu      sync.Mutex
	token   soakToken
}

// grantFact is a grant that exists or not.
type grantFact struct {
	*fact
	id string // of the present grant, which the changes know
}

// may returns what lets the reader read an article, beside further facts.
func (p *soakReader) may(path string, with ...*fact) condition {
	c := condition{append([]*fact{p.premium.fact}, with...)}
	if path == "/articles/"+p.article {
		c = append(c, append([]*fact{p.one.fact}, with...))
	}
	return c
}

func (p *soakReader) current() soakToken {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token
}

// soakLink is a signed link.
type soakLink struct {
	id, token, path string
	live, key       *fact
	maxUses         int64
	mu              sync.Mutex
	begun, given    int64 // requests that were sent with it, and pages that came
}

// soakCookie is a link cookie of a browser that redeemed a link.
type soakCookie struct {
	cookie string
	link   *soakLink
}

// pool keeps the last things of a kind.
type pool[T any] struct {
	mu    sync.Mutex
	items []T
}

func (p *pool[T]) add(item T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) == soakPool {
		p.items = append(p.items[:0], p.items[1:]...)
	}
	p.items = append(p.items, item)
}

// pick returns one of them.
func (p *pool[T]) pick(r *rand.Rand) (item T, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) == 0 {
		return item, false
	}
	return p.items[r.IntN(len(p.items))], true
}

// traffic are the kinds of requests, with their shares.
var traffic = []struct {
	share int
	send  func(*soak, *rand.Rand, *soakNode)
}{
	{10, (*soak).visitPublic},
	{10, (*soak).visitAnonymously},
	{25, (*soak).visitAsReader},
	{12, (*soak).visitAsIssuersReader},
	{4, (*soak).visitWithOldToken},
	{8, (*soak).visitWithForgery},
	{5, (*soak).visitAmbiguousPath},
	{2, (*soak).preflight},
	{8, (*soak).visitByLink},
	{5, (*soak).visitByCountedLink},
	{4, (*soak).redeemInABrowser},
	{8, (*soak).visitByCookie},
	{5, (*soak).visitByShare},
	{8, (*soak).visitFlip},
	{4, (*soak).visitShaky},
	{2, (*soak).floodTokens},
	{1, (*soak).abort},
}

func (s *soak) visitPublic(r *rand.Rand, n *soakNode) {
	path := "/" + randomText(r, 1+r.IntN(40)) + "/" + url.PathEscape(randomText(r, 3)+"é ü")
	method := []string{http.MethodGet, http.MethodGet, http.MethodHead, http.MethodPost}[r.IntN(4)]
	s.visit(visit{kind: "public page, random path", node: n, method: method, path: path, when: always})
}

func (s *soak) visitAnonymously(r *rand.Rand, n *soakNode) {
	path, method, body := articlePath(r), http.MethodGet, ""
	switch r.IntN(4) {
	case 0:
		path = "/account?" + randomText(r, 20)
	case 1:
		method, body = http.MethodPost, strings.Repeat("x", r.IntN(20_000))
	case 2:
		path = strings.ToUpper(path)
	}
	s.visit(visit{kind: "anonymous, gated page", node: n, method: method, path: path, body: body, denials: []string{"login_required"}})
}

// credential carries a token in one of the two ways.
func credential(r *rand.Rand, token string) []string {
	if r.IntN(2) == 0 {
		return []string{"Cookie", "reader=" + token}
	}
	return []string{"Authorization", "Bearer " + token}
}

func (s *soak) visitAsReader(r *rand.Rand, n *soakNode) {
	reader := s.readers[r.IntN(len(s.readers))]
	token, path := reader.current(), articlePath(r)
	if r.IntN(3) == 0 {
		path = "/articles/" + reader.article
	}
	v := visit{kind: "reader, article", node: n, path: path, when: reader.may(path, token.key), header: credential(r, token.raw)}
	v.denials = []string{"not_entitled", "bad_credential"}
	if r.IntN(8) == 0 {
		v.kind, v.path, v.when, v.denials = "reader, account", "/account", condition{{token.key}}, []string{"bad_credential"}
	}
	s.visit(v)
}

// visitAsIssuersReader comes with a token of the login service: of a reader with grants,
// or of a random user.
func (s *soak) visitAsIssuersReader(r *rand.Rand, n *soakNode) {
	key, old := s.issuer.keys()
	if old != nil && r.IntN(4) == 0 {
		key = old
	}
	v := visit{node: n, path: articlePath(r), denials: []string{"not_entitled", "bad_credential"}}
	if r.IntN(3) == 0 {
		v.kind = "login service's reader, random user"
		v.header = credential(r, s.issuer.token(key, key.kid, randomText(r, 1+r.IntN(200))))
	} else {
		reader := s.readers[r.IntN(len(s.readers))]
		v.kind = "login service's reader, article"
		v.header, v.when = credential(r, s.issuer.token(key, key.kid, reader.user)), reader.may(v.path, key.trusted)
	}
	s.visit(v)
}

func (s *soak) visitWithOldToken(r *rand.Rand, n *soakNode) {
	if token, found := s.oldTokens.pick(r); found {
		s.visit(visit{
			kind: "reader, token of a retired key", node: n, path: "/account", header: credential(r, token.raw),
			when: condition{{token.key}}, denials: []string{"bad_credential"},
		})
	}
}

// visitWithForgery comes with a token that has no valid signature, for a reader who may read.
func (s *soak) visitWithForgery(r *rand.Rand, n *soakNode) {
	reader := s.readers[r.IntN(len(s.readers))]
	v := visit{kind: "forged token", node: n, path: articlePath(r), denials: []string{"bad_credential", "login_required"}}
	token := reader.current().raw
	switch r.IntN(5) {
	case 0:
		token = token[:strings.LastIndexByte(token, '.')+1] + randomText(r, 85) + "A"
	case 1:
		v.kind = "forged token, random kid"
		token = s.issuer.token(s.stranger, randomText(r, 1+r.IntN(60)), reader.user)
	case 2:
		key, _ := s.issuer.keys()
		token = s.issuer.token(s.stranger, key.kid, reader.user)
	case 3:
		link, found := s.links.pick(r)
		if !found {
			return
		}
		v.kind, v.path, v.denials = "forged link", link.path, []string{"link_invalid"}
		v.path += "?token=" + link.token[:strings.LastIndexByte(link.token, '.')+1] + randomText(r, 85) + "A"
		s.visit(v)
		return
	default:
		token = token[:len(token)-1-r.IntN(60)]
	}
	v.header = credential(r, token)
	s.visit(v)
}

// ambiguous are spellings of an article's path that another server could read
// differently.
var ambiguous = []string{
	"/%2e%2e/articles/a1", "/x/..%2farticles/a1", "/articles%2fa1", "/articles//a1", "/articles/a1;x", "/articles/a1%00",
	"/x/%2e%2e/articles/a1", "/articles/%c0%af/a1", "/articles%5ca1", "/articles/%252e%252e/a1", "/./articles/a1", "/articles/a1%3Bx", "/index.php/articles/a1", "//localhost/articles/a1",
}

func (s *soak) visitAmbiguousPath(r *rand.Rand, n *soakNode) {
	s.visit(visit{kind: "ambiguous path", node: n, path: ambiguous[r.IntN(len(ambiguous))], denials: []string{"bad_path"}})
}

// preflight asks an origin that answers OPTIONS as it answers GET: headers alone come
// through.
func (s *soak) preflight(r *rand.Rand, n *soakNode) {
	v := visit{kind: "preflight", node: n, method: http.MethodOptions, path: articlePath(r)}
	v.header = []string{"Origin", "https://app.example", "Access-Control-Request-Method", "GET"}
	number, reloads := fmt.Sprint(s.number.Add(1)), n.ended.Load()
	got, _, err := s.send(&v, number)
	s.seen.take(number)
	switch {
	case err != nil && n.begun.Load() != reloads:
		s.tally.add(v.kind, lost, false)
		return
	case err != nil:
		s.fault(&v, "%v", err)
		return
	case got.StatusCode != http.StatusOK || got.body != "" || got.Header.Get("X-Origin") != "":
		s.fault(&v, "answered %d %v %.100s", got.StatusCode, got.Header, got.body)
	}
	s.tally.add(v.kind, allowed, false)
}

func (s *soak) visitByLink(r *rand.Rand, n *soakNode) {
	link, found := s.links.pick(r)
	if !found {
		return
	}
	v := visit{kind: "link", node: n, path: link.path + "?token=" + link.token, when: condition{{link.live, link.key}}, denials: []string{"link_revoked", "link_invalid"}}
	switch r.IntN(6) {
	case 0:
		v.method = http.MethodHead
	case 1: // never for another page
		v.kind, v.path, v.when = "link, another page", "/articles/other?token="+link.token, never
		v.denials = append(v.denials, "link_other_resource")
	}
	s.visit(v)
}

// visitByCountedLink uses a link that a few uses use up: as many pages as uses, and a
// denial only when so many others have come.
func (s *soak) visitByCountedLink(r *rand.Rand, n *soakNode) {
	link, found := s.counted.pick(r)
	if !found {
		return
	}
	link.mu.Lock()
	link.begun++
	link.mu.Unlock()
	v := visit{kind: "counted link", node: n, path: link.path + "?token=" + link.token}
	v.denials = []string{"link_used_up", "link_revoked", "link_invalid"}
	// What may be used up may be denied.
	v.when = condition{{link.live, link.key, mayBeDenied}}
	got, result := s.visit(v)
	link.mu.Lock()
	defer link.mu.Unlock()
	switch {
	case result == allowed:
		if link.given++; link.given > link.maxUses {
			s.fault(&v, "page %d by a link for %d", link.given, link.maxUses)
		}
	case result == denied && strings.Contains(got.body, `"link_used_up"`) && link.begun <= link.maxUses:
		s.fault(&v, "used up, when %d came with a link for %d", link.begun, link.maxUses)
	case result == denied && strings.Contains(got.body, `"link_invalid"`) && len(s.nodes) == 1 && !link.key.may(0, false):
		s.fault(&v, "invalid, and its key was never retired")
	}
}

// mayBeDenied makes a denial possible.
var mayBeDenied = &fact{history: []factValue{{holds: true}, {holds: false}}}

func (s *soak) redeemInABrowser(r *rand.Rand, n *soakNode) {
	link, found := s.links.pick(r)
	if !found {
		return
	}
	got, result := s.visit(visit{
		kind: "link in a browser", node: n, path: link.path + "?token=" + link.token, header: []string{"Accept", "text/html"},
		when: condition{{link.live, link.key}}, denials: []string{"link_revoked", "link_invalid"},
	})
	if result != allowed {
		return
	}
	for _, cookie := range got.Cookies() {
		if strings.HasPrefix(cookie.Name, "gatefold-") && cookie.Value != "" {
			s.cookies.add(soakCookie{cookie.Name + "=" + cookie.Value, link})
			return
		}
	}
	s.fail("the redirect of a link sets no cookie: %v", got.Header)
}

func (s *soak) visitByCookie(r *rand.Rand, n *soakNode) {
	held, found := s.cookies.pick(r)
	if !found {
		return
	}
	v := visit{kind: "link cookie", node: n, path: held.link.path, header: []string{"Cookie", held.cookie}, when: condition{{held.link.live}}, denials: []string{"login_required"}}
	if r.IntN(6) == 0 {
		v.kind, v.path, v.when = "link cookie, another page", "/articles/other", never
	}
	s.visit(v)
}

// visitByShare comes with a link that a publisher signed for itself.
func (s *soak) visitByShare(r *rand.Rand, n *soakNode) {
	article := fmt.Sprint("a", r.IntN(soakArticles))
	v := visit{kind: "publisher's link", node: n, path: "/articles/" + article + "?share=" + s.publisher.share(article, randomText(r, 12))}
	v.when, v.denials = condition{{s.publisher.trusted}}, []string{"link_untrusted"}
	if r.IntN(6) == 0 {
		v.kind, v.path, v.when = "publisher's link, another page", "/articles/other?share="+s.publisher.share(article, randomText(r, 12)), never
		v.denials = append(v.denials, "link_other_resource", "link_invalid")
	}
	s.visit(v)
}

// visitFlip visits a page whose rule changes between public and not.
func (s *soak) visitFlip(r *rand.Rand, n *soakNode) {
	i := r.IntN(soakFlips)
	s.visit(visit{
		kind: "page of a changing rule", node: n, host: deskHost, path: fmt.Sprintf("/flip%d/%s", i, randomText(r, 5)),
		when: condition{{s.flips[i]}}, denials: []string{"login_required"},
	})
}

// visitShaky visits an origin that may fail. The verdict is the gate's all the same.
func (s *soak) visitShaky(r *rand.Rand, n *soakNode) {
	v := visit{kind: "failing origin", node: n, path: "/shaky/" + randomText(r, 5), when: always, shaky: true}
	if r.IntN(3) == 0 {
		v.kind, v.path, v.when, v.denials = "failing origin, gated page", "/shaky-articles/x", never, []string{"login_required"}
	}
	s.visit(v)
}
