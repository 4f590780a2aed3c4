package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Webhook is an endpoint to which a vendor's events are delivered.
type Webhook struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	// Types are the wanted types of events, `role.*` for all of a kind; none means all.
	Types       []string `json:"types,omitempty"`
	Description string   `json:"description,omitempty"`
	// Disabled is why nothing is queued and delivered; empty for an active endpoint.
	Disabled   string    `json:"disabled,omitempty"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// Secrets are the sealed secrets, the newest first: each event is signed with all
	// that have not ended.
	Secrets   []webhookSecret `json:"secrets"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

type webhookSecret struct {
	Sealed    []byte    `json:"sealed"`
	CreatedAt time.Time `json:"created_at"`
	EndsAt    time.Time `json:"ends_at,omitzero"` // zero for the newest one
}

// Why an endpoint is disabled.
const (
	DisabledByClient = "client"  // a client of the API did it
	DisabledGone     = "gone"    // the endpoint answered 410
	DisabledFailing  = "failing" // nothing was delivered for WebhookPatience
)

// Bounds of webhooks.
const (
	// maxWebhooks bounds the endpoints of a vendor: each has events of its own.
	maxWebhooks = 16
	// maxWebhookURL bounds the URL of an endpoint, in bytes.
	maxWebhookURL = 2048
	// MaxSecretOverlap bounds how long a replaced secret signs beside the new one.
	MaxSecretOverlap = 7 * 24 * time.Hour
	// maxWebhookSecrets bounds the secrets that sign at once.
	maxWebhookSecrets = 4
)

// Webhooks manages the endpoints of webhooks, whose secrets a keyring seals. It is safe
// for concurrent use.
type Webhooks struct {
	*Store
	keyring *Keyring
}

// NewWebhooks returns the webhooks of the store and the sealer of a keyring.
func NewWebhooks(keyring *Keyring) *Webhooks { return &Webhooks{keyring.store, keyring} }

// waiting holds the vendors for which this process queued events.
type waiting struct {
	mu      sync.Mutex
	vendors map[string]bool
	changed chan struct{}
}

func (w *waiting) init() {
	if w.changed == nil {
		w.vendors, w.changed = map[string]bool{}, make(chan struct{}, 1)
	}
}

func (w *waiting) add(vendor string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.init()
	w.vendors[vendor] = true
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// EventsQueued returns a channel that receives when this process queued events.
func (s *Store) EventsQueued() <-chan struct{} {
	s.waiting.mu.Lock()
	defer s.waiting.mu.Unlock()
	s.waiting.init()
	return s.waiting.changed
}

// TakeQueued returns the vendors for which this process queued events since the last call.
func (s *Store) TakeQueued() []string {
	s.waiting.mu.Lock()
	defer s.waiting.mu.Unlock()
	vendors := slices.Collect(maps.Keys(s.waiting.vendors))
	clear(s.waiting.vendors)
	return vendors
}

// WebhookVendors returns the vendors that have, or had, webhooks.
func (s *Store) WebhookVendors(ctx context.Context) (vendors []string, err error) {
	err = s.engine.View(ctx, SystemPartition, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte{prefixWebhook}, nil) {
			if err != nil {
				return err
			}
			vendors = append(vendors, string(entry.Key[1:]))
		}
		return nil
	})
	return vendors, err
}

// normalize checks an endpoint. That its address is public is for the caller to check.
func (h *Webhook) normalize() error {
	address, err := url.Parse(h.URL)
	switch {
	case err != nil || address.Hostname() == "" || address.Scheme != "https" && address.Scheme != "http":
		return &FieldError{"url", "must be an https URL"}
	case address.User != nil || address.Fragment != "":
		return &FieldError{"url", "must have no user, password and fragment: events are signed"}
	}
	slices.Sort(h.Types)
	h.Types = slices.Compact(h.Types)
	known := EventTypes()
	for _, wanted := range h.Types {
		kind, all := strings.CutSuffix(wanted, ".*")
		if !slices.Contains(known, wanted) && (!all || !slices.Contains(wantedKinds(), kind)) {
			return &FieldError{"types", fmt.Sprintf("have %.64q, which no event has: they are such as role.created or role.*", wanted)}
		}
	}
	if err := checkText("url", h.URL, maxWebhookURL); err != nil {
		return err
	}
	return checkText("description", h.Description, 255)
}

