package keys

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// KeySetLocation is where a key set is published. Exactly one of URL and Issuer
// is set.
type KeySetLocation struct {
	// URL is the address of a JWK Set.
	URL string
	// Issuer is an OpenID issuer whose configuration names its JWK Set (OpenID
	// Connect Discovery 1.0, section 4).
	Issuer string
	// Trusted allows private addresses. Set it only for a location from the
	// operator's configuration, never for one from the API.
	Trusted bool
}

// Address returns the URL or the issuer.
func (l KeySetLocation) Address() string {
	if l.Issuer != "" {
		return l.Issuer
	}
	return l.URL
}

// storeName returns the name of the location in a SetStore. It differs between
// trusted and other locations, because they may reach different hosts.
func (l KeySetLocation) storeName() string {
	name := "url "
	if l.Issuer != "" {
		name = "issuer "
	}
	if l.Trusted {
		name = "trusted " + name
	}
	return name + l.Address()
}

// Check returns an error unless the address is an https URL of at most
// MaxKeySetURL bytes, without user name or fragment, and, of an issuer, without
// query.
func (l KeySetLocation) Check() error {
	if (l.URL == "") == (l.Issuer == "") {
		return errors.New("a key set has either a URL or an issuer")
	}
	address, err := parseHTTPS(l.Address())
	if err == nil && l.Issuer != "" && (address.RawQuery != "" || address.ForceQuery) {
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
		return nil, errors.New("contains a user name")
	case strings.Contains(text, "#"):
		return nil, errors.New("has a fragment")
	case len(text) > MaxKeySetURL:
		return nil, fmt.Errorf("is longer than %d bytes", MaxKeySetURL)
	}
	return address, nil
}

// MaxKeySetURL is the maximum length of the address of a key set, in bytes.
const MaxKeySetURL = 2048

// maxConfigurationMembers is the maximum number of members of an OpenID
// configuration, for which many are registered.
const maxConfigurationMembers = 256

// resolve returns the address of the location's JWK Set, and whether it may be a
// private one. For an issuer it fetches the OpenID configuration.
func (f *fetcher) resolve(ctx context.Context, l KeySetLocation) (address string, allowPrivate bool, err error) {
	if l.Issuer == "" {
		return l.URL, l.Trusted, nil
	}
	doc, err := f.get(ctx, strings.TrimSuffix(l.Issuer, "/")+"/.well-known/openid-configuration", "", l.Trusted)
	if err != nil {
		return "", false, err
	}
	malformed := func(problem string) error {
		return &FetchError{FetchMalformed, "the configuration of the issuer " + problem}
	}
	configuration, ok := readObjectUpTo(doc.body, maxConfigurationMembers)
	if !ok {
		return "", false, malformed("is not a JSON object")
	}
	// Discovery, section 4.3: the configuration must be that of this issuer.
	if issuer, err := configuration.text("issuer", MaxKeySetURL); err != nil || issuer != l.Issuer {
		return "", false, malformed("names another issuer")
	}
	address, err = configuration.text("jwks_uri", MaxKeySetURL)
	if err != nil {
		return "", false, malformed("has no jwks_uri")
	}
	set, err := parseHTTPS(address)
	if err != nil {
		return "", false, malformed("has a jwks_uri that " + err.Error())
	}
	// The operator trusts the issuer's host only.
	issuer, err := parseHTTPS(l.Issuer)
	return address, l.Trusted && err == nil && issuer.Host == set.Host, err
}
