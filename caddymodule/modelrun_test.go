package caddymodule

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// These tests compare gates with the model of model_test.go, over histories of changes
// with the API, requests, restarts, reloads and time. Without flags the histories are the
// same in every run; `make model` runs others for longer.

var modelChecks = flag.Int("model.checks", 0, "histories of each property test of the model; 0: the few of an ordinary run")

// modelSeed is the seed of the histories unless -rapid.seed is given.
const modelSeed = 20261113

// checkModel runs a property with a number of histories.
func checkModel(t *testing.T, histories, steps int, property func(*rapid.T)) {
	t.Helper()
	if *modelChecks > 0 {
		histories, steps = *modelChecks, 2*steps
	}
	seed := flag.Lookup("rapid.seed").Value.String()
	for name, value := range map[string]any{"rapid.checks": histories, "rapid.steps": steps, "rapid.seed": modelSeed} {
		if name == "rapid.seed" && seed != "0" {
			continue
		}
		before := flag.Lookup(name).Value.String()
		if err := flag.Set(name, fmt.Sprint(value)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, before) })
	}
	every := storeOptions.SelfCheckEvery
	storeOptions.SelfCheckEvery = 1
	t.Cleanup(func() { storeOptions.SelfCheckEvery = every })
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	clear(modelReasons)
	rapid.Check(t, property)
	t.Logf("decisions by reason: %v", modelReasons)
	for _, reason := range []string{
		"public", "authenticated", "entitled", "signed_link", "no_rule", "login_required", "not_entitled", "bad_credential", "bad_query",
		"link_untrusted", "link_other_site", "link_not_allowed", "link_invalid", "link_expired", "link_revoked", "link_other_resource", "link_used_up",
	} {
		if modelReasons[reason] == 0 {
			t.Errorf("no request was decided %s: the histories show too little", reason)
		}
	}
}

// modelReasons counts the decisions of a property test.
var modelReasons = map[string]int{}

// One node with an embedded database.
func TestModelOfOneNode(t *testing.T) {
	dir, n := modelDir(t), 0
	checkModel(t, 30, 60, func(rt *rapid.T) {
		n++
		file := filepath.Join(dir, fmt.Sprint(n))
		defer os.Remove(file)
		play := newModelRun(rt, &modelNode{name: "the node", store: openstore.Config{Engine: openstore.Bolt, File: file}})
		defer play.end()
		rt.Repeat(play.actions())
	})
}

// modelDir returns a directory for databases, where the system has one in memory:
// histories are shrunk in many runs, and none of them survives a crash of the machine.
func modelDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "gatefold-model-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Two nodes that share a Redis. What one writes decides its own next request, and those
// of the other once that has applied the change.
func TestModelOfTwoNodesOverRedis(t *testing.T) {
	redis, n := redistest.Start(t), 0
	checkModel(t, 20, 60, func(rt *rapid.T) {
		n++
		var nodes []*modelNode
		for i, name := range []string{"node A", "node B"} {
			// Another size of the pool: stores with the same settings would be one.
			nodes = append(nodes, &modelNode{name: name, store: openstore.Config{
				Engine: openstore.Redis, URLs: []string{redis.URL()}, Prefix: fmt.Sprintf("model%d", n), PoolSize: setting.Count{V: 8 + i},
				Timeout: setting.Duration{V: 30 * time.Second}, // on a machine with more to do
			}})
		}
		play := newModelRun(rt, nodes...)
		defer play.end()
		rt.Repeat(play.actions())
	})
}

// modelRun is one history.
type modelRun struct {
	*rapid.T
	model
	nodes   []*modelNode
	readers []*modelReader
	links   []*modelLink
	cookies []*modelCookie
	clients []*modelClient
	signing string // the id of the vendor's key that signs
	verify  []string
}

// modelClient is a client of the API with its tokens.
type modelClient struct {
	id      string
	revoked bool
	tokens  []*modelToken
}

