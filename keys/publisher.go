package keys

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Publisher verifies what a trusted domain signs, with pinned keys or with those
// of the domain's key set. It is immutable and safe for concurrent use.
type Publisher struct{ options PublisherOptions }

// PublisherOptions are the options of NewPublisher.
type PublisherOptions struct {
	// Domain is in normal form: see NormalDomain.
	Domain string
	// Pinned are the publisher's keys, unless Remote is set.
	Pinned KeySet
	Remote *Remote
	// Allowed are the resources for which the domain may sign, in the form of
	// CheckAllowedResources. None means all.
	Allowed []string
	// Denied are ids of keys that are refused.
	Denied map[string]bool
}

// NewPublisher returns a publisher. It keeps the options, which must not change.
func NewPublisher(options PublisherOptions) *Publisher { return &Publisher{options} }

// Domain returns the publisher's domain.
func (p *Publisher) Domain() string { return p.options.Domain }

// Generation changes whenever the publisher's keys do. It is zero for pinned keys.
func (p *Publisher) Generation() uint64 {
	if p.options.Remote == nil {
		return 0
	}
	return p.options.Remote.Generation()
}

// UsableUntil returns the time from which the keys are not used any more, unless
// they are fetched again before. It returns false for pinned keys.
func (p *Publisher) UsableUntil() (time.Time, bool) {
	if p.options.Remote == nil {
		return time.Time{}, false
	}
	return p.options.Remote.UsableUntil(), true
}

// Allows reports whether the publisher may sign for a resource.
func (p *Publisher) Allows(resource string) bool { return allowsResource(p.options.Allowed, resource) }

// Trusts returns nil when a key is still trusted, by the keys in memory. Otherwise
// it returns ErrDeniedKey, ErrUnknownKey or ErrKeysUnavailable.
func (p *Publisher) Trusts(ctx context.Context, keyID string) error {
	if p.options.Denied[keyID] {
		return ErrDeniedKey
	}
	set := p.options.Pinned
	if p.options.Remote != nil {
		var err error
		if set, err = p.options.Remote.KeySet(ctx); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(set.keys, func(key PublicKey) bool { return key.ID == keyID }) {
		return ErrUnknownKey
	}
	return nil
}

// verify verifies the signature of a token and returns the id of its key. A key without
// id verifies nothing: the vendor could not deny it.
func (p *Publisher) verify(ctx context.Context, token *Token) (keyID string, err error) {
	switch {
	case token.strictForm() != nil:
		return "", token.strictForm()
	case token.Header.Algorithm != algES256:
		return "", ErrAlgorithm
	case p.options.Denied[token.Header.KeyID]:
		return "", ErrDeniedKey
	case p.options.Remote == nil:
		return p.verifyPinned(token)
	}
	err = p.options.Remote.Try(ctx, func(set KeySet) error {
		key, err := set.find(token.Header)
		if err != nil {
			return err
		}
		if key.ID == "" {
			return ErrUnknownKey
		}
		if p.options.Denied[key.ID] {
			return ErrDeniedKey
		}
		keyID = key.ID
		return token.verify(key)
	})
	return keyID, err
}

// verifyPinned tries all pinned keys. It ignores `kid`, which pinned keys do not
// have: their ids are thumbprints.
func (p *Publisher) verifyPinned(token *Token) (string, error) {
	for i := range p.options.Pinned.keys {
		key := &p.options.Pinned.keys[i]
		err := token.verify(key)
		switch {
		case err == nil && p.options.Denied[key.ID]:
			return "", ErrDeniedKey
		case err == nil:
			return key.ID, nil
		case !errors.Is(err, ErrSignature):
			return "", err
		}
	}
	return "", ErrSignature
}
