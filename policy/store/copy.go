package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// CopyOptions say how Copy goes about it.
type CopyOptions struct {
	// Replace removes from the target what the source does not have. Without it the
	// target must hold nothing else.
	Replace bool
	// Progress is told after each page how many entries were looked at, and how many
	// had to be written. Nil: nobody is.
	Progress func(partition string, seen, written int64)
}

// Copied is what Copy did.
type Copied struct {
	Partitions int
	Entries    int64
	Written    int64
	Removed    int64
	Digest     string // SHA-256 over all entries, in order, in hexadecimal
}

const (
	copyPage  = 500
	copyBytes = 4 << 20
)

// Copy makes the target hold what the source holds. What the target has already is
// left as it is, so a copy that was broken off goes on when it is begun again. It
// ends with a comparison of all entries of both; an error there means that one of
// them was written meanwhile: stop the servers, and copy again.
//
// The change feed is not copied: a node that is given another store begins anew.
func Copy(ctx context.Context, from, to engine.Dumper, options CopyOptions) (Copied, error) {
	var copied Copied
	partitions, err := from.Partitions(ctx)
	if err != nil {
		return copied, fmt.Errorf("reading the source: %w", err)
	}
	if err := copied.checkTarget(ctx, to, partitions, options); err != nil {
		return copied, err
	}
	for _, partition := range partitions {
		if err := copied.partition(ctx, from, to, partition, options); err != nil {
			return copied, fmt.Errorf("partition %s: %w", partition, err)
		}
	}
	copied.Partitions = len(partitions)
	source, n, err := Digest(ctx, from)
	if err != nil {
		return copied, fmt.Errorf("reading the source again: %w", err)
	}
	target, m, err := Digest(ctx, to)
	if err != nil {
		return copied, fmt.Errorf("reading the target again: %w", err)
	}
	copied.Entries, copied.Digest = m, target
	if source != target || n != m {
		return copied, fmt.Errorf("the copy is not what the source is (%d entries, and %d): one of them was written meanwhile; stop the servers and copy again", n, m)
	}
	return copied, nil
}

// checkTarget refuses a target that has partitions of its own.
func (c *Copied) checkTarget(ctx context.Context, to engine.Dumper, partitions []string, options CopyOptions) error {
	there, err := to.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("reading the target: %w", err)
	}
	for _, partition := range there {
		if slices.Contains(partitions, partition) {
			continue
		}
		entries, err := to.Dump(ctx, partition, nil, copyPage)
		if err != nil {
			return fmt.Errorf("reading the target: %w", err)
		}
		if len(entries) > 0 && !options.Replace {
			return fmt.Errorf("%w: the vendor %s", errOtherRecords, partition)
		}
		for len(entries) > 0 {
			batch := new(engine.Batch)
			for _, entry := range entries {
				batch.Deletes = append(batch.Deletes, entry.Key)
			}
			if _, err := to.Commit(ctx, partition, batch); err != nil {
				return err
			}
			c.Removed += int64(len(entries))
			if entries, err = to.Dump(ctx, partition, nil, copyPage); err != nil {
				return err
			}
		}
	}
	return nil
}

var errOtherRecords = errors.New("the target holds records that the source does not have: choose an empty one, or replace what is there")

// partition copies one partition, by walking through both in the order of keys.
func (c *Copied) partition(ctx context.Context, from, to engine.Dumper, partition string, options CopyOptions) error {
	var after []byte
	var seen, written int64
	for {
		wanted, err := from.Dump(ctx, partition, after, copyPage)
		if err != nil {
			return err
		}
		last := len(wanted) < copyPage
		var end []byte
		if !last {
			end = wanted[len(wanted)-1].Key
		}
		there, err := dumpTo(ctx, to, partition, after, end)
		if err != nil {
			return err
		}
		batches, removed := difference(wanted, there)
		if removed > 0 && !options.Replace {
			return errOtherRecords
		}
		for _, batch := range batches {
			if _, err := to.Commit(ctx, partition, batch); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
			written += int64(len(batch.Puts))
		}
		seen += int64(len(wanted))
		c.Removed += int64(removed)
		if options.Progress != nil {
			options.Progress(partition, seen, written)
		}
		if last {
			c.Written += written
			return nil
		}
		after = end
	}
}

// dumpTo returns the entries behind after, up to end and with it; nil is no end.
func dumpTo(ctx context.Context, dumper engine.Dumper, partition string, after, end []byte) ([]engine.Put, error) {
	var all []engine.Put
	for {
		page, err := dumper.Dump(ctx, partition, after, copyPage)
		if err != nil {
			return nil, err
		}
		for _, entry := range page {
			if end != nil && bytes.Compare(entry.Key, end) > 0 {
				return all, nil
			}
			all = append(all, entry)
		}
		if len(page) < copyPage {
			return all, nil
		}
		after = page[len(page)-1].Key
	}
}

// difference returns what must be written so that what is there becomes what is
// wanted, and how many entries that removes.
func difference(wanted, there []engine.Put) (batches []*engine.Batch, removed int) {
	batch, size := new(engine.Batch), 0
	known := make(map[string]engine.Put, len(there))
	for _, entry := range there {
		known[string(entry.Key)] = entry
	}
	for _, entry := range wanted {
		old, ok := known[string(entry.Key)]
		delete(known, string(entry.Key))
		if ok && bytes.Equal(old.Value, entry.Value) && expiryMilli(old) == expiryMilli(entry) {
			continue
		}
		batch.Puts = append(batch.Puts, entry)
		if size += len(entry.Key) + len(entry.Value); size >= copyBytes {
			batches, batch, size = append(batches, batch), new(engine.Batch), 0
		}
	}
	for key := range known {
		batch.Deletes = append(batch.Deletes, []byte(key))
		removed++
	}
	if len(batch.Puts)+len(batch.Deletes) > 0 {
		batches = append(batches, batch)
	}
	return batches, removed
}

// Digest returns a SHA-256 over all entries of an engine, in order, and how many
// there are. Engines that hold the same have the same, whatever they are.
func Digest(ctx context.Context, backend engine.Dumper) (digest string, entries int64, err error) {
	partitions, err := backend.Partitions(ctx)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	for _, partition := range partitions {
		var after []byte
		for {
			page, err := backend.Dump(ctx, partition, after, copyPage)
			if err != nil {
				return "", 0, err
			}
			for _, entry := range page {
				hashEntry(sum, partition, entry)
				entries++
			}
			if len(page) < copyPage {
				break
			}
			after = page[len(page)-1].Key
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), entries, nil
}

// hashEntry adds an entry, each of its parts with its length.
func hashEntry(sum hash.Hash, partition string, entry engine.Put) {
	var numbers [8]byte
	for _, part := range [][]byte{[]byte(partition), entry.Key, entry.Value} {
		binary.BigEndian.PutUint64(numbers[:], uint64(len(part)))
		_, _ = sum.Write(numbers[:]) // never fails, see hash.Hash
		_, _ = sum.Write(part)
	}
	binary.BigEndian.PutUint64(numbers[:], uint64(expiryMilli(entry)))
	_, _ = sum.Write(numbers[:])
}

// expiryMilli returns when an entry expires, in Unix milliseconds, zero for never. No
// two engines can hold different moments after the last one that all can.
func expiryMilli(entry engine.Put) int64 {
	const last = math.MaxInt64 / 1_000_000
	if entry.Expires.IsZero() {
		return 0
	}
	return min(max(entry.Expires.UnixMilli(), 1), last)
}
