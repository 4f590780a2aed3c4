package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Hook is where a billing system sends its events, and what they do.
type Hook struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Scheme is the scheme of the signatures, see package hook.
	Scheme string `json:"scheme"`
	// Disabled hooks take no events: the provider sends them again later.
	Disabled bool `json:"disabled,omitempty"`
	// TypeAt and TimeAt are JSON Pointers to the type and the time of an event. Empty: as
	// the scheme has it.
	TypeAt string       `json:"typeAt,omitempty"`
	TimeAt string       `json:"timeAt,omitempty"`
	Table  []hook.Entry `json:"table"`
	// Secrets are the sealed secrets of the provider, the newest first: each of them that
	// has not ended verifies.
	Secrets   []webhookSecret `json:"secrets"`
	CreatedAt time.Time       `json:"createdAt"`
	UpdatedAt time.Time       `json:"updatedAt"`
}

const (
	// maxHooks bounds the hooks of a vendor.
	maxHooks = 16
	// maxHookSecrets bounds the secrets of a hook that verify at once.
	maxHookSecrets = 2
)

// hookPrefix begins the ids of hooks.
const hookPrefix = "hook_"

var hookKind = &kind[Hook]{
	prefix: prefixHook, path: func(h *Hook) []string { return []string{h.ID} }, normalize: normalizeHook,
	keep:   func(next, old *Hook) { next.Scheme = old.Scheme },
	stamps: func(h *Hook) (created, updated *time.Time) { return &h.CreatedAt, &h.UpdatedAt },
	check:  checkHookSales,
}

func normalizeHook(h *Hook) error {
	if !slices.Contains(hook.Schemes(), h.Scheme) {
		return &FieldError{"scheme", "must be standard (Standard Webhooks) or stripe"}
	}
	for _, pointer := range []struct{ field, value string }{{"typeAt", h.TypeAt}, {"timeAt", h.TimeAt}} {
		if pointer.value == "" {
			continue
		}
		if err := hook.CheckPointer(pointer.value); err != nil {
			return &FieldError{pointer.field, err.Error()}
		}
	}
	if err := hook.Check(h.Table); err != nil {
		if failed, ok := errors.AsType[*hook.Error](err); ok {
			return &FieldError{failed.Field, failed.Problem}
		}
		return err
	}
	return checkText("name", h.Name, 255)
}

// checkHookSales refuses entries that sell nothing, unless they were there before.
func checkHookSales(t *transaction, old, next *Hook) error {
	if next == nil {
		return nil
	}
	for i, e := range next.Table {
		if e.Promo == "" || old != nil && slices.ContainsFunc(old.Table, func(was hook.Entry) bool {
			return was.Promo == e.Promo && was.PaymentProvider == e.PaymentProvider && was.PaymentMethod == e.PaymentMethod
		}) {
			continue
		}
		promo, err := promoKind.get(t, e.Promo)
		field := fmt.Sprintf("table[%d].promo", i)
		switch {
		case err != nil:
			return err
		case promo == nil:
			return &FieldError{field, "is no promo code of this vendor: create the promo first (POST /management/promos)"}
		case promo.Ended:
			return &FieldError{field, "is the code of a promo that has ended: it sells nothing"}
		case !promo.soldBy(hookSeller(next.ID)):
			return &FieldError{field, "is the code of a promo that only its sellers sell: add " + hookSeller(next.ID) + " to them, or to a promo of its own"}
		}
		if _, err := promo.accepts(e.PaymentProvider, e.PaymentMethod); err != nil {
			if refused, ok := errors.AsType[*FieldError](err); ok {
				return &FieldError{fmt.Sprintf("table[%d].%s", i, refused.Field), refused.Problem}
			}
			return err
		}
	}
	return nil
}

// Hooks manages the hooks of vendors, whose secrets a keyring seals. It is safe for
// concurrent use.
type Hooks struct {
	*Store
	keyring *Keyring
	// decoy is a hook that nothing signs for, so that an unknown one costs the same work.
	decoy Hook
}

// NewHooks returns the hooks of the store and the sealer of a keyring.
func NewHooks(keyring *Keyring) *Hooks {
	h := &Hooks{Store: keyring.store, keyring: keyring, decoy: Hook{ID: hookPrefix, Scheme: hook.Stripe}}
	h.setSecret(SystemPartition, &h.decoy, randomDigits(32), 0)
	return h
}

func hookSealedFor(vendor, id string) []byte { return []byte("hook\x00" + vendor + "\x00" + id) }

func (h *Hooks) setSecret(vendor string, to *Hook, secret string, overlap time.Duration) {
	to.Secrets = h.keyring.addSecret(to.Secrets, secret, hookSealedFor(vendor, to.ID), overlap, maxHookSecrets)
}

