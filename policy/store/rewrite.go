package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// rewriter is the actor of removals that are made again.
var rewriter = Actor{Name: "gatefold", Operation: "restore-removals"}

// Rewrite makes removals again that the store lost, and returns how many of them it had
// lost. It leaves records alone that were changed after their removal. It is audited. It
// purges all pages on every node. Several nodes may do it at once.
func (s *Store) Rewrite(ctx context.Context, vendor string, list []Removal) (lost int, err error) {
	for i := range list {
		made, err := s.As(rewriter).rewrite(ctx, vendor, &list[i])
		if err != nil {
			return lost, fmt.Errorf("a removal that the store lost cannot be made again: %w", err)
		}
		if made {
			lost++
		}
	}
	// A purge may be lost that another node has not heard of.
	if err := s.commit(ctx, vendor, &engine.Batch{}, policy.Invalidation{AllPages: true}); err != nil {
		return lost, fmt.Errorf("stored pages of other nodes cannot be purged after the store lost writes: %w", err)
	}
	return lost, nil
}

// remaker makes a removal again, and reports whether the store had lost it.
type remaker func(ctx context.Context, w Writer, vendor string, r *Removal) (made bool, err error)

func (w Writer) rewrite(ctx context.Context, vendor string, r *Removal) (made bool, err error) {
	var again remaker
	if kind := closings[first(r.Key)]; kind != nil {
		again = kind.again
	} else if isTokensEnded(r.Key) {
		again = tokensEndedAgain
	}
	if again != nil {
		for range transactAttempts {
			if made, err = again(ctx, w, vendor, r); !errors.Is(err, ErrConflict) {
				break
			}
		}
		return made && err == nil, err
	}
	change := policy.Invalidation{Shared: true}
	if first(r.Key) == prefixRevocation {
		texts := r.path()
		change = policy.Invalidation{}
		change.Add(policy.KindLink, vendor, texts[0], strings.Join(texts[1:], "\x00"))
	}
	err = w.commit(ctx, vendor, &engine.Batch{
		Checks: []engine.Check{{Key: r.Key}},
		Puts:   []engine.Put{{Key: r.Key, Value: r.Value, Expires: r.Expires}},
	}, change)
	if errors.Is(err, ErrConflict) {
		return false, nil // it is there
	}
	return err == nil, err
}

// path returns the texts of the key.
func (r *Removal) path() []string { return strings.Split(string(r.Key[1:]), "\x00") }

// clockMargin is by how much the clocks of nodes may differ that make changes: beyond, they
// sign and redeem nothing.
const clockMargin = 5 * time.Minute

// before reports whether a record was changed after the removal, which does not concern it
// then. In doubt it was not, so that it is removed.
func (r *Removal) before(updated time.Time) bool {
	return !r.At.IsZero() && r.At.Add(clockMargin).Before(updated)
}

// kindAgain removes a record of a kind, or changes it. Also, unless nil, does what else belongs
// to the removal of a record.
func kindAgain[T any](k *kind[T], also func(t *transaction, old *T) error) remaker {
	return func(ctx context.Context, w Writer, vendor string, r *Removal) (made bool, err error) {
		err = w.transact(ctx, vendor, func(t *transaction) error {
			made = false
			stored, err := t.load(r.Key)
			if err != nil || stored == nil {
				return err
			}
			old, err := k.decode(vendor, stored, r.path())
			if err != nil {
				return err
			}
			if k.stamps != nil {
				if _, updated := k.stamps(old); r.before(*updated) {
					return nil
				}
			}
			if r.Value == nil {
				made = true
				k.write(t, old, nil, nil)
				if also != nil {
					return also(t, old)
				}
				return nil
			}
			next, err := merged[T](r.Key, stored, r.Value)
			if err != nil {
				return err
			}
			if k.stamps != nil && laterThan(k.stamps, old, next) {
				return nil
			}
			made = closings[k.prefix].narrows(stored, mustEncode(next))
			if !made {
				return nil
			}
			return k.rewrite(t, old, next)
		})
		return made, err
	}
}

