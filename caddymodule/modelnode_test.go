package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// modelNode is a node of the property tests: the app, a gate and both mounts of the
// API, provisioned as Caddy does, but without ports.
type modelNode struct {
	name     string
	store    openstore.Config
	app      *App
	gate     *Handler
	operator http.Handler // the API of the local operator
	remote   *API         // the API of other machines
	site     modelSite
	feed     *observedFeed     // of a Redis
	held     *openstore.Shared // the store of a Redis
	// behind reports whether another node has written since this one was settled.
	behind bool
}

// start starts a node. A node that runs is reloaded: as in Caddy, the new configuration
// is provisioned before the old one is cleaned up.
func (n *modelNode) start(site modelSite) error {
	if n.held == nil && n.store.Engine == openstore.Redis {
		if err := n.hold(); err != nil {
			return err
		}
	}
	settings, err := json.Marshal(n.settings())
	if err != nil {
		return err
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}}},
		AppsRaw: caddy.ModuleMap{"gatefold": settings},
	})
	if err != nil {
		return err
	}
	app, err := ctx.AppIfConfigured("gatefold")
	if err != nil {
		return err
	}
	old := *n
	n.app, n.site, n.remote = app.(*App), site, &API{PlainHTTP: true}
	n.gate = &Handler{
		Identify: []*Identity{{Source: sourceJWT, Issuer: issuerSelf}}, LinkCookieTTL: setting.Duration{V: site.cookieTTL},
		Paths: &PathConfig{CaseSensitive: site.caseSensitive},
	}
	for _, rule := range site.rules {
		n.gate.Rules = append(n.gate.Rules, rule.config())
	}
	if site.shareDomain {
		n.gate.ShareDomains = []string{partnerDomain}
	}
	for _, module := range []interface{ Provision(caddy.Context) error }{n.gate, n.remote} {
		if err := module.Provision(ctx); err != nil {
			return err
		}
	}
	if err := n.gate.Validate(); err != nil {
		return err
	}
	if old.app != nil {
		if err := old.cleanUp(); err != nil {
			return err
		}
	}
	n.operator, err = n.app.api.get()
	return err
}

func (n *modelNode) settings() *App {
	app := &App{Store: &n.store, Secret: "{env.GATEFOLD_TEST_SECRET}", CacheSize: setting.Size{V: policy.MinCacheBytes}}
	if n.store.Engine == openstore.Redis {
		app.StaleFor.V = 24 * time.Hour
	}
	return app
}

func (n *modelNode) cleanUp() error {
	if err := n.gate.Cleanup(); err != nil {
		return err
	}
	return n.app.Cleanup()
}

// stop ends the node. Whatever it has in memory is lost.
func (n *modelNode) stop() error {
	if n.app == nil {
		return nil
	}
	err := n.cleanUp()
	if err == nil && n.held != nil {
		err = n.held.Release()
	}
	n.app, n.held, n.feed = nil, nil, nil
	return err
}

// hold opens the store of a Redis, so that its feed can be observed. The app finds it in
// the pool.
func (n *modelNode) hold() error {
	app := n.settings()
	if err := app.resolveSecret(); err != nil {
		return err
	}
	options, err := redisengine.ParseURLs(n.store.URLs)
	if err != nil {
		return err
	}
	options.Prefix, options.PoolSize, options.Timeout = n.store.Prefix, n.store.PoolSize.V, n.store.Timeout.V
	storeOptions.OpenEngine = func(s *openstore.Shared, _ func(*openstore.Shared) (engine.Engine, error)) (engine.Engine, error) {
		backend, err := redisengine.New(options)
		if err != nil {
			return nil, err
		}
		n.feed = &observedFeed{Watcher: backend, applied: map[string]uint64{}}
		follower := store.Follow(n.feed, store.FollowOptions{
			Versions: s.Versions, Refresh: s.Policy.RefreshVendor, StaleFor: app.StaleFor.V, Now: now,
		})
		return follower, follower.Connect(context.Background())
	}
	defer func() { storeOptions.OpenEngine = nil }()
	err = app.acquireStore()
	n.held = app.shared
	return err
}

// observedFeed records how far a node has applied the change feeds of a Redis: to the
// position from which it asks for more.
type observedFeed struct {
	engine.Watcher
	mu      sync.Mutex
	applied map[string]uint64 // by partition, of those that are followed
}

func (f *observedFeed) note(partition string, position uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied[partition] = max(f.applied[partition], position)
}

func (f *observedFeed) Cursors(ctx context.Context, partitions []string) ([]engine.Cursor, error) {
	for _, partition := range partitions {
		f.note(partition, 0)
	}
	return f.Watcher.Cursors(ctx, partitions)
}

