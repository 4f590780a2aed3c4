package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// The requests of the model's histories: those of readers, and those of clients of the
// API.

var requestPaths = []string{"/articles/a1", "/articles/a2", "/ARTICLES/a1", "/Articles/A2", "/articles/a1/Print", "/ACCOUNT", "/articles/a1/print", "/articles", "/account", "/other/a2", "/"}

// request makes any request.
func (p *modelRun) request(t *rapid.T) {
	node := p.node(t)
	q := &modelRequest{
		method: pick(t, "method", []string{"GET", "GET", "GET", "GET", "HEAD", "POST"}),
		host:   pick(t, "host", []string{modelHost, modelHost, modelHost, partnerDomain, "other.example.com"}),
		path:   pick(t, "path", slices.Concat(requestPaths, requestPaths[:2], requestPaths[:2], requestPaths[:2])),
		query:  pick(t, "query", []string{"", "", "edition=1", "edition=2", "edition=1&edition=2"}),
	}
	if len(p.readers) > 0 && rapid.Bool().Draw(t, "identified") {
		q.reader = pick(t, "reader", p.readers)
	}
	if len(p.links) > 0 && rapid.IntRange(0, 3).Draw(t, "with a link") > 0 {
		q.token, q.twice, q.preview = pick(t, "link", p.links), rapid.IntRange(0, 19).Draw(t, "twice") == 19, rapid.IntRange(0, 9).Draw(t, "preview") == 9
	}
	for range rapid.IntRange(0, min(2, len(p.cookies))).Draw(t, "cookies") {
		cookie := pick(t, "cookie", p.cookies)
		// A browser has one cookie of a link. Two of a name do not count.
		if !slices.ContainsFunc(q.cookies, func(other *modelCookie) bool { return other.record == cookie.record }) {
			q.cookies = append(q.cookies, cookie)
		}
	}
	p.send(node, q)
}

// follow opens a page that a link may open, as its reader does.
func (p *modelRun) follow(t *rapid.T) {
	link := pick(t, "link", p.links)
	q := &modelRequest{method: "GET", host: modelHost, path: "/articles/a1", token: link}
	switch {
	case link.host != "":
		q.path, q.query = link.path, link.query
	case link.content != "":
		q.path = "/articles/" + link.content
	}
	p.send(p.node(t), q)
}

// visit opens an article as a reader.
func (p *modelRun) visit(t *rapid.T) {
	p.send(p.node(t), &modelRequest{
		method: "GET", host: modelHost, path: pick(t, "path", requestPaths[:3]), reader: pick(t, "reader", p.readers),
	})
}

// send sends a request to a node, which must decide as the model does.
func (p *modelRun) send(node *modelNode, q *modelRequest) {
	node.settle(p.T)
	want, redeems := p.decide(&node.site, q)
	got, cookie, err := node.request(q)
	p.Logf("%s: %s: %s", node.name, describe(q), got)
	if err != nil || got != want {
		p.Fatalf("the gate says %q (%v), the model %q", got, err, want)
	}
	modelReasons[got]++
	var made *modelCookie
	if redeems != nil {
		made = p.redeem(&node.site, q, cookie)
	}
	if (made != nil && made.expires.After(p.now)) != (cookie != "") {
		p.Fatalf("the response sets the cookie %q, in the model it is %+v", cookie, made)
	}
	if cookie != "" {
		p.cookies = append(p.cookies, made)
	}
}

func describe(q *modelRequest) string {
	text := fmt.Sprintf("%s %s%s?%s", q.method, q.host, q.path, q.query)
	if q.reader != nil {
		text += fmt.Sprintf(" by %s (%s, verified %v, %s, until %s)", q.reader.userID, q.reader.email, q.reader.verified, q.reader.publisherID, q.reader.expires.Format(time.TimeOnly))
	}
	if q.token != nil {
		text += fmt.Sprintf(" with the link %s, twice %v, preview %v", q.token.record.id, q.twice, q.preview)
	}
	for _, cookie := range q.cookies {
		text += " with the cookie of " + cookie.record.id
	}
	return text
}

// changeClient makes a client of the API or a token of one, replaces its secret, or
// revokes it.
func (p *modelRun) changeClient(t *rapid.T) {
	node := p.node(t)
	if len(p.clients) == 0 || rapid.IntRange(0, 5).Draw(t, "new") == 5 {
		made := p.write(node, http.MethodPost, "/management/clients", map[string]any{"name": "c", "scopes": []string{"links:read", "grants:*"}}, http.StatusCreated)
		p.clients = append(p.clients, &modelClient{id: textOf(made, "clientId")})
		return
	}
	client := pick(t, "client", p.clients)
	path := "/management/clients/" + client.id
	switch action := pick(t, "what", []string{"token", "token", "token", "secret", "revoke"}); {
	case action == "token" && !client.revoked:
		scope := pick(t, "scope", []string{"links:read", "grants:read"})
		made := p.write(node, http.MethodPost, path+"/tokens", map[string]any{"scope": scope}, http.StatusOK)
		expires, err := time.Parse(time.RFC3339, textOf(made, "expiresAt"))
		p.must(err)
		client.tokens = append(client.tokens, &modelToken{client: client, token: textOf(made, "token"), scope: scope, expires: expires})
	case action == "secret" && !client.revoked:
		p.write(node, http.MethodPost, path+"/rotate-secret", nil, http.StatusOK)
		for _, token := range client.tokens {
			token.ended = true
		}
	default:
		p.write(node, http.MethodDelete, path, nil, http.StatusNoContent)
		client.revoked = true
	}
}

// tokens returns the access tokens of all clients.
func (p *modelRun) tokens() (tokens []*modelToken) {
	for _, client := range p.clients {
		tokens = append(tokens, client.tokens...)
	}
	return tokens
}

// callAPI calls the API with an access token.
func (p *modelRun) callAPI(t *rapid.T) {
	node, token := p.node(t), pick(t, "token", p.tokens())
	node.settle(p.T)
	want := http.StatusOK
	path := pick(t, "path", []string{"/management/signed-links?limit=1", modelGrants + "?limit=1"})
	switch {
	case token.client.revoked || token.ended || !p.now.Before(token.expires):
		want = http.StatusUnauthorized
	case strings.Contains(path, "signed-links") != (token.scope == "links:read"):
		want = http.StatusForbidden
	}
	got, err := node.call(path, token.token)
	p.Logf("%s: a client calls %s: %d", node.name, path, got)
	if err != nil || got != want {
		p.Fatalf("the API answers %d (%v), in the model it is %d", got, err, want)
	}
}
