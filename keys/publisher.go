package keys

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Publisher is a domain whose signatures are trusted, by pinned keys or by its
// key set. It is immutable and safe for concurrent use.
type Publisher struct {
	domain  string
	pinned  KeySet
	remote  *Remote // nil with pinned keys
	allowed []string
	denied  map[string]bool
}

// PublisherOptions are what makes a publisher.
type PublisherOptions struct {
	// Domain is in normal form: see NormalDomain.
	Domain string
	// Pinned are the publisher's keys; where Remote is set it has none.
	Pinned KeySet
	Remote *Remote
	// Allowed lists the resources that the domain may speak for: see
	// CheckAllowedResources. Empty: all.
	Allowed []string
	// Denied are ids of keys that do not count, whoever publishes them.
	Denied map[string]bool
}

// NewPublisher returns a publisher.
func NewPublisher(options PublisherOptions) *Publisher {
	return &Publisher{
		domain: options.Domain, pinned: options.Pinned, remote: options.Remote,
		allowed: options.Allowed, denied: options.Denied,
	}
}

// Domain returns the publisher's name.
func (p *Publisher) Domain() string { return p.domain }

// Remote returns the publisher's key set, nil when its keys are pinned.
func (p *Publisher) Remote() *Remote { return p.remote }

// Generation changes whenever the publisher's keys do.
func (p *Publisher) Generation() uint64 {
	if p.remote == nil {
		return 0
	}
	return p.remote.Generation()
}

// UsableUntil is from when on nothing that the publisher signed counts, if its
// keys cannot be fetched until then; false when there is no such moment.
func (p *Publisher) UsableUntil() (time.Time, bool) {
	if p.remote == nil {
		return time.Time{}, false
	}
	return p.remote.UsableUntil(), true
}

// Allows says whether the publisher may speak for a resource.
func (p *Publisher) Allows(resource string) bool { return allowsResource(p.allowed, resource) }

// Trusts says whether what a key signed still counts, by what is in memory. The
// error is ErrDeniedKey, ErrUnknownKey or ErrKeysUnavailable.
func (p *Publisher) Trusts(ctx context.Context, keyID string) error {
	if p.denied[keyID] {
		return ErrDeniedKey
	}
	set := p.pinned
	if p.remote != nil {
		var err error
		if set, err = p.remote.KeySet(ctx); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(set.keys, func(key PublicKey) bool { return key.ID == keyID }) {
		return ErrUnknownKey
	}
	return nil
}

// verify finds the key that signed a token, and returns its id.
func (p *Publisher) verify(ctx context.Context, token *Token) (keyID string, err error) {
	switch {
	case token.Header.Algorithm != algES256:
		return "", ErrAlgorithm
	case p.denied[token.Header.KeyID]:
		return "", ErrDeniedKey
	case p.remote == nil:
		return p.verifyPinned(token)
	}
	err = p.remote.Try(ctx, func(set KeySet) error {
		key, err := set.find(token.Header)
		if err != nil {
			return err
		}
		if p.denied[key.ID] {
			return ErrDeniedKey
		}
		keyID = key.ID
		return token.verify(key)
	})
	return keyID, err
}

// verifyPinned tries the pinned keys one by one: whatever `kid` a token names,
// it is the publisher's own word for a key that was pinned without one.
func (p *Publisher) verifyPinned(token *Token) (string, error) {
	for i := range p.pinned.keys {
		key := &p.pinned.keys[i]
		err := token.verify(key)
		switch {
		case err == nil && p.denied[key.ID]:
			return "", ErrDeniedKey
		case err == nil:
			return key.ID, nil
		case !errors.Is(err, ErrSignature):
			return "", err
		}
	}
	return "", ErrSignature
}
