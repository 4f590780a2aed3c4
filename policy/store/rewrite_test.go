package store_test

import (
	"context"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// eventEngine keeps the last event that was committed.
type eventEngine struct {
	engine.Engine
	event []byte
}

func (e *eventEngine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	e.event = batch.Event
	return e.Engine.Commit(ctx, partition, batch)
}

// A store that lost writes may have lost a purge of which only some nodes heard: what makes
// its removals again purges the pages of every node.
func TestRewritePurgesPagesOfAllNodes(t *testing.T) {
	b := newFixture(t)
	events := &eventEngine{Engine: b.engine}
	if _, err := store.New(events, b.versions, b.now).Rewrite(t.Context(), vendor, nil); err != nil {
		t.Fatal(err)
	}
	change, err := policy.DecodeInvalidation(events.event)
	if err != nil || !change.AllPages {
		t.Errorf("the event %q is %+v, %v", events.event, change, err)
	}
}
