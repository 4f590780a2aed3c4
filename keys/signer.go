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

// SigningKey is an ES256 key of ours (RFC 7518, section 3.4). Its id is the
// thumbprint of its public part (RFC 7638). It is safe for concurrent use.
type SigningKey struct {
	private *ecdsa.PrivateKey
	public  PublicKey
}

// GenerateSigningKey makes a new key. Its id does not begin with a hyphen, which one
// of 64 thumbprints does: on a command line it would be taken for a flag.
func GenerateSigningKey() (*SigningKey, error) {
	for {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a signing key: %w", err)
		}
		key, err := newSigningKey(private)
		if err != nil || !strings.HasPrefix(key.ID(), "-") {
			return key, err
		}
	}
}

// ParseSigningKey reads a key that MarshalPrivate wrote.
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

// thumbprint returns the id of a key that has no other name (RFC 7638).
func thumbprint(key crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("naming a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// ID returns the key id.
func (k *SigningKey) ID() string { return k.public.ID }

// Public returns the key that verifies what this one signs.
func (k *SigningKey) Public() PublicKey { return k.public }

// MarshalPrivate returns the private key in PKCS #8. It must be sealed before
// it is stored.
func (k *SigningKey) MarshalPrivate() ([]byte, error) {
	return x509.MarshalPKCS8PrivateKey(k.private)
}

// Format keeps the private key out of whatever prints a SigningKey.
func (k SigningKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "signing key %s", k.public.ID) }

// MarshalJSON keeps the private key out of JSON.
func (k SigningKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"kid": k.public.ID})
}

// sign makes a compact JWS of claims, with the header members alg, typ and kid.
func (k *SigningKey) sign(typ string, claims any) (string, error) {
	payload, err := encodeClaims(claims)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", k.ID())
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.private}, options)
	if err != nil {
		return "", fmt.Errorf("making a signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	if len(token) > MaxTokenSize {
		return "", fmt.Errorf("%w: the token would be longer than %d bytes", ErrClaims, MaxTokenSize)
	}
	return token, nil
}

// encodeClaims writes claims as JSON, with &, < and > as they are: escaped, they
// would take six bytes each, of which a URL's token has none to spare.
func encodeClaims(claims any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(claims); err != nil {
		return nil, fmt.Errorf("%w: they cannot be written as JSON", ErrClaims)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// Ring is the keys of one vendor: one signs, several may verify. It is
// immutable and safe for concurrent use.
type Ring struct {
	signing *SigningKey
	set     KeySet
}

// NewRing returns a ring. Verify lists every key whose signatures count, the
// signing one among them.
func NewRing(signing *SigningKey, verify []PublicKey) *Ring {
	return &Ring{signing: signing, set: NewKeySet(verify...)}
}

// SigningKeyID returns the id of the key that signs.
func (r *Ring) SigningKeyID() string { return r.signing.ID() }

// KeySet returns the keys that verify.
func (r *Ring) KeySet() KeySet { return r.set }
