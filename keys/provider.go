package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Provider is the configuration of an OpenID provider, as far as a client needs it (OpenID
// Connect Discovery 1.0, section 3, and RFC 8414, section 2). Endpoints that it does not have
// are empty.
type Provider struct {
	Issuer string
	// Authorization is where a browser logs in, EndSession where it logs out; the others are
	// called by the client itself.
	Authorization, EndSession            string
	Token, UserInfo, PushedAuthorization string
	// TokenAuth are the methods by which clients authenticate at the token endpoint; nil if
	// the provider does not say.
	TokenAuth []string
	// Creates reports whether the provider takes `prompt=create`, by which a reader makes an
	// account (Initiating User Registration via OpenID Connect 1.0, section 4.1).
	Creates bool
	// IssuerParameter reports whether authorization responses have `iss` (RFC 9207).
	IssuerParameter bool
}

// Provider fetches the configuration of an issuer that the operator configured. The error is
// a *FetchError, or that of KeySetLocation.Check.
func (s *Sets) Provider(ctx context.Context, issuer string) (Provider, error) {
	location := KeySetLocation{Issuer: issuer, Trusted: true}
	if err := location.Check(); err != nil {
		return Provider{}, err
	}
	settings := s.settings.Load()
	ctx, cancel := context.WithTimeout(ctx, settings.timeout)
	defer cancel()
	doc, err := settings.fetcher.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", "", true)
	if err != nil {
		return Provider{}, err
	}
	provider, err := readProvider(doc.body, issuer)
	if err != nil {
		return Provider{}, &FetchError{FetchMalformed, "the configuration of the issuer " + err.Error()}
	}
	return provider, nil
}

func readProvider(body []byte, issuer string) (Provider, error) {
	configuration, ok := readObjectUpTo(body, maxConfigurationMembers)
	if !ok {
		return Provider{}, errors.New("is not a JSON object")
	}
	// Discovery, section 4.3: the configuration must be that of this issuer.
	if named, err := configuration.text("issuer", MaxKeySetURL); err != nil || named != issuer {
		return Provider{}, errors.New("names another issuer")
	}
	p := Provider{Issuer: issuer}
	for _, endpoint := range [...]struct {
		name     string
		to       *string
		required bool
	}{
		{"authorization_endpoint", &p.Authorization, true},
		{"token_endpoint", &p.Token, true},
		{"userinfo_endpoint", &p.UserInfo, false},
		{"end_session_endpoint", &p.EndSession, false},
		{"pushed_authorization_request_endpoint", &p.PushedAuthorization, false},
	} {
		address, err := configuration.optionalText(endpoint.name, MaxKeySetURL)
		if err == nil && address == "" && !endpoint.required {
			continue
		}
		if err == nil {
			_, err = parseHTTPS(address)
		}
		if err != nil {
			return Provider{}, fmt.Errorf("has a %s that %w", endpoint.name, err)
		}
		*endpoint.to = address
	}
	p.IssuerParameter = string(configuration.find("authorization_response_iss_parameter_supported")) == "true"
	prompts, _ := readTexts(configuration.find("prompt_values_supported"), maxMembers)
	p.Creates = slices.Contains(prompts, "create")
	p.TokenAuth, _ = readTexts(configuration.find("token_endpoint_auth_methods_supported"), maxMembers)
	return p, nil
}

// Authenticates reports whether clients may authenticate by a method. Without a list it is
// client_secret_basic (OpenID Connect Discovery 1.0, section 3).
func (p *Provider) Authenticates(method string) bool {
	if p.TokenAuth == nil {
		return method == "client_secret_basic"
	}
	return slices.Contains(p.TokenAuth, method)
}

// Limits of a call of a provider.
const (
	// ExchangeTimeout is the time limit of a call, to the end of the body.
	ExchangeTimeout = 5 * time.Second
	// MaxExchangeSize is the maximum size of an answer, in bytes.
	MaxExchangeSize = 256 << 10
)

// Answer is a provider's answer: a status, and the body of at most MaxExchangeSize bytes.
type Answer struct {
	Status int
	Body   []byte
}

// Call calls an endpoint of a provider: POST of a form, or GET without one. It tries once and
// follows no redirect. An endpoint may have a private address on the host of the issuer,
// which the operator trusts. It returns a *FetchError if there is no complete answer.
func (s *Sets) Call(ctx context.Context, issuer, endpoint string, form url.Values, header http.Header) (Answer, error) {
	address, err := parseHTTPS(endpoint)
	if err != nil {
		return Answer{}, &FetchError{FetchMalformed, "the endpoint " + err.Error()}
	}
	trusted, err := parseHTTPS(issuer)
	settings := s.settings.Load()
	client := settings.fetcher.public
	if err == nil && trusted.Host == address.Host {
		client = settings.fetcher.any
	}
	ctx, cancel := context.WithTimeout(ctx, ExchangeTimeout)
	defer cancel()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, method, endpoint, body)
	if err != nil {
		return Answer{}, &FetchError{FetchMalformed, "the URL cannot be parsed"}
	}
	maps.Copy(request.Header, header)
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "gatefold")
	response, err := client.Do(request) //nolint:gosec // the address is checked when dialling
	if err != nil {
		return Answer{}, requestError(ctx, request.URL, err)
	}
	defer response.Body.Close()
	answer := Answer{Status: response.StatusCode}
	if response.StatusCode >= 300 && response.StatusCode < 400 {
		return Answer{}, &FetchError{FetchRedirect, address.Hostname() + " answers with a redirect, which is not followed"}
	}
	if answer.Body, err = io.ReadAll(io.LimitReader(response.Body, MaxExchangeSize+1)); err == nil {
		err = ctx.Err() // a body cut off by the deadline can look complete
	}
	switch {
	case err != nil:
		return Answer{}, requestError(ctx, request.URL, err)
	case len(answer.Body) > MaxExchangeSize:
		return Answer{}, &FetchError{FetchTooLarge, fmt.Sprintf("%s answers with more than %d bytes", address.Hostname(), MaxExchangeSize)}
	}
	return answer, nil
}

