package store

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// GrantQuery selects grants. An empty field selects all.
type GrantQuery struct {
	// List is an access list. Import is an import into it: the grants that it wrote and
	// that are stored.
	List, Import string

	UserID, PublisherUserID, Email string
	PublisherPurchaseID            string
	SKU, Status                    string
	// ExtraFields are fields that the grant has with exactly these values.
	ExtraFields map[string]string
	Created
	// Page continues after a position that FindGrants returned or, within one list or by
	// creation, after the grant of an id.
	Page
}

// selects reports whether a grant matches the query.
func (q *GrantQuery) selects(g *Grant) bool {
	for name, value := range q.ExtraFields {
		if has, ok := g.ExtraFields[name]; !ok || has != value {
			return false
		}
	}
	return (q.List == "" || q.List == g.Source) &&
		(q.UserID == "" || q.UserID == g.UserID) &&
		(q.PublisherUserID == "" || q.PublisherUserID == g.PublisherUserID) &&
		(q.Email == "" || policy.LowerEmail(q.Email) == policy.LowerEmail(g.Email)) &&
		(q.PublisherPurchaseID == "" || q.PublisherPurchaseID == g.PublisherPurchaseID) &&
		(q.SKU == "" || q.SKU == g.SKU) &&
		(q.Status == "" || q.Status == g.Status)
}

// Narrow reports whether the query has a condition besides a status.
func (q *GrantQuery) Narrow() bool {
	return q.List != "" || q.UserID != "" || q.PublisherUserID != "" || q.Email != "" || q.PublisherPurchaseID != "" ||
		q.SKU != "" || len(q.ExtraFields) > 0
}

// FindGrants returns grants of all access lists but removed ones, list by list, in the order of
// their creation, or all by creation if the query says so; those of an import in the order of its rows. More reports that there may be
// further ones: the query continues after next. It reads at most maxSearch grants, and no
// others than those of a reader, a purchase or a sku when the query has one.
//
// It returns ErrNotFound when there is no such list or import.
func (s *Store) FindGrants(ctx context.Context, vendor string, query GrantQuery) (found []Grant, next string, more bool, err error) {
	stored, next, more, err := s.findGrants(ctx, vendor, &query)
	found = make([]Grant, len(stored))
	for i := range stored {
		found[i] = stored[i].grant
	}
	return found, next, more, err
}

// storedGrant is a grant that a query read.
type storedGrant struct {
	candidate
	position string // see GrantQuery.Page
}

func (s *Store) findGrants(ctx context.Context, vendor string, query *GrantQuery) (found []storedGrant, next string, more bool, err error) {
	tag, err := s.importTagOf(ctx, vendor, query)
	if err != nil {
		return nil, "", false, err
	}
	if query.ordered() {
		if tag != "" {
			return nil, "", false, &FieldError{"sort", "and a period do not go with an import, whose grants have the order of its rows"}
		}
		// Without the index the lists are merged, as on a store that takes no writes.
		_ = s.complete(ctx, vendor, &createdIndex)
	}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if query.List != "" {
			if _, _, err := listIn(snapshot, query.List); err != nil {
				return err
			}
		}
		places, err := query.places(snapshot, tag)
		if err != nil {
			return err
		}
		removed, err := removedLists(snapshot)
		if err != nil {
			return err
		}
		read := 0
		for grant, err := range readPlaces(snapshot, places) {
			if err != nil {
				return err
			}
			if grant.stored != nil && query.selects(&grant.grant) && !slices.Contains(removed, grant.grant.Source) {
				found = append(found, grant)
			}
			next, read = grant.position, read+1
			if more = len(found) == query.limit() || read == maxSearch; more {
				return nil
			}
		}
		return nil
	})
	return found, next, more, err
}

// importTagOf returns the tag of the query's import, or "".
func (s *Store) importTagOf(ctx context.Context, vendor string, query *GrantQuery) (string, error) {
	if query.Import == "" {
		return "", nil
	}
	if query.List == "" {
		return "", &FieldError{"list", "is required with an import"}
	}
	known, err := s.GrantImport(ctx, vendor, query.List, query.Import)
	return importTag(query.List, query.Import, known.StartedAt), err
}

// place is where a grant is stored.
type place struct {
	list, id string
	position string
	value    []byte // of the record, nil if it has to be read
}

