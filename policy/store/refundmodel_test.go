package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// useModel is what a link with a maximum of uses is: each use was counted by one request,
// and is kept as soon as another one found it.
type useModel struct {
	maxUses int64
	revoked bool
	uses    map[string]*countedUse
}

type countedUse struct {
	at   time.Time
	kept bool
}

func (m *useModel) redeem(id string, at time.Time) error {
	use := m.uses[id]
	switch {
	case m.revoked:
		return policy.ErrLinkRevoked
	case use != nil:
		use.kept = true
		return nil
	case int64(len(m.uses)) >= m.maxUses:
		return policy.ErrLinkUsedUp
	}
	m.uses[id] = &countedUse{at: at}
	return nil
}

func (m *useModel) refund(id string, at time.Time) {
	if use := m.uses[id]; use != nil && !use.kept && use.at.Equal(at) {
		delete(m.uses, id)
	}
}

// useRun compares a link with its model.
type useRun struct {
	*fixture
	model *useModel
	link  store.SignedLink
	tried []policy.Redemption
}

var useIDs = []string{"a", "b", "c", "d"}

func (u *useRun) redemption(t *rapid.T) policy.Redemption {
	u.clock = u.clock.Add(time.Millisecond)
	r := policy.Redemption{
		Issuer: u.link.Claims.Issuer, LinkID: u.link.Claims.ID, ID: rapid.SampledFrom(useIDs).Draw(t, "use"),
		MaxUses: u.link.Claims.MaxUses, At: u.clock, ExpiresAt: time.Unix(u.link.Claims.ExpiresAt, 0),
	}
	u.tried = append(u.tried, r)
	return r
}

func (u *useRun) redeem(t *rapid.T) {
	r := u.redemption(t)
	if got, want := u.Redeem(u.Context(), vendor, r), u.model.redeem(r.ID, r.At); !errors.Is(got, want) {
		t.Fatalf("redeeming %s: %v, want %v", r.ID, got, want)
	}
}

// refund takes back a use that was counted, one that was refused, one that was taken back
// before, or one that there never was.
func (u *useRun) refund(t *rapid.T) {
	r := u.redemption(t)
	if i := rapid.IntRange(-1, len(u.tried)-2).Draw(t, "of"); i >= 0 {
		r = u.tried[i]
	}
	u.ok(u.Refund(u.Context(), vendor, r))
	u.model.refund(r.ID, r.At)
}

// race lets requests with one use come at once, some of which are refunded as soon as they
// are counted. One request that gets the page has a use, whatever the order is.
func (u *useRun) race(t *rapid.T) {
	r := u.redemption(t)
	refunded := rapid.SliceOfN(rapid.Bool(), 2, 4).Draw(t, "refunded")
	refundable := u.model.uses[r.ID] == nil || !u.model.uses[r.ID].kept
	results := make([]error, len(refunded))
	var all sync.WaitGroup
	for i, refund := range refunded {
		own := r
		own.At = r.At.Add(time.Duration(i+1) * time.Microsecond)
		all.Go(func() {
			results[i] = u.Redeem(u.Context(), vendor, own)
			if refund && results[i] == nil {
				results[i] = errors.Join(u.Refund(u.Context(), vendor, own), errRefunded)
			}
		})
	}
	all.Wait()
	delivered := false
	for _, err := range results {
		delivered = delivered || err == nil
		if err != nil && !errors.Is(err, errRefunded) && !errors.Is(err, policy.ErrLinkUsedUp) && !errors.Is(err, policy.ErrLinkRevoked) {
			t.Fatalf("in a race: %v", err)
		}
	}
	found := u.found()
	i := slices.Index(useIDs, r.ID)
	counted := !found.IDs[i].At.IsZero()
	switch {
	case delivered && !counted:
		t.Fatalf("a page was delivered by %s, which is not counted: %v", r.ID, results)
	case !refundable && !counted:
		t.Fatalf("%s was kept, and is taken back: %v", r.ID, results)
	case counted: // the order is unknown: continue with what there is
		u.model.uses[r.ID] = &countedUse{at: found.IDs[i].At, kept: found.IDs[i].Kept}
	default:
		delete(u.model.uses, r.ID)
	}
}

var errRefunded = errors.New("it was refunded")

func (u *useRun) found() policy.Uses {
	u.Helper()
	found, err := u.Uses(u.Context(), vendor, u.link.Claims.Issuer, u.link.Claims.ID, useIDs, "")
	u.ok(err)
	return found
}

// check compares what is stored with the model.
func (u *useRun) check(t *rapid.T) {
	found := u.found()
	if found.Count != int64(len(u.model.uses)) || found.Count > u.model.maxUses || found.Revoked != u.model.revoked {
		t.Fatalf("stored are %+v, want %d uses of %d, revoked: %v", found, len(u.model.uses), u.model.maxUses, u.model.revoked)
	}
	for i, id := range useIDs {
		want := u.model.uses[id]
		if want == nil {
			want = new(countedUse)
		}
		if !found.IDs[i].At.Equal(want.at) || found.IDs[i].Kept != want.kept {
			t.Fatalf("the use %s is of %v, kept: %v, want %+v", id, found.IDs[i].At, found.IDs[i].Kept, want)
		}
	}
}

// Random redemptions, refunds and races of them leave what the model says: a refund takes
// back the use that its own redemption counted, once, also after a revocation, unless
// another request got the page with it.
func TestRefundsAreExact(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *fixture{"bolt": newFixture, "redis": onRedis} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			links := 0
			rapid.Check(t, func(rt *rapid.T) {
				links++
				u := &useRun{fixture: b, model: &useModel{maxUses: rapid.Int64Range(1, 4).Draw(rt, "maximum"), uses: map[string]*countedUse{}}}
				u.link = b.link(keys.LinkClaims{SKU: fmt.Sprint(links), MaxUses: u.model.maxUses})
				rt.Repeat(map[string]func(*rapid.T){
					"redeem": u.redeem,
					"refund": u.refund,
					"race":   u.race,
					"revoke": func(t *rapid.T) {
						if !u.model.revoked && rapid.IntRange(0, 5).Draw(t, "once in a while") == 0 {
							_, err := u.RevokeLink(u.Context(), vendor, u.link.Claims.Issuer, u.link.Claims.ID)
							u.ok(err)
							u.model.revoked = true
						}
					},
					"": u.check,
				})
			})
		})
	}
}
