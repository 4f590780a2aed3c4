package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	// maxSameKey bounds the grants of a list with the key of one row, and
	// maxCandidates those with the keys of a batch's rows.
	maxSameKey    = 1000
	maxCandidates = 50_000
)

// importTag identifies an import in the grants that it wrote. An id that is used again,
// after the earlier import expired, has another tag.
func importTag(list, id string, startedAt time.Time) string {
	digest := sha256.Sum256(key(0, list, id, strconv.FormatInt(startedAt.UnixMilli(), 10)))
	return hex.EncodeToString(digest[:8])
}

// importPlan is what one batch of an import does. Rows and grants with the same key are
// paired: equal ones first, then in the order of rows and of creation. So a file may have
// several rows with one key, and importing it again changes nothing.
type importPlan struct {
	batch  *ImportBatch
	list   string
	now    time.Time
	errors []RowError
	// known is the progress of the import, stored its bytes, and tag its tag; they are
	// zero in a dry run.
	known  Import
	stored []byte
	tag    string

	turn   []byte          // the stored value of the list's turn
	open   map[string]bool // whether imports are not finished, by tag
	keys   []string
	found  map[string][]*candidate // by row key, those that no earlier batch used
	result ImportResult
}

// candidate is a grant with the key of a row.
type candidate struct {
	grant  Grant
	stored []byte
	row    int // that uses it, -1 for none
	same   bool
}

// valid yields the rows without errors.
func (p *importPlan) valid(yield func(int, *ImportRow) bool) {
	errors := p.errors
	for i := range p.batch.Rows {
		if len(errors) > 0 && errors[0].Row == i {
			errors = errors[1:]
		} else if !yield(i, &p.batch.Rows[i]) {
			return
		}
	}
}

// read reads the grants with the keys of the rows.
func (p *importPlan) read(snapshot engine.Snapshot) error {
	if _, _, err := listIn(snapshot, p.list); err != nil {
		return err
	}
	turn, err := snapshot.Get(key(prefixImportTurn, p.list))
	if err != nil {
		return err
	}
	if turn != nil {
		p.turn = bytes.Clone(turn)
	}
	p.keys, p.found, p.open = make([]string, len(p.batch.Rows)), make(map[string][]*candidate), make(map[string]bool)
	seen := make(map[string]bool, len(p.batch.Rows))
	var prefixes [][]byte
	for i, row := range p.valid {
		p.keys[i] = row.Grant.rowKey()
		if !seen[p.keys[i]] {
			seen[p.keys[i]] = true
			prefixes = append(prefixes, keyPrefix(prefixIndex, indexRowKey+p.keys[i], p.list))
		}
	}
	ids, err := candidateIDs(snapshot, prefixes)
	if err != nil {
		return err
	}
	return p.readCandidates(snapshot, ids)
}

// candidateIDs returns the ids of grants in ranges of the index.
func candidateIDs(snapshot engine.Snapshot, prefixes [][]byte) (ids []string, err error) {
	if err := engine.PrefetchRanges(snapshot, prefixes...); err != nil {
		return nil, err
	}
	for _, prefix := range prefixes {
		same := 0
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return nil, err
			}
			ids = append(ids, string(entry.Key[len(prefix):]))
			if same++; same > maxSameKey || len(ids) > maxCandidates {
				return nil, &FieldError{"grants", fmt.Sprintf("have keys that too many grants of the list have (more than %d the same one): give the rows a publisherPurchaseId, or send fewer in one batch", maxSameKey)}
			}
		}
	}
	return ids, nil
}

// readCandidates reads grants that the index names, except for those that this import
// has used, and for those that have no such key any more.
func (p *importPlan) readCandidates(snapshot engine.Snapshot, ids []string) error {
	keys := make([][]byte, 0, 2*len(ids))
	for _, id := range ids {
		keys = append(keys, key(prefixGrant, p.list, id), p.mark(p.tag, id))
	}
	if err := engine.Prefetch(snapshot, keys...); err != nil {
		return err
	}
	wanted := make(map[string]bool, len(p.keys))
	for _, k := range p.keys {
		wanted[k] = true
	}
	for _, id := range ids {
		c := &candidate{row: -1}
		var err error
		if c.stored, err = getIn(snapshot, key(prefixGrant, p.list, id), &c.grant); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		if err := p.readOpen(snapshot, c.grant.Import); err != nil {
			return err
		}
		used, err := p.used(snapshot, &c.grant)
		if err != nil {
			return err
		}
		if k := c.grant.rowKey(); !used && wanted[k] && !slices.ContainsFunc(p.found[k], func(o *candidate) bool { return o.grant.ID == id }) {
			p.found[k] = append(p.found[k], c)
		}
	}
	return nil
}