type modelToken struct {
	client       *modelClient
	token, scope string
	expires      time.Time
	ended        bool // its client's secret was replaced
}

func newModelRun(t *rapid.T, nodes ...*modelNode) *modelRun {
	clock.Set(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	p := &modelRun{T: t, nodes: nodes, model: model{now: clock.Now(), bundles: map[string][]string{}}}
	for _, node := range nodes {
		p.must(node.start(modelSite{cookieTTL: 10 * time.Minute, shareDomain: true}))
	}
	p.rotate(nodes[0])
	p.putRules(nodes[0], []modelRule{
		{path: "/articles/{publisherContentId}", steps: []modelStep{captureStep}},
		{path: "/account", steps: []modelStep{{operator: "authenticated"}}},
		{path: "/", steps: []modelStep{{operator: "any"}}},
	})
	p.trust(nodes[0], modelPublisher()[0], nil)
	return p
}

func (p *modelRun) end() {
	for _, node := range p.nodes {
		p.must(node.stop())
	}
}

func (p *modelRun) must(err error) {
	if err != nil {
		p.Fatal(err)
	}
}

// actions are what may happen next, by name. Requests are the most frequent. An action
// that needs a record makes one if there is none.
func (p *modelRun) actions() map[string]func(*rapid.T) {
	either := func(possible func() bool, action, otherwise func(*rapid.T)) func(*rapid.T) {
		return func(t *rapid.T) {
			if possible() {
				action(t)
			} else {
				otherwise(t)
			}
		}
	}
	granted := func() bool { return len(p.grants) > 0 }
	linked := func() bool { return len(p.links) > 0 }
	actions := map[string]func(*rapid.T){
		"rules": p.changeRules, "change grant": either(granted, p.changeGrant, p.addGrant), "remove grant": either(granted, p.removeGrant, p.addGrant),
		"bundle": p.changeBundle, "reader": p.addReader, "link": p.addLink, "revoke": either(linked, p.revokeLink, p.addLink),
		"domain": p.changeDomain, "key of the publisher": p.denyKey, "key of the vendor": p.changeKeys, "another link": p.addLink,
		"client": p.changeClient, "call": either(func() bool { return len(p.tokens()) > 0 }, p.callAPI, p.changeClient),
		"time": p.wait, "restart": p.restart, "reload": p.reload,
	}
	for i := range 10 {
		actions[fmt.Sprintf("request %d", i)] = p.request
		actions[fmt.Sprintf("follow %d", i)] = either(linked, p.follow, p.addLink)
	}
	for i := range 5 {
		actions[fmt.Sprintf("visit %d", i)] = either(func() bool { return len(p.readers) > 0 }, p.visit, p.addReader)
		actions[fmt.Sprintf("grant %d", i/3)] = p.addGrant
	}
	return actions
}

func (p *modelRun) node(t *rapid.T) *modelNode { return pick(t, "node", p.nodes) }

// pick draws an element.
func pick[T any](t *rapid.T, what string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, what)]
}

// write calls the API of a node, which must answer with a status. The other nodes have
// to apply the change before their answers count.
func (p *modelRun) write(node *modelNode, method, path string, body any, status int) map[string]any {
	kind := "application/json"
	if method == http.MethodPatch && strings.Contains(path, "/grants/") {
		kind = "application/merge-patch+json"
	}
	p.Logf("%s: %s %s %v", node.name, method, path, body)
	got, fields := node.manage(method, path, kind, body)
	if got != status {
		p.Fatalf("the answer is %d %v, want %d", got, fields, status)
	}
	for _, other := range p.nodes {
		other.behind = other.behind || other != node
	}
	return fields
}

func textOf(fields map[string]any, name string) string {
	text, _ := fields[name].(string)
	return text
}

