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

	"github.com/gatefold/gatefold/policy"
)

// Client is a client of the management API (RFC 6749, section 2). Only the hash of
// its secret is stored.
type Client struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Vendor is the vendor whose records the client may use; empty for an
	// operator's client, which may use no vendor's records.
	Vendor string   `json:"vendor,omitempty"`
	Scopes []string `json:"scopes"`
	// SecretHash is the SHA-256 of the secret. The secret has 256 random bits, so
	// it needs no slow hash.
	SecretHash []byte `json:"secretHash"`
	// Generation counts the client's secrets, from one. Access tokens of an earlier
	// generation are invalid.
	Generation      int64     `json:"generation"`
	CreatedAt       time.Time `json:"createdAt"`
	SecretCreatedAt time.Time `json:"secretCreatedAt"`
	RevokedAt       time.Time `json:"revokedAt,omitzero"`
}

// Active reports whether the client is not revoked.
func (c *Client) Active() bool { return c.RevokedAt.IsZero() }

// ErrBadSecret is returned for an unknown client, a revoked client and a wrong
// secret alike, so that callers cannot tell which clients exist.
var ErrBadSecret = errors.New("the client is unknown or its secret is wrong")

// ErrRevoked is returned for a client that is revoked. Revocation is final.
var ErrRevoked = errors.New("the client was revoked")

// MaxClientScopes bounds the scopes of a client.
const MaxClientScopes = 32

var clientScope = regexp.MustCompile(`^[a-z]{1,32}:(read|write|\*)$`)

func (c *Client) check() error {
	if strings.TrimSpace(c.Name) == "" {
		return &FieldError{"name", "is required: it identifies the client in listings and logs"}
	}
	if err := checkText("name", c.Name, 255); err != nil {
		return err
	}
	if c.Vendor != "" && !vendorPattern.MatchString(c.Vendor) {
		return &FieldError{"vendor", "must be lower-case letters, digits and hyphens, at most 63"}
	}
	if len(c.Scopes) == 0 || len(c.Scopes) > MaxClientScopes {
		return &FieldError{"scopes", fmt.Sprintf("must be 1 to %d", MaxClientScopes)}
	}
	for _, scope := range c.Scopes {
		if !clientScope.MatchString(scope) {
			return &FieldError{"scopes", "must each be <resource>:read, <resource>:write or <resource>:*"}
		}
	}
	return nil
}

// secretPrefix lets scanners for leaked secrets recognize one.
const secretPrefix = "gfsecret_"

// newSecret returns a secret of 32 random bytes, and its hash.
func newSecret() (secret string, hash []byte) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// CreateClient stores a new client under a new id. It returns the secret, which
// cannot be read again.
func (w Writer) CreateClient(ctx context.Context, client Client) (Client, string, error) {
	if err := client.check(); err != nil {
		return Client{}, "", err
	}
	now := w.timestamp()
	var secret string
	client.ID = newID("client_", now)
	client.Generation, client.CreatedAt, client.SecretCreatedAt, client.RevokedAt = 1, now, now, time.Time{}
	secret, client.SecretHash = newSecret()
	return client, secret, w.put(ctx, SystemPartition, key(prefixClient, client.ID), nil, client, policy.Invalidation{})
}

// Client returns a client, or ErrNotFound. It is not cached: revoking a client ends
// it at once, on every node.
func (s *Store) Client(ctx context.Context, id string) (Client, error) {
	client, _, err := s.client(ctx, id)
	return client, err
}

func (s *Store) client(ctx context.Context, id string) (client Client, stored []byte, err error) {
	if checkText("id", id, 128) != nil {
		return client, nil, ErrNotFound
	}
	stored, err = s.get(ctx, SystemPartition, key(prefixClient, id), &client)
	return client, stored, err
}

// Clients returns a page of the clients in the order of their creation, including
// revoked ones.
func (s *Store) Clients(ctx context.Context, page Page) ([]Client, error) {
	return pageOf[Client](ctx, s, SystemPartition, []byte{prefixClient}, page)
}

// AuthenticateClient returns the client of a secret, or ErrBadSecret. It does the
// same work for unknown clients, so that its duration does not reveal which exist.
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

// RotateClientSecret gives a client a new secret. The previous one and its access
// tokens become invalid at once.
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

// RevokeClient revokes a client, its secret and its access tokens, at once and for
// good. Revoking again is no error.
func (w Writer) RevokeClient(ctx context.Context, id string) (Client, error) {
	return w.updateClient(ctx, id, func(client *Client) error {
		if client.Active() {
			client.RevokedAt = w.timestamp()
		}
		client.SecretHash = nil
		return nil
	})
}

func (w Writer) updateClient(ctx context.Context, id string, change func(*Client) error) (Client, error) {
	client, stored, err := w.client(ctx, id)
	if err != nil {
		return Client{}, err
	}
	if err := change(&client); err != nil {
		return Client{}, err
	}
	return client, w.put(ctx, SystemPartition, key(prefixClient, id), stored, client, policy.Invalidation{})
}
