package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Events are made in the batch that changes the records (a transactional outbox): Writer
// adds one entry to the queue of each endpoint that wants an event, so that an event is
// durable exactly if its change is. The audit log is no source of them: it cuts long
// records and lists, and has no secrets to decide by.
//
// A batch reads which endpoints its vendor has, and checks that this is still so when it
// is committed. A batch of many changes, as of an import, makes one event for hundreds of
// records, which has their names only: a million imported rows are about 2,000 requests,
// and less than a tenth of the records' own size.

// Bounds of the events of one batch.
const (
	// maxBatchEvents is the number of changed records that have an event each.
	maxBatchEvents = 20
	// maxBulkNames bounds the records that one bulk event names.
	maxBulkNames = 500
	// maxEventSize bounds the body of an event, in bytes: a larger one has the name only.
	maxEventSize = 64 << 10
)

// eventChange is one changed record of a batch.
type eventChange struct {
	kind          eventKind
	verb          string
	name          []string
	before, after []byte
}

// event is an event of a batch.
type event struct {
	Type string
	Body []byte
}

// route is which endpoints of a vendor want which events.
type route struct {
	Endpoints []routeEndpoint `json:"endpoints"`
}

type routeEndpoint struct {
	ID    string   `json:"id"`
	Types []string `json:"types,omitempty"`
}

// eventsAttempts bounds the attempts to commit a batch while endpoints are changed.
const eventsAttempts = 20

// commitWithEvents commits a batch with the events of its changes.
func (w Writer) commitWithEvents(ctx context.Context, partition string, batch *engine.Batch, stored map[string][]byte, commit func() error) error {
	changes, err := changesOf(batch, stored)
	if err != nil || len(changes) == 0 {
		if err == nil {
			err = commit()
		}
		return err
	}
	checks, puts := len(batch.Checks), len(batch.Puts)
	for range eventsAttempts {
		if err := w.queueEvents(ctx, partition, batch, changes); err != nil {
			return err
		}
		queued := len(batch.Puts) > puts
		err := commit()
		if failed, ok := errors.AsType[*engine.CheckError](err); ok && failed.Index == checks {
			batch.Checks, batch.Puts = batch.Checks[:checks], batch.Puts[:puts]
			continue
		}
		if queued {
			w.waiting.add(partition)
		}
		return err
	}
	return ErrConflict
}

// changesOf returns the changes of a batch that are events.
func changesOf(batch *engine.Batch, stored map[string][]byte) ([]eventChange, error) {
	var changes []eventChange
	var held map[string][]byte
	add := func(k, after []byte) error {
		kind, ok := eventKinds[k[0]]
		if !ok {
			return nil
		}
		if held == nil {
			held = make(map[string][]byte, len(batch.Checks))
			for _, check := range batch.Checks {
				held[string(check.Key)] = check.Value
			}
		}
		change := eventChange{kind: kind, name: eventName(k), before: held[string(k)], after: after}
		if before, ok := stored[string(k)]; ok {
			change.before = before
		}
		var err error
		if change.verb, err = kind.verb(change.before, after); err != nil {
			return fmt.Errorf("the record %q cannot be read for its event: %w", k, err)
		}
		if change.verb != "" {
			changes = append(changes, change)
		}
		return nil
	}
	for _, put := range batch.Puts {
		if err := add(put.Key, put.Value); err != nil {
			return nil, err
		}
	}
	for _, k := range batch.Deletes {
		if err := add(k, nil); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// queueEvents adds the events of changes to the queues of the endpoints that want them,
// and the check that these are the endpoints.
func (w Writer) queueEvents(ctx context.Context, partition string, batch *engine.Batch, changes []eventChange) error {
	var to route
	check := engine.Check{Key: []byte{prefixRoute}}
	var events []event
	err := w.engine.View(ctx, partition, func(snapshot engine.Snapshot) error {
		stored, err := getIn(snapshot, check.Key, &to)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		check.Value = stored
		if len(to.Endpoints) == 0 {
			return nil
		}
		events, err = w.eventsOf(&eventReader{snapshot, partition, batch}, changes)
		return err
	})
	if err != nil {
		return err
	}
	batch.Checks = append(batch.Checks, check)
	for _, e := range events {
		id := newID(eventPrefix, w.now())
		for _, endpoint := range to.Endpoints {
			if endpoint.wants(e.Type) {
				put, err := (&Delivery{ID: id, Type: e.Type, At: w.timestamp(), Body: e.Body}).waitingPut(endpoint.ID, w.now())
				if err != nil {
					return err
				}
				batch.Puts = append(batch.Puts, put)
			}
		}
	}
	return nil
}

// eventPrefix begins the ids of events. An id has no full stop, which separates what is
// signed.
const eventPrefix = "evt_"

// wants reports whether an endpoint wants events of a type. A bulk event is wanted by
// everyone who wants an event of its kind.
func (e *routeEndpoint) wants(eventType string) bool {
	if len(e.Types) == 0 || slices.Contains(e.Types, eventType) {
		return true
	}
	kind, verb, _ := strings.Cut(eventType, ".")
	return slices.ContainsFunc(e.Types, func(wanted string) bool {
		wantedKind, wantedVerb, _ := strings.Cut(wanted, ".")
		return wantedKind == kind && (verb == verbBulk || wantedVerb == "*")
	})
}

// eventBody is the body of an event.
type eventBody struct {
	Type      string         `json:"type"`
	Timestamp time.Time      `json:"timestamp"`
	Data      map[string]any `json:"data"`
}

func (w Writer) newEvent(eventType string, data map[string]any) (event, error) {
	body, err := json.Marshal(eventBody{eventType, w.timestamp(), data})
	return event{eventType, body}, err
}

// eventsOf returns the events of changes.
func (w Writer) eventsOf(r *eventReader, changes []eventChange) ([]event, error) {
	if len(changes) > maxBatchEvents {
		return w.bulkEvents(changes)
	}
	events := make([]event, 0, len(changes))
	for _, change := range changes {
		record := change.after
		if record == nil {
			record = change.before
		}
		data := map[string]any{}
		if record != nil {
			var err error
			if data, err = change.kind.show(r, record); err != nil {
				return nil, err
			}
		}
		data["name"] = change.name
		made, err := w.newEvent(change.kind.name+"."+change.verb, data)
		if err == nil && len(made.Body) > maxEventSize {
			made, err = w.newEvent(made.Type, map[string]any{"name": change.name, "truncated": true})
		}
		if err != nil {
			return nil, err
		}
		events = append(events, made)
	}
	return events, nil
}

// bulkEvents returns events that name the records of many changes.
func (w Writer) bulkEvents(changes []eventChange) ([]event, error) {
	var events []event
	for _, name := range wantedKinds() {
		var of []eventChange
		for _, change := range changes {
			if change.kind.name == name {
				of = append(of, change)
			}
		}
		for page := range slices.Chunk(of, maxBulkNames) {
			names := map[string][][]string{}
			for _, change := range page {
				names[change.verb] = append(names[change.verb], change.name)
			}
			made, err := w.newEvent(name+"."+verbBulk, map[string]any{"count": len(page), "names": names})
			if err != nil {
				return nil, err
			}
			events = append(events, made)
		}
	}
	return events, nil
}
