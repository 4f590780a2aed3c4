package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// Client is a program that calls the management API (RFC 6749, section 2). Of
// its secret only the hash is kept.
type Client struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Vendor is whose records the client may reach; empty for an operator's
	// client, which reaches no vendor's records.
	Vendor string   `json:"vendor,omitempty"`
	Scopes []string `json:"scopes"`
	// SecretHash is the SHA-256 of the secret. The secret has 256 random bits,
	// so that nothing slower is needed.
	SecretHash []byte `json:"secretHash"`
	// Generation counts the secrets that the client had, from one. Tokens of
	// an earlier one do not count.
	Generation      int64     `json:"generation"`
	CreatedAt       time.Time `json:"createdAt"`
	SecretCreatedAt time.Time `json:"secretCreatedAt"`
	RevokedAt       time.Time `json:"revokedAt,omitzero"`
}

// Active says whether the client may call.
func (c *Client) Active() bool { return c.RevokedAt.IsZero() }

// ErrBadSecret says that there is no such client, that it was revoked, or that
// the secret is another one. Which of them it is, nobody is told.
var ErrBadSecret = errors.New("the client is not known, or its secret is another one")

// ErrRevoked says that a client was revoked, which is for good.
var ErrRevoked = errors.New("the client was revoked")

// MaxClientScopes bounds how many scopes a client may have.
const MaxClientScopes = 32

var (
	clientScope  = regexp.MustCompile(`^[a-z]{1,32}:(read|write|\*)$`)
	clientVendor = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

func (c *Client) check() error {
	if strings.TrimSpace(c.Name) == "" {
		return &FieldError{"name", "is required: it says in lists and logs who the client is"}
	}
	if err := checkText("name", c.Name, 255); err != nil {
		return err
	}
	if c.Vendor != "" && !clientVendor.MatchString(c.Vendor) {
		return &FieldError{"vendor", "must be lower-case letters, digits and hyphens, at most 63"}
	}
	if len(c.Scopes) == 0 || len(c.Scopes) > MaxClientScopes {
		return &FieldError{"scopes", fmt.Sprintf("must be 1 to %d: what the client may do", MaxClientScopes)}
	}
	for _, scope := range c.Scopes {
		if !clientScope.MatchString(scope) {
			return &FieldError{"scopes", "must each be <resource>:read, <resource>:write or <resource>:*"}
		}
	}
	return nil
}

// secretPrefix begins every client secret, so that scanners for leaked secrets
// can find one.
const secretPrefix = "gfsecret_"

// newSecret returns a secret of 32 random bytes, and its hash.
func newSecret() (secret string, hash []byte) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// CreateClient stores a new client under a new id, and returns its secret, which
// nobody can read again.
func (w Writer) CreateClient(ctx context.Context, client Client) (Client, string, error) {
	if err := client.check(); err != nil {
		return Client{}, "", err
	}
	now := w.timestamp()
	var secret string
	client.ID = newID("client_", now)
	client.Generation, client.CreatedAt, client.SecretCreatedAt, client.RevokedAt = 1, now, now, time.Time{}
	secret, client.SecretHash = newSecret()
	stored, err := encode(client)
	if err != nil {
		return Client{}, "", err
	}
	place := key(prefixClient, client.ID)
	batch := &engine.Batch{Checks: []engine.Check{{Key: place}}, Puts: []engine.Put{{Key: place, Value: stored}}}
	return client, secret, w.commit(ctx, SystemPartition, batch, policy.Invalidation{})
}

// Client returns a client, or ErrNotFound. It is read anew each time, so that
// one that was revoked ends at once, on every node.
func (s *Store) Client(ctx context.Context, id string) (Client, error) {
	var client Client
	if err := checkText("id", id, 128); err != nil {
		return client, ErrNotFound
	}
	_, err := s.get(ctx, SystemPartition, key(prefixClient, id), &client)
	return client, err
}

// Clients lists clients in the order of their creation, the revoked ones as well.
func (s *Store) Clients(ctx context.Context, page Page) ([]Client, error) {
	var clients []Client
	err := s.engine.View(ctx, SystemPartition, func(snapshot engine.Snapshot) error {
		var after []byte
		if page.From != "" {
			after = key(prefixClient, page.From)
		}
		for entry, err := range snapshot.Scan([]byte{prefixClient}, after) {
			if err != nil {
				return err
			}
			var client Client
			if err := decode(entry.Key, entry.Value, &client); err != nil {
				return err
			}
			if clients = append(clients, client); len(clients) == page.limit() {
				return nil
			}
		}
		return nil
	})
	return clients, err
}

// AuthenticateClient returns the client that a secret belongs to, or
// ErrBadSecret. It does the same work for a client that is not known as for one
// that is, so that the time it takes tells nobody which clients there are.
func (s *Store) AuthenticateClient(ctx context.Context, id, secret string) (Client, error) {
	client, err := s.Client(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Client{}, err
	}
	expected := client.SecretHash
	if len(expected) != sha256.Size {
		expected = make([]byte, sha256.Size)
	}
	sum := sha256.Sum256([]byte(secret))
	same := subtle.ConstantTimeCompare(sum[:], expected) == 1
	if err != nil || !same || !client.Active() {
		return Client{}, ErrBadSecret
	}
	return client, nil
}

// RotateClientSecret gives a client a new secret. The old one, and every token
// that was made with it, end at once.
func (w Writer) RotateClientSecret(ctx context.Context, id string) (Client, string, error) {
	var secret string
	client, err := w.updateClient(ctx, id, func(client *Client) error {
		if !client.Active() {
			return ErrRevoked
		}
		client.Generation++
		client.SecretCreatedAt = w.timestamp()
		secret, client.SecretHash = newSecret()
		return nil
	})
	if err != nil {
		return Client{}, "", err
	}
	return client, secret, nil
}

// RevokeClient ends a client, its secret and its tokens, at once and for good.
// Revoking twice is no error.
func (w Writer) RevokeClient(ctx context.Context, id string) (Client, error) {
	return w.updateClient(ctx, id, func(client *Client) error {
		if client.Active() {
			client.RevokedAt = w.timestamp()
		}
		client.SecretHash = nil // nobody needs it again
		return nil
	})
}

func (w Writer) updateClient(ctx context.Context, id string, change func(*Client) error) (Client, error) {
	if err := checkText("id", id, 128); err != nil {
		return Client{}, ErrNotFound
	}
	var client Client
	place := key(prefixClient, id)
	stored, err := w.get(ctx, SystemPartition, place, &client)
	if err != nil {
		return Client{}, err
	}
	if err := change(&client); err != nil {
		return Client{}, err
	}
	updated, err := encode(client)
	if err != nil {
		return Client{}, err
	}
	batch := &engine.Batch{Checks: []engine.Check{{Key: place, Value: stored}}, Puts: []engine.Put{{Key: place, Value: updated}}}
	return client, w.commit(ctx, SystemPartition, batch, policy.Invalidation{})
}
