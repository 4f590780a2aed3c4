package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	// RefusalKept is how long a refusal can be looked up by its support code.
	RefusalKept = 30 * 24 * time.Hour
	// MaxRefusals bounds the refusals of one RecordRefusals.
	MaxRefusals = 50
	// MaxRefusalBytes bounds the record of a refusal.
	MaxRefusalBytes = 8 << 10
	// MaxRefusalsPerHour bounds the refusals of identified readers and of verified links that
	// a vendor keeps of an hour.
	MaxRefusalsPerHour = 500
	// MaxAnonymousPerHour bounds those of others, which so displace none of the former.
	MaxAnonymousPerHour = 100
	// maxRefusalHourBytes bounds the bytes of both.
	maxRefusalHourBytes = 512 << 10
	// refusalTries bounds how often records are read again that other nodes change.
	refusalTries = 8
)

// Refusal is a refused request, as it was when it was refused. It has no token, no cookie, no
// address, and of the reader the id alone.
type Refusal struct {
	// Code is the support code, and the id.
	Code string    `json:"code"`
	At   time.Time `json:"at"`

	Site   string `json:"site"`
	Method string `json:"method"`
	Host   string `json:"host"`
	Path   string `json:"path"`
	// Rewritten is the path that was judged, if it is not the received one.
	Rewritten string `json:"rewritten,omitempty"`
	// Query has the names of the query's parameters, without their values.
	Query []string `json:"query,omitempty"`

	Reason string `json:"reason"`
	Status int    `json:"status"`
	// Rule is the path of the rule that decided; empty if none matched.
	Rule string `json:"rule,omitempty"`
	// UserID is empty for an anonymous reader. Mailed reports whether the reader had a
	// verified address, which is not kept.
	UserID string `json:"userId,omitempty"`
	Mailed bool   `json:"mailed,omitempty"`
	// Issuer and Link identify the link that did not open the page.
	Issuer    string `json:"issuer,omitempty"`
	Link      string `json:"link,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	// Explanation is how it was decided, as JSON: the grants, the roles and the checks of the
	// link. It is empty if they could not be read or were too large.
	Explanation json.RawMessage `json:"explanation,omitempty"`

	// Anonymous reports whether neither a reader nor a link was verified: the refusal counts
	// for MaxAnonymousPerHour.
	Anonymous bool `json:"-"`
}

// refusalHour counts what is kept of an hour.
type refusalHour struct {
	Known     int `json:"known,omitempty"`
	Anonymous int `json:"anonymous,omitempty"`
	Bytes     int `json:"bytes,omitempty"`
}

// add counts a refusal, unless there are too many.
func (h *refusalHour) add(size int, anonymous bool) bool {
	count, limit := &h.Known, MaxRefusalsPerHour
	if anonymous {
		count, limit = &h.Anonymous, MaxAnonymousPerHour
	}
	if *count >= limit || h.Bytes+size > maxRefusalHourBytes {
		return false
	}
	*count++
	h.Bytes += size
	return true
}

func refusalKey(code string) []byte { return key(prefixRefusal, code) }

// refusalOfKey is the index of a reader's refusals, which an erasure finds by it.
func refusalOfKey(user, code string) []byte { return key(prefixRefusalIndex, user, code) }

// refusalHourKey is the count of an hour: no user id is empty.
func refusalHourKey(at time.Time) []byte {
	return key(prefixRefusalIndex, "", at.UTC().Format("2006010215"))
}

// FullHour is an hour of which no more refusals of a class are kept.
type FullHour struct {
	At        time.Time
	Anonymous bool
}

// RecordRefusals keeps at most MaxRefusals refusals of a vendor for RefusalKept. It returns
// how many it kept: not those beyond the bounds of their hour, which it returns as full, those
// of a person whose erasure is under way, and those whose code another refusal has. No version
// is bumped, as no decision depends on them.
func (s *Store) RecordRefusals(ctx context.Context, vendor string, refusals []Refusal) (kept int, full []FullHour, err error) {
	if len(refusals) > MaxRefusals {
		return 0, nil, &FieldError{"refusals", "are too many at once"}
	}
	for range refusalTries {
		if kept, full, err = s.recordRefusals(ctx, vendor, refusals); !errors.Is(err, ErrConflict) {
			break
		}
	}
	return kept, full, err
}

func (s *Store) recordRefusals(ctx context.Context, vendor string, refusals []Refusal) (kept int, full []FullHour, err error) {
	w := &refusalWrite{}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		*w = refusalWrite{snapshot: snapshot, hours: map[string]*storedHour{}, batch: new(engine.Batch)}
		var places [][]byte
		for i := range refusals {
			r := &refusals[i]
			places = append(places, refusalKey(r.Code), refusalHourKey(r.At))
			if r.UserID != "" {
				places = append(places, removedKey(erasedPerson, r.UserID))
			}
		}
		if err := engine.Prefetch(snapshot, places...); err != nil {
			return err
		}
		for i := range refusals {
			if err := w.add(&refusals[i]); err != nil {
				return err
			}
		}
		return w.addHours()
	})
	if err != nil || w.kept == 0 {
		return 0, w.full, err
	}
	if _, err = s.engine.Commit(ctx, vendor, w.batch); err != nil {
		return 0, nil, conflict(err)
	}
	return w.kept, w.full, nil
}

// storedHour is the count of an hour, with what is stored of it.
type storedHour struct {
	refusalHour
	stored []byte
	at     time.Time
}

// refusalWrite is one write of refusals.
type refusalWrite struct {
	snapshot engine.Snapshot
	hours    map[string]*storedHour
	batch    *engine.Batch
	kept     int
	full     []FullHour
}

func (w *refusalWrite) add(r *Refusal) error {
	value, err := encode(r)
	if err == nil && len(value) > MaxRefusalBytes {
		short := *r
		short.Explanation = nil
		value, err = encode(&short)
	}
	if err != nil || len(value) > MaxRefusalBytes {
		return err
	}
	at := refusalKey(r.Code)
	if taken, err := w.snapshot.Get(at); err != nil || taken != nil || w.puts(at) {
		return err
	}
	var marker []byte
	if r.UserID != "" {
		marker = removedKey(erasedPerson, r.UserID)
		if erased, err := w.snapshot.Get(marker); err != nil || erased != nil {
			return err
		}
	}
	hour, err := w.hour(r.At)
	if err != nil {
		return err
	}
	if !hour.add(len(value), r.Anonymous) {
		w.full = append(w.full, FullHour{r.At, r.Anonymous})
		return nil
	}
	expires := r.At.Add(RefusalKept)
	w.kept++
	w.batch.Checks = append(w.batch.Checks, engine.Check{Key: at})
	w.batch.Puts = append(w.batch.Puts, engine.Put{Key: at, Value: value, Expires: expires})
	if marker != nil {
		if !slices.ContainsFunc(w.batch.Checks, func(c engine.Check) bool { return string(c.Key) == string(marker) }) {
			w.batch.Checks = append(w.batch.Checks, engine.Check{Key: marker})
		}
		w.batch.Puts = append(w.batch.Puts, engine.Put{Key: refusalOfKey(r.UserID, r.Code), Value: []byte{}, Expires: expires})
	}
	return nil
}

func (w *refusalWrite) puts(k []byte) bool {
	return slices.ContainsFunc(w.batch.Puts, func(put engine.Put) bool { return string(put.Key) == string(k) })
}

// hour returns the count of an hour.
func (w *refusalWrite) hour(at time.Time) (*storedHour, error) {
	k := refusalHourKey(at)
	if hour := w.hours[string(k)]; hour != nil {
		return hour, nil
	}
	hour := &storedHour{at: at}
	stored, err := getIn(w.snapshot, k, &hour.refusalHour)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	hour.stored = stored
	w.hours[string(k)] = hour
	return hour, nil
}

// addHours writes the counts. They are checked, so nodes that count at once conflict.
func (w *refusalWrite) addHours() error {
	for k, hour := range w.hours {
		value, err := encode(&hour.refusalHour)
		if err != nil {
			return err
		}
		w.batch.Checks = append(w.batch.Checks, engine.Check{Key: []byte(k), Value: hour.stored})
		w.batch.Puts = append(w.batch.Puts, engine.Put{Key: []byte(k), Value: value, Expires: hour.at.Add(2 * time.Hour)})
	}
	return nil
}

// Refusal returns the refusal with a support code, or ErrNotFound.
func (s *Store) Refusal(ctx context.Context, vendor, code string) (found Refusal, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		_, err := getIn(snapshot, refusalKey(code), &found)
		return err
	})
	if err == nil && !s.now().Before(found.At.Add(RefusalKept)) {
		return Refusal{}, ErrNotFound
	}
	return found, err
}

// forgetRefusal removes a refusal of a person, with its entry in the index.
func forgetRefusal(e *erasing, k, stored []byte) error {
	var refusal Refusal
	if err := decode(k, stored, &refusal); err != nil {
		return err
	}
	e.t.set(refusalOfKey(refusal.UserID, refusal.Code), nil, time.Time{})
	e.t.set(k, nil, time.Time{})
	return nil
}