// SetSecret gives a hook another secret of its provider. The one that it replaces verifies
// until the overlap ends, and one that was replaced before no longer. Call it in the change
// of UpdateHook.
func (h *Hooks) SetSecret(vendor string, to *Hook, secret string, overlap time.Duration) error {
	if err := hook.CheckSecret(to.Scheme, secret); err != nil {
		return &FieldError{"secret", err.Error()}
	}
	if overlap < 0 || overlap > MaxSecretOverlap {
		return &FieldError{"overlapSeconds", fmt.Sprintf("must be from 0 to %.0f", MaxSecretOverlap.Seconds())}
	}
	to.Secrets = slices.Clone(to.Secrets)
	h.setSecret(vendor, to, secret, overlap)
	return nil
}

// SecretsSince returns since when the newest secret verifies, and when the one that it
// replaced ends; zero if that does not verify any more.
func (h *Hook) SecretsSince(now time.Time) (since, replacedUntil time.Time) {
	return secretsSince(h.Secrets, now)
}

// hookVendor is the record of the system that finds the vendor of a hook.
type hookVendor struct {
	Vendor string `json:"vendor"`
}

// CreateHook stores a new hook under a new id, with a secret of its provider.
func (h *Hooks) CreateHook(ctx context.Context, w Writer, vendor string, made Hook, secret string) (Hook, error) {
	made.ID, made.Secrets = newID(hookPrefix, h.now()), nil
	if err := normalizeHook(&made); err != nil {
		return made, err
	}
	if err := h.SetSecret(vendor, &made, secret, 0); err != nil {
		return made, err
	}
	// Before the hook, so that no hook is without it.
	value, err := encode(hookVendor{vendor})
	if err != nil {
		return made, err
	}
	if _, err := h.engine.Commit(ctx, SystemPartition, &engine.Batch{Puts: []engine.Put{{Key: hookKind.key(made.ID), Value: value}}}); err != nil {
		return made, err
	}
	err = w.transact(ctx, vendor, func(t *transaction) error {
		others, err := t.scan([]byte{prefixHook}, maxHooks)
		if err == nil && len(others) == maxHooks {
			err = &FieldError{"", fmt.Sprintf("there would be more than %d hooks: remove one first", maxHooks)}
		}
		if err != nil {
			return err
		}
		return hookKind.put(t, &made)
	})
	if err != nil {
		return made, cmp.Or(err, h.forgetHook(ctx, made.ID))
	}
	return made, nil
}

// forgetHook removes the record of the system.
func (h *Hooks) forgetHook(ctx context.Context, id string) error {
	_, err := h.engine.Commit(ctx, SystemPartition, &engine.Batch{Deletes: [][]byte{hookKind.key(id)}})
	return err
}

// Hook returns a hook, or ErrNotFound.
func (s *Store) Hook(ctx context.Context, vendor, id string) (found Hook, err error) {
	if id == "" || checkText("id", id, 128) != nil {
		return found, ErrNotFound
	}
	return read(ctx, s, vendor, hookKind, id)
}

// Hooks returns all hooks of a vendor, the oldest first.
func (s *Store) Hooks(ctx context.Context, vendor string) ([]Hook, error) {
	return pageOf[Hook](ctx, s, vendor, []byte{prefixHook}, Page{Limit: MaxLimit})
}

// UpdateHook changes a hook: change gets the current one, and may be called repeatedly. Its
// id and scheme are kept.
func (w Writer) UpdateHook(ctx context.Context, vendor, id string, change func(*Hook) error) (Hook, error) {
	return update(ctx, w, vendor, hookKind, func(h *Hook) error {
		err := change(h)
		h.ID = id
		return err
	}, id)
}

// DeleteHook removes a hook, unless allowed returns an error. What it received is kept as
// long as it would have been.
func (h *Hooks) DeleteHook(ctx context.Context, w Writer, vendor, id string, allowed func(Hook) error) error {
	if err := removeRecord(ctx, w, vendor, hookKind, allowed, id); err != nil {
		return err
	}
	return h.forgetHook(ctx, id)
}

// Provider returns the hook that the path of an event names, with its vendor and the
// secrets that verify now. For an unknown one it does the same work, and returns a hook
// without an event that could be verified, and known false.
func (h *Hooks) Provider(ctx context.Context, id string) (vendor string, found Hook, secrets []string, known bool, err error) {
	if len(id) > 64 || checkText("id", id, 64) != nil {
		id = ""
	}
	at := hookVendor{SystemPartition}
	_, err = h.get(ctx, SystemPartition, hookKind.key(id), &at)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", found, nil, false, err
	}
	// The system has no hooks: its records of this prefix have no id.
	_, err = h.get(ctx, at.Vendor, hookKind.key(id), &found)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", found, nil, false, err
	}
	known = err == nil && id != "" && found.ID == id && at.Vendor != SystemPartition
	vendor = at.Vendor
	if !known {
		vendor, found = SystemPartition, h.decoy
	}
	secrets, err = h.keyring.openSecrets(found.Secrets, hookSealedFor(vendor, found.ID))
	if err != nil {
		return "", found, nil, false, fmt.Errorf("the secret of hook %s: %w", found.ID, err)
	}
	return vendor, found, secrets, known, nil
}
