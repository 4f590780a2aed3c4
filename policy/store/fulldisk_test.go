package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// reservedEngine has no room but for what takes access away, as a database on a full disk.
type reservedEngine struct {
	engine.Engine
	full bool
}

func (e *reservedEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if e.full && !batch.Closes {
		return engine.Committed{}, fmt.Errorf("writing: %w", engine.ErrFull)
	}
	return e.Engine.Commit(ctx, partition, batch)
}

// The disk is full. An operator can still take a reader's grant, revoke a publisher's link and
// deny a stolen key; new grants and lists, and giving back, are refused.
func TestFullStoreStillTakesAccessAway(t *testing.T) {
	b := newFixture(t)
	disk := &reservedEngine{Engine: b.engine}
	b.Writer = store.New(disk, b.versions, b.now).As(store.Actor{Name: "operator"})
	grant, err := b.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{UserID: "ada", SKU: "premium"})
	b.ok(err)
	kept, err := b.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{UserID: "bea", SKU: "premium"})
	b.ok(err)
	disk.full = true
	if _, err := b.CreateGrant(t.Context(), vendor, store.DefaultList, store.Grant{UserID: "eve", SKU: "premium"}); !errors.Is(err, engine.ErrFull) {
		t.Errorf("a new grant: %v", err)
	}
	b.ok(b.DeleteGrant(t.Context(), vendor, store.DefaultList, grant.ID, nil))
	b.ok(b.RevokePublished(t.Context(), vendor, "news.example", "link_1"))
	if _, err := b.DenyKey(t.Context(), vendor, store.DeniedKey{KeyID: "stolen"}); err != nil {
		t.Errorf("a denied key: %v", err)
	}
	if grants, err := b.ListGrants(t.Context(), vendor, store.DefaultList, store.Page{Limit: 10}); err != nil || len(grants) != 1 || grants[0].ID != kept.ID {
		t.Errorf("the grants are %+v, %v", grants, err)
	}
}
