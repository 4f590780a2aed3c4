package keys

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Source says where somebody's key set is.
type KeySetLocation struct {
	// URL is the address of a JWK Set. Empty where Issuer is set.
	URL string
	// Issuer is an OpenID issuer, whose configuration says where its keys are
	// (OpenID Connect Discovery 1.0, section 4).
	Issuer string
	// Trusted says that the operator of the machine wrote the address: it may
	// be a private one. What came through an API must not set it.
	Trusted bool
}

// Address returns the URL or the issuer.
func (s KeySetLocation) Address() string {
	if s.Issuer != "" {
		return s.Issuer
	}
	return s.URL
}

// name is the source's name in a SetStore: what one may reach and another may
// not must not be taken for the same.
func (s KeySetLocation) name() string {
	name := "url "
	if s.Issuer != "" {
		name = "issuer "
	}
	if s.Trusted {
		name = "trusted " + name
	}
	return name + s.Address()
}

// Check says what is wrong with a source: its address must be an https URL
// without user name and fragment.
func (s KeySetLocation) Check() error {
	if (s.URL == "") == (s.Issuer == "") {
		return errors.New("a key set has either a URL or an issuer")
	}
	address, err := parseHTTPS(s.Address())
	if err == nil && s.Issuer != "" && (address.RawQuery != "" || address.ForceQuery) {
		return errors.New("an issuer has no query")
	}
	return err
}

func parseHTTPS(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL")
	case address.Scheme != "https" || address.Hostname() == "" || address.Opaque != "":
		return nil, errors.New("is not an https URL")
	case address.User != nil:
		return nil, errors.New("holds a user name")
	case strings.Contains(text, "#"):
		return nil, errors.New("has a fragment")
	case len(text) > MaxKeySetURL:
		return nil, fmt.Errorf("is longer than %d bytes", MaxKeySetURL)
	}
	return address, nil
}

// MaxKeySetURL is the length of the longest address of keys, in bytes.
const MaxKeySetURL = 2048

// locate returns the address of the source's JWK Set, and whether it may be a
// private one.
func (f *fetcher) locate(ctx context.Context, s KeySetLocation) (address string, anywhere bool, err error) {
	if s.Issuer == "" {
		return s.URL, s.Trusted, nil
	}
	where := strings.TrimSuffix(s.Issuer, "/") + "/.well-known/openid-configuration"
	doc, err := f.get(ctx, where, "", s.Trusted)
	if err != nil {
		return "", false, err
	}
	malformed := func(problem string) error {
		return &FetchError{FetchMalformed, "the configuration of the issuer " + problem}
	}
	configuration, ok := readObjectOf(doc.body, maxConfigurationMembers)
	if !ok {
		return "", false, malformed("is not a JSON object")
	}
	// What calls itself by another name speaks for somebody else (section 4.3).
	if issuer, err := configuration.text("issuer", MaxKeySetURL); err != nil || issuer != s.Issuer {
		return "", false, malformed("names another issuer")
	}
	address, err = configuration.text("jwks_uri", MaxKeySetURL)
	if err != nil {
		return "", false, malformed("has no jwks_uri")
	}
	there, err := parseHTTPS(address)
	if err != nil {
		return "", false, malformed("has a jwks_uri that " + err.Error())
	}
	// The operator wrote the issuer's address, not this one: it may be private
	// only where it is the same host.
	issuer, err := parseHTTPS(s.Issuer)
	return address, s.Trusted && err == nil && issuer.Host == there.Host, err
}

// maxConfigurationMembers bounds the members of an issuer's configuration:
// there are many registered ones.
const maxConfigurationMembers = 256
