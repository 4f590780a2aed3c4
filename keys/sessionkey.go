package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5" //nolint:gosec // the format of existing origins requires it, see sealCookie
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// SessionKey is a secret that a site shares with its origin. It formats as a
// constant; only Reveal returns the secret.
type SessionKey struct{ secret string }

// minSessionKey is the minimum length of a key, in bytes (RFC 7518, section 3.2,
// for HS256).
const minSessionKey = 32

// GenerateSessionKey generates a key of 256 random bits. Its text is ASCII without
// spaces, for use in an environment variable.
func GenerateSessionKey() SessionKey {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return SessionKey{base64.RawURLEncoding.EncodeToString(random[:])}
}

// ParseSessionKey parses a key as Reveal returns it. It returns an error when the
// key is shorter than 32 bytes.
func ParseSessionKey(text string) (SessionKey, error) {
	if len(text) < minSessionKey {
		return SessionKey{}, fmt.Errorf("the session key is shorter than %d bytes", minSessionKey)
	}
	return SessionKey{text}, nil
}

// Reveal returns the secret itself, for the origin and for sealing it.
func (k SessionKey) Reveal() string { return k.secret }

// Format prints a constant, so that no log shows the secret.
func (k SessionKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "session key") }

// MarshalJSON writes a constant, so that no JSON contains the secret.
func (k SessionKey) MarshalJSON() ([]byte, error) { return json.Marshal("session key") }

// sign returns a JWT with the payload, signed with HS256.
func (k SessionKey) sign(payload []byte) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT")
	return signCompact(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(k.secret)}, options, payload)
}

const saltSize = 8

// sealCookie encrypts like OpenSSL's `enc -aes-256-cbc -md md5 -a -A`: base64 of
// "Salted__", the salt and the ciphertext under AES-256-CBC with PKCS #7 padding,
// with key and initialization vector from EVP_BytesToKey with MD5 and one round.
func (k SessionKey) sealCookie(plaintext []byte, salt [saltSize]byte) (string, error) {
	key, iv := evpBytesToKey(k.secret, salt)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return "", errors.New("making a cipher with the session key failed")
	}
	padding := aes.BlockSize - len(plaintext)%aes.BlockSize
	const magic = "Salted__"
	sealed := make([]byte, 0, len(magic)+saltSize+len(plaintext)+padding)
	sealed = append(append(sealed, magic...), salt[:]...)
	body := append(sealed, plaintext...)[len(sealed):]
	for range padding {
		body = append(body, byte(padding))
	}
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(body, body)
	return base64.StdEncoding.EncodeToString(append(sealed, body...)), nil
}

// evpBytesToKey derives a key and an initialization vector: D1 = MD5(secret, salt),
// Dn = MD5(Dn-1, secret, salt), concatenated.
func evpBytesToKey(secret string, salt [saltSize]byte) (key [32]byte, iv [aes.BlockSize]byte) {
	var derived, last []byte
	for len(derived) < len(key)+len(iv) {
		h := md5.New() //nolint:gosec // as above
		h.Write(last)
		h.Write([]byte(secret))
		h.Write(salt[:])
		last = h.Sum(nil)
		derived = append(derived, last...)
	}
	copy(key[:], derived)
	copy(iv[:], derived[len(key):])
	return key, iv
}
