package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// world is a policy over records in memory, with keys, one site and a clock
// that stands still until it is told.
type world struct {
	t       testing.TB
	policy  *Policy
	records *fakeRecords
	keys    *fakeKeys
	site    *Site
	sets    *keys.Sets
	host    *publisherHost // where news.example is
	clock   atomic.Int64   // Unix milliseconds
}

// start is the moment at which every world begins, in Unix seconds.
const start = 1_750_000_000

func newWorld(t testing.TB) *world {
	t.Helper()
	versions := new(Versions)
	w := &world{t: t, records: newFakeRecords(versions), keys: &fakeKeys{set: ring().KeySet()}}
	w.clock.Store(start * 1000)
	w.host = newPublisherHost(t)
	w.sets = keys.NewSets(w.host.options(w.now))
	t.Cleanup(w.sets.Close)
	var err error
	w.policy, err = New(Options{
		Records: w.records, Versions: versions, Operators: StandardOperators(),
		CacheBytes: MinCacheBytes, Now: w.now, KeySets: w.sets,
	})
	must(t, err)
	t.Cleanup(w.policy.Close)
	rules, err := CompileRules(worldRules, StandardOperators())
	must(t, err)
	w.site = NewSite("acme", "news", rules, PathOptions{}, w.keys)
	return w
}

// worldRules are the rules of the world's site.
var worldRules = []Rule{
	{Rank: 1, Path: "/articles/{publisherContentId}", Allow: entitledTo("premium", "{publisherContentId}")},
	{Rank: 2, Path: "/gold", Allow: entitledTo("gold")},
	{Rank: 3, Path: "/account", Allow: Allow{Operator: "authenticated"}},
	{Rank: 4, Path: "/public", Allow: Allow{Operator: "any"}},
	{Rank: 5, Path: "/form", Methods: []string{"GET"}, Allow: Allow{Operator: "any"}},
}

// ring is the one ring of all worlds: making keys takes time.
var ring = sync.OnceValue(func() *keys.Ring {
	key, err := keys.GenerateSigningKey()
	if err != nil {
		panic(err)
	}
	return keys.NewRing(key, []keys.PublicKey{key.Public()})
})

func (w *world) now() time.Time { return time.UnixMilli(w.clock.Load()) }

func (w *world) wait(d time.Duration) { w.clock.Add(d.Milliseconds()) }

// settle waits until ristretto took in what was set, so that what is kept is
// found.
func (w *world) settle() {
	w.policy.containers.Wait()
	w.policy.links.Wait()
	w.policy.linkTokens.Wait()
	w.policy.sessions.Wait()
}

// visit is a request as the handler hands it to the policy.
type visit struct {
	method, host, path, query string // GET https://news.example/articles/a1
	reader                    Reader
	link                      LinkEvidence
	preflight                 bool
}

// request is a visit as the gate hands it to the policy.
func (w *world) request(v visit) *Request {
	path := cmp.Or(v.path, "/articles/a1")
	target := path
	if v.query != "" {
		target += "?" + v.query
	}
	return &Request{
		Site: w.site, Method: cmp.Or(v.method, "GET"), Preflight: v.preflight, Target: target, EscapedPath: path,
		Host: cmp.Or(v.host, "news.example"), Query: v.query, Reader: v.reader, Links: &v.link, Now: w.now(),
	}
}

// LinkEvidence implements LinkSource.
func (l *LinkEvidence) LinkEvidence() LinkEvidence { return *l }

// decide takes a visit through the steps of the gate.
func (w *world) decide(v visit) Decision {
	w.t.Helper()
	ctx := context.Background()
	r := w.request(v)
	decision := w.policy.Decide(ctx, r)
	if decision.Pending() {
		decision = w.policy.Redeem(ctx, r, decision, w.records.nextID())
	}
	return decision
}

// want fails the test when a visit is not decided for a reason.
func (w *world) want(v visit, want Reason) Decision {
	w.t.Helper()
	decision := w.decide(v)
	if decision.Reason != want {
		w.t.Fatalf("decided %s (%v), want %s", decision.Reason, decision.Err, want)
	}
	return decision
}

// newLink stores a link of the vendor and returns its token. What is left out
// of the claims is filled in; without a target it opens article a1.
func (w *world) newLink(claims keys.LinkClaims) (token string) {
	w.t.Helper()
	claims = complete(claims)
	w.records.putLink("acme", Link{Claims: claims})
	return sign(w.t, claims)
}