// CreateWebhook stores a new endpoint under a new id. It returns the secret, which cannot
// be read again.
func (h *Webhooks) CreateWebhook(ctx context.Context, w Writer, vendor string, hook Webhook) (Webhook, string, error) {
	if err := hook.normalize(); err != nil {
		return hook, "", err
	}
	// Before the endpoint, so that no vendor with endpoints is missing.
	if _, err := h.engine.Commit(ctx, SystemPartition, &engine.Batch{Puts: []engine.Put{{Key: key(prefixWebhook, vendor), Value: []byte{}}}}); err != nil {
		return hook, "", err
	}
	now := h.timestamp()
	hook.ID, hook.CreatedAt, hook.UpdatedAt, hook.Secrets = newID("webhook_", now), now, now, nil
	secret := h.addSecret(vendor, &hook, 0)
	return hook, secret, h.replace(ctx, w, vendor, hook.ID, nil, &hook)
}

// WebhookSecretPrefix begins the secrets of webhooks (Standard Webhooks).
const WebhookSecretPrefix = hook.SecretPrefix

// addSecret makes a new secret. The previous ones end after the overlap.
func (h *Webhooks) addSecret(vendor string, hook *Webhook, overlap time.Duration) string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	secret := WebhookSecretPrefix + base64.StdEncoding.EncodeToString(random[:])
	hook.Secrets = h.keyring.addSecret(hook.Secrets, secret, webhookSealedFor(vendor, hook.ID), overlap, maxWebhookSecrets)
	return secret
}

// addSecret returns the secrets with a new one, sealed. The previous ones end after the
// overlap, and beyond the limit at once.
func (k *Keyring) addSecret(secrets []webhookSecret, secret string, sealedFor []byte, overlap time.Duration, limit int) []webhookSecret {
	now := k.store.timestamp()
	kept := []webhookSecret{{Sealed: k.sealer.Seal([]byte(secret), sealedFor), CreatedAt: now}}
	for _, old := range secrets {
		if end := now.Add(overlap); old.EndsAt.IsZero() || old.EndsAt.After(end) {
			old.EndsAt = end
		}
		if old.EndsAt.After(now) && len(kept) < limit {
			kept = append(kept, old)
		}
	}
	return kept
}

func webhookSealedFor(vendor, id string) []byte { return []byte("webhook\x00" + vendor + "\x00" + id) }

// Secrets returns the secrets that sign events of an endpoint now, the newest first.
func (h *Webhooks) Secrets(vendor string, hook *Webhook) ([]string, error) {
	secrets, err := h.keyring.openSecrets(hook.Secrets, webhookSealedFor(vendor, hook.ID))
	if err != nil {
		return nil, fmt.Errorf("the secret of webhook %s: %w", hook.ID, err)
	}
	return secrets, nil
}

// openSecrets returns the secrets that have not ended.
func (k *Keyring) openSecrets(sealed []webhookSecret, sealedFor []byte) ([]string, error) {
	var secrets []string
	for _, secret := range sealed {
		if !secret.EndsAt.IsZero() && !k.store.now().Before(secret.EndsAt) {
			continue
		}
		text, err := k.sealer.Open(secret.Sealed, sealedFor)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, string(text))
	}
	return secrets, nil
}

// SecretsSince returns since when the newest secret signs, and when the last of the
// replaced ones ends; zero if none signs any more.
func (h *Webhook) SecretsSince(now time.Time) (since, replacedUntil time.Time) {
	return secretsSince(h.Secrets, now)
}

func secretsSince(secrets []webhookSecret, now time.Time) (since, replacedUntil time.Time) {
	for i, secret := range secrets {
		if i == 0 {
			since = secret.CreatedAt
		} else if secret.EndsAt.After(now) && secret.EndsAt.After(replacedUntil) {
			replacedUntil = secret.EndsAt
		}
	}
	return since, replacedUntil
}

// RotateWebhookSecret gives an endpoint a new secret and returns it. The previous ones
// sign beside it until the overlap ends.
func (h *Webhooks) RotateWebhookSecret(ctx context.Context, w Writer, vendor, id string, overlap time.Duration) (hook Webhook, secret string, err error) {
	if overlap < 0 || overlap > MaxSecretOverlap {
		return hook, "", &FieldError{"overlap_seconds", fmt.Sprintf("must be from 0 to %.0f", MaxSecretOverlap.Seconds())}
	}
	hook, err = h.UpdateWebhook(ctx, w, vendor, id, func(hook *Webhook) error {
		secret = h.addSecret(vendor, hook, overlap)
		return nil
	})
	return hook, secret, err
}