var (
	modelSteps = [][]modelStep{
		{{operator: "any"}},
		{{operator: "authenticated"}},
		{{"entitled", []string{"premium"}}},
		{{"entitled", []string{"gold", "premium"}}},
		{{"entitled", []string{"gold"}}, {"entitled", []string{"premium"}}},
		{{"entitled", []string{"gold"}}, {operator: "authenticated"}},
	}
	captureStep = modelStep{"entitled", []string{"premium", "{publisherContentId}"}}
	modelPaths  = []string{"/articles/{publisherContentId}", "/articles/{publisherContentId}/print", "/articles/a1", "/articles", "/account", "/{section}/a2", "/"}
)

// drawRules draws rules. Half of the sets have the rule for articles first.
func drawRules(t *rapid.T) []modelRule {
	paths := rapid.Permutation(modelPaths[1:]).Draw(t, "paths")
	paths = slices.Insert(paths[:rapid.IntRange(0, 4).Draw(t, "rules")], 0, modelPaths[0])
	if last := rapid.IntRange(0, 2*len(paths)-1).Draw(t, "place of articles"); last < len(paths) {
		paths[0], paths[last] = paths[last], paths[0]
	}
	var rules []modelRule
	for _, path := range paths {
		rule := modelRule{path: path, methods: pick(t, "methods", [][]string{nil, nil, nil, {"GET"}, {"POST"}})}
		steps := modelSteps
		if strings.Contains(path, "{publisherContentId}") {
			steps = [][]modelStep{{captureStep}, {captureStep}, {captureStep, {"entitled", []string{"gold"}}}, {{"entitled", []string{"gold"}}, captureStep}, {{operator: "authenticated"}}}
		}
		rule.steps = pick(t, "steps", steps)
		rules = append(rules, rule)
	}
	return rules
}

func (p *modelRun) changeRules(t *rapid.T) { p.putRules(p.node(t), drawRules(t)) }

func (p *modelRun) putRules(node *modelNode, rules []modelRule) {
	bodies := []map[string]any{}
	for _, rule := range rules {
		bodies = append(bodies, rule.body())
	}
	status := http.StatusOK
	if node.site.rules != nil {
		status = http.StatusConflict // read-only where the configuration has rules
	}
	if p.write(node, http.MethodPut, "/api/proxy/rules", bodies, status); status == http.StatusOK {
		p.rules = rules
	}
}

const (
	modelGrants = "/management/access-lists/src_default/grants"
	anyReader   = "ann bob"
)

var modelSKUs = []string{"premium", "premium", "premium", "gold", "a1", "weekend", "all"}

// drawWindow draws the bounds of a grant, near the present.
func (p *modelRun) drawWindow(t *rapid.T) (starts, ends time.Time) {
	bounds := []time.Duration{-time.Minute, -time.Millisecond, 0, time.Millisecond, 30 * time.Second, time.Minute, time.Hour}
	if rapid.IntRange(0, 3).Draw(t, "starts") == 3 {
		starts = p.now.Add(pick(t, "start", bounds))
	}
	if rapid.IntRange(0, 2).Draw(t, "ends") == 2 {
		ends = p.now.Add(pick(t, "end", bounds))
	}
	if !starts.IsZero() && !ends.IsZero() && !starts.Before(ends) {
		ends = starts.Add(time.Minute)
	}
	return starts, ends
}

func (p *modelRun) addGrant(t *rapid.T) {
	grant, body := &modelGrant{sku: pick(t, "sku", modelSKUs)}, map[string]any{}
	who := pick(t, "who", strings.Fields(anyReader))
	switch pick(t, "by", []string{"userId", "email", "publisherUserId"}) {
	case "userId":
		grant.userID, body["userId"] = who, who
	case "email":
		grant.email, body["email"] = who+"@example.org", who+"@example.org"
	default:
		grant.publisherID, body["publisherUserId"] = "p-"+who, "p-"+who
	}
	grant.starts, grant.ends = p.drawWindow(t)
	body["sku"] = grant.sku
	setBounds(body, grant)
	grant.id = textOf(p.write(p.node(t), http.MethodPost, modelGrants, body, http.StatusCreated), "id")
	p.grants = append(p.grants, grant)
}