// assertionFor is how long a client assertion is valid.
const assertionFor = time.Minute

// SignClientAssertion signs the assertion by which a client authenticates at a provider
// (private_key_jwt: RFC 7523, section 2.2, and OpenID Connect Core 1.0, section 9), with the
// issuer as its audience. The id must be unique.
func SignClientAssertion(ring *Ring, clientID, issuer, id string, now time.Time) (string, error) {
	return ring.signing.sign("JWT", struct {
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		Audience  string `json:"aud"`
		ID        string `json:"jti"`
		IssuedAt  int64  `json:"iat"`
		ExpiresAt int64  `json:"exp"`
	}{clientID, clientID, issuer, id, now.Unix(), now.Add(assertionFor).Unix()})
}

// TokenAnswer has the members of a token response that a client needs (RFC 6749, section 5).
type TokenAnswer struct {
	AccessToken, RefreshToken, IDToken, TokenType string
	// ExpiresIn is in seconds; zero if it is absent.
	ExpiresIn int64
	// Error is the `error` of a failed request; empty for none.
	Error string
}

// ReadTokenAnswer reads the answer of a token endpoint.
func ReadTokenAnswer(answer Answer) (t TokenAnswer, err error) {
	members, ok := readObjectUpTo(answer.Body, maxClaims)
	if !ok {
		return t, &FetchError{FetchMalformed, fmt.Sprintf("the token endpoint answers with status %d and no JSON object", answer.Status)}
	}
	if answer.Status != http.StatusOK {
		if t.Error, err = members.text("error", 64); err != nil || !isErrorCode(t.Error) {
			return t, &FetchError{FetchStatus, fmt.Sprintf("the token endpoint answers with status %d", answer.Status)}
		}
		return t, nil
	}
	err = members.readTextFields(textField{"access_token", MaxTokenSize, &t.AccessToken}, textField{"refresh_token", MaxTokenSize, &t.RefreshToken},
		textField{"id_token", MaxTokenSize, &t.IDToken}, textField{"token_type", 64, &t.TokenType})
	t.ExpiresIn, _ = members.positive("expires_in", 1<<31) // a text, as some write, says nothing
	return t, err
}

// ReadPushedRequest returns the `request_uri` of a pushed authorization request (RFC 9126,
// section 2.2).
func ReadPushedRequest(answer Answer) (string, error) {
	members, ok := readObject(answer.Body)
	if !ok || answer.Status != http.StatusCreated && answer.Status != http.StatusOK {
		return "", &FetchError{FetchStatus, fmt.Sprintf("the endpoint of pushed requests answers with status %d", answer.Status)}
	}
	return members.text("request_uri", 512)
}

// isErrorCode reports whether a text may be written into logs: the codes of RFC 6749, section
// 5.2, and its extensions are lower-case words.
func isErrorCode(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return (c < 'a' || c > 'z') && c != '_' })
}
