package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
	"github.com/gatefold/gatefold/policy/webhook"
)

const vendor = "acme"

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// receiver is an endpoint over TCP that verifies signatures by its own code. Answer may
// respond in its own way; it returns false to have the event accepted.
type receiver struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	secrets []string
	now     func() time.Time
	got     []received
	tries   int
	wrong   []string
}

type received struct {
	ID, Type string
	Data     map[string]any
	body     string
	signed   int // number of signatures
}

func newReceiver(t *testing.T, now func() time.Time) *receiver {
	t.Helper()
	r := &receiver{now: now}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	r.mu.Lock()
	r.tries++
	answer := r.answer
	r.mu.Unlock()
	if answer != nil && answer(w, q) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id, stamp := q.Header.Get("Webhook-Id"), q.Header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if drift := r.now().Sub(time.Unix(seconds, 0)); err != nil || drift > 5*time.Minute || drift < -5*time.Minute {
		r.wrong = append(r.wrong, "timestamp "+stamp)
	}
	signatures := strings.Fields(q.Header.Get("Webhook-Signature"))
	for _, secret := range r.secrets { // each secret that this receiver still knows must have signed
		key, _ := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
		want, found := mac.Sum(nil), false
		for _, signature := range signatures {
			got, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1,"))
			found = found || strings.HasPrefix(signature, "v1,") && hmac.Equal(got, want)
		}
		if !found {
			r.wrong = append(r.wrong, "signature of "+id)
		}
	}
	event := received{ID: id, body: string(body), signed: len(signatures)}
	if json.Unmarshal(body, &event) != nil || q.Method != http.MethodPost {
		r.wrong = append(r.wrong, "body "+string(body))
	}
	event.ID = id
	r.got = append(r.got, event)
}

// types are the types of the received events, each id once, in order.
func (r *receiver) types() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, all := map[string]bool{}, []string{}
	for _, event := range r.got {
		if !seen[event.ID] {
			all = append(all, event.Type)
		}
		seen[event.ID] = true
	}
	return all
}

// vary changes what the receiver does.
func (r *receiver) vary(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *receiver) count() (tries, got int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries, len(r.got)
}

// node is a process that makes changes and delivers.
type node struct {
	*testing.T
	store.Writer
	hooks      *store.Webhooks
	dispatcher *webhook.Dispatcher
	clock      *keystest.Clock
}

func newNode(t *testing.T, backend engine.Engine, clock *keystest.Clock) *node {
	t.Helper()
	s := store.New(backend, new(policy.Versions), clock.Now)
	sealer, err := keys.NewSealer([]byte("a secret for this test"))
	require.NoError(t, err)
	n := &node{T: t, Writer: s.As(store.Actor{Name: "test", Operation: "test"}), hooks: store.NewWebhooks(store.NewKeyring(s, sealer)), clock: clock}
	n.dispatcher = webhook.New(webhook.Options{Store: s, Now: clock.Now, Poll: 2 * time.Millisecond, Jitter: func() float64 { return 0 }})
	t.Cleanup(n.dispatcher.Close)
	return n
}

