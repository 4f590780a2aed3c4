package keys

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func mustSealer(t *testing.T, secret string) *Sealer {
	t.Helper()
	sealer, err := NewSealer([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

const (
	secretA = "0123456789abcdef"
	secretB = "0123456789abcdeg"
)

func TestSealRoundTrip(t *testing.T) {
	sealer := mustSealer(t, secretA)
	for _, plaintext := range []string{"", "x", "a private key", strings.Repeat("long ", 10_000)} {
		for _, additional := range []string{"", "acme"} {
			sealed := sealer.Seal([]byte(plaintext), []byte(additional))
			if len(plaintext) > 8 && bytes.Contains(sealed, []byte(plaintext)) {
				t.Error("the sealed value contains the plaintext")
			}
			// Another Sealer with the same secret, as after a restart.
			opened, err := mustSealer(t, secretA).Open(sealed, []byte(additional))
			if err != nil || string(opened) != plaintext {
				t.Errorf("got %q, %v, want %q", opened, err, plaintext)
			}
		}
	}
}

// Values that an earlier version sealed must open.
func TestSealOfEarlierVersion(t *testing.T) {
	sealed, err := hex.DecodeString("c24f08aeb7f6add62c149835d281b2cbc6aef53220bdab624c7b5cc0ff917d117d9ce701ae994d7188")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := mustSealer(t, secretA).Open(sealed, []byte("acme"))
	if err != nil || string(opened) != "a private key" {
		t.Errorf("got %q, %v", opened, err)
	}
}

func TestSealDetectsEveryAlteredByte(t *testing.T) {
	sealer := mustSealer(t, secretA)
	sealed := sealer.Seal([]byte("a private key"), []byte("acme"))
	for i := range sealed {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			altered := bytes.Clone(sealed)
			altered[i] ^= flip
			opened, err := sealer.Open(altered, []byte("acme"))
			if wantError(t, err, ErrSealed); opened != nil {
				t.Fatalf("byte %d: altered text was returned", i)
			}
		}
	}
	for length := range sealed {
		_, err := sealer.Open(sealed[:length], []byte("acme"))
		wantError(t, err, ErrSealed)
		_, err = sealer.Open(sealed[length+1:], []byte("acme"))
		wantError(t, err, ErrSealed)
	}
	_, err := sealer.Open(append(bytes.Clone(sealed), 0), []byte("acme"))
	wantError(t, err, ErrSealed)
}

// A sealed key that is copied into another vendor's record does not open.
func TestSealIsBoundToAdditionalDataAndSecret(t *testing.T) {
	sealed := mustSealer(t, secretA).Seal([]byte("a private key"), []byte("acme"))
	for _, additional := range [][]byte{nil, []byte("beta"), []byte("acm"), []byte("acme\x00"), []byte("ACME")} {
		_, err := mustSealer(t, secretA).Open(sealed, additional)
		wantError(t, err, ErrSealed)
	}
	for _, secret := range []string{secretB, secretA + "\n", secretA + "\x00", " " + secretA, strings.ToUpper(secretA)} {
		_, err := mustSealer(t, secret).Open(sealed, []byte("acme"))
		wantError(t, err, ErrSealed)
	}
}

func TestSealUsesNewNonces(t *testing.T) {
	sealer := mustSealer(t, secretA)
	seen := make(map[string]bool)
	for range 1000 {
		nonce := string(sealer.Seal([]byte("same"), nil)[:12])
		if seen[nonce] {
			t.Fatal("a nonce was used twice")
		}
		seen[nonce] = true
	}
}

func TestSealerRefusesShortSecrets(t *testing.T) {
	for length := range MinSecretSize {
		secret := strings.Repeat("Z", length)
		_, err := NewSealer([]byte(secret))
		if err == nil {
			t.Errorf("%d bytes were accepted", length)
		} else if length > 0 && strings.Contains(err.Error(), secret) {
			t.Error("the error contains the secret")
		}
	}
}

// The caller may overwrite its secret: the Sealer has a copy.
func TestSealerCopiesSecret(t *testing.T) {
	secret := []byte(secretA)
	sealer, err := NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	clear(secret)
	got, err := sealer.Derive(PurposeLinkCookie)
	if err != nil {
		t.Fatal(err)
	}
	want, err := mustSealer(t, secretA).Derive(PurposeLinkCookie)
	if err != nil || got != want {
		t.Error("the key changed with the caller's slice")
	}
}

func TestDeriveSeparatesPurposes(t *testing.T) {
	seen := make(map[[32]byte]string)
	for _, secret := range []string{secretA, secretB} {
		for _, purpose := range []string{"", purposeSeal, PurposeLinkCookie, PurposeLinkReader, PurposeLinkCookie + " ", "gatefold link cookie v2"} {
			key, err := mustSealer(t, secret).Derive(purpose)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := seen[key]; ok {
				t.Errorf("%q has the key of %q", purpose, other)
			}
			seen[key] = purpose
		}
	}
	// Link cookies must stay valid across releases.
	key, err := mustSealer(t, secretA).Derive(PurposeLinkCookie)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(key[:]); got != "87a070007d81e868ee30e43b58ef07483057e8ecd59a4532c62fa4f17b3865c7" {
		t.Errorf("got %s", got)
	}
}