func setBounds(body map[string]any, grant *modelGrant) {
	body["startsAt"], body["endsAt"] = nil, nil
	if !grant.starts.IsZero() {
		body["startsAt"] = grant.starts.Format(time.RFC3339Nano)
	}
	if !grant.ends.IsZero() {
		body["endsAt"] = grant.ends.Format(time.RFC3339Nano)
	}
}

func (p *modelRun) changeGrant(t *rapid.T) {
	grant, body := pick(t, "grant", p.grants), map[string]any{}
	changed := *grant
	changed.sku, changed.inactive = pick(t, "sku", modelSKUs), rapid.Bool().Draw(t, "inactive")
	changed.starts, changed.ends = p.drawWindow(t)
	body["sku"], body["status"] = changed.sku, map[bool]string{true: "INACTIVE", false: "ACTIVE"}[changed.inactive]
	setBounds(body, &changed)
	p.write(p.node(t), http.MethodPatch, modelGrants+"/"+grant.id, body, http.StatusOK)
	*grant = changed
}

func (p *modelRun) removeGrant(t *rapid.T) {
	grant := pick(t, "grant", p.grants)
	p.write(p.node(t), http.MethodDelete, modelGrants+"/"+grant.id, nil, http.StatusNoContent)
	p.grants = slices.DeleteFunc(p.grants, func(g *modelGrant) bool { return g == grant })
}

// changeBundle changes the members of a bundle, or removes it.
func (p *modelRun) changeBundle(t *rapid.T) {
	sku := pick(t, "bundle", []string{"weekend", "all"})
	members := pick(t, "members", map[string][][]string{
		"weekend": {{"a1"}, {"a2"}, {"a1", "a2"}}, "all": {{"premium"}, {"weekend"}, {"weekend", "gold"}},
	}[sku])
	node := p.node(t)
	switch _, exists := p.bundles[sku]; {
	case !exists:
		p.write(node, http.MethodPost, "/management/products", map[string]any{"type": "bundle", "sku": sku, "members": members}, http.StatusCreated)
	case rapid.Bool().Draw(t, "remove"):
		p.write(node, http.MethodDelete, "/management/products/"+sku, nil, http.StatusNoContent)
		delete(p.bundles, sku)
		return
	default:
		p.write(node, http.MethodPatch, "/management/products/"+sku, map[string]any{"members": members}, http.StatusOK)
	}
	p.bundles[sku] = members
}

func (p *modelRun) addReader(t *rapid.T) {
	who := pick(t, "who", strings.Fields(anyReader))
	reader := &modelReader{userID: who, key: p.signing}
	body := map[string]any{"userId": who}
	if rapid.IntRange(0, 3).Draw(t, "email") > 0 {
		reader.email, reader.verified = who+"@example.org", rapid.Bool().Draw(t, "verified")
		body["email"], body["emailVerified"] = reader.email, reader.verified
	}
	if rapid.Bool().Draw(t, "publisher") {
		reader.publisherID = "p-" + who
		body["publisherUserId"] = reader.publisherID
	}
	lifetime := pick(t, "seconds", []int{60, 3600, 24 * 3600})
	body["expiresIn"] = lifetime
	reader.expires = p.now.Truncate(time.Second).Add(time.Duration(lifetime) * time.Second)
	node := p.signer(t)
	reader.token = textOf(p.write(node, http.MethodPost, "/management/reader-tokens", body, http.StatusOK), "token")
	if reader.forged = rapid.IntRange(0, 9).Draw(t, "forged") == 9; reader.forged {
		reader.token = forge(reader.token)
	}
	p.readers = append(p.readers, reader)
}

// signer draws a node that signs with the newest key.
func (p *modelRun) signer(t *rapid.T) *modelNode {
	node := p.node(t)
	node.settle(p.T)
	return node
}

