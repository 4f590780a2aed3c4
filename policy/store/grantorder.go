package store

import (
	"iter"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const grantIDPrefix = "grant_"

// byCreation returns the places of all grants that may match, by creation. A position is the
// id of a grant.
func (q *GrantQuery) byCreation(snapshot engine.Snapshot) (iter.Seq2[place, error], error) {
	if q.From != "" && !IsID(grantIDPrefix, q.From) {
		return nil, &FieldError{"from", "is not a position of this list"}
	}
	ids := q.ids(grantIDPrefix, q.From)
	built, err := createdIndex.built(snapshot)
	if err != nil {
		return nil, err
	}
	for _, of := range [][2]string{
		{indexRowKey, q.PublisherPurchaseID}, {indexUserID, q.UserID}, {indexPublisherUserID, q.PublisherUserID}, {indexEmail, policy.LowerEmail(q.Email)},
	} {
		if of[1] == "" {
			continue
		}
		if of[0] == indexRowKey {
			if of[1] = purchaseKey(of[1]); !built {
				continue
			}
		}
		if few, err := q.few(snapshot, &ids, indexPrefix(of[0], of[1])); err != nil || few != nil {
			return few, err
		}
		// The grants of one reader are few. If they are not, all are read.
		break
	}
	prefix, records, ofList := indexPrefix(indexCreated, ""), false, false
	switch {
	case !built && q.List == "":
		return mergeLists(snapshot, &ids), nil
	case built && q.SKU != "" && q.List != "":
		prefix, ofList = append(append(indexPrefix(indexSKU, q.SKU), q.List...), 0), true
	case q.SKU != "" && q.List == "":
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

// mergeLists returns the places of the grants of all lists by creation, from their records: what
// the index by creation has, as long as it is not complete.
func mergeLists(snapshot engine.Snapshot, ids *idRange) iter.Seq2[place, error] {
	type head struct {
		place
		next func() (engine.Entry, error, bool)
	}
	return func(yield func(place, error) bool) {
		var heads []*head
		// advance moves a head to the next grant of its list. It reports false at the end.
		advance := func(h *head) (bool, error) {
			entry, err, ok := h.next()
			if !ok || err != nil {
				return false, err
			}
			h.id = string(entry.Key[1+len(h.list)+1:])
			h.position, h.value = h.id, entry.Value
			return true, nil
		}
		lists, err := grantLists(snapshot)
		for i := 0; err == nil && i < len(lists); i++ {
			next, stop := iter.Pull2(ids.scan(snapshot, keyPrefix(prefixGrant, lists[i])))
			defer stop()
			h := &head{place: place{list: lists[i]}, next: next}
			var ok bool
			if ok, err = advance(h); ok {
				heads = append(heads, h)
			}
		}
		for err == nil && len(heads) > 0 {
			first := 0
			for i, h := range heads {
				if (h.id < heads[first].id) != ids.newest && h.id != heads[first].id {
					first = i
				}
			}
			if !yield(heads[first].place, nil) {
				return
			}
			var ok bool
			if ok, err = advance(heads[first]); !ok {
				heads = slices.Delete(heads, first, first+1)
			}
		}
		if err != nil {
			yield(place{}, err)
		}
	}
}

// grantLists returns the lists that have grants, with one read for each.
func grantLists(snapshot engine.Snapshot) (lists []string, err error) {
	var after []byte
	for found := true; found; {
		found = false
		for entry, err := range snapshot.Scan([]byte{prefixGrant}, after) {
			if err != nil {
				return nil, err
			}
			list, _, _ := strings.Cut(string(entry.Key[1:]), "\x00")
			lists, found = append(lists, list), true
			after = key(prefixGrant, list+"\x01") // after all grants of the list
			break
		}
	}
	return lists, nil
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