func bolt(t *testing.T) engine.Engine {
	t.Helper()
	backend, err := boltengine.Open(filepath.Join(t.TempDir(), "gatefold.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}

func overRedis(t *testing.T, server *redistest.Server) engine.Engine {
	t.Helper()
	options, err := redisengine.ParseURLs([]string{server.URL()})
	require.NoError(t, err)
	backend, err := redisengine.New(options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}

// engines runs a story on both engines.
func engines(t *testing.T, story func(t *testing.T, n *node)) {
	t.Helper()
	t.Run("bolt", func(t *testing.T) { story(t, newNode(t, bolt(t), keystest.NewClock(start))) })
	t.Run("redis", func(t *testing.T) { story(t, newNode(t, overRedis(t, redistest.Start(t)), keystest.NewClock(start))) })
}

// open delivers to any address.
func (n *node) open() { n.configure(func(string, string, syscall.RawConn) error { return nil }) }

func (n *node) configure(control func(string, string, syscall.RawConn) error) {
	n.dispatcher.Configure(webhook.Settings{Webhooks: n.hooks, Allowed: func(*url.URL) error { return nil }, Control: control})
}

func (n *node) hook(r *receiver, types ...string) store.Webhook {
	n.Helper()
	made, secret, err := n.hooks.CreateWebhook(n.Context(), n.Writer, vendor, store.Webhook{URL: r.URL, Types: types})
	n.ok(err)
	r.secrets = append(r.secrets, secret)
	return made
}

func (n *node) ok(err error) {
	n.Helper()
	require.NoError(n, err)
}

func (n *node) user(slug string) {
	n.Helper()
	_, err := n.CreateUser(n.Context(), vendor, store.User{Slug: slug, FullName: "Ms " + slug, Contact: store.Contact{Email: slug + "@example.com"}})
	n.ok(err)
}

// eventually waits for what happens in the background.
func (n *node) eventually(what string, holds func() bool) {
	n.Helper()
	require.Eventually(n, holds, 30*time.Second, time.Millisecond, what)
}

// The published example of Standard Webhooks.
func TestSignPublishedExample(t *testing.T) {
	t.Parallel()
	got, err := webhook.Sign([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", got)
	_, err = webhook.Sign([]string{"whsec_!"}, "evt", start, nil)
	require.ErrorContains(t, err, "base64")
}

// A user and a profile are made, the user gets a role, and leaves. The receiver gets one
// signed event for each, with names and addresses, and without a key.
func TestChangesArriveSigned(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, n *node) {
		r := newReceiver(t, n.clock.Now)
		n.hook(r)
		n.open()
		n.user("ann")
		_, err := n.CreateProfile(t.Context(), vendor, store.Profile{Slug: "xia", FullName: "Xia Lee", Type: store.TypeOrganization, Contact: store.Contact{Email: "xia@example.com"}})
		n.ok(err)
		invited, err := n.GrantRole(t.Context(), vendor, store.RoleGrant{Profile: "xia", User: "ann", Type: "manager"})
		n.ok(err)
		_, err = n.AcceptRole(t.Context(), vendor, "ann", invited.Key)
		n.ok(err)
		n.ok(n.RemoveRole(t.Context(), vendor, "xia", "ann", true, nil))
		want := []string{"user.created", "profile.created", "role.invited", "role.accepted", "role.removed"}
		n.eventually("five events", func() bool { return len(r.types()) == len(want) })
		require.ElementsMatch(t, want, r.types())
		require.Empty(t, r.wrong)
		for _, event := range r.got {
			require.NotContains(t, event.body, invited.Key)
			require.NotContains(t, event.body, invited.Role.GrantKey)
			if event.Type != "role.invited" {
				continue
			}
			user, profile := event.Data["user"].(map[string]any), event.Data["profile"].(map[string]any)
			require.Equal(t, "Ms ann", user["printable_name"])
			require.Equal(t, "ann@example.com", user["email"])
			require.Equal(t, "Xia Lee", profile["printable_name"])
			require.Equal(t, "xia@example.com", profile["email"])
			require.Equal(t, "1", event.Data["grant_key"])
			require.Equal(t, "manager", event.Data["role_description"].(map[string]any)["slug"])
		}
	})
}

// A change that is refused sends nothing, nor does one that changes nothing; types select,
// and the events of two vendors never meet.
func TestEventsAreOfTheirChange(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, n *node) {
		all, roles, other := newReceiver(t, n.clock.Now), newReceiver(t, n.clock.Now), newReceiver(t, n.clock.Now)
		hook := n.hook(all)
		n.hook(roles, "role.*")
		_, secret, err := n.hooks.CreateWebhook(t.Context(), n.Writer, "globex", store.Webhook{URL: other.URL})
		n.ok(err)
		other.secrets = []string{secret}
		n.user("ann")
		_, err = n.CreateUser(t.Context(), vendor, store.User{Slug: "ann"})
		require.ErrorIs(t, err, store.ErrExists)
		_, err = n.UpdateUser(t.Context(), vendor, "ann", func(*store.User) error { return nil })
		n.ok(err)
		_, err = n.CreateUser(t.Context(), "globex", store.User{Slug: "theirs"})
		n.ok(err)
		_, err = n.CreateRole(t.Context(), vendor, store.Role{Profile: vendor, User: "ann", Type: "manager"})
		n.ok(err)
		n.open()
		n.eventually("all events", func() bool { return len(all.types()) == 2 && len(roles.types()) == 1 && len(other.types()) == 1 })
		n.ok(n.hooks.DeleteWebhook(t.Context(), n.Writer, vendor, hook.ID, func(store.Webhook) error { return nil }))
		n.user("ben") // for no one
		_, err = n.CreateRole(t.Context(), vendor, store.Role{Profile: vendor, User: "ben", Type: "contributor"})
		n.ok(err)
		n.eventually("the last event", func() bool { return len(roles.types()) == 2 })
		require.ElementsMatch(t, []string{"user.created", "role.created"}, all.types())
		require.Equal(t, []string{"user.created"}, other.types())
		require.Contains(t, other.got[0].body, "theirs")
		require.Empty(t, append(append(all.wrong, roles.wrong...), other.wrong...))
	})
}

// A receiver answers 500 for ten attempts, by a schedule of three days. The event is a dead
// letter then; others wait. Replayed, it arrives.
func TestDeadLetterAndReplay(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, n *node) {
		r := newReceiver(t, n.clock.Now)
		r.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		hook := n.hook(r)
		n.user("ann")
		n.open()
		for attempt, pause := range []time.Duration{0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour} {
			if pause > 0 {
				n.clock.Advance(pause - time.Second)
				time.Sleep(20 * time.Millisecond) // several looks: none of them is due
				tries, _ := r.count()
				require.Equal(t, attempt, tries)
				n.clock.Advance(time.Second)
			}
			n.eventually(fmt.Sprint("attempt ", attempt+1), func() bool {
				state, err := n.WebhookState(t.Context(), vendor, hook.ID)
				tries, _ := r.count()
				return err == nil && tries == attempt+1 && state.Failures == attempt+1 && !n.unsettled(hook.ID, attempt)
			})
		}
		dead, err := n.Deliveries(t.Context(), vendor, hook.ID, store.DeliveryDead, 10)
		n.ok(err)
		require.Len(t, dead, 1)
		require.Equal(t, webhook.MaxAttempts, dead[0].Attempts)
		require.Equal(t, "it answered with the status 500", dead[0].Error)
		require.Len(t, n.dispatcher.Failing(), 1)
		require.Equal(t, webhook.Stats{Failed: 10, Dead: 1}, n.dispatcher.Stats())
		r.vary(func() { r.answer = nil })
		_, err = n.Replay(t.Context(), vendor, hook.ID, "evt_other")
		require.ErrorIs(t, err, store.ErrNotFound)
		replayed, err := n.Replay(t.Context(), vendor, hook.ID, "")
		n.ok(err)
		require.Equal(t, 1, replayed)
		n.clock.Advance(30 * time.Minute) // the pause of the endpoint
		n.eventually("the replay", func() bool { return len(r.types()) == 1 })
		require.Equal(t, dead[0].ID, r.got[0].ID)
		n.eventually("no longer failing", func() bool { return len(n.dispatcher.Failing()) == 0 })
	})
}

