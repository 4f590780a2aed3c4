package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// rewriter is the actor of removals that are made again.
var rewriter = Actor{Name: "gatefold", Operation: "restore-removals"}

// Rewrite makes removals again that the store lost, and returns how many of them it had
// lost. It is audited. It purges all pages on every node. Several nodes may do it at once.
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

func (w Writer) rewrite(ctx context.Context, vendor string, r *Removal) (made bool, err error) {
	if r.Key[0] == prefixGrant {
		list, id, _ := bytes.Cut(r.Key[1:], []byte{0})
		for range transactAttempts {
			if err = w.DeleteGrant(ctx, vendor, string(list), string(id), nil); !errors.Is(err, ErrConflict) {
				break
			}
		}
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	change := policy.Invalidation{Shared: true}
	if r.Key[0] == prefixRevocation {
		issuer, id, _ := bytes.Cut(r.Key[1:], []byte{0})
		change = policy.Invalidation{}
		change.Add(policy.KindLink, vendor, string(issuer), string(id))
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