// Webhook returns an endpoint, or ErrNotFound.
func (s *Store) Webhook(ctx context.Context, vendor, id string) (hook Webhook, err error) {
	hook, _, err = s.webhook(ctx, vendor, id)
	return hook, err
}

func (s *Store) webhook(ctx context.Context, vendor, id string) (hook Webhook, stored []byte, err error) {
	if id == "" || checkText("id", id, 128) != nil {
		return hook, nil, ErrNotFound
	}
	stored, err = s.get(ctx, vendor, key(prefixWebhook, id), &hook)
	return hook, stored, err
}

// Webhooks returns all endpoints of a vendor, the oldest first.
func (s *Store) Webhooks(ctx context.Context, vendor string) ([]Webhook, error) {
	return pageOf[Webhook](ctx, s, vendor, []byte{prefixWebhook}, Page{Limit: MaxLimit})
}

// UpdateWebhook changes an endpoint: change gets the current one. Its id, secrets and time
// of creation are kept unless change is of this package. A change that changes nothing is
// not written.
func (h *Webhooks) UpdateWebhook(ctx context.Context, w Writer, vendor, id string, change func(*Webhook) error) (Webhook, error) {
	old, stored, err := h.webhook(ctx, vendor, id)
	if err != nil {
		return old, err
	}
	hook := old
	hook.Types = slices.Clone(old.Types)
	if err := change(&hook); err != nil {
		return old, err
	}
	hook.ID, hook.CreatedAt, hook.UpdatedAt = old.ID, old.CreatedAt, old.UpdatedAt
	if err := hook.normalize(); err != nil {
		return old, err
	}
	if same, err := encode(&hook); err == nil && bytes.Equal(same, stored) {
		return hook, nil
	}
	hook.UpdatedAt = h.advanced(old.UpdatedAt)
	switch {
	case hook.Disabled == "":
		hook.DisabledAt = time.Time{}
	case old.Disabled == "":
		hook.DisabledAt = hook.UpdatedAt
	}
	return hook, h.replace(ctx, w, vendor, id, stored, &hook)
}

// DisableWebhook disables an active endpoint, which is audited as a change by the system.
func (h *Webhooks) DisableWebhook(ctx context.Context, vendor, id, cause string) error {
	_, err := h.UpdateWebhook(ctx, h.As(Actor{Name: "gatefold", Operation: "disable-webhook"}), vendor, id, func(hook *Webhook) error {
		if hook.Disabled == "" {
			hook.Disabled = cause
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DeleteWebhook removes an endpoint with its state, unless allowed returns an error. The
// events of its queue are not delivered; they expire.
func (h *Webhooks) DeleteWebhook(ctx context.Context, w Writer, vendor, id string, allowed func(Webhook) error) error {
	hook, stored, err := h.webhook(ctx, vendor, id)
	if err == nil {
		err = allowed(hook)
	}
	if err != nil {
		return err
	}
	return h.replace(ctx, w, vendor, id, stored, nil)
}

// replace commits an endpoint in place of the stored bytes, nil for a removed one, with
// the routes of the vendor.
func (h *Webhooks) replace(ctx context.Context, w Writer, vendor, id string, stored []byte, next *Webhook) error {
	routeKey := []byte{prefixRoute}
	var to route
	routed, err := h.get(ctx, vendor, routeKey, &to)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	all, err := h.Webhooks(ctx, vendor)
	if err != nil {
		return err
	}
	if stored == nil && len(all) >= maxWebhooks {
		return &FieldError{"url", fmt.Sprintf("would be one of more than %d webhooks: remove one first", maxWebhooks)}
	}
	to.Endpoints = slices.DeleteFunc(to.Endpoints, func(e routeEndpoint) bool { return e.ID == id })
	batch := &engine.Batch{Checks: []engine.Check{{Key: key(prefixWebhook, id), Value: stored}, {Key: routeKey, Value: routed}}}
	if next == nil {
		batch.Deletes = [][]byte{key(prefixWebhook, id), key(prefixWebhookState, id)}
	} else {
		value, err := encode(next)
		if err != nil {
			return err
		}
		batch.Puts = []engine.Put{{Key: key(prefixWebhook, id), Value: value}}
		if next.Disabled == "" {
			to.Endpoints = append(to.Endpoints, routeEndpoint{ID: id, Types: next.Types})
		}
	}
	value, err := encode(to)
	if err != nil {
		return err
	}
	batch.Puts = append(batch.Puts, engine.Put{Key: routeKey, Value: value})
	return w.commit(ctx, vendor, batch, policy.Invalidation{})
}
