package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// ErrInUse is returned for a record that cannot be removed while others need it.
var ErrInUse = errors.New("other records need this one")

// kind is how the records of one kind of the access model are checked, stored, indexed
// and invalidated. Functions that a kind does not need are nil.
type kind[T any] struct {
	prefix byte
	// path returns the parts of the key, normalize fills in defaults and checks fields.
	path      func(*T) []string
	normalize func(*T) error
	// keep gives a changed record what cannot be changed.
	keep func(next, old *T)
	// stamps returns the times of creation and of the last change.
	stamps func(*T) (created, updated *time.Time)
	// builtIn returns a record that every vendor has without storing it.
	builtIn func(vendor string, path []string) (T, bool)
	// check checks a record against others; old is nil for a new one, next for one that
	// is removed.
	check func(t *transaction, old, next *T) error
	// index adds the entries of the index, and expires is when Sweep may remove them and
	// the record.
	index   func(r *T, add func(k, value []byte))
	expires func(*T) time.Time
	// stale adds what a change makes stale.
	stale func(change *policy.Invalidation, vendor string, old, next *T)
}

func (k *kind[T]) key(path ...string) []byte { return key(k.prefix, path...) }

// decode returns a record from its stored bytes, nil for none.
func (k *kind[T]) decode(vendor string, stored []byte, path []string) (*T, error) {
	if stored == nil {
		if k.builtIn != nil {
			if record, ok := k.builtIn(vendor, path); ok {
				return &record, nil
			}
		}
		return nil, nil
	}
	record := new(T)
	return record, decode(k.key(path...), stored, record)
}

// get returns a record, nil for none. It must not change until the commit.
func (k *kind[T]) get(t *transaction, path ...string) (*T, error) {
	stored, err := t.load(k.key(path...))
	if err != nil {
		return nil, err
	}
	return k.decode(t.vendor, stored, path)
}

// need is get, and returns ErrNotFound when there is none.
func (k *kind[T]) need(t *transaction, path ...string) (*T, error) {
	record, err := k.get(t, path...)
	if err == nil && record == nil {
		err = ErrNotFound
	}
	return record, err
}

// exists returns whether there is a record. It may change until the commit.
func (k *kind[T]) exists(t *transaction, path ...string) (bool, error) {
	if k.builtIn != nil {
		if _, ok := k.builtIn(t.vendor, path); ok {
			return true, nil
		}
	}
	return t.has(k.key(path...))
}

// put stores a record in place of the one with the same key. One that is stored so already
// is not written, and keeps its times.
func (k *kind[T]) put(t *transaction, next *T) error {
	if err := k.normalize(next); err != nil {
		return err
	}
	path := k.path(next)
	stored, err := t.load(k.key(path...))
	if err != nil {
		return err
	}
	old, err := k.decode(t.vendor, stored, path)
	if err != nil {
		return err
	}
	if k.stamps != nil {
		created, updated := k.stamps(next)
		*created, *updated = t.now, t.now
		if old != nil {
			createdBefore, updatedBefore := k.stamps(old)
			*created, *updated = *createdBefore, *updatedBefore
		}
	}
	if old != nil && k.keep != nil {
		k.keep(next, old)
	}
	if k.check != nil {
		if err := k.check(t, old, next); err != nil {
			return err
		}
	}
	value, err := encode(next)
	if err != nil || bytes.Equal(value, stored) {
		return err
	}
	if k.stamps != nil {
		created, updated := k.stamps(next)
		if *updated = t.now; created.IsZero() { // built in
			*created = t.now
		}
		if value, err = encode(next); err != nil {
			return err
		}
	}
	k.write(t, old, next, value)
	return nil
}

// remove removes a record.
func (k *kind[T]) remove(t *transaction, path ...string) error {
	old, err := k.need(t, path...)
	if err != nil {
		return err
	}
	if k.builtIn != nil {
		if _, ok := k.builtIn(t.vendor, path); ok {
			return ErrBuiltIn
		}
	}
	if k.check != nil {
		if err := k.check(t, old, nil); err != nil {
			return err
		}
	}
	k.write(t, old, nil, nil)
	return nil
}

// rewrite stores a changed record without checking it.
func (k *kind[T]) rewrite(t *transaction, old, next *T) error {
	value, err := encode(next)
	if err == nil {
		k.write(t, old, next, value)
	}
	return err
}

