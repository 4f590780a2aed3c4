package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	partnerHost = "partner.example.com"
	grantsPath  = "/management/access-lists/src_default/grants"
)

// publisher is a domain that signs links itself, and is trusted or not.
type publisher struct {
	private *ecdsa.PrivateKey
	pem     string
	trusted *fact
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), newFact(false)}
}

func (p *publisher) share(resource, jti string) string {
	now := time.Now().Unix()
	return signES256(p.private, `{"alg":"ES256","typ":"JWT"}`, fmt.Sprintf(
		`{"type":"dca-share","domain":%q,"resourceId":%q,"contentNames":["bodytext"],"iat":%d,"exp":%d,"jti":%q}`,
		partnerHost, resource, now-1, now+600, jti))
}

// changes are the kinds of changes, with their shares.
var changes = []struct {
	name  string
	share int
	make  func(*soak, *mathrand.Rand, *soakNode) error
}{
	{"grant added or removed", 40, (*soak).changeGrant},
	{"link made", 12, (*soak).makeLink},
	{"counted link made", 10, (*soak).makeCountedLink},
	{"link revoked", 8, (*soak).revokeLink},
	{"rule changed", 20, (*soak).changeRule},
	{"publisher trusted or not", 3, (*soak).changeTrust},
	{"signing key rotated, older one retired", 1, (*soak).rotateKey},
	{"login service's key replaced", 1, (*soak).rotateIssuer},
	{"origin fails in another way", 5, (*soak).shake},
}

func (s *soak) changeGrant(r *mathrand.Rand, n *soakNode) error {
	reader := s.readers[r.IntN(len(s.readers))]
	grant, sku := &reader.premium, "premium"
	if r.IntN(2) == 0 {
		grant, sku = &reader.one, reader.article
	}
	return s.toggle(grant, n, reader.user, sku)
}

// toggle adds a grant that does not exist, and removes one that does.
func (s *soak) toggle(grant *grantFact, n *soakNode, user, sku string) error {
	if grant.id != "" {
		id := grant.id
		grant.id = ""
		return grant.change(n.index, false, func() error { return n.call(s.t.Context(), http.MethodDelete, grantsPath+"/"+id, "", nil) })
	}
	var made struct{ ID string }
	err := grant.change(n.index, true, func() error {
		return n.call(s.t.Context(), http.MethodPost, grantsPath, fmt.Sprintf(`{"userId":%q,"sku":%q}`, user, sku), &made)
	})
	grant.id = made.ID
	return err
}

func (s *soak) makeLink(r *mathrand.Rand, n *soakNode) error {
	link, err := s.newLink(r, n, 0)
	if err == nil {
		s.links.add(link)
	}
	return err
}

func (s *soak) makeCountedLink(r *mathrand.Rand, n *soakNode) error {
	link, err := s.newLink(r, n, 1+r.Int64N(20))
	if err == nil {
		s.counted.add(link)
	}
	return err
}

func (s *soak) newLink(r *mathrand.Rand, n *soakNode, maxUses int64) (*soakLink, error) {
	article := fmt.Sprint("a", r.IntN(soakArticles))
	body := fmt.Sprintf(`{"publisherContentId":%q}`, article)
	if maxUses > 0 {
		body = fmt.Sprintf(`{"publisherContentId":%q,"maxUses":%d}`, article, maxUses)
	}
	var made struct{ Token, TokenID string }
	link := &soakLink{path: "/articles/" + article, live: newFact(false), maxUses: maxUses}
	err := link.live.change(n.index, true, func() error {
		return n.call(s.t.Context(), http.MethodPost, "/management/create-signed-link", body, &made)
	})
	if err != nil {
		return nil, err
	}
	link.id, link.token = made.TokenID, made.Token
	link.key = s.keyOf(made.Token)
	return link, nil
}

func (s *soak) revokeLink(r *mathrand.Rand, n *soakNode) error {
	link, found := s.links.pick(r)
	if r.IntN(3) == 0 {
		link, found = s.counted.pick(r)
	}
	if !found {
		return nil
	}
	return link.live.change(n.index, false, func() error {
		return n.call(s.t.Context(), http.MethodDelete, "/management/signed-links/"+link.id, "", nil)
	})
}

func (s *soak) changeRule(r *mathrand.Rand, n *soakNode) error {
	i := r.IntN(soakFlips)
	public := r.IntN(2) == 0
	operator := "authenticated"
	if public {
		operator = "any"
	}
	return s.flips[i].change(n.index, public, func() error {
		return n.call(s.t.Context(), http.MethodPatch, fmt.Sprintf("/api/proxy/rules/flip%d?site=desk", i), fmt.Sprintf(`{"allow":%q}`, operator), nil)
	})
}

