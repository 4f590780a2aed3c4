package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// sharedNode is a node of a Redis that nodes share.
type sharedNode struct {
	*fixture
	follower *store.Follower
	closed   bool
}

func newSharedNode(t *testing.T, url, file string) *sharedNode {
	t.Helper()
	options, err := redisengine.ParseURLs([]string{url})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	b := &fixture{T: t, versions: new(policy.Versions), moved: new(atomic.Int64), clock: time.Now().UTC().Truncate(time.Millisecond)}
	n := &sharedNode{fixture: b}
	ready := make(chan *store.Store, 1)
	n.follower = store.Follow(backend, store.FollowOptions{
		Versions: b.versions, StaleFor: time.Minute, Now: b.now, MemoryFile: file, Refresh: func(context.Context, string) {},
		Rewrite: func(ctx context.Context, partition string, list []store.Removal) (int, error) {
			s := <-ready
			ready <- s
			return s.Rewrite(ctx, partition, list)
		},
	})
	b.records = n.follower
	b.Writer = store.New(n.follower, b.versions, b.now).As(store.Actor{Name: "operator", Operation: "test"})
	ready <- b.Store
	t.Cleanup(n.stop)
	b.ok(n.follower.Connect(t.Context()))
	return n
}

// hears waits until the node remembers all that another one closed.
func (n *sharedNode) hears(writer *sharedNode) {
	n.Helper()
	n.until("the other node has heard of all", func() bool {
		return n.follower.Remembered(vendor) == writer.follower.Remembered(vendor) &&
			n.follower.Remembered(store.SystemPartition) == writer.follower.Remembered(store.SystemPartition)
	})
}

func (n *sharedNode) stop() {
	if !n.closed {
		n.closed = true
		_ = n.follower.Close()
	}
}

// closedThing is something that an operator closes.
type closedThing struct {
	name  string
	make  func(b *fixture)
	close func(b *fixture)
	opens func(b *fixture) bool // whether it is open
}

const closingDomain = "partner.example"

