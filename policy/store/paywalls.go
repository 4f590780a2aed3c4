package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/paywall"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	// MaxPaywalls bounds the paywalls of a vendor.
	MaxPaywalls = 200
	// MaxPaywallVersions bounds the earlier versions that are kept of a paywall.
	MaxPaywallVersions = 20
)

var paywallKind = &kind[paywall.Paywall]{
	prefix: prefixPaywall, path: func(p *paywall.Paywall) []string { return []string{p.ID} }, normalize: normalizePaywall,
	stamps: func(p *paywall.Paywall) (created, updated *time.Time) { return &p.CreatedAt, &p.ModifiedAt },
	check:  countPaywall,
	stale: func(change *policy.Invalidation, vendor string, old, next *paywall.Paywall) {
		changed := next
		if next == nil {
			changed = old
		}
		change.Add(policy.KindPaywall, vendor, changed.ID)
	},
}

func normalizePaywall(p *paywall.Paywall) error {
	err := paywall.Check(p)
	if failed, ok := errors.AsType[*paywall.FieldError](err); ok {
		return &FieldError{failed.Field, failed.Problem}
	}
	return err
}

func paywallVersionKey(id string, version int) []byte {
	return key(prefixPaywallWas, id, fmt.Sprintf("%08d", version))
}

// countPaywall numbers the version, and keeps the one that it replaces.
func countPaywall(t *transaction, old, next *paywall.Paywall) error {
	switch {
	case next == nil:
		for version := max(1, old.Version-MaxPaywallVersions); version < old.Version; version++ {
			t.set(paywallVersionKey(old.ID, version), nil, time.Time{})
		}
		return nil
	case old == nil:
		others, err := t.scan([]byte{prefixPaywall}, MaxPaywalls)
		if err == nil && len(others) == MaxPaywalls {
			err = &FieldError{"", fmt.Sprintf("there would be more than %d paywalls: remove one first", MaxPaywalls)}
		}
		next.Version = 1
		return err
	}
	next.Version = old.Version
	before, err := encode(old)
	if err != nil {
		return err
	}
	if after, err := encode(next); err != nil || bytes.Equal(before, after) {
		return err
	}
	next.Version++
	t.set(paywallVersionKey(old.ID, old.Version), before, time.Time{})
	if dropped := old.Version - MaxPaywallVersions; dropped > 0 {
		t.set(paywallVersionKey(old.ID, dropped), nil, time.Time{})
	}
	return nil
}

// CreatePaywall stores a new paywall under a new id.
func (w Writer) CreatePaywall(ctx context.Context, vendor string, made paywall.Paywall) (paywall.Paywall, error) {
	made.ID = newID("pw_", w.now())
	return create(ctx, w, vendor, paywallKind, made)
}

// PutPaywall stores a paywall under an id that the caller chooses, in place of the one that
// has it. Allowed gets that one, nil for none, and may refuse.
func (w Writer) PutPaywall(ctx context.Context, vendor string, next paywall.Paywall, allowed func(old *paywall.Paywall) error) (stored paywall.Paywall, created bool, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		stored = next
		stored.Subscriptions = slices.Clone(next.Subscriptions)
		if err := normalizePaywall(&stored); err != nil {
			return err
		}
		old, err := paywallKind.get(t, next.ID)
		if err != nil {
			return err
		}
		if created = old == nil; allowed != nil {
			if err := allowed(old); err != nil {
				return err
			}
		}
		return paywallKind.put(t, &stored)
	})
	return stored, created, err
}

// UpdatePaywall changes a paywall: change gets the current one, and may be called
// repeatedly. It must not change slices in place.
func (w Writer) UpdatePaywall(ctx context.Context, vendor, id string, change func(*paywall.Paywall) error) (paywall.Paywall, error) {
	if paywallID(id) != nil {
		return paywall.Paywall{}, ErrNotFound
	}
	return update(ctx, w, vendor, paywallKind, func(p *paywall.Paywall) error {
		err := change(p)
		p.ID = id
		return err
	}, id)
}

// DeletePaywall removes a paywall with its versions, unless allowed returns an error.
func (w Writer) DeletePaywall(ctx context.Context, vendor, id string, allowed func(paywall.Paywall) error) error {
	if paywallID(id) != nil {
		return ErrNotFound
	}
	return removeRecord(ctx, w, vendor, paywallKind, allowed, id)
}

// paywallID returns an error for an id that no paywall has.
func paywallID(id string) error {
	if id == "" {
		return ErrNotFound
	}
	return checkText("id", id, paywall.MaxIDSize)
}

// Paywall returns a paywall, or ErrNotFound.
func (s *Store) Paywall(ctx context.Context, vendor, id string) (found paywall.Paywall, err error) {
	if paywallID(id) != nil {
		return found, ErrNotFound
	}
	return read(ctx, s, vendor, paywallKind, id)
}

// Paywalls returns all paywalls of a vendor, by id.
func (s *Store) Paywalls(ctx context.Context, vendor string) ([]paywall.Paywall, error) {
	return pageOf[paywall.Paywall](ctx, s, vendor, []byte{prefixPaywall}, Page{Limit: MaxPaywalls})
}

// PaywallVersions returns the current version of a paywall and the earlier ones that are
// kept, the newest first, or ErrNotFound.
func (s *Store) PaywallVersions(ctx context.Context, vendor, id string) (versions []paywall.Paywall, err error) {
	if paywallID(id) != nil {
		return nil, ErrNotFound
	}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var current paywall.Paywall
		if _, err := getIn(snapshot, paywallKind.key(id), &current); err != nil {
			return err
		}
		versions, err = pageIn[paywall.Paywall](snapshot, keyPrefix(prefixPaywallWas, id), Page{Limit: MaxPaywallVersions})
		versions = append(versions, current)
		slices.Reverse(versions)
		return err
	})
	return versions, err
}