// places returns the places of all grants that may match, in order.
func (q *GrantQuery) places(snapshot engine.Snapshot, tag string) (iter.Seq2[place, error], error) {
	if tag != "" {
		return q.logged(snapshot, tag)
	}
	if q.ordered() {
		return q.byCreation(snapshot)
	}
	kind, value := "", ""
	for _, at := range [][2]string{
		{indexRowKey, q.PublisherPurchaseID},
		{indexUserID, q.UserID},
		{indexPublisherUserID, q.PublisherUserID},
		{indexEmail, policy.LowerEmail(q.Email)},
		{indexSKU, q.SKU},
	} {
		if kind == "" && at[1] != "" {
			kind, value = at[0], at[1]
		}
	}
	prefix := []byte{prefixGrant}
	if kind == indexSKU || kind == indexRowKey {
		indexed, err := grantIndex.built(snapshot)
		if err != nil {
			return nil, err
		}
		if !indexed {
			kind = ""
		}
	}
	switch kind {
	case "":
	case indexRowKey:
		prefix = indexPrefix(kind, purchaseKey(value))
	default:
		prefix = indexPrefix(kind, value)
	}
	return q.scan(snapshot, prefix, kind == "")
}

// scan returns the places under a prefix, which a list and an id follow.
func (q *GrantQuery) scan(snapshot engine.Snapshot, prefix []byte, records bool) (iter.Seq2[place, error], error) {
	whole, from := len(prefix), strings.ReplaceAll(q.From, "/", "\x00")
	if q.List != "" {
		prefix = append(append(bytes.Clone(prefix), q.List...), 0)
	} else if from != "" && strings.Count(from, "\x00") != 1 {
		return nil, &FieldError{"from", "is not a position of this list"}
	}
	var after []byte
	if from != "" {
		after = append(bytes.Clone(prefix), from...)
	}
	return func(yield func(place, error) bool) {
		for entry, err := range snapshot.Scan(prefix, after) {
			list, id, _ := strings.Cut(string(entry.Key[min(whole, len(entry.Key)):]), "\x00")
			p := place{list: list, id: id, position: id}
			if q.List == "" {
				p.position = list + "/" + id
			}
			if records {
				p.value = entry.Value
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}, nil
}

// logged returns the places that the log of an import has. A position is the number of a
// step and that of a grant in it.
func (q *GrantQuery) logged(snapshot engine.Snapshot, tag string) (iter.Seq2[place, error], error) {
	var step, at uint64
	if q.From != "" {
		first, second, _ := strings.Cut(q.From, ".")
		var err1, err2 error
		step, err1 = strconv.ParseUint(first, 10, 63)
		at, err2 = strconv.ParseUint(second, 10, 63)
		if err1 != nil || err2 != nil {
			return nil, &FieldError{"from", "is not a position of this list"}
		}
		at++
	}
	var after []byte
	if step > 0 {
		after = logKey(q.List, tag, step-1)
	}
	return func(yield func(place, error) bool) {
		for entry, err := range snapshot.Scan(keyPrefix(prefixImportLog, q.List, tag), after) {
			var log importLog
			if err == nil {
				err = decode(entry.Key, entry.Value, &log)
			}
			if err != nil {
				yield(place{}, err)
				return
			}
			for i := min(at, uint64(len(log))); i < uint64(len(log)); i++ {
				position := strconv.FormatUint(step, 10) + "." + strconv.FormatUint(i, 10)
				if !yield(place{list: log[i].List, id: log[i].ID, position: position}, nil) {
					return
				}
			}
			step, at = step+1, 0
		}
	}, nil
}

// prefetchPlaces is how many grants are read in one round trip.
const prefetchPlaces = 100

// readPlaces yields the grants at places. One that is not stored any more has no stored
// bytes.
func readPlaces(snapshot engine.Snapshot, places iter.Seq2[place, error]) iter.Seq2[storedGrant, error] {
	return func(yield func(storedGrant, error) bool) {
		var waiting []place
		flush := func() bool {
			keys := make([][]byte, 0, len(waiting))
			for _, p := range waiting {
				keys = append(keys, key(prefixGrant, p.list, p.id))
			}
			if err := engine.Prefetch(snapshot, keys...); err != nil {
				yield(storedGrant{}, err)
				return false
			}
			for _, p := range waiting {
				if !yield(p.read(snapshot)) {
					return false
				}
			}
			waiting = waiting[:0]
			return true
		}
		for p, err := range places {
			if err != nil {
				yield(storedGrant{}, err)
				return
			}
			if p.value != nil {
				if !yield(p.read(snapshot)) {
					return
				}
				continue
			}
			if waiting = append(waiting, p); len(waiting) == prefetchPlaces && !flush() {
				return
			}
		}
		flush()
	}
}

func (p *place) read(snapshot engine.Snapshot) (storedGrant, error) {
	found := storedGrant{position: p.position}
	k := key(prefixGrant, p.list, p.id)
	if p.value != nil {
		found.stored = slices.Clone(p.value)
		return found, decode(k, found.stored, &found.grant)
	}
	var err error
	found.stored, err = getIn(snapshot, k, &found.grant)
	if errors.Is(err, ErrNotFound) {
		return found, nil
	}
	return found, err
}
