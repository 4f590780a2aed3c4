package store

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// The entries of a link in the index take longer to write than its record. So a link is
// created without them, and a step in the background adds those of many links at once, in the
// order of their ids, up to the frontier. A search reads the index up to the frontier, and the
// records of the links after it.
//
// A step first moves the end of the frontier, and then reads the links before it. Creating a
// link checks the frontier in its commit: either the step sees the link, or the creation sees
// the moved end, and writes the entries of a link with a lower id itself. So no link is missed,
// whatever the clocks of the nodes show.

// linkFrontier is how far the vendor's own links are in their index.
type linkFrontier struct {
	// Through is an id: the index has all links with ids up to it.
	Through string `json:"through,omitempty"`
	// End is the id up to which a step goes on, Through if there is none. Links with ids up to
	// it are created with their entries.
	End string `json:"end,omitempty"`
}

// linkFrontierKey has the linkFrontier of a vendor.
var linkFrontierKey = []byte{prefixLinkIndex}

// linkFrontierIn returns a vendor's frontier and its stored bytes, nil for none.
func linkFrontierIn(snapshot engine.Snapshot) (front linkFrontier, stored []byte, err error) {
	stored, err = getIn(snapshot, linkFrontierKey, &front)
	if errors.Is(err, ErrNotFound) {
		return front, nil, nil
	}
	return front, stored, err
}

func (s *Store) linkFrontier(ctx context.Context, vendor string) (front linkFrontier, stored []byte, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		front, stored, err = linkFrontierIn(snapshot)
		return err
	})
	return front, stored, err
}

// extendLinkIndex is one step. It reports whether the index has all links, and returns
// ErrConflict when another node makes the step.
func (s *Store) extendLinkIndex(ctx context.Context, vendor string) (done bool, err error) {
	front, stored, err := s.linkFrontier(ctx, vendor)
	if err != nil {
		return false, err
	}
	prefix := keyPrefix(prefixLink, keys.VendorIssuer(vendor))
	if front.End == front.Through {
		if front.End, err = s.linkStepEnd(ctx, vendor, prefix, front.Through); err != nil || front.End == front.Through {
			return err == nil, err
		}
		batch := &engine.Batch{Checks: []engine.Check{{Key: linkFrontierKey, Value: stored}}}
		if stored, err = s.commitFrontier(ctx, vendor, batch, front); err != nil {
			return false, err
		}
	}
	batch := &engine.Batch{Checks: []engine.Check{{Key: linkFrontierKey, Value: stored}}}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan(prefix, afterLink(prefix, front.Through)) {
			if err != nil || string(entry.Key[len(prefix):]) > front.End {
				return err
			}
			puts, err := linkEntries(entry.Key, entry.Value)
			if err != nil {
				return err
			}
			// An erasure at the same time must not be followed by entries that name the reader.
			batch.Checks = append(batch.Checks, engine.Check{Key: bytes.Clone(entry.Key), Value: bytes.Clone(entry.Value)})
			batch.Puts = append(batch.Puts, puts...)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	front.Through = front.End
	_, err = s.commitFrontier(ctx, vendor, batch, front)
	return false, err
}

// linkStepEnd returns the id of the last link of a step, that of the link before if there is
// none.
func (s *Store) linkStepEnd(ctx context.Context, vendor string, prefix []byte, through string) (end string, err error) {
	end = through
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		read := 0
		for entry, err := range snapshot.Scan(prefix, afterLink(prefix, through)) {
			if err != nil {
				return err
			}
			end = string(entry.Key[len(prefix):])
			if read++; read == indexStep {
				return nil
			}
		}
		return nil
	})
	return end, err
}

// afterLink returns the key after which the links after an id are scanned.
func afterLink(prefix []byte, id string) []byte {
	if id == "" {
		return nil
	}
	return append(bytes.Clone(prefix), id...)
}

// commitFrontier commits a batch with the frontier, and returns its stored bytes. No cache
// depends on the index: there is no event.
func (s *Store) commitFrontier(ctx context.Context, vendor string, batch *engine.Batch, front linkFrontier) ([]byte, error) {
	stored, err := encode(front)
	if err != nil {
		return nil, err
	}
	batch.Puts = append(batch.Puts, engine.Put{Key: linkFrontierKey, Value: stored})
	_, err = s.engine.Commit(ctx, vendor, batch)
	return stored, conflict(err)
}

// indexed returns the prefix of the part of the index with the fewest links that may match,
// nil for none.
func (q *LinkQuery) indexed() []byte {
	url := q.URL
	if strings.HasSuffix(url, "*") {
		url = "" // the beginning of many
	}
	for _, of := range [][2]string{
		{linkOfUser, q.UserID}, {linkOfURL, urlHash(url)}, {linkOfContent, q.PublisherContentID},
	} {
		if of[1] != "" {
			return linkPrefix(of[0], of[1])
		}
	}
	return nil
}