// laterThan reports whether a stored record is a later version than that of a change that
// closed it: each change advances the stamp.
func laterThan[T any](stamps func(*T) (created, updated *time.Time), stored, next *T) bool {
	_, is := stamps(stored)
	_, was := stamps(next)
	return is.After(*was)
}

func mustEncode(record any) []byte {
	encoded, _ := encode(record) // of what was decoded
	return encoded
}

// freeSeat counts a removed seat out of its contract.
func freeSeat(t *transaction, seat *Seat) error {
	contract, err := contractKind.get(t, seat.Contract)
	if err != nil || contract == nil {
		return err
	}
	next := *contract
	next.SeatsTaken--
	return contractKind.rewrite(t, contract, &next)
}

func loginAgain(ctx context.Context, w Writer, vendor string, r *Removal) (made bool, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		session, err := t.loginSession(r.path()[0])
		if made = err == nil && session != nil; made {
			session.remove(t)
		}
		return err
	})
	return made, err
}

func grantAgain(ctx context.Context, w Writer, vendor string, r *Removal) (made bool, err error) {
	texts := r.path()
	if len(texts) != 2 {
		return false, nil
	}
	old, stored, err := w.grant(ctx, vendor, texts[0], texts[1])
	if errors.Is(err, ErrNotFound) || err == nil && r.before(old.UpdatedAt) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var next *Grant
	if r.Value != nil {
		if next, err = merged[Grant](r.Key, stored, r.Value); err != nil || old.UpdatedAt.After(next.UpdatedAt) || !closings[prefixGrant].narrows(stored, mustEncode(next)) {
			return false, err
		}
	}
	return true, w.replaceGrant(ctx, vendor, texts[0], texts[1], stored, &old, next)
}

// recordAgain returns what removes or changes a record without an index.
func recordAgain[T any](updated func(*T) time.Time, change policy.Invalidation, also func(*T, *engine.Batch)) remaker {
	return func(ctx context.Context, w Writer, vendor string, r *Removal) (made bool, err error) {
		var old T
		stored, err := w.get(ctx, vendor, r.Key, &old)
		if errors.Is(err, ErrNotFound) || err == nil && r.before(updated(&old)) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		batch := &engine.Batch{Checks: []engine.Check{{Key: r.Key, Value: stored}}}
		if r.Value == nil {
			batch.Deletes = [][]byte{r.Key}
			if also != nil {
				also(&old, batch)
			}
			return true, w.commit(ctx, vendor, batch, change)
		}
		next, err := merged[T](r.Key, stored, r.Value)
		if err != nil {
			return false, err
		}
		encoded := mustEncode(next)
		if updated(&old).After(updated(next)) || !closings[first(r.Key)].narrows(stored, encoded) {
			return false, nil
		}
		batch.Puts = []engine.Put{{Key: r.Key, Value: encoded}}
		return true, w.commit(ctx, vendor, batch, change)
	}
}

var (
	listAgain = recordAgain(func(l *AccessList) time.Time { return l.UpdatedAt }, policy.Invalidation{Shared: true, SameDomains: true},
		func(l *AccessList, batch *engine.Batch) {
			batch.Puts = append(batch.Puts, engine.Put{Key: key(prefixPurge, l.ID), Value: []byte{}})
		})
	domainAgain = recordAgain(func(d *Domain) time.Time { return d.UpdatedAt }, policy.Invalidation{Shared: true}, nil)
	clientAgain = recordAgain(func(c *Client) time.Time {
		return slices.MaxFunc([]time.Time{c.CreatedAt, c.SecretCreatedAt, c.RevokedAt}, time.Time.Compare)
	}, policy.Invalidation{}, nil)
	keyAgain = recordAgain(func(k *keyRecord) time.Time {
		return slices.MaxFunc([]time.Time{k.CreatedAt, k.RetiredAt}, time.Time.Compare)
	}, policy.Invalidation{Shared: true}, nil)
)