func (f *observedFeed) EventsAfter(ctx context.Context, partition string, after engine.Cursor, limit int) ([]engine.Event, engine.Cursor, error) {
	f.note(partition, after.Position)
	return f.Watcher.EventsAfter(ctx, partition, after, limit)
}

func (f *observedFeed) Wait(ctx context.Context, partition string, after uint64, most time.Duration) error {
	f.note(partition, after)
	return f.Watcher.Wait(ctx, partition, after, most)
}

// lags reports whether a partition that is followed has events that are not applied.
func (f *observedFeed) lags(ctx context.Context, partition string) (bool, error) {
	newest, err := f.Position(ctx, partition)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	applied, followed := f.applied[partition]
	return followed && applied < newest, nil
}

// settle waits until the node has applied what others wrote.
func (n *modelNode) settle(t rapid.TB) {
	if !n.behind {
		return
	}
	n.behind = false
	deadline := time.Now().Add(20 * time.Second)
	for _, partition := range []string{defaultVendor, store.SystemPartition} {
		for {
			lags, err := n.feed.lags(context.Background(), partition)
			if err != nil {
				t.Fatal(err)
			}
			if !lags {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not apply the changes of the other node", n.name)
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
}

// request sends a request through the gate. The cookie is that of a redeemed link.
func (n *modelNode) request(q *modelRequest) (reason, cookie string, err error) {
	query := q.query
	if q.token != nil {
		name := "token"
		if q.token.published {
			name = "share"
		}
		query = strings.TrimPrefix(query+"&"+name+"="+q.token.token, "&")
		if q.twice {
			query += "&" + name + "=" + q.token.token + "x"
		}
	}
	r := httptest.NewRequest(q.method, "http://"+q.host+q.path+"?"+query, nil)
	r.Header.Set("User-Agent", newDevice())
	if q.reader != nil {
		r.Header.Set("Authorization", "Bearer "+q.reader.token)
	}
	for _, cookie := range q.cookies {
		r.Header.Add("Cookie", cookie.header)
	}
	if q.preview {
		r.Header.Set("Sec-Purpose", "prefetch")
	}
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, nil)
	served := ""
	err = n.gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		served, _ = repl.GetString("http.gatefold.reason")
		return nil
	}))
	if err != nil {
		return "", "", err
	}
	for _, set := range w.Result().Cookies() {
		if strings.Contains(set.Name, linkCookiePrefix) && set.MaxAge > 0 {
			cookie = set.Name + "=" + set.Value
		}
	}
	if served != "" {
		return served, cookie, nil
	}
	var problem struct{ Code string }
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || w.Code < 400 {
		return "", "", fmt.Errorf("%d %s is neither the page nor a denial", w.Code, w.Body)
	}
	return problem.Code, cookie, nil
}

// manage calls the API as the local operator. It returns the status and the fields of
// the response.
func (n *modelNode) manage(method, path, kind string, body any) (int, map[string]any) {
	encoded := []byte{}
	if body != nil {
		encoded, _ = json.Marshal(body)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(string(encoded)))
	if body != nil {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	n.operator.ServeHTTP(w, r)
	var fields map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &fields)
	if w.Code >= 400 && fields == nil {
		fields = map[string]any{"body": w.Body.String()}
	}
	return w.Code, fields
}

// call calls the API as a client, with an access token.
func (n *modelNode) call(path, token string) (int, error) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
	err := n.remote.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	return w.Code, err
}

// config returns the rule as a configuration has it.
func (r *modelRule) config() ruleconfig.Rule {
	config := ruleconfig.Rule{Path: r.path, Methods: r.methods, Operator: r.steps[0].operator, Arguments: r.steps[0].arguments()}
	for _, step := range r.steps[1:] {
		config.Then = append(config.Then, ruleconfig.Step{Operator: step.operator, Arguments: step.arguments()})
	}
	return config
}

func (s *modelStep) arguments() policy.Arguments {
	if len(s.skus) == 0 {
		return nil
	}
	skus, _ := json.Marshal(s.skus)
	return policy.Arguments{"sku": skus}
}

// body returns the rule as the API has it.
func (r *modelRule) body() map[string]any {
	body := map[string]any{"path": r.path, "methods": r.methods}
	var steps []string
	for _, step := range r.steps {
		steps = append(steps, policy.Allow{Operator: step.operator, Arguments: step.arguments()}.String())
	}
	body["allow"], body["then"] = steps[0], steps[1:]
	return body
}

func (r modelRule) String() string {
	var steps []string
	for _, step := range r.steps {
		steps = append(steps, strings.TrimSpace(step.operator+" "+strings.Join(step.skus, " ")))
	}
	return strings.TrimSpace(r.path+" "+strings.Join(r.methods, ",")) + " " + strings.Join(steps, " then ")
}
