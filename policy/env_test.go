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
	"github.com/gatefold/gatefold/keys/keystest"
)

// testEnv is a policy over records in memory, with one site, keys, and a clock that only
// tests advance.
type testEnv struct {
	t       testing.TB
	policy  *Policy
	records *fakeRecords
	keys    *fakeKeys
	site    *Site
	sets    *keys.Sets
	host    *keystest.KeyHost // at keyHostName
	clock   *keystest.Clock
}

// start is the initial time of every testEnv, in Unix seconds.
const start = 1_750_000_000

func newTestEnv(t testing.TB) *testEnv {
	t.Helper()
	versions := new(Versions)
	env := &testEnv{
		t: t, records: newFakeRecords(versions), keys: &fakeKeys{set: testRing().KeySet()},
		clock: keystest.NewClock(time.Unix(start, 0)), host: keystest.NewKeyHost(t, keySet()),
	}
	env.sets = keys.NewSets(setsOptions(env.host, env.now))
	t.Cleanup(env.sets.Close)
	var err error
	env.policy, err = New(Options{
		Records: env.records, Versions: versions, Operators: StandardOperators(),
		CacheBytes: MinCacheBytes, Now: env.now, KeySets: env.sets,
	})
	must(t, err)
	t.Cleanup(env.policy.Close)
	rules, err := CompileRules(testRules, StandardOperators())
	must(t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
	return env
}

// testRules are the rules of a testEnv's site.
var testRules = []Rule{
	{Rank: 1, Path: "/articles/{publisherContentId}", Allow: entitledTo("premium", "{publisherContentId}")},
	{Rank: 2, Path: "/gold", Allow: entitledTo("gold")},
	{Rank: 3, Path: "/account", Allow: Allow{Operator: "authenticated"}},
	{Rank: 4, Path: "/public", Allow: Allow{Operator: "any"}},
	{Rank: 5, Path: "/form", Methods: []string{"GET"}, Allow: Allow{Operator: "any"}},
}

// testRing is the vendor's ring in all tests: generating keys is slow.
var testRing = sync.OnceValue(func() *keys.Ring {
	key, err := keys.GenerateSigningKey()
	if err != nil {
		panic(err)
	}
	return keys.NewRing(key, []keys.PublicKey{key.Public()})
})

func (env *testEnv) now() time.Time { return env.clock.Now() }

func (env *testEnv) advance(d time.Duration) { env.clock.Advance(d) }

// waitForCaches waits until the caches contain what was set.
func (env *testEnv) waitForCaches() {
	env.policy.containers.Wait()
	env.policy.links.Wait()
	env.policy.linkTokens.Wait()
	env.policy.sessions.Wait()
}

// testRequest is a request for env.request. Its fields have defaults.
type testRequest struct {
	method, host, path, query string // GET https://news.example/articles/a1
	reader                    Reader
	link                      LinkEvidence
	meter                     MeterEvidence
	client                    AddressSource
	agent                     string
	preflight                 bool
	// current is the path as rewritten before the gate.
	current string
}

// request returns the input of Policy.Decide for a request.
func (env *testEnv) request(v testRequest) *Request {
	path := cmp.Or(v.path, "/articles/a1")
	target := path
	if v.query != "" {
		target += "?" + v.query
	}
	return &Request{
		Site: env.site, Method: cmp.Or(v.method, "GET"), Preflight: v.preflight, Target: target, EscapedPath: path, CurrentPath: v.current,
		Host: cmp.Or(v.host, "news.example"), Query: v.query, Reader: v.reader, Links: &v.link, Meter: v.meter, Client: v.client, Agent: v.agent, Now: env.now(),
	}
}

// LinkEvidence implements LinkSource.
func (l *LinkEvidence) LinkEvidence() LinkEvidence { return *l }

// decide decides a request, and redeems its link if the decision is pending.
func (env *testEnv) decide(v testRequest) Decision {
	env.t.Helper()
	ctx := context.Background()
	r := env.request(v)
	decision := env.policy.Decide(ctx, r)
	if decision.Pending() {
		decision = env.policy.Prepare(ctx, r, decision)
	}
	if decision.Allow() && decision.Link.Spend && !r.Link.Navigation {
		decision = env.policy.Redeem(ctx, r, decision, env.records.nextID())
	}
	return decision
}

// want fails the test if a request is not decided for a reason.
func (env *testEnv) want(v testRequest, want Reason) Decision {
	env.t.Helper()
	decision := env.decide(v)
	if decision.Reason != want {
		env.t.Fatalf("decided %s (%v), want %s", decision.Reason, decision.Err, want)
	}
	return decision
}

// newLink stores a link of the vendor and returns its token. Missing claims have
// defaults; without a target the link opens article a1.
func (env *testEnv) newLink(claims keys.LinkClaims) (token string) {
	env.t.Helper()
	claims = withDefaults(claims)
	env.records.putLink("acme", Link{Claims: claims})
	return signLink(env.t, claims)
}

func withDefaults(claims keys.LinkClaims) keys.LinkClaims {
	claims.Issuer = cmp.Or(claims.Issuer, keys.VendorIssuer("acme"))
	claims.ID = cmp.Or(claims.ID, "link_1")
	claims.IssuedAt = cmp.Or(claims.IssuedAt, start)
	claims.ExpiresAt = cmp.Or(claims.ExpiresAt, start+3600)
	if claims.URL == "" && claims.SKU == "" && claims.PublisherContentID == "" {
		claims.PublisherContentID = "a1"
	}
	return claims
}

func signLink(t testing.TB, claims keys.LinkClaims) string {
	t.Helper()
	token, err := keys.SignLink(testRing(), withDefaults(claims))
	must(t, err)
	return token
}

// linkEvidence returns the links of a page view with a token in the query.
func linkEvidence(token string) LinkEvidence {
	return LinkEvidence{Token: token, Spendable: true}
}

// redeemedLink returns a redeemed link of the vendor, whose cookie lasts half an hour.
func redeemedLink(id string) RedeemedLink {
	return RedeemedLink{Issuer: keys.VendorIssuer("acme"), ID: id, ExpiresAt: start + 1800}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeKeys is a KeySource that can fail.
type fakeKeys struct {
	set   keys.KeySet
	err   error
	calls atomic.Int64
}

func (k *fakeKeys) KeySet(context.Context) (keys.KeySet, error) {
	k.calls.Add(1)
	return k.set, k.err
}

// fakeRecords are Records in memory. As in the store, each write is committed before it
// bumps the versions.
type fakeRecords struct {
	versions *Versions

	mu         sync.Mutex
	grants     []fakeGrant
	links      map[linkKey]Link
	uses       map[linkKey]map[string]time.Time
	devices    map[linkKey]map[string]time.Time
	kept       map[linkKey]map[string]bool // ids of uses and of devices
	rules      map[siteKey][]Rule
	containers map[string][]string // by sku, at any depth
	domains    map[string]Domains  // by vendor
	licences   map[string][]SiteLicence
	views      map[MeterReader][]MeterView
	space      string // that every vendor declared
	members    fakeMembership
	reads      int
	// domainReads are those of domains, licenceReads those of site licences.
	domainReads, licenceReads int
	ids                       int

	// unannounced suppresses the bumps of writes, which no store may do.
	unannounced bool
	// down is the error of every call. The others are errors of one kind of call.
	down, linksDown, containersDown, redeemDown, domainsDown, profilesDown, licencesDown error
	// afterRead runs once, after grants were read and before they are returned.
	afterRead func()
}

// fakeGrant is a grant of the vendor acme with the reader's identifiers.
type fakeGrant struct {
	Grant
	userID, publisherUserID, email string
}

var errDown = errors.New("disk failure")

func newFakeRecords(versions *Versions) *fakeRecords {
	return &fakeRecords{
		versions: versions, links: map[linkKey]Link{}, containers: map[string][]string{}, uses: map[linkKey]map[string]time.Time{}, devices: map[linkKey]map[string]time.Time{}, kept: map[linkKey]map[string]bool{}, rules: map[siteKey][]Rule{},
		domains: map[string]Domains{}, licences: map[string][]SiteLicence{},
	}
}

func (f *fakeRecords) ReaderRecords(_ context.Context, vendor string, reader Reader) (ReaderRecords, error) {
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
	var records ReaderRecords
	if vendor == "acme" {
		records = f.members.of(reader.UserID)
	}
	records.Grants = found
	err, after := f.down, f.afterRead
	f.afterRead = nil
	f.mu.Unlock()
	if after != nil {
		after()
	}
	return records, err
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
	return slices.Clone(f.containers[sku]), cmp.Or(f.down, f.containersDown)
}

// setContainers sets the collections that contain a sku.
func (f *fakeRecords) setContainers(sku string, containers ...string) {
	f.commit(Invalidation{Shared: true}, func() { f.containers[sku] = containers })
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
	use, used := f.mayCount(f.uses, key, r.ID, r.MaxUses)
	device, known := f.mayCount(f.devices, key, r.DeviceID, r.MaxDevices)
	switch {
	case !used:
		return ErrLinkUsedUp
	case !known:
		return ErrLinkDeviceLimit
	}
	use(r.At)
	device(r.At)
	return nil
}

// keep notes that an id was found by another request.
func (f *fakeRecords) keep(key linkKey, id string) {
	if f.kept[key] == nil {
		f.kept[key] = map[string]bool{}
	}
	f.kept[key][id] = true
}

// mayCount reports whether an id may be counted up to a bound, zero for none, and returns
// the function that counts it, unless it is.
func (f *fakeRecords) mayCount(counts map[linkKey]map[string]time.Time, key linkKey, id string, bound int64) (count func(at time.Time), ok bool) {
	switch {
	case bound == 0:
		return func(time.Time) {}, true
	case !counts[key][id].IsZero():
		return func(time.Time) { f.keep(key, id) }, true
	}
	return func(at time.Time) {
		if counts[key] == nil {
			counts[key] = map[string]time.Time{}
		}
		counts[key][id] = at
	}, int64(len(counts[key])) < bound
}

func (f *fakeRecords) Refund(_ context.Context, vendor string, r Redemption) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := linkKey{vendor, r.Issuer, r.LinkID}
	if uses := f.uses[key]; uses[r.ID].Equal(r.At) && !f.kept[key][r.ID] {
		delete(uses, r.ID)
	}
	if devices := f.devices[key]; devices[r.DeviceID].Equal(r.At) && !f.kept[key][r.DeviceID] {
		delete(devices, r.DeviceID)
	}
	return cmp.Or(f.down, f.redeemDown)
}

func (f *fakeRecords) Uses(_ context.Context, vendor, issuer, id string, ids []string, device string) (Uses, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	counted := f.uses[linkKey{vendor, issuer, id}]
	uses := Uses{Count: int64(len(counted)), Revoked: f.links[linkKey{vendor, issuer, id}].Revoked}
	devices := f.devices[linkKey{vendor, issuer, id}]
	kept := f.kept[linkKey{vendor, issuer, id}]
	uses.Devices, uses.Device = int64(len(devices)), CountedID{devices[device], kept[device]}
	for _, use := range ids {
		uses.IDs = append(uses.IDs, CountedID{counted[use], kept[use]})
	}
	return uses, cmp.Or(f.down, f.redeemDown)
}

func (f *fakeRecords) DefaultSpace(context.Context, string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.space, cmp.Or(f.down, f.linksDown)
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
	return f.domains[vendor], cmp.Or(f.down, f.domainsDown)
}

// commit makes a write, and then bumps the versions unless writes are unannounced.
func (f *fakeRecords) commit(change Invalidation, write func()) {
	f.mu.Lock()
	write()
	silent := f.unannounced
	f.mu.Unlock()
	if !silent {
		f.versions.Bump(change)
	}
}

func (f *fakeRecords) grant(g fakeGrant) {
	g.Active = true
	f.commit(invalidationOf(g), func() { f.grants = append(f.grants, g) })
}

// revoke removes the grants with an id.
func (f *fakeRecords) revoke(id string) {
	var change Invalidation
	f.mu.Lock()
	for _, g := range f.grants {
		if g.ID == id {
			change.Stripes = append(change.Stripes, invalidationOf(g).Stripes...)
		}
	}
	f.mu.Unlock()
	f.commit(change, func() {
		f.grants = slices.DeleteFunc(f.grants, func(g fakeGrant) bool { return g.ID == id })
	})
}

func invalidationOf(g fakeGrant) (change Invalidation) {
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

// useCount returns how often a link of the vendor was redeemed.
func (f *fakeRecords) useCount(id string) int {
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

// The readers of most tests. Ann gets grants, Bob has none.
var (
	ann = Reader{UserID: "ann", Email: "ann@example.org", PublisherUserID: "p-ann"}
	bob = Reader{UserID: "bob"}
)

// subscribe grants Ann premium under the id g1. The bounds are in milliseconds after
// start; zero means no bound.
func (env *testEnv) subscribe(from, to int64) {
	g := fakeGrant{Grant: Grant{ID: "g1", SKU: "premium"}, userID: "ann"}
	if from != 0 {
		g.StartsAt = start*1000 + from
	}
	if to != 0 {
		g.EndsAt = start*1000 + to
	}
	env.records.grant(g)
}

// verifier returns the verifier of the site's own reader tokens.
func (env *testEnv) verifier() *ReaderVerifier {
	verifier := NewReaderVerifier("own", keys.OwnReaderIssuer("acme", "news"), env.keys)
	return &verifier
}

// readerToken signs a reader token. By default it expires in an hour.
func (env *testEnv) readerToken(claims keys.ReaderClaims) string {
	env.t.Helper()
	claims.ExpiresAt = cmp.Or(claims.ExpiresAt, start+3600)
	token, err := keys.SignReader(testRing(), "acme", "news", claims, env.now())
	must(env.t, err)
	return token
}

// sameReader reports whether two readers are equal, except for their cached records.
func sameReader(a, b Reader) bool {
	a.record, b.record = readerRecord{}, readerRecord{}
	return a == b
}