// unsettled reports whether the results of an attempt are not stored yet.
func (n *node) unsettled(id string, attempt int) bool {
	state := store.DeliveryRetrying
	if attempt == webhook.MaxAttempts-1 {
		state = store.DeliveryDead
	}
	found, err := n.Deliveries(n.Context(), vendor, id, state, 2)
	return err != nil || len(found) != 1 || found[0].Attempts != attempt+1
}

// One receiver hangs, one sends without end, one redirects to an internal address, one is
// gone, and one works. The last gets its events at once; the internal address gets nothing;
// the one that is gone is disabled.
func TestBadReceiversHoldUpNoOther(t *testing.T) {
	t.Parallel()
	clock := keystest.NewClock(start)
	n := newNode(t, bolt(t), clock)
	var internal, sent atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { internal.Add(1) }))
	t.Cleanup(inside.Close)
	hanging, endless, redirecting, gone, good := newReceiver(t, clock.Now), newReceiver(t, clock.Now), newReceiver(t, clock.Now), newReceiver(t, clock.Now), newReceiver(t, clock.Now)
	release := make(chan struct{})
	hanging.answer = func(http.ResponseWriter, *http.Request) bool { <-release; return true }
	t.Cleanup(func() { close(release) })
	endless.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		chunk := make([]byte, 1<<20)
		for range 1024 {
			written, err := w.Write(chunk)
			if sent.Add(int64(written)); err != nil {
				break
			}
		}
		return true
	}
	redirecting.answer = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, inside.URL, http.StatusTemporaryRedirect)
		return true
	}
	gone.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusGone); return true }
	var hooks []store.Webhook
	for _, r := range []*receiver{hanging, endless, redirecting, gone, good} {
		hooks = append(hooks, n.hook(r))
	}
	n.open()
	for i := range 20 {
		n.user(fmt.Sprint("u", i))
	}
	n.eventually("the good receiver", func() bool { return len(good.types()) == 20 })
	n.eventually("the endless answer is cut and counts", func() bool {
		found, err := n.Deliveries(t.Context(), vendor, hooks[1].ID, store.DeliveryDelivered, 100)
		return err == nil && len(found) > 0
	})
	require.Less(t, sent.Load(), int64(512<<20), "most of each answer was never sent")
	n.eventually("the redirection failed", func() bool {
		state, err := n.WebhookState(t.Context(), vendor, hooks[2].ID)
		return err == nil && strings.Contains(state.Error, "redirections are not followed")
	})
	require.Zero(t, internal.Load())
	n.eventually("the one that is gone is disabled", func() bool {
		hook, err := n.Webhook(t.Context(), vendor, hooks[3].ID)
		return err == nil && hook.Disabled == store.DisabledGone
	})
	tries, _ := gone.count()
	n.user("later")
	n.eventually("the good receiver", func() bool { return len(good.types()) == 21 })
	again, _ := gone.count()
	require.Equal(t, tries, again)
}