// closedThings are all that nodes make again.
func closedThings() []closedThing {
	var grants [3]store.Grant
	var list, removedList store.AccessList
	var cancelled, seated store.Contract
	var seat store.AddedSeat
	var revoked, rotated store.Client
	var revokedSecret, rotatedSecret string
	var ended, all string
	var renewalEnded, renewalEndedAgain time.Time
	var link store.SignedLink
	var kid string
	grantOf := func(i int, list string) func(*fixture) {
		return func(b *fixture) {
			made, err := b.CreateGrant(b.Context(), vendor, list, store.Grant{SKU: "premium", UserID: fmt.Sprint("grant", i)})
			grants[i] = made
			b.ok(err)
		}
	}
	gives := func(user string) func(*fixture) bool {
		return func(b *fixture) bool { return b.skus(policy.Reader{UserID: user}) == "premium+" }
	}
	role := func(user string) func(*fixture) bool {
		return func(b *fixture) bool { return b.may(user) != "" }
	}
	ending := func(g *store.Grant) error { at := g.CreatedAt.Add(time.Millisecond); g.EndsAt = &at; return nil }
	session := func(id *string) func(*fixture) bool {
		return func(b *fixture) bool {
			_, err := b.ReadLoginSession(b.Context(), vendor, *id)
			return err == nil
		}
	}
	logIn := func(user string, id *string) func(*fixture) {
		return func(b *fixture) {
			_, made := testTickets.New()
			*id = made
			b.ok(b.CreateLoginSession(b.Context(), vendor, loginOf(b, made, user, "sid"), "", 10))
		}
	}
	endTokens := func(user string, at *time.Time) func(*fixture) {
		return func(b *fixture) {
			b.moveClock(time.Second)
			_, err := b.EndLoginSessionsOf(b.Context(), vendor, user)
			b.ok(err)
			*at = b.now()
		}
	}
	renewed := func(user string, since *time.Time) func(*fixture) bool { // tokens from before since
		return func(b *fixture) bool {
			at, err := b.TokensEndedAt(b.Context(), vendor, user)
			b.ok(err)
			return since.IsZero() || at.Before(*since)
		}
	}
	client := func(made *store.Client, secret *string) func(*fixture) bool {
		return func(b *fixture) bool {
			_, err := b.AuthenticateClient(b.Context(), made.ID, *secret)
			return err == nil
		}
	}
	pinned := publisherPEM()
	return []closedThing{
		{"a removed grant", grantOf(0, store.DefaultList), func(b *fixture) {
			b.ok(b.DeleteGrant(b.Context(), vendor, store.DefaultList, grants[0].ID, nil))
		}, gives("grant0")},
		{"an inactive grant", grantOf(1, store.DefaultList), func(b *fixture) {
			_, err := b.UpdateGrant(b.Context(), vendor, store.DefaultList, grants[1].ID, func(g *store.Grant) error { g.Status = store.StatusInactive; return nil })
			b.ok(err)
		}, gives("grant1")},
		{"an ended grant", grantOf(2, store.DefaultList), func(b *fixture) {
			_, err := b.UpdateGrant(b.Context(), vendor, store.DefaultList, grants[2].ID, ending)
			b.ok(err)
		}, func(b *fixture) bool {
			g, err := b.Grant(b.Context(), vendor, store.DefaultList, grants[2].ID)
			return err == nil && g.EndsAt == nil
		}},
		{"an inactive list", func(b *fixture) {
			made, err := b.CreateList(b.Context(), vendor, store.AccessList{Name: "list"})
			b.ok(err)
			_, err = b.CreateGrant(b.Context(), vendor, made.ID, store.Grant{SKU: "premium", UserID: "listed"})
			b.ok(err)
			list = made
		}, func(b *fixture) {
			_, err := b.UpdateList(b.Context(), vendor, list.ID, func(l *store.AccessList) error { l.Status = store.StatusInactive; return nil })
			b.ok(err)
		}, gives("listed")},
		{"a removed list", func(b *fixture) {
			made, err := b.CreateList(b.Context(), vendor, store.AccessList{Name: "removed"})
			b.ok(err)
			_, err = b.CreateGrant(b.Context(), vendor, made.ID, store.Grant{SKU: "premium", UserID: "unlisted"})
			b.ok(err)
			removedList = made
		}, func(b *fixture) { b.ok(b.DeleteList(b.Context(), vendor, removedList.ID, nil)) }, gives("unlisted")},
		{"a role", func(b *fixture) { b.world("abc", "ann bob eve", ""); b.staff("abc", "ann"); b.staff("abc", "bob") }, func(b *fixture) {
			b.ok(b.RemoveRole(b.Context(), vendor, "abc", "bob", true, nil))
		}, role("bob")},
		{"an inactive user", func(b *fixture) { b.staff("abc", "eve") }, func(b *fixture) {
			_, err := b.UpdateUser(b.Context(), vendor, "eve", func(u *store.User) error { u.Inactive = true; return nil })
			b.ok(err)
		}, role("eve")},
		{"a removed profile", func(b *fixture) { b.world("zoo", "pat", ""); b.staff("zoo", "pat") }, func(b *fixture) {
			b.ok(b.DeleteProfile(b.Context(), vendor, "zoo", nil))
		}, role("pat")},
		{"a subscription", func(b *fixture) {
			b.world("sub prov", "", "prov/plan")
			_, err := b.CreateSubscription(b.Context(), vendor, store.Subscription{
				Profile: "sub", Plan: "plan", StartsAt: b.now().Add(-time.Hour), EndsAt: b.now().Add(time.Hour),
			})
			b.ok(err)
		}, func(b *fixture) {
			b.moveClock(time.Second)
			_, err := b.Unsubscribe(b.Context(), vendor, "sub", "plan")
			b.ok(err)
			b.moveClock(time.Second)
		}, func(b *fixture) bool { return b.has("sub") == "prov/plan+" }},
		{"a cancelled contract", func(b *fixture) {
			b.promo(store.Promo{Code: "code"})
			cancelled = b.sell("1", store.Party{UserID: "owner"}, true)
		}, func(b *fixture) {
			_, err := b.CancelContract(b.Context(), vendor, cancelled.ID, store.Cancellation{}, nil)
			b.ok(err)
		}, func(b *fixture) bool {
			c, err := b.ContractRecord(b.Context(), vendor, cancelled.ID)
			return err != nil || c.Active(b.now().Add(time.Second))
		}},
		{"a withdrawn seat", func(b *fixture) {
			b.promo(store.Promo{Code: "seats", Items: []store.ContractItem{{SKU: "premium", Seats: 5}}})
			made, _, err := b.Sell(b.Context(), vendor, store.Sale{Promo: "seats", Seller: "telecom", OrderID: "2", Payer: store.Party{UserID: "school"}, Confirm: true})
			b.ok(err)
			seated, seat, err = b.AddSeat(b.Context(), vendor, made.ID, store.Seat{UserID: "pupil"})
			b.ok(err)
		}, func(b *fixture) {
			_, err := b.RemoveSeat(b.Context(), vendor, seated.ID, seat.ID)
			b.ok(err)
		}, func(b *fixture) bool {
			_, err := b.SeatRecord(b.Context(), vendor, seated.ID, seat.ID)
			if err != nil {
				b.seatsAre(seated.ID, 0)
			}
			return err == nil
		}},
		{"a withdrawn key of a domain", func(b *fixture) {
			_, err := b.PutDomain(b.Context(), vendor, store.Domain{Domain: closingDomain, SigningKeyPEM: pinned})
			b.ok(err)
		}, func(b *fixture) {
			_, err := b.PutDomain(b.Context(), vendor, store.Domain{Domain: closingDomain, JWKSURI: "https://" + closingDomain + "/jwks"})
			b.ok(err)
		}, func(b *fixture) bool {
			found, err := b.Domain(b.Context(), vendor, closingDomain)
			b.ok(err)
			return found.SigningKeyPEM != "" || found.JWKSURI == ""
		}},
		{"a removed domain", func(b *fixture) {
			_, err := b.PutDomain(b.Context(), vendor, store.Domain{Domain: "removed.example", SigningKeyPEM: pinned})
			b.ok(err)
		}, func(b *fixture) { b.ok(b.RemoveDomain(b.Context(), vendor, "removed.example")) }, func(b *fixture) bool {
			_, err := b.Domain(b.Context(), vendor, "removed.example")
			return err == nil
		}},
		{"a revoked client", func(b *fixture) { revoked, revokedSecret = b.client(vendor, "links:*") }, func(b *fixture) {
			_, err := b.RevokeClient(b.Context(), revoked.ID)
			b.ok(err)
		}, client(&revoked, &revokedSecret)},
		{"the secret of a client", func(b *fixture) { rotated, rotatedSecret = b.client(vendor, "links:*") }, func(b *fixture) {
			_, _, err := b.RotateClientSecret(b.Context(), rotated.ID)
			b.ok(err)
		}, client(&rotated, &rotatedSecret)},
		{"a revoked link", func(b *fixture) {
			claims := keys.LinkClaims{SKU: "s", Issuer: keys.VendorIssuer(vendor), ID: b.NewLinkID(), IssuedAt: b.now().Unix(), ExpiresAt: b.now().Unix() + 3600}
			made, err := b.CreateLink(b.Context(), vendor, claims)
			b.ok(err)
			link = made
		}, func(b *fixture) {
			_, err := b.RevokeLink(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
			b.ok(err)
		}, func(b *fixture) bool { return b.redeem(link, "use") == nil }},
		{"a retired signing key", func(b *fixture) {
			ring := store.NewKeyring(b.Store, sealer(b.T, secret))
			_, err := ring.Ring(b.Context(), vendor)
			b.ok(err)
			found, err := ring.Keys(b.Context(), vendor)
			b.ok(err)
			kid = found[0].ID
			_, err = ring.Rotate(b.Context(), b.Writer, vendor)
			b.ok(err)
		}, func(b *fixture) {
			_, err := store.NewKeyring(b.Store, sealer(b.T, secret)).Retire(b.Context(), b.Writer, vendor, kid)
			b.ok(err)
		}, func(b *fixture) bool {
			found, err := store.NewKeyring(b.Store, sealer(b.T, secret)).Keys(b.Context(), vendor)
			b.ok(err)
			return !slices.ContainsFunc(found, func(k store.KeyInfo) bool { return k.ID == kid && !k.RetiredAt.IsZero() })
		}},
		{"a login session", logIn("ada", &ended), func(b *fixture) {
			b.ok(b.EndLoginSession(b.Context(), vendor, ended))
		}, session(&ended)},
		{"all login sessions of a user", logIn("eve", &all), func(b *fixture) {
			_, err := b.EndLoginSessionsOf(b.Context(), vendor, "eve")
			b.ok(err)
		}, session(&all)},
		{"the tokens of a user", func(*fixture) {}, endTokens("kit", &renewalEnded), renewed("kit", &renewalEnded)},
		{"the tokens of a user whose tokens ended before", endTokens("liv", new(time.Time)), endTokens("liv", &renewalEndedAgain), renewed("liv", &renewalEndedAgain)},
	}
}

// An operator closes one of each: they take a role away, withdraw a key, cancel a contract, log
// a reader out. Then the Redis is killed, and comes back with a snapshot from before. The node
// at which they did it has failed as well. What was closed stays closed at another one, which
// heard of it: when it runs all the time, and when it is restarted meanwhile.
func TestClosedStaysClosedAfterASnapshot(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %v", restarted), func(t *testing.T) {
			t.Parallel()
			closedStaysClosed(t, restarted)
		})
	}
}

