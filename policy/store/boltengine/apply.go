package boltengine

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Commit implements engine.Engine. It returns ctx.Err() only when the batch was
// not begun; it waits for a batch that was begun.
//
// Any error other than a *engine.CheckError, a *engine.BoundError,
// engine.ErrTooLarge, engine.ErrClosed or ctx.Err() comes from the disk.
func (e *Engine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return engine.Committed{}, err
	}
	defer e.calls.Leave()
	if err := batch.CheckLimits(partition); err != nil {
		return engine.Committed{}, err
	}
	w := &batchWrite{partition: partition, batch: batch}
	if err := e.submit(ctx, w); err != nil {
		return engine.Committed{}, err
	}
	return w.committed, nil
}

// batchWrite is the write of a batch.
type batchWrite struct {
	partition string
	batch     *engine.Batch
	committed engine.Committed
}

func (w *batchWrite) prepare(tx *bbolt.Tx) (bool, error) {
	data := bucketOf(tx, w.partition, dataBucket)
	for i, check := range w.batch.Checks {
		held, err := holds(data, check)
		if err != nil {
			return false, err
		}
		if !held {
			return false, &engine.CheckError{Index: i}
		}
	}
	counts, replayed, err := countUp(data, w.batch.Counters)
	if err != nil {
		return false, err
	}
	w.committed = engine.Committed{Position: positionOf(tx, w.partition), Counts: counts, Replayed: replayed}
	return w.changes(), nil
}

func holds(data *bbolt.Bucket, check engine.Check) (bool, error) {
	value, err := get(data, check.Key)
	switch {
	case err != nil:
		return false, err
	case check.Present:
		return value != nil, nil
	case check.Value == nil:
		return value == nil, nil
	default:
		return value != nil && bytes.Equal(value, check.Value), nil
	}
}

// countUp returns the new values of the counters, and which were counted before. A
// counter that occurs twice in a batch is counted twice, an idempotency key once.
func countUp(data *bbolt.Bucket, counters []engine.Counter) ([]int64, []bool, error) {
	counts := make([]int64, len(counters))
	replayed := make([]bool, len(counters))
	current := make(map[string]int64, len(counters))
	marked := make(map[string]bool)
	for i, counter := range counters {
		n, known := current[string(counter.Key)]
		if !known {
			var err error
			if n, err = count(data, counter.Key); err != nil {
				return nil, nil, err
			}
		}
		if counter.IdempotencyKey != nil {
			marker, err := get(data, counter.IdempotencyKey)
			if err != nil {
				return nil, nil, err
			}
			if counter.Undo {
				replayed[i] = marker == nil || !bytes.Equal(marker, counter.IdempotencyValue) || n == 0
			} else {
				replayed[i] = marker != nil || marked[string(counter.IdempotencyKey)]
				marked[string(counter.IdempotencyKey)] = true
			}
		}
		switch {
		case replayed[i]:
		case counter.Undo:
			n--
		case counter.Max != 0 && n >= counter.Max:
			return nil, nil, &engine.BoundError{Index: i}
		default:
			n++
		}
		current[string(counter.Key)] = n
	}
	for i, counter := range counters {
		counts[i] = current[string(counter.Key)]
	}
	return counts, replayed, nil
}

// changes reports whether there is anything to write. A batch whose counters were all
// counted before was applied before.
func (w *batchWrite) changes() bool {
	for _, replayed := range w.committed.Replayed {
		if !replayed {
			return true
		}
	}
	if len(w.batch.Counters) > 0 {
		return false
	}
	return len(w.batch.Deletes) > 0 || len(w.batch.Puts) > 0 || w.batch.Event != nil
}

func (w *batchWrite) changed() (string, [][]byte) {
	keys := make([][]byte, 0, 2*len(w.batch.Counters)+len(w.batch.Deletes)+len(w.batch.Puts))
	for i := range w.batch.Counters {
		keys = append(keys, w.batch.Counters[i].Key)
		if marker := w.batch.Counters[i].IdempotencyKey; marker != nil {
			keys = append(keys, marker)
		}
	}
	keys = append(keys, w.batch.Deletes...)
	for i := range w.batch.Puts {
		keys = append(keys, w.batch.Puts[i].Key)
	}
	return w.partition, keys
}

func (w *batchWrite) apply(tx *bbolt.Tx) error {
	p, err := openPartition(tx, w.partition)
	if err != nil {
		return err
	}
	for i, counter := range w.batch.Counters {
		if w.committed.Replayed[i] {
			continue
		}
		if err := p.put(counter.Key, engine.EncodeCounter(w.committed.Counts[i]), counter.Expires); err != nil {
			return err
		}
		if counter.Undo {
			if err := p.remove(counter.IdempotencyKey); err != nil {
				return err
			}
			continue
		}
		if counter.IdempotencyKey == nil {
			continue
		}
		if err := p.put(counter.IdempotencyKey, counter.IdempotencyValue, counter.Expires); err != nil {
			return err
		}
	}
	for _, key := range w.batch.Deletes {
		if err := p.remove(key); err != nil {
			return err
		}
	}
	for _, put := range w.batch.Puts {
		if err := p.put(put.Key, put.Value, put.Expires); err != nil {
			return err
		}
	}
	if w.batch.Event == nil {
		return nil
	}
	w.committed.Position, err = p.appendEvent(w.batch.Event)
	return err
}
