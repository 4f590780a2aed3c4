package boltengine

import (
	"bytes"
	"context"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// trimEvery is the number of events between two trims of a feed, which is at most this
// much longer than engine.FeedLength.
const trimEvery = 256

func positionKey(position uint64) []byte {
	return binary.BigEndian.AppendUint64(nil, position)
}

// positionOf returns the position of a partition's newest event.
func positionOf(tx *bbolt.Tx, partition string) uint64 {
	feed := bucketOf(tx, partition, feedBucket)
	if feed == nil {
		return 0
	}
	// The sequence of a bucket never decreases, even when events are trimmed.
	return feed.Sequence()
}

// appendEvent adds an event to the feed and returns its position.
func (p partition) appendEvent(payload []byte) (uint64, error) {
	position, err := p.feed.NextSequence()
	if err != nil {
		return 0, err
	}
	if err := p.feed.Put(positionKey(position), payload); err != nil {
		return 0, err
	}
	if position%trimEvery != 0 || position <= engine.FeedLength {
		return position, nil
	}
	return position, p.trim(position - engine.FeedLength)
}

// trim drops the events up to a position.
func (p partition) trim(last uint64) error {
	oldest, _ := p.feed.Cursor().First()
	if oldest == nil {
		return nil
	}
	// Positions have no gaps, so this needs no cursor, which a change could move.
	for position := binary.BigEndian.Uint64(oldest); position <= last; position++ {
		if err := p.feed.Delete(positionKey(position)); err != nil {
			return err
		}
	}
	return nil
}

// Events implements engine.Engine. It returns at most engine.FeedLength events at
// a time, whatever the limit.
func (e *Engine) Events(ctx context.Context, partition string, after uint64, limit int) ([]engine.Event, error) {
	var events []engine.Event
	err := e.read(ctx, func(tx *bbolt.Tx) (err error) {
		defer guard(&err)
		newest := positionOf(tx, partition)
		if after > newest {
			return engine.ErrFeedGap
		}
		if after == newest {
			return nil
		}
		cursor := bucketOf(tx, partition, feedBucket).Cursor()
		first, payload := cursor.Seek(positionKey(after + 1))
		if !bytes.Equal(first, positionKey(after+1)) {
			return engine.ErrFeedGap
		}
		for key := first; key != nil && len(events) < min(limit, engine.FeedLength); key, payload = cursor.Next() {
			events = append(events, engine.Event{
				Position: binary.BigEndian.Uint64(key),
				Payload:  append([]byte{}, payload...),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// Position implements engine.Engine.
func (e *Engine) Position(ctx context.Context, partition string) (uint64, error) {
	var position uint64
	err := e.read(ctx, func(tx *bbolt.Tx) (err error) {
		defer guard(&err)
		position = positionOf(tx, partition)
		return nil
	})
	return position, err
}