func closedStaysClosed(t *testing.T, restarted bool) {
	t.Helper()
	server := redistest.Start(t)
	file := t.TempDir() + "/memory.json"
	one, other := newSharedNode(t, server.URL(), ""), newSharedNode(t, server.URL(), file)
	things := closedThings()
	for _, thing := range things {
		thing.make(one.fixture)
	}
	for _, thing := range things {
		if !thing.opens(other.fixture) {
			t.Fatalf("%s: is not open before it is closed", thing.name)
		}
	}
	server.Do("save")
	for _, thing := range things {
		thing.close(one.fixture)
		if thing.opens(one.fixture) {
			t.Errorf("%s: is open although it was closed", thing.name)
		}
	}
	other.hears(one)
	if restarted {
		other.stop()
	}
	one.stop()
	server.Kill()
	server.Start()
	if restarted {
		other = newSharedNode(t, server.URL(), file)
	}
	other.moved.Store(one.moved.Load())
	other.until("the losses are noticed", func() bool {
		for _, partition := range []string{vendor, store.SystemPartition} { // follows them
			_ = other.records.View(t.Context(), partition, func(engine.Snapshot) error { return nil })
		}
		losses := other.follower.Losses()
		return len(losses) == 2 && losses[0].Rewritten > 0 && losses[1].Rewritten > 0
	})
	for _, thing := range things {
		if thing.opens(other.fixture) {
			t.Errorf("%s: is open again after the Redis lost that it was closed", thing.name)
		}
	}
	for _, loss := range other.follower.Losses() {
		t.Logf("%s: %d removals were made again", loss.Partition, loss.Rewritten)
	}
}

