package store_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

func (b *fixture) client(vendor string, scopes ...string) (store.Client, string) {
	b.Helper()
	client, secret, err := b.CreateClient(b.Context(), store.Client{Name: "back office", Vendor: vendor, Scopes: scopes})
	b.ok(err)
	return client, secret
}

// wantBadSecret wants a secret to be refused without a reason.
func (b *fixture) wantBadSecret(id, secret string) {
	b.Helper()
	if _, err := b.AuthenticateClient(b.Context(), id, secret); !errors.Is(err, store.ErrBadSecret) {
		b.Errorf("client %q, secret of %d bytes: %v", id, len(secret), err)
	}
}

func TestClientSecrets(t *testing.T) {
	b := newFixture(t)
	client, secret := b.client(vendor, "links:*")
	other, otherSecret := b.client("other", "links:read")
	if random := strings.TrimPrefix(secret, "gfsecret_"); len(random) != 43 || secret == otherSecret {
		t.Fatalf("the secret has %d characters behind its prefix", len(random))
	}
	got, err := b.AuthenticateClient(t.Context(), client.ID, secret)
	if b.ok(err); got.Vendor != vendor || got.Generation != 1 {
		t.Errorf("got %+v", got)
	}
	// Every part of a secret, everything longer and every other spelling is
	// another secret.
	for n := range secret {
		b.wantBadSecret(client.ID, secret[:n])
		b.wantBadSecret(client.ID, secret[n+1:])
	}
	for _, wrong := range []string{secret + "A", secret + "\n", strings.ToUpper(secret), otherSecret, strings.Repeat("x", 1<<16)} {
		b.wantBadSecret(client.ID, wrong)
	}
	b.wantBadSecret(other.ID, secret)
	b.wantBadSecret("client_unknown", secret)
	b.wantBadSecret("", secret)
	b.wantBadSecret("a\x00b", secret)
	b.wantBadSecret(strings.Repeat("x", 1<<13), secret)
}

func TestRotatedAndRevokedClients(t *testing.T) {
	b := newFixture(t)
	client, old := b.client(vendor, "links:*")
	b.clock = b.clock.Add(time.Hour)
	rotated, secret, err := b.RotateClientSecret(t.Context(), client.ID)
	b.ok(err)
	if rotated.Generation != 2 || rotated.SecretCreatedAt.Equal(client.SecretCreatedAt) || !rotated.CreatedAt.Equal(client.CreatedAt) {
		t.Errorf("rotated: %+v", rotated)
	}
	b.wantBadSecret(client.ID, old)
	_, err = b.AuthenticateClient(t.Context(), client.ID, secret)
	b.ok(err)

	revoked, err := b.RevokeClient(t.Context(), client.ID)
	b.ok(err)
	b.wantBadSecret(client.ID, secret)
	b.wantBadSecret(client.ID, "") // whose hash is not the one that is no longer there
	b.clock = b.clock.Add(time.Hour)
	again, err := b.RevokeClient(t.Context(), client.ID)
	if b.ok(err); !again.RevokedAt.Equal(revoked.RevokedAt) {
		t.Errorf("revoked at %v, then at %v", revoked.RevokedAt, again.RevokedAt)
	}
	if _, _, err := b.RotateClientSecret(t.Context(), client.ID); !errors.Is(err, store.ErrRevoked) {
		t.Errorf("a revoked client came back: %v", err)
	}
	for _, err := range []error{
		func() error { _, err := b.RevokeClient(t.Context(), "client_unknown"); return err }(),
		func() error { _, _, err := b.RotateClientSecret(t.Context(), "client_unknown"); return err }(),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an unknown client: %v", err)
		}
	}
}

func TestClientsAreChecked(t *testing.T) {
	b := newFixture(t)
	good := store.Client{Name: "x", Vendor: vendor, Scopes: []string{"links:read"}}
	for field, change := range map[string][]func(*store.Client){
		"name":   {func(c *store.Client) { c.Name = " " }, func(c *store.Client) { c.Name = "a\nb" }, func(c *store.Client) { c.Name = strings.Repeat("x", 256) }},
		"vendor": {func(c *store.Client) { c.Vendor = "_system" }, func(c *store.Client) { c.Vendor = "A" }},
		"scopes": {
			func(c *store.Client) { c.Scopes = nil }, func(c *store.Client) { c.Scopes = []string{"*"} },
			func(c *store.Client) { c.Scopes = []string{"links:delete"} }, func(c *store.Client) { c.Scopes = []string{"links:read links:write"} },
			func(c *store.Client) { c.Scopes = slices.Repeat([]string{"links:read"}, 33) },
		},
	} {
		for _, change := range change {
			wrong := good
			change(&wrong)
			_, _, err := b.CreateClient(t.Context(), wrong)
			b.names(err, field)
		}
	}
	if clients, err := b.Clients(t.Context(), store.Page{}); err != nil || len(clients) != 0 {
		t.Errorf("%v, %v", clients, err)
	}
}

func TestClientsAreListedInOrder(t *testing.T) {
	b := newFixture(t)
	var want []string
	for range 5 {
		client, _ := b.client(vendor, "links:read")
		want = append(want, client.ID)
		b.clock = b.clock.Add(time.Second)
	}
	var got []string
	for from := ""; ; {
		page, err := b.Clients(t.Context(), store.Page{Limit: 2, From: from})
		b.ok(err)
		for _, client := range page {
			got = append(got, client.ID)
		}
		if len(page) < 2 {
			break
		}
		from = page[1].ID
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// A client makes no vendor, and no vendor's partition holds one.
	if vendors, err := b.Vendors(t.Context()); err != nil || len(vendors) != 0 {
		t.Errorf("vendors are %v, %v", vendors, err)
	}
}

// The database does not contain a client's secret.
func TestSecretsAreNotKept(t *testing.T) {
	b := newFixture(t)
	client, secret := b.client(vendor, "links:read")
	_, rotated, err := b.RotateClientSecret(t.Context(), client.ID)
	b.ok(err)
	record, err := json.Marshal(client)
	b.ok(err)
	b.ok(b.engine.Close())
	content := b.bytes()
	if !strings.Contains(content, client.ID) {
		t.Fatal("this test does not see the record")
	}
	for _, secret := range []string{secret, rotated} {
		if strings.Contains(content, strings.TrimPrefix(secret, "gfsecret_")) || strings.Contains(string(record), secret) {
			t.Error("the secret is in the database")
		}
	}
}
