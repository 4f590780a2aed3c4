package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// call posts a form to an endpoint of the provider, with the client's authentication. It
// tries once: a code, and a refresh token at many providers, counts once.
func (s *Site) call(ctx context.Context, provider *keys.Provider, endpoint string, form url.Values) (keys.Answer, error) {
	header := http.Header{}
	form.Set("client_id", s.ClientID)
	switch {
	case s.ClientSecret == "":
		ring, err := s.Ring(ctx)
		if err != nil {
			return keys.Answer{}, err
		}
		assertion, err := keys.SignClientAssertion(ring, s.ClientID, s.Issuer, random(), s.Now())
		if err != nil {
			return keys.Answer{}, err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case provider.Authenticates("client_secret_basic") || !provider.Authenticates("client_secret_post"):
		// RFC 6749, section 2.3.1: both are encoded as in a form first.
		pair := url.QueryEscape(s.ClientID) + ":" + url.QueryEscape(s.ClientSecret)
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	default:
		form.Set("client_secret", s.ClientSecret)
	}
	return s.Sets.Call(ctx, s.Issuer, endpoint, form, header)
}

// errGrant is the error of a code or refresh token that the provider refuses.
var errGrant = errors.New("the provider refuses the code or the refresh token (invalid_grant)")

// requestTokens calls the token endpoint. The error has no part of the answer but its error
// code; it is errGrant for invalid_grant.
func (s *Site) requestTokens(ctx context.Context, provider *keys.Provider, form url.Values) (keys.TokenAnswer, error) {
	answer, err := s.call(ctx, provider, provider.Token, form)
	if err != nil {
		return keys.TokenAnswer{}, err
	}
	tokens, err := keys.ReadTokenAnswer(answer)
	switch {
	case err != nil:
		return keys.TokenAnswer{}, err
	case tokens.Error == "invalid_grant":
		return keys.TokenAnswer{}, errGrant
	case tokens.Error != "":
		return keys.TokenAnswer{}, fmt.Errorf("the token endpoint answers with the error %s: check client_id and client_secret, and what the provider's log says", tokens.Error)
	}
	return tokens, nil
}

// errTokens is wrapped by errors of tokens that are not acceptable.
var errTokens = errors.New("the provider's tokens are not acceptable")

// errUserInfo is wrapped by the error of a userinfo endpoint that cannot answer at the moment.
var errUserInfo = errors.New("the userinfo endpoint answers with the status")

// readerOf verifies the tokens of a login, and returns who the reader is. Userinfo is asked
// only if the ID token lacks a claim.
func (s *Site) readerOf(ctx context.Context, provider *keys.Provider, tokens *keys.TokenAnswer, verify func(keys.KeySet) (keys.IDToken, error)) (keys.IDToken, keys.ReaderClaims, error) {
	var id keys.IDToken
	if tokens.IDToken == "" {
		return id, keys.ReaderClaims{}, fmt.Errorf("%w: there is no id_token: is openid among the scopes?", errTokens)
	}
	err := s.Keys.Try(ctx, func(set keys.KeySet) (err error) {
		id, err = verify(set)
		return err
	})
	switch {
	case errors.Is(err, keys.ErrKeysUnavailable):
		return id, keys.ReaderClaims{}, err
	case err != nil:
		return id, keys.ReaderClaims{}, fmt.Errorf("%w: id_token: %w", errTokens, err)
	case !id.FitsAccessToken(tokens.AccessToken):
		return id, keys.ReaderClaims{}, fmt.Errorf("%w: id_token: at_hash is not that of the access token", errTokens)
	}
	var userinfo []byte
	if provider.UserInfo != "" && tokens.AccessToken != "" && s.client.Lacks(&id) {
		answer, err := s.Sets.Call(ctx, s.Issuer, provider.UserInfo, nil, http.Header{"Authorization": {"Bearer " + tokens.AccessToken}})
		if err != nil {
			return id, keys.ReaderClaims{}, err
		}
		switch {
		case answer.Status == http.StatusOK:
			userinfo = answer.Body
		case answer.Status >= http.StatusInternalServerError || answer.Status == http.StatusTooManyRequests:
			// Without its claims the reader would lose what they may open.
			return id, keys.ReaderClaims{}, fmt.Errorf("%w: %d", errUserInfo, answer.Status)
		}
	}
	reader, err := s.client.Reader(&id, userinfo)
	if err != nil {
		return id, reader, fmt.Errorf("%w: %w", errTokens, err)
	}
	if err := s.prefixIDs(&reader); err != nil {
		return id, reader, err
	}
	return id, reader, nil
}

// prefixIDs makes the ids of a reader those of this login. Without it, who is "ann" at one
// provider of a site would be "ann" of another.
func (s *Site) prefixIDs(reader *keys.ReaderClaims) error {
	for _, id := range [...]*string{&reader.UserID, &reader.PublisherUserID} {
		for _, prefix := range s.Reserved {
			if *id != "" && strings.HasPrefix(s.UserPrefix+*id, prefix) {
				return fmt.Errorf("%w: the id of the reader begins with the user_prefix of another login", errTokens)
			}
		}
		if *id != "" {
			*id = s.UserPrefix + *id
		}
	}
	return nil
}
