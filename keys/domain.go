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

// NormalDomain returns the normal form of a publisher domain, in which domains are
// stored and compared: ASCII (IDNA2008 with the mapping of UTS #46 for lookup),
// lower case, without trailing dot. It returns an error for anything but a host
// name, such as a URL, a wildcard or an IP address.
func NormalDomain(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("is empty")
	case strings.Contains(text, "://"):
		return "", errors.New("has a scheme: write the host name alone")
	case strings.ContainsAny(text, "/?#@"):
		return "", errors.New("is more than a host name: write the host name alone")
	case strings.Contains(text, "*"):
		return "", errors.New("has a wildcard: add each host name by itself")
	case strings.ContainsAny(text, ":[]"):
		return "", errors.New("has a port or is an IP address: write the host name alone")
	case len(text) > 4*maxDomain:
		return "", errors.New("is too long")
	}
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if strings.ContainsFunc(name, func(c rune) bool { return c >= utf8.RuneSelf }) || strings.Contains(name, "xn--") {
		ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(text, "."))
		if err == nil {
			// ToASCII does not accept all of its own results.
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
			return "", errors.New("is not a host name: labels consist of letters, digits and hyphens")
		}
	}
	// Many programs take a name whose last label is a number for an address
	// (WHATWG URL, section 3.5).
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", errIPAddress
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errIPAddress
	}
	return name, nil
}

var errIPAddress = errors.New("is an IP address: write a host name")

// maxDomain is the maximum length of a name, in bytes (RFC 1035, section 2.3.4).
const maxDomain = 253

// isLabel reports whether a label is valid in a host name (RFC 1123, section 2.1).
func isLabel(label string) bool {
	return label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-' &&
		strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Maximum number of a domain's pinned keys, and maximum size of their PEM text in
// bytes.
const (
	MaxPinnedKeys = 8
	MaxPinnedSize = 16 << 10
)

// ParsePinnedKeys parses the public keys of a publisher: PEM blocks, each a P-256
// public key (SubjectPublicKeyInfo, RFC 5480) or a certificate with one; the rest
// of a certificate is ignored. Key ids are thumbprints (RFC 7638). It returns an
// error when a block is anything else, or there is other text after the blocks.
func ParsePinnedKeys(text string) (KeySet, error) {
	if len(text) > MaxPinnedSize {
		return KeySet{}, fmt.Errorf("is longer than %d bytes", MaxPinnedSize)
	}
	// pem.Decode skips damaged blocks without an error.
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
		return KeySet{}, errors.New("has no PEM block: it must start with -----BEGIN PUBLIC KEY-----")
	case read == begun && strings.TrimSpace(string(rest)) != "":
		return KeySet{}, errors.New("has text after the PEM blocks")
	case read != begun:
		return KeySet{}, fmt.Errorf("has %d PEM blocks of which %d can be parsed", begun, read)
	case read > MaxPinnedKeys:
		return KeySet{}, fmt.Errorf("has more than %d keys", MaxPinnedKeys)
	}
	return set, nil
}

func pinnedKey(block *pem.Block) (PublicKey, error) {
	var key any
	var err error
	switch {
	case strings.Contains(block.Type, "PRIVATE"):
		return PublicKey{}, errors.New("is a private key, which must never leave the publisher: it is compromised now, so replace it")
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
		return PublicKey{}, errors.New("cannot be parsed as a public key")
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
		return PublicKey{}, errors.New("is a key of another type: ES256 needs a P-256 key")
	}
}

// CheckPublisherJWKS returns an error unless the address of a domain's key set is
// an https URL on the domain's own host and the default port.
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

// Maximum number of resources for which a domain may sign, and the prefix of an
// entry that is a pattern.
const (
	MaxAllowedResources = 1000
	resourcePrefix      = "prefix:"
)

// CheckAllowedResources returns an error unless ids is a valid list of resources
// for which a domain may sign: publisherContentIds, or `prefix:` followed by the
// start of some and an asterisk.
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

// allowsResource reports whether the list contains the resource or a pattern that
// matches it. An empty list allows every resource.
func allowsResource(ids []string, resource string) bool {
	for _, id := range ids {
		if id == resource {
			return true
		}
		prefix, ok := strings.CutPrefix(id, resourcePrefix)
		if !ok {
			continue
		}
		if prefix, ok = strings.CutSuffix(prefix, "*"); ok && strings.HasPrefix(resource, prefix) {
			return true
		}
	}
	return len(ids) == 0
}
