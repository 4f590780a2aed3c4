package store

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const grantIDPrefix = "grant_"

// buildForOrder builds the index that a query by creation reads, of a database of an earlier
// version.
func (s *Store) buildForOrder(ctx context.Context, vendor string, q *GrantQuery) error {
	if q.PublisherPurchaseID != "" || q.List != "" && q.SKU != "" {
		if err := s.build(ctx, vendor, &grantIndex); err != nil {
			return err
		}
	}
	if q.List != "" {
		return nil
	}
	return s.build(ctx, vendor, &createdIndex)
}

// byCreation returns the places of all grants that may match, by creation. A position is the
// id of a grant.
func (q *GrantQuery) byCreation(snapshot engine.Snapshot) (iter.Seq2[place, error], error) {
	if q.From != "" && !IsID(grantIDPrefix, q.From) {
		return nil, &FieldError{"from", "is not a position of this list"}
	}
	ids := q.ids(grantIDPrefix, q.From)
	for _, of := range [][2]string{
		{indexRowKey, q.PublisherPurchaseID}, {indexUserID, q.UserID}, {indexPublisherUserID, q.PublisherUserID}, {indexEmail, policy.LowerEmail(q.Email)},
	} {
		if of[1] == "" {
			continue
		}
		if of[0] == indexRowKey {
			of[1] = purchaseKey(of[1])
		}
		if few, err := q.few(snapshot, &ids, indexPrefix(of[0], of[1])); err != nil || few != nil {
			return few, err
		}
		// The grants of one reader are few. If they are not, all are read.
		break
	}
	prefix, records, ofList := indexPrefix(indexCreated, ""), false, false
	switch {
	case q.SKU != "" && q.List != "":
		prefix, ofList = append(append(indexPrefix(indexSKU, q.SKU), q.List...), 0), true
	case q.SKU != "":
		prefix = indexPrefix(indexSKUCreated, q.SKU)
	case q.List != "":
		prefix, ofList, records = keyPrefix(prefixGrant, q.List), true, true
	}
	return func(yield func(place, error) bool) {
		for entry, err := range ids.scan(snapshot, prefix) {
			at := place{list: q.List}
			if err == nil {
				if at.id = string(entry.Key[len(prefix):]); !ofList {
					at.id, at.list, _ = strings.Cut(at.id, "\x00")
				}
			}
			if at.position = at.id; records {
				at.value = entry.Value
			}
			if !yield(at, err) || err != nil {
				return
			}
		}
	}, nil
}

// few returns the places of the grants under a prefix of the index of grants by creation, or
// nil if they are more than one search reads.
func (q *GrantQuery) few(snapshot engine.Snapshot, ids *idRange, prefix []byte) (iter.Seq2[place, error], error) {
	whole := len(prefix)
	if q.List != "" {
		prefix = append(append(slices.Clip(prefix), q.List...), 0)
	}
	var places []place
	read := 0
	for entry, err := range snapshot.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		if read++; read > maxSearch {
			return nil, nil
		}
		list, id, _ := strings.Cut(string(entry.Key[whole:]), "\x00")
		if ids.holds(id) {
			places = append(places, place{list: list, id: id, position: id})
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		if ids.newest {
			a, b = b, a
		}
		return strings.Compare(a.id, b.id)
	})
	return func(yield func(place, error) bool) {
		for _, at := range places {
			if !yield(at, nil) {
				return
			}
		}
	}, nil
}