// write writes a record with its index, and what that makes stale. Value is next, encoded.
func (k *kind[T]) write(t *transaction, old, next *T, value []byte) {
	at := next
	var expires time.Time
	if next == nil {
		at = old
	} else if k.expires != nil {
		expires = k.expires(next)
	}
	t.set(k.key(k.path(at)...), value, expires)
	if k.index != nil {
		if old != nil {
			k.index(old, func(at, _ []byte) { t.set(at, nil, time.Time{}) })
		}
		if next != nil {
			k.index(next, func(at, value []byte) { t.set(at, append([]byte{}, value...), expires) })
		}
	}
	if k.stale != nil {
		k.stale(&t.change, t.vendor, old, next)
	}
}

// read returns a stored or built-in record, or ErrNotFound.
func read[T any](ctx context.Context, s *Store, vendor string, k *kind[T], path ...string) (record T, err error) {
	_, err = s.get(ctx, vendor, k.key(path...), &record)
	if errors.Is(err, ErrNotFound) && k.builtIn != nil {
		if built, ok := k.builtIn(vendor, path); ok {
			return built, nil
		}
	}
	return record, err
}

// create stores a new record. It returns ErrExists when there is one.
func create[T any](ctx context.Context, w Writer, vendor string, k *kind[T], record T) (T, error) {
	var made T
	err := w.transact(ctx, vendor, func(t *transaction) error {
		made = record
		if err := k.normalize(&made); err != nil {
			return err
		}
		if old, err := k.get(t, k.path(&made)...); err != nil || old != nil {
			return errors.Join(err, existing(old != nil))
		}
		return k.put(t, &made)
	})
	return made, err
}

func existing(exists bool) error {
	if exists {
		return ErrExists
	}
	return nil
}

// update changes a record: change gets the current one, and may be called repeatedly.
func update[T any](ctx context.Context, w Writer, vendor string, k *kind[T], change func(*T) error, path ...string) (T, error) {
	var made T
	err := w.transact(ctx, vendor, func(t *transaction) error {
		old, err := k.need(t, path...)
		if err != nil {
			return err
		}
		made = *old
		if err := change(&made); err != nil {
			return err
		}
		if k.keep != nil {
			k.keep(&made, old)
		}
		return k.put(t, &made)
	})
	return made, err
}

// removeRecord removes a record, unless allowed returns an error; it may be nil.
func removeRecord[T any](ctx context.Context, w Writer, vendor string, k *kind[T], allowed func(T) error, path ...string) error {
	return w.transact(ctx, vendor, func(t *transaction) error {
		if err := permitted(t, k, allowed, path...); err != nil {
			return err
		}
		return k.remove(t, path...)
	})
}

// permitted returns ErrNotFound when there is no record, and what allowed returns.
func permitted[T any](t *transaction, k *kind[T], allowed func(T) error, path ...string) error {
	old, err := k.need(t, path...)
	if err != nil || allowed == nil {
		return err
	}
	return allowed(*old)
}

// MaxSlugSize is the maximum length of a slug, in bytes.
const MaxSlugSize = 128

var slugPattern = regexp.MustCompile(`^[-a-zA-Z0-9_]+$`)

// checkSlug checks the slug of a profile, role type, plan or agreement.
func checkSlug(field, slug string) error {
	switch {
	case slug == "":
		return &FieldError{field, "is required"}
	case len(slug) > MaxSlugSize:
		return &FieldError{field, fmt.Sprintf("is longer than %d bytes", MaxSlugSize)}
	case !slugPattern.MatchString(slug):
		return &FieldError{field, "must be letters, digits, hyphens and underscores"}
	}
	return nil
}

// SlugOf returns a slug for a title: its letters and digits of ASCII in lower case, with a
// hyphen between words. It is empty for a title without any.
func SlugOf(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	})
	slug := strings.Join(words, "-")
	return strings.TrimRight(slug[:min(len(slug), MaxSlugSize)], "-")
}

// checkUser checks the slug of a user: the id of a reader as their issuer gives it.
func checkUser(field, slug string) error {
	if slug == "" {
		return &FieldError{field, "is required"}
	}
	return checkText(field, slug, 255)
}

// maxExtra bounds the extra data of a record, in bytes.
const maxExtra = 4 << 10

// normalizeExtra removes a null and checks the size.
func normalizeExtra(extra *json.RawMessage) error {
	switch {
	case len(*extra) == 0 || string(*extra) == "null":
		*extra = nil
	case len(*extra) > maxExtra:
		return &FieldError{"extra", fmt.Sprintf("is longer than %d bytes", maxExtra)}
	case !json.Valid(*extra):
		return &FieldError{"extra", "is not JSON"}
	}
	return nil
}

// checkLines is checkText for a text that may have several lines.
func checkLines(field, text string, maxBytes int) error {
	if len(text) > maxBytes {
		return checkText(field, text, maxBytes)
	}
	return checkText(field, strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(text), maxBytes)
}