// The resolved address of each connection is checked: a name that leads inside is refused,
// and the error does not say where it leads.
func TestAddressesAreChecked(t *testing.T) {
	t.Parallel()
	n := newNode(t, bolt(t), keystest.NewClock(start))
	r := newReceiver(t, n.clock.Now)
	hook := n.hook(r)
	n.configure(func(_, address string, _ syscall.RawConn) error {
		host, _, _ := net.SplitHostPort(address)
		require.Equal(t, "127.0.0.1", host)
		return &webhook.AddressError{Problem: "it leads to an address that is not public"}
	})
	n.user("ann")
	n.eventually("refused", func() bool {
		state, err := n.WebhookState(t.Context(), vendor, hook.ID)
		return err == nil && state.Error == "it leads to an address that is not public"
	})
	tried, err := n.dispatcher.Test(t.Context(), vendor, hook.ID)
	n.ok(err)
	require.Equal(t, "it leads to an address that is not public", tried.Error)
	tries, _ := r.count()
	require.Zero(t, tries)
}

// During a rotation events have both signatures; after the overlap only the new one. No
// list, audit entry or stored record has a secret.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, n *node) {
		r := newReceiver(t, n.clock.Now)
		hook := n.hook(r)
		n.open()
		old := r.secrets[0]
		_, secret, err := n.hooks.RotateWebhookSecret(t.Context(), n.Writer, vendor, hook.ID, time.Hour)
		n.ok(err)
		require.NotEqual(t, old, secret)
		r.vary(func() { r.secrets = []string{old, secret} })
		n.user("ann")
		n.eventually("both", func() bool { return len(r.types()) == 1 })
		n.clock.Advance(time.Hour)
		r.vary(func() { r.secrets = []string{secret} })
		n.user("ben")
		n.eventually("the new one", func() bool { return len(r.types()) == 2 })
		require.Equal(t, []int{2, 1}, []int{r.got[0].signed, r.got[1].signed})
		require.Empty(t, r.wrong)
		entries, _, _, err := n.Audit(t.Context(), vendor, store.AuditQuery{})
		n.ok(err)
		stored, err := n.Webhook(t.Context(), vendor, hook.ID)
		n.ok(err)
		for _, shown := range []any{entries, stored} {
			text, err := json.Marshal(shown)
			n.ok(err)
			require.NotContains(t, string(text), "whsec_")
			require.NotContains(t, string(text), strings.TrimPrefix(secret, "whsec_"))
		}
		text, _ := json.Marshal(entries)
		require.Contains(t, string(text), `"webhook"`)
		require.NotContains(t, string(text), "sealed")
	})
}