// used reports whether an earlier batch of this import wrote a grant, or found it as its
// row has it.
func (p *importPlan) used(snapshot engine.Snapshot, grant *Grant) (bool, error) {
	if p.tag == "" || grant.Import == p.tag {
		return p.tag != "", nil
	}
	mark, err := snapshot.Get(p.mark(p.tag, grant.ID))
	return mark != nil, err
}

// readOpen reads whether the import of a tag is not finished.
func (p *importPlan) readOpen(snapshot engine.Snapshot, tag string) error {
	if _, known := p.open[tag]; known || tag == "" || tag == p.tag {
		return nil
	}
	marker, err := snapshot.Get(openKey(p.list, tag))
	p.open[tag] = marker != nil
	return err
}

// openKey is the key of the marker of an import that is not finished.
func openKey(list, tag string) []byte { return key(prefixImportMark, list, tag) }

func (p *importPlan) mark(tag, id string) []byte { return key(prefixImportMark, p.list, tag, id) }

// pair assigns rows to grants.
func (p *importPlan) pair() ([]*candidate, error) {
	pairs := make([]*candidate, len(p.batch.Rows))
	for i, row := range p.valid {
		for _, c := range p.found[p.keys[i]] {
			if c.row >= 0 {
				continue
			}
			next, was := row.update(c.grant, p.now), c.grant
			was.Import = ""
			a, err1 := encode(next)
			b, err2 := encode(was)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			if bytes.Equal(a, b) {
				pairs[i], c.row, c.same = c, i, true
				break
			}
		}
	}
	for i := range p.valid {
		free := slices.IndexFunc(p.found[p.keys[i]], func(c *candidate) bool { return c.row < 0 })
		if pairs[i] == nil && free >= 0 {
			pairs[i] = p.found[p.keys[i]][free]
			pairs[i].row = i
		}
	}
	return pairs, nil
}

// update returns the grant of a row that replaces an earlier one, with that one's times of
// creation and change. What a row does not name must not give back access that was taken:
// it leaves the status, the end, and a start that is to come.
func (r *ImportRow) update(old Grant, now time.Time) Grant {
	next := r.Grant
	next.ID, next.CreatedAt, next.UpdatedAt = old.ID, old.CreatedAt, old.UpdatedAt
	if r.keepStatus {
		next.Status = old.Status
	}
	if next.EndsAt == nil && !r.NoEnd {
		next.EndsAt = old.EndsAt
	}
	if next.StartsAt == nil && !r.NoStart && old.StartsAt != nil && old.StartsAt.After(now) {
		next.StartsAt = old.StartsAt
	}
	return next
}

// writes returns what the batch writes, without the progress of the import, and what that
// invalidates. It sets the result.
func (p *importPlan) writes(vendor string) (*engine.Batch, policy.Invalidation, error) {
	pairs, err := p.pair()
	if err != nil {
		return nil, policy.Invalidation{}, err
	}
	p.result = ImportResult{Position: p.batch.Position + int64(len(p.batch.Rows)), Errors: p.errors}
	// Sorted, so that grants are listed in the order of their rows. Ids need no check
	// for uniqueness: 80 of their bits are random.
	ids := make([]string, len(p.batch.Rows))
	for i := range ids {
		ids[i] = newID("grant_", p.now)
	}
	slices.Sort(ids)
	w := importWrites{vendor: vendor, tag: p.tag, now: p.now, batch: p.begin()}
	for i, row := range p.valid {
		c := pairs[i]
		switch {
		case c == nil:
			p.result.Created++
			grant := row.Grant
			grant.ID, grant.CreatedAt = ids[i], p.now
			err = w.put(grant, nil)
		case c.same:
			p.result.Unchanged++
			w.batch.Puts = append(w.batch.Puts, engine.Put{Key: p.mark(p.tag, c.grant.ID), Value: []byte{}, Expires: p.now.Add(2 * Retention)})
		default:
			p.result.Changed++
			err = p.change(&w, i, row, c)
		}
		if err != nil {
			return nil, policy.Invalidation{}, err
		}
	}
	slices.SortFunc(p.result.Errors, func(a, b RowError) int { return cmp.Compare(a.Row, b.Row) })
	p.known.Steps, err = w.log.addPuts(w.batch, p.list, p.tag, p.known.Steps, p.now)
	slices.Sort(w.change.Stripes)
	w.change.Stripes = slices.Compact(w.change.Stripes)
	return w.batch, w.change, err
}