func complete(claims keys.LinkClaims) keys.LinkClaims {
	claims.Issuer = cmp.Or(claims.Issuer, keys.VendorIssuer("acme"))
	claims.ID = cmp.Or(claims.ID, "link_1")
	claims.IssuedAt = cmp.Or(claims.IssuedAt, start)
	claims.ExpiresAt = cmp.Or(claims.ExpiresAt, start+3600)
	if claims.URL == "" && claims.SKU == "" && claims.PublisherContentID == "" {
		claims.PublisherContentID = "a1"
	}
	return claims
}

func sign(t testing.TB, claims keys.LinkClaims) string {
	t.Helper()
	token, err := keys.SignLink(ring(), complete(claims))
	must(t, err)
	return token
}

// carries is what a reader's own GET with a token carries.
func carries(token string) LinkEvidence {
	return LinkEvidence{Token: token, Readable: true, Spendable: true}
}

// passOf is the cookie of a redeemed link, good for half an hour.
func passOf(id string) RedeemedLink {
	return RedeemedLink{Issuer: keys.VendorIssuer("acme"), ID: id, ExpiresAt: start + 1800}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeKeys is a KeySource that may be down.
type fakeKeys struct {
	set   keys.KeySet
	err   error
	calls atomic.Int64
}

func (k *fakeKeys) KeySet(context.Context) (keys.KeySet, error) {
	k.calls.Add(1)
	return k.set, k.err
}

// fakeRecords are records in memory. Each write is committed, then announced,
// as the store does it.
type fakeRecords struct {
	versions *Versions

	mu     sync.Mutex
	grants []fakeGrant
	links  map[linkKey]Link
	uses   map[linkKey]map[string]bool
	rules  map[siteKey][]Rule
	within map[string][]string // sku: the collections that it is in, of any depth
	trust  map[string]Domains  // by vendor
	reads  int
	// domainReads are those of domains.
	domainReads int
	ids         int

	// silent: writes are not announced, which is what no store may do.
	silent bool
	// down is the error of everything; linksDown of reading links only,
	// containersDown of reading collections only, redeemDown of redeeming only,
	// domainsDown of reading domains only.
	down, linksDown, containersDown, redeemDown, domainsDown error
	// afterRead runs once, between a read of the grants and its return.
	afterRead func()
}

// fakeGrant is a grant with whom it is for, in the vendor acme.
type fakeGrant struct {
	Grant
	userID, publisherUserID, email string
}

var errDown = errors.New("the disk is gone")

func newFakeRecords(versions *Versions) *fakeRecords {
	return &fakeRecords{
		versions: versions, links: map[linkKey]Link{}, within: map[string][]string{}, uses: map[linkKey]map[string]bool{}, rules: map[siteKey][]Rule{},
		trust: map[string]Domains{},
	}
}

func (f *fakeRecords) Grants(_ context.Context, vendor string, reader Reader) ([]Grant, error) {
	f.mu.Lock()
	f.reads++
	var found []Grant
	for _, g := range f.grants {
		if vendor == "acme" && (g.userID != "" && g.userID == reader.UserID ||
			g.publisherUserID != "" && g.publisherUserID == reader.PublisherUserID ||
			g.email != "" && g.email == reader.Email) {
			found = append(found, g.Grant)
		}
	}
	err, after := f.down, f.afterRead
	f.afterRead = nil
	f.mu.Unlock()
	if after != nil {
		after()
	}
	return found, err
}

func (f *fakeRecords) Link(_ context.Context, vendor, issuer, id string) (Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if err := cmp.Or(f.down, f.linksDown); err != nil {
		return Link{}, err
	}
	link, ok := f.links[linkKey{vendor, issuer, id}]
	if !ok {
		return Link{}, fmt.Errorf("link: %w", ErrNotFound)
	}
	return link, nil
}

func (f *fakeRecords) Containers(_ context.Context, vendor, sku string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if vendor != "acme" {
		return nil, cmp.Or(f.down, f.containersDown)
	}
	return slices.Clone(f.within[sku]), cmp.Or(f.down, f.containersDown)
}

// collect says in which collections a sku is.
func (f *fakeRecords) collect(sku string, containers ...string) {
	f.commit(Invalidation{Shared: true}, func() { f.within[sku] = containers })
}

func (f *fakeRecords) Redeem(_ context.Context, vendor string, r Redemption) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmp.Or(f.down, f.redeemDown); err != nil {
		return err
	}
	key := linkKey{vendor, r.Issuer, r.LinkID}
	link, ok := f.links[key]
	switch {
	case !ok && r.Link == nil:
		return ErrNotFound
	case !ok:
		f.links[key] = *r.Link
	case link.Revoked:
		return ErrLinkRevoked
	case r.Link != nil && !reflect.DeepEqual(link.Claims, r.Link.Claims):
		return ErrLinkReused
	}
	switch {
	case r.Link != nil && r.MaxUses == 0:
		return nil
	case f.uses[key][r.ID]:
		return nil
	case int64(len(f.uses[key])) >= r.MaxUses:
		return ErrLinkUsedUp
	}
	if f.uses[key] == nil {
		f.uses[key] = map[string]bool{}
	}
	f.uses[key][r.ID] = true
	return nil
}

