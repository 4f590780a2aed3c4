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

// CopyOptions are the options of Copy.
type CopyOptions struct {
	// Replace removes entries of the target that the source does not have. Without
	// Replace they are an error.
	Replace bool
	// Progress is called after each page with the number of entries read and written.
	// Optional.
	Progress func(partition string, seen, written int64)
}

// Copied is the result of Copy.
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

// Copy copies all entries of the source to the target. It skips entries that the target
// has, so that an interrupted copy can be repeated. At the end it compares all entries;
// an error of that means that one of the stores was written during the copy: stop the
// servers, and copy again.
//
// The change feed is not copied: nodes that use the target start with empty caches.
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
		return copied, fmt.Errorf("the copy differs from the source (%d entries, and %d): one of them was written during the copy; stop the servers and copy again", n, m)
	}
	return copied, nil
}

// checkTarget removes, or refuses, partitions that only the target has.
func (c *Copied) checkTarget(ctx context.Context, to engine.Dumper, partitions []string, options CopyOptions) error {
	existing, err := to.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("reading the target: %w", err)
	}
	for _, partition := range existing {
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

var errOtherRecords = errors.New("the target has records that the source does not have: choose an empty target, or replace its records")

// partition copies one partition, page by page in the order of keys.
func (c *Copied) partition(ctx context.Context, from, to engine.Dumper, partition string, options CopyOptions) error {
	var after []byte
	var seen, written int64
	for {
		page, err := from.Dump(ctx, partition, after, copyPage)
		if err != nil {
			return err
		}
		last := len(page) < copyPage
		var end []byte
		if !last {
			end = page[len(page)-1].Key
		}
		existing, err := dumpTo(ctx, to, partition, after, end)
		if err != nil {
			return err
		}
		batches, removed := difference(page, existing)
		if removed > 0 && !options.Replace {
			return errOtherRecords
		}
		for _, batch := range batches {
			if _, err := to.Commit(ctx, partition, batch); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
			written += int64(len(batch.Puts))
		}
		seen += int64(len(page))
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

// dumpTo returns the entries after a key, up to and including end; nil is no end.
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

// difference returns the batches that turn the target's entries into the source's, and
// how many entries they remove.
func difference(source, target []engine.Put) (batches []*engine.Batch, removed int) {
	batch, size := new(engine.Batch), 0
	known := make(map[string]engine.Put, len(target))
	for _, entry := range target {
		known[string(entry.Key)] = entry
	}
	for _, entry := range source {
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

// Digest returns a SHA-256 over all entries of an engine, in hexadecimal, and their
// number. It does not depend on the kind of engine.
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

// hashEntry hashes an entry, each part with its length.
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

// expiryMilli returns when an entry expires, in Unix milliseconds, zero for never, and
// at most the last time that all engines can store.
func expiryMilli(entry engine.Put) int64 {
	const last = math.MaxInt64 / 1_000_000
	if entry.Expires.IsZero() {
		return 0
	}
	return min(max(entry.Expires.UnixMilli(), 1), last)
}