// A row for each of 12,000 imported users is named by an event, in a number of requests
// that a receiver can take, and none is named twice.
func TestImportIsNamedInBulk(t *testing.T) {
	t.Parallel()
	n := newNode(t, bolt(t), keystest.NewClock(start))
	r := newReceiver(t, n.clock.Now)
	n.hook(r, "user.created") // who wants a kind of event has the bulk events of the kind
	n.open()
	const rows = 12_000
	for from := 0; from < rows; from += 1000 {
		batch := make([]store.MemberRow[store.User], 1000)
		for i := range batch {
			batch[i].Record = store.User{Slug: fmt.Sprint("u", from+i)}
		}
		_, err := n.ImportUsers(t.Context(), vendor, batch)
		n.ok(err)
	}
	named := map[string]int{}
	n.eventually("all rows", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		clear(named)
		seen := map[string]bool{}
		for _, event := range r.got {
			if seen[event.ID] {
				continue
			}
			seen[event.ID] = true
			names, _ := event.Data["names"].(map[string]any)
			created, _ := names["created"].([]any)
			for _, name := range created {
				named[name.([]any)[0].(string)]++
			}
		}
		return len(named) == rows
	})
	for name, times := range named {
		require.Equal(t, 1, times, name)
	}
	_, got := r.count()
	require.LessOrEqual(t, got, rows/100)
}

// Two nodes share a Redis. While one delivers the other does not; when it dies without
// giving its lease back, the other goes on as soon as the lease has run out.
func TestAnotherNodeGoesOn(t *testing.T) {
	t.Parallel()
	redis, clock := redistest.Start(t), keystest.NewClock(start)
	dying, other := newNode(t, overRedis(t, redis), clock), newNode(t, overRedis(t, redis), clock)
	r := newReceiver(t, clock.Now)
	hook := dying.hook(r)
	_, err := dying.Lease(t.Context(), vendor, hook.ID, "a node that was killed", 30*time.Second, nil)
	dying.ok(err)
	dying.user("ann")
	other.open()
	time.Sleep(50 * time.Millisecond) // several looks: the lease still holds
	tries, _ := r.count()
	require.Zero(t, tries)
	clock.Advance(30 * time.Second)
	other.eventually("the other node", func() bool { return len(r.types()) == 1 })
	// Both deliver, and each event is sent once while no one dies.
	dying.open()
	for i := range 100 {
		[]*node{dying, other}[i%2].user(fmt.Sprint("u", i))
	}
	other.eventually("all", func() bool { return len(r.types()) == 101 })
	_, got := r.count()
	require.Equal(t, 101, got)
	require.Empty(t, r.wrong)
}

// An endpoint at which nothing arrives for five days is disabled, and nothing more is
// queued for it. Enabled again, it gets what waited.
func TestFailingForDaysDisables(t *testing.T) {
	t.Parallel()
	n := newNode(t, bolt(t), keystest.NewClock(start))
	r := newReceiver(t, n.clock.Now)
	r.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	hook := n.hook(r)
	for i := range 30 {
		n.user(fmt.Sprint("u", i))
	}
	n.open()
	n.eventually("disabled", func() bool {
		n.clock.Advance(10 * time.Minute)
		time.Sleep(time.Millisecond)
		stored, err := n.Webhook(context.Background(), vendor, hook.ID)
		return err == nil && stored.Disabled == store.DisabledFailing
	})
	n.user("unseen")
	r.vary(func() { r.answer = nil })
	_, err := n.hooks.UpdateWebhook(t.Context(), n.Writer, vendor, hook.ID, func(h *store.Webhook) error { h.Disabled = ""; return nil })
	n.ok(err)
	n.clock.Advance(24 * time.Hour)
	dead, err := n.Deliveries(t.Context(), vendor, hook.ID, store.DeliveryDead, 100)
	n.ok(err)
	n.eventually("what waited", func() bool { return len(r.types()) == 30-len(dead) })
	require.Less(t, len(dead), 30)
	for _, event := range r.got {
		require.NotContains(t, event.body, "unseen")
	}
}