// forge changes the signature of a token.
func forge(token string) string {
	i := strings.LastIndexByte(token, '.') + 10
	other := byte('A')
	if token[i] == other {
		other = 'B'
	}
	return token[:i] + string(other) + token[i+1:]
}

const modelHost = "news.example.com"

var modelLifetimes = []int{1, 60, 3600, 3600, 24 * 3600}

// addLink makes a link with the API, or signs one as the publisher.
func (p *modelRun) addLink(t *rapid.T) {
	link := &modelLink{issued: p.now.Truncate(time.Second), record: new(modelRecord)}
	if rapid.Bool().Draw(t, "counted") {
		link.maxUses = rapid.IntRange(1, 2).Draw(t, "uses")
	}
	lifetime := pick(t, "seconds", modelLifetimes)
	link.expires = link.issued.Add(time.Duration(lifetime) * time.Second)
	if rapid.Bool().Draw(t, "published") {
		p.publish(t, link)
	} else {
		p.createLink(t, link, lifetime)
	}
	if link.forged = rapid.IntRange(0, 9).Draw(t, "forged") == 9; link.forged {
		link.token = forge(link.token)
	}
	p.links = append(p.links, link)
}

func (p *modelRun) createLink(t *rapid.T, link *modelLink, lifetime int) {
	body := map[string]any{"expiresIn": lifetime}
	switch pick(t, "opens", []string{"sku", "content", "url", "url and sku"}) {
	case "sku":
		link.sku = pick(t, "sku", []string{"premium", "gold", "a1"})
	case "content":
		link.content = pick(t, "content", []string{"a1", "a2"})
	case "url and sku":
		link.sku = "premium"
		fallthrough
	default:
		link.host, link.path, link.query = modelHost, pick(t, "path", requestPaths), pick(t, "query", []string{"", "", "edition=1"})
		body["url"] = "http://" + modelHost + link.path + strings.TrimSuffix("?"+link.query, "?")
	}
	if link.sku != "" {
		body["sku"] = link.sku
	}
	if link.content != "" {
		body["publisherContentId"] = link.content
	}
	if link.maxUses > 0 {
		body["maxUses"] = link.maxUses
	}
	link.key, link.record.first = p.signing, link
	made := p.write(p.signer(t), http.MethodPost, "/management/create-signed-link", body, http.StatusOK)
	link.token, link.record.id = textOf(made, "token"), textOf(made, "tokenId")
}

// modelPublisher has two keys.
var modelPublisher = sync.OnceValue(func() (keys []*partner) {
	for range 2 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		keys = append(keys, &partner{private: private})
	}
	return keys
})