// begin returns a batch that fails when another import of the list is stored first.
func (p *importPlan) begin() *engine.Batch {
	turn, _ := strconv.ParseUint(string(p.turn), 10, 64)
	k := key(prefixImportTurn, p.list)
	batch := &engine.Batch{
		Checks: []engine.Check{{Key: k, Value: p.turn}},
		Puts:   []engine.Put{{Key: k, Value: strconv.AppendUint(nil, turn+1, 10)}},
	}
	if p.known.UpdatedAt.IsZero() && p.tag != "" {
		batch.Puts = append(batch.Puts, engine.Put{Key: openKey(p.list, p.tag), Value: []byte{}, Expires: p.now.Add(2 * Retention)})
	}
	if p.list != DefaultList {
		batch.Checks = append(batch.Checks, engine.Check{Key: key(prefixList, p.list), Present: true})
	}
	return batch
}

// change adds a changed grant to the writes.
func (p *importPlan) change(w *importWrites, i int, row *ImportRow, c *candidate) error {
	next := row.update(c.grant, p.now)
	if failed, ok := errors.AsType[*FieldError](next.normalize()); ok {
		// A time of the row does not fit the one that it leaves.
		p.result.Changed--
		p.result.Errors = append(slices.Clip(p.result.Errors), newRowError(i, failed))
		return nil
	}
	if p.batch.DryRun {
		fields, err := changedFields(c.stored, next)
		p.result.Changes = append(p.result.Changes, RowChange{Row: i, Grant: c.grant.ID, Fields: fields})
		return err
	}
	if p.open[c.grant.Import] {
		// The import that wrote the grant must not take it for one that its file does
		// not have.
		w.batch.Puts = append(w.batch.Puts, engine.Put{
			Key: p.mark(c.grant.Import, c.grant.ID), Value: []byte{}, Expires: p.now.Add(2 * Retention),
		})
	}
	return w.put(next, c)
}

// changedFields returns the names of the members that differ, in order.
func changedFields(stored []byte, next Grant) ([]string, error) {
	encoded, err := encode(next)
	var before, after map[string]json.RawMessage
	if err := cmp.Or(err, json.Unmarshal(stored, &before), json.Unmarshal(encoded, &after)); err != nil {
		return nil, err
	}
	delete(before, "import")
	var fields []string
	for name, value := range after {
		if !bytes.Equal(before[name], value) {
			fields = append(fields, name)
		}
	}
	for name := range before {
		if _, kept := after[name]; !kept {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields, nil
}

// importWrites collects the written grants of a batch.
type importWrites struct {
	vendor string
	tag    string
	now    time.Time
	batch  *engine.Batch
	change policy.Invalidation
	log    importLog
	size   int
}

// put adds a grant that is created, or replaces another one.
func (w *importWrites) put(grant Grant, old *candidate) error {
	grant.UpdatedAt, grant.Import = w.now, w.tag
	logged := loggedGrant{List: grant.Source, ID: grant.ID}
	if old != nil {
		w.batch.Checks = append(w.batch.Checks, engine.Check{Key: key(prefixGrant, grant.Source, grant.ID), Value: old.stored})
		w.batch.Deletes = append(w.batch.Deletes, old.grant.index()...)
		old.grant.addTo(&w.change, w.vendor)
		logged.Before = old.stored
	}
	first := len(w.batch.Puts)
	if err := grant.addPuts(w.batch); err != nil {
		return err
	}
	stored := w.batch.Puts[first].Value
	if w.size += len(stored) + len(logged.Before); w.size > MaxImportBytes {
		return &FieldError{"grants", "are too large together: send fewer in one batch"}
	}
	logged.Digest = grantDigest(stored)
	w.log = append(w.log, logged)
	grant.addTo(&w.change, w.vendor)
	return nil
}