func (f *fakeRecords) Rules(_ context.Context, vendor, site string) ([]Rule, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return slices.Clone(f.rules[siteKey{vendor, site}]), f.down
}

func (f *fakeRecords) Domains(_ context.Context, vendor string, _ *Domains) (Domains, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	f.domainReads++
	return f.trust[vendor], cmp.Or(f.down, f.domainsDown)
}

// commit makes a write, and announces it unless the records are silent.
func (f *fakeRecords) commit(change Invalidation, write func()) {
	f.mu.Lock()
	write()
	silent := f.silent
	f.mu.Unlock()
	if !silent {
		f.versions.Bump(change)
	}
}

func (f *fakeRecords) grant(g fakeGrant) {
	g.Active = true
	f.commit(changeOf(g), func() { f.grants = append(f.grants, g) })
}

// revoke removes the grants with an id.
func (f *fakeRecords) revoke(id string) {
	var change Invalidation
	f.mu.Lock()
	for _, g := range f.grants {
		if g.ID == id {
			change.Stripes = append(change.Stripes, changeOf(g).Stripes...)
		}
	}
	f.mu.Unlock()
	f.commit(change, func() {
		f.grants = slices.DeleteFunc(f.grants, func(g fakeGrant) bool { return g.ID == id })
	})
}

func changeOf(g fakeGrant) (change Invalidation) {
	change.Add(KindUserID, "acme", g.userID)
	change.Add(KindEmail, "acme", g.email)
	change.Add(KindPublisherUserID, "acme", g.publisherUserID)
	return change
}

func (f *fakeRecords) putLink(vendor string, link Link) {
	var change Invalidation
	change.Add(KindLink, vendor, link.Claims.Issuer, link.Claims.ID)
	f.commit(change, func() { f.links[linkKey{vendor, link.Claims.Issuer, link.Claims.ID}] = link })
}

func (f *fakeRecords) revokeLink(id string) {
	issuer := keys.VendorIssuer("acme")
	f.mu.Lock()
	link := f.links[linkKey{"acme", issuer, id}]
	f.mu.Unlock()
	link.Revoked = true
	f.putLink("acme", link)
}

// used says how often a link of the vendor was redeemed.
func (f *fakeRecords) used(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.uses[linkKey{"acme", keys.VendorIssuer("acme"), id}])
}

func (f *fakeRecords) readCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

func (f *fakeRecords) nextID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids++
	return fmt.Sprint(f.ids)
}

// The readers of these tests: Ann has a subscription, Bob has none.
var (
	ann = Reader{UserID: "ann", Email: "ann@example.org", PublisherUserID: "p-ann"}
	bob = Reader{UserID: "bob"}
)

// subscribe gives Ann the premium subscription under the id g1, within
// milliseconds of the world's start; zero means no bound.
func (w *world) subscribe(from, to int64) {
	g := fakeGrant{Grant: Grant{ID: "g1", SKU: "premium"}, userID: "ann"}
	if from != 0 {
		g.StartsAt = start*1000 + from
	}
	if to != 0 {
		g.EndsAt = start*1000 + to
	}
	w.records.grant(g)
}

// verifier verifies the world's own reader tokens.
func (w *world) verifier() *ReaderVerifier {
	return &ReaderVerifier{ID: "own", Issuer: keys.OwnReaderIssuer("acme", "news"), Keys: w.keys}
}

// readerToken signs a reader's token, for an hour if nothing else is said.
func (w *world) readerToken(claims keys.ReaderClaims) string {
	w.t.Helper()
	claims.ExpiresAt = cmp.Or(claims.ExpiresAt, start+3600)
	token, err := keys.SignReader(ring(), "acme", "news", claims, w.now())
	must(w.t, err)
	return token
}

// sameReader says whether two readers are the same, wherever they were found.
func sameReader(a, b Reader) bool {
	a.record, b.record = readerRecord{}, readerRecord{}
	return a == b
}