// deskRules makes the rules that change.
func (s *soak) deskRules(n *soakNode) error {
	var rules []string
	for i := range soakFlips {
		s.flips = append(s.flips, newFact(false))
		rules = append(rules, fmt.Sprintf(`{"path":"/flip%d","allow":"authenticated"}`, i))
	}
	return n.call(s.t.Context(), http.MethodPut, "/api/proxy/rules?site=desk", "["+strings.Join(rules, ",")+"]", nil)
}

func (s *soak) changeTrust(_ *mathrand.Rand, n *soakNode) error {
	path := "/management/domains/" + partnerHost
	if s.trust = !s.trust; !s.trust {
		return s.publisher.trusted.change(n.index, false, func() error { return n.call(s.t.Context(), http.MethodDelete, path, "", nil) })
	}
	body, err := json.Marshal(map[string]any{"signingKeyPem": s.publisher.pem})
	if err != nil {
		return err
	}
	return s.publisher.trusted.change(n.index, true, func() error { return n.call(s.t.Context(), http.MethodPut, path, string(body), nil) })
}

// rotateKey makes a signing key, retires the one before the last, and gives all readers
// tokens of the new one.
func (s *soak) rotateKey(_ *mathrand.Rand, n *soakNode) error {
	var made struct{ Kid string }
	key := newFact(false)
	err := key.change(n.index, true, func() error {
		return n.call(s.t.Context(), http.MethodPost, "/management/keys/rotate", "{}", &made)
	})
	if err != nil {
		return err
	}
	s.keys = append(s.keys, soakKey{made.Kid, key})
	for len(s.keys) > 2 {
		old := s.keys[0]
		s.keys = s.keys[1:]
		err := old.change(n.index, false, func() error { return n.call(s.t.Context(), http.MethodDelete, "/management/keys/"+old.kid, "", nil) })
		if err != nil {
			return err
		}
	}
	return s.mintTokens(n)
}

// soakKey is a signing key in use.
type soakKey struct {
	kid string
	*fact
}

// keyOf returns the key that signed a token.
func (s *soak) keyOf(token string) *fact {
	var header struct{ Kid string }
	first, _, _ := strings.Cut(token, ".")
	if text, err := base64.RawURLEncoding.DecodeString(first); err == nil {
		_ = json.Unmarshal(text, &header)
	}
	for _, key := range s.keys {
		if key.kid == header.Kid {
			return key.fact
		}
	}
	s.fail("a token was signed by the key %q, in use are %v", header.Kid, s.keys)
	return newFact(false)
}

func (s *soak) mintTokens(n *soakNode) error {
	for _, reader := range s.readers {
		var made struct{ Token string }
		body := fmt.Sprintf(`{"userId":%q,"site":"news"}`, reader.user)
		if err := n.call(s.t.Context(), http.MethodPost, "/management/reader-tokens", body, &made); err != nil {
			return err
		}
		reader.mu.Lock()
		old := reader.token
		reader.token = soakToken{made.Token, s.keyOf(made.Token)}
		reader.mu.Unlock()
		if old.raw != "" {
			s.oldTokens.add(old)
		}
	}
	return nil
}

func (s *soak) rotateIssuer(*mathrand.Rand, *soakNode) error { return s.issuer.rotate() }

func (s *soak) shake(r *mathrand.Rand, _ *soakNode) error {
	s.shaky.set(shakyModes[r.IntN(len(shakyModes))])
	return nil
}

// change makes changes until the run ends, one at a time.
func (s *soak) change(r *mathrand.Rand) {
	total := 0
	for _, kind := range changes {
		total += kind.share
	}
	ticker := time.NewTicker(soakChangeEvery)
	defer ticker.Stop()
	for s.wait(ticker) {
		n := s.nodes[r.IntN(len(s.nodes))]
		at := r.IntN(total)
		for _, kind := range changes {
			if at -= kind.share; at >= 0 {
				continue
			}
			if err := kind.make(s, r, n); err != nil && s.ctx.Err() == nil {
				s.fail("%s at node %d: %v", kind.name, n.index, err)
			}
			s.tally.count(kind.name)
			break
		}
	}
}

// reload loads configurations of a node until the run ends: other valid ones, and ones
// that are refused.
func (s *soak) reload(n *soakNode, configs []reloadConfig) {
	ticker := time.NewTicker(soakReloadEvery)
	defer ticker.Stop()
	for i := 0; s.wait(ticker); i++ {
		config := configs[i%len(configs)]
		n.begun.Add(1)
		n.load(config)
		n.ended.Add(1)
		if config.good {
			s.tally.count("configuration loaded")
		} else {
			s.tally.count("configuration refused")
		}
	}
}

// wait waits for the next tick, and reports false at the end of the run.
func (s *soak) wait(ticker *time.Ticker) bool {
	select {
	case <-s.ctx.Done():
		return false
	case <-ticker.C:
		return true
	}
}
