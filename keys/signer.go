package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// SigningKey is an ES256 key (RFC 7518, section 3.4). Its id is the thumbprint of
// its public key (RFC 7638). It is safe for concurrent use.
type SigningKey struct {
	private *ecdsa.PrivateKey
	public  PublicKey
}

// GenerateSigningKey generates a key. Its id does not start with a hyphen, with
// which commands would take it for a flag.
func GenerateSigningKey() (*SigningKey, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a signing key: %w", err)
		}
		key, err := newSigningKey(private)
		if err != nil || !strings.HasPrefix(key.ID(), "-") {
			return key, err
		}
	}
}

// ParseSigningKey parses a P-256 private key in PKCS #8, as MarshalPrivate
// returns it.
func ParseSigningKey(der []byte) (*SigningKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the signing key is not in PKCS #8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("the signing key is not a P-256 key")
	}
	return newSigningKey(private)
}

func newSigningKey(private *ecdsa.PrivateKey) (*SigningKey, error) {
	id, err := thumbprint(private.Public())
	if err != nil {
		return nil, err
	}
	public, err := NewPublicKey(id, private.Public(), algES256)
	if err != nil {
		return nil, err
	}
	return &SigningKey{private: private, public: public}, nil
}

// thumbprint returns the SHA-256 thumbprint of a key (RFC 7638).
func thumbprint(key crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("computing the thumbprint of a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// ID returns the key id.
func (k *SigningKey) ID() string { return k.public.ID }

// Public returns the public key.
func (k *SigningKey) Public() PublicKey { return k.public }

// MarshalPrivate returns the private key in PKCS #8. Seal it before storing it.
func (k *SigningKey) MarshalPrivate() ([]byte, error) {
	return x509.MarshalPKCS8PrivateKey(k.private)
}

// Format prints the key id, so that no log shows the private key.
func (k SigningKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "signing key %s", k.public.ID) }

// MarshalJSON writes the key id, so that no JSON contains the private key.
func (k SigningKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"kid": k.public.ID})
}

// sign returns a compact JWS of the claims, with the header members alg, typ and
// kid.
func (k *SigningKey) sign(typ string, claims any) (string, error) {
	payload, err := encodeClaims(claims)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", k.ID())
	token, err := signCompact(jose.SigningKey{Algorithm: jose.ES256, Key: k.private}, options, payload)
	if err != nil {
		return "", err
	}
	if len(token) > MaxOwnTokenSize {
		return "", errTokenTooLong
	}
	return token, nil
}

// signCompact returns a compact JWS (RFC 7515, section 7.1).
func signCompact(key jose.SigningKey, options *jose.SignerOptions, payload []byte) (string, error) {
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		return "", fmt.Errorf("making a signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}

var (
	errTokenTooLong = fmt.Errorf("%w: the token would be longer than %d bytes", ErrClaims, MaxOwnTokenSize)
	errNoToken      = fmt.Errorf("%w: they cannot be encoded as a token", ErrClaims)
)

// encodeClaims returns claims as JSON. It does not escape &, < and >, which would
// take six bytes each in a URL.
func encodeClaims(claims any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(claims); err != nil {
		return nil, fmt.Errorf("%w: they cannot be encoded as JSON", ErrClaims)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// Ring holds the keys of one vendor: one that signs, and all that verify. It is
// immutable and safe for concurrent use.
type Ring struct {
	signing *SigningKey
	set     KeySet
}

// NewRing returns a ring. The keys in verify are all whose signatures are
// accepted, and must include the public key of signing.
func NewRing(signing *SigningKey, verify []PublicKey) *Ring {
	return &Ring{signing: signing, set: NewKeySet(verify...)}
}

// SigningKeyID returns the id of the signing key.
func (r *Ring) SigningKeyID() string { return r.signing.ID() }

// KeySet returns the keys that verify.
func (r *Ring) KeySet() KeySet { return r.set }

// signChecked signs claims and checks them as the verifier will read them. It
// returns ErrClaims when the check fails.
func (r *Ring) signChecked(typ string, claims any, check func(object) error) (string, error) {
	raw, err := r.signing.sign(typ, claims)
	if err != nil {
		return "", err
	}
	token, err := Scan(raw)
	if err != nil {
		return "", errNoToken
	}
	if err := check(token.claims); err != nil {
		return "", fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return raw, nil
}