// A grant is closed and, a minute later, given back. A node that knows the first change only must
// not put it over the second.
func TestOlderStateIsNotMadeAgain(t *testing.T) {
	onBothEngines(t, func(b *fixture) {
		grant := b.grant(store.Grant{UserID: "ada", SKU: "premium"})
		set := func(status string) string {
			b.clock = b.clock.Add(time.Minute)
			changed, err := b.UpdateGrant(b.Context(), vendor, store.DefaultList, grant.ID, func(g *store.Grant) error { g.Status = status; return nil })
			b.ok(err)
			return changed.UpdatedAt.Format(time.RFC3339Nano)
		}
		closed := set(store.StatusInactive)
		removal := store.Removal{
			Key: []byte("G" + store.DefaultList + "\x00" + grant.ID), Value: []byte(`{"status":"INACTIVE","endsAt":null,"updatedAt":"` + closed + `"}`), At: b.clock,
		}
		set(store.StatusActive)
		if lost, err := b.Rewrite(b.Context(), vendor, []store.Removal{removal}); err != nil || lost != 0 {
			b.Errorf("%d removals were made again, %v", lost, err)
		}
		if found, err := b.Grant(b.Context(), vendor, store.DefaultList, grant.ID); err != nil || found.Status != store.StatusActive {
			b.Errorf("the grant is %+v, %v", found, err)
		}
	})
}

// A node was down when the Redis lost writes. Another one made a removal again, and the
// operator then gave the role back. The node comes back with its file: it leaves the role alone.
func TestWhatWasGivenBackStaysOpen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	file := t.TempDir() + "/memory.json"
	away, other := newSharedNode(t, server.URL(), file), newSharedNode(t, server.URL(), "")
	other.world("abc", "ann bob", "")
	other.staff("abc", "ann")
	other.staff("abc", "bob")
	if away.may("bob") == "" {
		t.Fatal("bob has no role")
	}
	server.Do("save")
	away.ok(away.RemoveRole(t.Context(), vendor, "abc", "bob", true, nil))
	other.hears(away)
	away.stop()
	server.Kill()
	server.Start()
	other.until("the loss is noticed", func() bool { losses := other.follower.Losses(); return len(losses) == 1 && losses[0].Rewritten == 1 })
	other.moveClock(10 * time.Minute)
	other.staff("abc", "bob")

	away = newSharedNode(t, server.URL(), file)
	away.until("the node decides", func() bool {
		_, err := away.ReaderRecords(t.Context(), vendor, policy.Reader{UserID: "bob"})
		return err == nil && len(away.follower.Losses()) == 1
	})
	if away.may("bob") == "" {
		t.Error("the role was taken away again")
	}
}