// keyID is the id of a publisher's key.
func keyID(p *partner) string {
	sum, err := (&jose.JSONWebKey{Key: p.private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// publish signs a link as the publisher, now and then under the id of another one.
func (p *modelRun) publish(t *rapid.T, link *modelLink) {
	link.published = true
	link.content = pick(t, "content", []string{"a1", "a2"})
	for _, other := range p.links {
		if other.published && rapid.IntRange(0, 9).Draw(t, "same id") == 9 {
			link.record = other.record
		}
	}
	if link.record.id == "" {
		link.record.id = fmt.Sprintf("share_%d", len(p.links))
	}
	key := pick(t, "key", modelPublisher())
	link.key = keyID(key)
	uses := ""
	if link.maxUses > 0 {
		uses = fmt.Sprintf(`,"maxUses":%d`, link.maxUses)
	}
	link.token = key.sign(`{"alg":"ES256","typ":"JWT"}`, fmt.Sprintf(
		`{"type":"dca-share","domain":%q,"resourceId":%q,"contentNames":["bodytext"],"iat":%d,"exp":%d,"jti":%q%s}`,
		partnerDomain, link.content, link.issued.Unix(), link.expires.Unix(), link.record.id, uses))
	p.Logf("the publisher signs %s for %s with key %s, %d uses, for %v", link.record.id, link.content, link.key[:6], link.maxUses, link.expires.Sub(link.issued))
}

func (p *modelRun) revokeLink(t *rapid.T) {
	link := pick(t, "link", p.links)
	path := "/management/signed-links/" + link.record.id
	if link.published {
		path = "/management/domains/" + partnerDomain + "/links/" + link.record.id
	}
	p.write(p.node(t), http.MethodDelete, path, nil, http.StatusNoContent)
	link.record.revoked = true
}

func (p *modelRun) changeDomain(t *rapid.T) {
	node := p.node(t)
	if p.trusted != nil && rapid.IntRange(0, 3).Draw(t, "remove") == 3 {
		p.write(node, http.MethodDelete, "/management/domains/"+partnerDomain, nil, http.StatusNoContent)
		p.trusted = nil
		return
	}
	p.trust(node, pick(t, "key", modelPublisher()), pick(t, "allowed", [][]string{nil, {"a1"}, {"a2", "a3"}}))
}

func (p *modelRun) trust(node *modelNode, key *partner, allowed []string) {
	p.write(node, http.MethodPut, "/management/domains/"+partnerDomain, map[string]any{"signingKeyPem": key.pem(), "allowedResourceIds": append([]string{}, allowed...)}, http.StatusOK)
	p.trusted = &modelDomain{keyID(key), allowed}
}

func (p *modelRun) denyKey(t *rapid.T) {
	key, node := keyID(pick(t, "key", modelPublisher())), p.node(t)
	if slices.Contains(p.denied, key) {
		p.write(node, http.MethodDelete, "/management/denied-keys?kid="+url.QueryEscape(key), nil, http.StatusNoContent)
		p.denied = slices.DeleteFunc(p.denied, func(kid string) bool { return kid == key })
		return
	}
	p.write(node, http.MethodPost, "/management/denied-keys", map[string]any{"kid": key}, http.StatusOK)
	p.denied = append(p.denied, key)
}

// changeKeys replaces the vendor's signing key, or retires a former one.
func (p *modelRun) changeKeys(t *rapid.T) {
	if len(p.verify) == 0 || rapid.Bool().Draw(t, "rotate") {
		p.rotate(p.signer(t))
		return
	}
	key := pick(t, "key", p.verify)
	p.write(p.signer(t), http.MethodDelete, "/management/keys/"+key, nil, http.StatusNoContent)
	p.retired = append(p.retired, key)
	p.verify = slices.DeleteFunc(p.verify, func(kid string) bool { return kid == key })
}

func (p *modelRun) rotate(node *modelNode) {
	if p.signing != "" {
		p.verify = append(p.verify, p.signing)
	}
	p.signing = textOf(p.write(node, http.MethodPost, "/management/keys/rotate", nil, http.StatusCreated), "kid")
}

// wait lets time pass.
func (p *modelRun) wait(t *rapid.T) {
	d := pick(t, "duration", []time.Duration{time.Millisecond, time.Second, 29 * time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute})
	p.Logf("%v pass", d)
	clock.Advance(d)
	p.now = clock.Now()
}

func (p *modelRun) restart(t *rapid.T) {
	node := p.node(t)
	p.Logf("%s restarts", node.name)
	p.must(node.stop())
	p.must(node.start(node.site))
	node.behind = false
}

func (p *modelRun) reload(t *rapid.T) {
	node := p.node(t)
	site := modelSite{cookieTTL: pick(t, "cookie ttl", []time.Duration{time.Minute, 10 * time.Minute}), shareDomain: rapid.Bool().Draw(t, "share_domain")}
	site.caseSensitive = rapid.IntRange(0, 3).Draw(t, "case_sensitive") == 3
	if rapid.IntRange(0, 3).Draw(t, "configured rules") == 3 {
		site.rules = drawRules(t)
	}
	p.Logf("%s is reloaded with %+v", node.name, site)
	p.must(node.start(site))
}
