package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// NormalDomain returns the name of a publisher domain in the one form in which
// it is kept and compared: ASCII (IDNA2008 as UTS #46 maps it, for looking up),
// lower case, without trailing dot. The error says what the text has that a
// domain has not: a scheme, a port, a wildcard, or characters of no host name.
func NormalDomain(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("is empty")
	case strings.Contains(text, "://"):
		return "", errors.New("has a scheme: write the host name alone")
	case strings.ContainsAny(text, "/?#@"):
		return "", errors.New("is more than a host name")
	case strings.Contains(text, "*"):
		return "", errors.New("has a wildcard: each host name is trusted by itself")
	case strings.ContainsAny(text, ":[]"):
		return "", errors.New("has a port or is an IP address: write the host name alone")
	case len(text) > 4*maxDomain:
		return "", errors.New("is too long")
	}
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if !isASCII(name) || strings.Contains(name, "xn--") {
		ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(text, "."))
		if err == nil {
			// Not every name that this writes does it take back.
			name, err = idna.Lookup.ToASCII(ascii)
		}
		if err != nil || name != ascii || !utf8.ValidString(text) {
			return "", errors.New("is not a valid internationalized name")
		}
		name = strings.TrimSuffix(name, ".")
	}
	if len(name) > maxDomain {
		return "", errors.New("is too long")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return "", errors.New("is not a host name: its parts are letters, digits and hyphens")
		}
	}
	// What ends in a number is an address to many programs, in one of several
	// notations.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", errors.New("is an IP address, which is no publisher")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errors.New("is an IP address, which is no publisher")
	}
	return name, nil
}

// maxDomain is the length of the longest name (RFC 1035, section 2.3.4).
const maxDomain = 253

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isLabel says whether a part of a name is one of a host's (RFC 1123, section
// 2.1).
func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Bounds of a domain's pinned keys.
const (
	MaxPinnedKeys = 8
	MaxPinnedSize = 16 << 10
)

// ParsePinnedKeys reads the keys that a publisher signs with: PEM blocks, each a
// P-256 public key (SubjectPublicKeyInfo, RFC 5480) or a certificate of one, of
// which only the key counts. The error says what was found instead. A key's id
// is its thumbprint (RFC 7638).
func ParsePinnedKeys(text string) (KeySet, error) {
	if len(text) > MaxPinnedSize {
		return KeySet{}, fmt.Errorf("is longer than %d bytes", MaxPinnedSize)
	}
	// A block that is damaged would be passed over in silence.
	begun := strings.Count(text, "-----BEGIN ")
	var set KeySet
	rest, read := []byte(text), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		read++
		key, err := pinnedKey(block)
		if err != nil {
			return KeySet{}, fmt.Errorf("block %d %w", read, err)
		}
		set.keys = append(set.keys, key)
	}
	switch {
	case begun == 0:
		return KeySet{}, errors.New("holds no PEM block: it begins with -----BEGIN PUBLIC KEY-----")
	case read != begun || strings.TrimSpace(string(rest)) != "":
		return KeySet{}, fmt.Errorf("holds %d PEM blocks of which %d can be read", begun, read)
	case read > MaxPinnedKeys:
		return KeySet{}, fmt.Errorf("holds more than %d keys", MaxPinnedKeys)
	}
	return set, nil
}

func pinnedKey(block *pem.Block) (PublicKey, error) {
	var key any
	var err error
	switch {
	case strings.Contains(block.Type, "PRIVATE"):
		return PublicKey{}, errors.New("is a private key, which must never leave the publisher: it is known to others now, make a new one")
	case block.Type == "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		return PublicKey{}, errors.New("is neither a PUBLIC KEY nor a CERTIFICATE")
	}
	if err != nil {
		return PublicKey{}, errors.New("cannot be read as a public key")
	}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return PublicKey{}, fmt.Errorf("is a key on the curve %s: ES256 needs P-256", key.Curve.Params().Name)
		}
		id, err := thumbprint(key)
		if err != nil {
			return PublicKey{}, err
		}
		return NewPublicKey(id, key, algES256)
	case *rsa.PublicKey:
		return PublicKey{}, errors.New("is an RSA key: ES256 needs a P-256 key")
	default:
		return PublicKey{}, errors.New("is a key of another kind: ES256 needs a P-256 key")
	}
}

// CheckPublisherJWKS says what is wrong with the address of a domain's key set:
// it must be an https URL of the domain's own host, on the default port.
func CheckPublisherJWKS(domain, address string) error {
	if err := (KeySetLocation{URL: address}).Check(); err != nil {
		return err
	}
	parsed, err := parseHTTPS(address)
	if err != nil {
		return err
	}
	host, err := NormalDomain(parsed.Hostname())
	switch {
	case err != nil || host != domain:
		return errors.New("is on another host than the domain")
	case parsed.Port() != "" && parsed.Port() != "443":
		return errors.New("has a port other than 443")
	}
	return nil
}

// Bounds of what a domain may speak for.
const (
	MaxAllowedResources = 1000
	resourcePrefix      = "prefix:"
)

// CheckAllowedResources says what is wrong with the ids of resources that a
// domain may speak for.
func CheckAllowedResources(ids []string) error {
	if len(ids) > MaxAllowedResources {
		return fmt.Errorf("are more than %d", MaxAllowedResources)
	}
	for i, id := range ids {
		switch {
		case id == "":
			return fmt.Errorf("has an empty id at %d", i)
		case len(id) > MaxLinkText+len(resourcePrefix)+1:
			return fmt.Errorf("has an id longer than %d bytes at %d", MaxLinkText, i)
		case strings.ContainsFunc(id, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' }):
			return fmt.Errorf("has an id with a control character or invalid UTF-8 at %d", i)
		}
	}
	return nil
}

// allowsResource says whether a list of ids names a resource: exactly, or, where
// an entry is written `prefix:…*`, by its beginning. An empty list names every
// one.
func allowsResource(ids []string, resource string) bool {
	for _, id := range ids {
		if id == resource {
			return true
		}
		beginning, ok := strings.CutPrefix(id, resourcePrefix)
		if !ok {
			continue
		}
		if beginning, ok = strings.CutSuffix(beginning, "*"); ok && strings.HasPrefix(resource, beginning) {
			return true
		}
	}
	return len(ids) == 0
}