// A node took a role away and was down when the Redis lost that, and when the operator accepted
// the loss at another node, which had not heard of the role. It comes back with its file: it
// notices no loss any more, and takes the role away again before it reads anything.
func TestRemovalOfANodeThatWasAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	files := []string{t.TempDir() + "/memory.json", t.TempDir() + "/memory.json"}
	away, other := newSharedNode(t, server.URL(), files[0]), newSharedNode(t, server.URL(), files[1])
	other.world("abc", "ann bob", "")
	other.staff("abc", "ann")
	other.staff("abc", "bob")
	if away.may("bob") == "" {
		t.Fatal("bob has no role")
	}
	server.Do("save")
	other.world("zoo", "eve", "")
	other.until("what the node saw is in its file", func() bool {
		content, err := os.ReadFile(files[1])
		return err == nil && strings.Contains(string(content), fmt.Sprintf(`"revision":%d`, other.follower.Mark(vendor)))
	})
	other.stop()
	away.ok(away.RemoveRole(t.Context(), vendor, "abc", "bob", true, nil))
	away.until("the removal is in the file of the node", func() bool {
		content, err := os.ReadFile(files[0])
		return err == nil && strings.Contains(string(content), fmt.Sprintf(`"revision":%d`, away.follower.Mark(vendor))) && strings.Contains(string(content), `"key"`)
	})
	away.stop()
	server.Kill()
	server.Start()

	other = newSharedNode(t, server.URL(), files[1])
	accepted, err := other.follower.AcceptLoss(t.Context())
	other.ok(err)
	if len(accepted) != 1 || accepted[0].Partition != vendor {
		t.Errorf("accepted is %+v", accepted)
	}
	away = newSharedNode(t, server.URL(), files[0])
	away.until("the node decides", func() bool {
		records, err := away.ReaderRecords(t.Context(), vendor, policy.Reader{UserID: "bob"})
		if err == nil && len(records.Roles) > 0 {
			t.Fatal("the role is there again")
		}
		return err == nil
	})
	if losses := away.follower.Losses(); len(losses) > 0 {
		t.Errorf("a loss is noticed again: %+v", losses)
	}
}

// The Redis is full. What an operator closes, and a logout, succeeds; what would make records
// grow is refused as a whole, also if it closes something as well: a login that ends the
// session before it, an import.
func TestFullRedisClosesAndDoesNotGrow(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	node := newSharedNode(t, server.URL(), "")
	things := closedThings()
	for _, thing := range things {
		thing.make(node.fixture)
	}
	_, session := testTickets.New()
	node.ok(node.CreateLoginSession(t.Context(), vendor, loginOf(node.fixture, session, "kim", "sid"), "", 10))
	kept, err := node.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{SKU: "premium", UserID: "kept"})
	node.ok(err)
	server.Do("config", "set", "maxmemory", "1")
	_, next := testTickets.New()
	for name, write := range map[string]func() error{
		"a new grant": func() error {
			_, err := node.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{SKU: "s", UserID: "new"})
			return err
		},
		"a longer grant": func() error {
			_, err := node.UpdateGrant(t.Context(), vendor, store.DefaultList, kept.ID, func(g *store.Grant) error { g.Notes = "new"; return nil })
			return err
		},
		"a new client": func() error {
			_, _, err := node.CreateClient(t.Context(), store.Client{Name: "new", Vendor: vendor, Scopes: []string{"links:*"}})
			return err
		},
		"a login": func() error {
			return node.CreateLoginSession(t.Context(), vendor, loginOf(node.fixture, next, "kim", "sid"), session, 1)
		},
		"a use of a counted link": func() error {
			return node.Redeem(t.Context(), vendor, policy.Redemption{
				Issuer: keys.VendorIssuer(vendor), LinkID: "link", ID: "use", MaxUses: 3, At: node.now(), ExpiresAt: node.now().Add(time.Hour),
			})
		},
	} {
		if err := write(); name != "a use of a counted link" && !errors.Is(err, engine.ErrFull) || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := node.ReadLoginSession(t.Context(), vendor, session); err != nil {
		t.Errorf("a login that was refused ended a session: %v", err)
	}
	for _, thing := range things {
		thing.close(node.fixture)
		if thing.opens(node.fixture) {
			t.Errorf("%s: is open although it was closed", thing.name)
		}
	}
	node.ok(node.EndLoginSession(t.Context(), vendor, session))
}
