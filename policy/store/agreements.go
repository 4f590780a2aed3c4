package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Agreement is a document that readers sign, such as terms of use.
type Agreement struct {
	Slug  string `json:"slug"`
	Title string `json:"title"`
	Text  string `json:"text,omitempty"`
	// UpdatedAt is the version: signatures before it do not count. It is not in the future.
	UpdatedAt time.Time `json:"updated_at"`
	CreatedAt time.Time `json:"created_at"`
	// Signed reports that there may be signatures: it cannot be removed then.
	Signed bool `json:"signed,omitempty"`
}

// Signature is a user's consent to an agreement.
type Signature struct {
	Agreement string `json:"agreement"`
	User      string `json:"user"`
	// SignedAt is the last signature. Version is the agreement's UpdatedAt and TextHash the
	// SHA-256 of its text that were signed.
	SignedAt time.Time `json:"signed_at"`
	Version  time.Time `json:"version"`
	TextHash string    `json:"text_hash,omitempty"`
}

var agreementKind = &kind[Agreement]{
	prefix:    prefixAgreement,
	path:      func(a *Agreement) []string { return []string{a.Slug} },
	normalize: (*Agreement).normalize,
	keep: func(next, old *Agreement) {
		next.Slug, next.CreatedAt, next.Signed = old.Slug, old.CreatedAt, old.Signed || next.Signed
	},
	check: checkAgreement,
	stale: func(change *policy.Invalidation, _ string, old, next *Agreement) {
		if old == nil || next == nil || !old.UpdatedAt.Equal(next.UpdatedAt) {
			change.Join(policy.Invalidation{Shared: true, SameDomains: true})
		}
	},
}

var signatureKind = &kind[Signature]{
	prefix:    prefixSignature,
	path:      func(s *Signature) []string { return []string{s.User, s.Agreement} },
	normalize: (*Signature).normalize,
	index: func(s *Signature, add func(k, value []byte)) {
		add(memberKey(memberAgreement, s.Agreement, s.User), nil)
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *Signature) {
		change.Add(policy.KindUserID, vendor, cmp.Or(next, old).User)
	},
}

// normalize checks the agreement.
func (a *Agreement) normalize() error {
	if a.Title == "" {
		return &FieldError{"title", "is required"}
	}
	a.UpdatedAt = a.UpdatedAt.UTC().Truncate(time.Millisecond)
	return cmp.Or(checkSlug("slug", a.Slug), checkText("title", a.Title, 150), checkLines("text", a.Text, maxAgreementText))
}

// maxAgreementText bounds the text of an agreement, in bytes.
const maxAgreementText = 256 << 10

// checkAgreement sets the times of a new agreement, and checks that its version can be
// signed: a signature would never be as late as a moment to come.
func checkAgreement(t *transaction, old, next *Agreement) error {
	if next == nil {
		return nil
	}
	if old == nil {
		next.CreatedAt = t.now
	}
	if next.UpdatedAt.IsZero() {
		next.UpdatedAt = t.now
	}
	if next.UpdatedAt.After(t.now) {
		return &FieldError{"updated_at", "is in the future: a signature would not count until then"}
	}
	return nil
}

// normalize checks the signature.
func (s *Signature) normalize() error {
	return cmp.Or(checkSlug("agreement", s.Agreement), checkUser("user", s.User))
}

// CreateAgreement stores a new agreement; without a slug it has that of its title. It
// returns ErrExists when there is one.
func (w Writer) CreateAgreement(ctx context.Context, vendor string, agreement Agreement) (Agreement, error) {
	agreement.Slug, agreement.Signed = cmp.Or(agreement.Slug, SlugOf(agreement.Title)), false
	return create(ctx, w, vendor, agreementKind, agreement)
}

// AgreementRecord returns an agreement, or ErrNotFound.
func (s *Store) AgreementRecord(ctx context.Context, vendor, slug string) (Agreement, error) {
	return read(ctx, s, vendor, agreementKind, slug)
}

// UpdateAgreement changes an agreement: change gets the current one. A later UpdatedAt asks
// everyone to sign again. Its slug and time of creation cannot be changed.
func (w Writer) UpdateAgreement(ctx context.Context, vendor, slug string, change func(*Agreement) error) (Agreement, error) {
	return update(ctx, w, vendor, agreementKind, change, slug)
}

// DeleteAgreement removes an agreement, unless allowed returns an error; it may be nil. It
// returns ErrInUse for one that was signed.
func (w Writer) DeleteAgreement(ctx context.Context, vendor, slug string, allowed func(Agreement) error) error {
	// Signing an agreement that is not Signed changes it. So between the two commits no
	// signature can be missed.
	for _, last := range []bool{false, true} {
		err := w.transact(ctx, vendor, func(t *transaction) error {
			if err := permitted(t, agreementKind, allowed, slug); err != nil {
				return err
			}
			agreement, err := agreementKind.need(t, slug)
			if err != nil {
				return err
			}
			if signed, err := t.scan(memberPrefix(memberAgreement, slug), 1); err != nil || len(signed) > 0 {
				return errors.Join(err, ErrInUse)
			}
			if last && !agreement.Signed {
				return agreementKind.remove(t, slug)
			}
			if last {
				return ErrInUse
			}
			next := *agreement
			next.Signed = false
			return agreementKind.rewrite(t, agreement, &next)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Sign stores that a user agrees to an agreement as it is now, in place of an earlier
// signature. It returns ErrNotFound when there is no such agreement.
func (w Writer) Sign(ctx context.Context, vendor, slug, user string) (Signature, error) {
	var signature Signature
	err := w.transact(ctx, vendor, func(t *transaction) error {
		agreement, err := agreementKind.need(t, slug)
		if err != nil {
			return err
		}
		hash := sha256.Sum256([]byte(agreement.Text))
		signature = Signature{
			Agreement: slug, User: user, SignedAt: t.now, Version: agreement.UpdatedAt, TextHash: hex.EncodeToString(hash[:]),
		}
		if err := signatureKind.put(t, &signature); err != nil || agreement.Signed {
			return err
		}
		next := *agreement
		next.Signed = true
		return agreementKind.rewrite(t, agreement, &next)
	})
	return signature, err
}

// SignatureRecord returns the signature of a user, or ErrNotFound.
func (s *Store) SignatureRecord(ctx context.Context, vendor, agreement, user string) (Signature, error) {
	return read(ctx, s, vendor, signatureKind, user, agreement)
}
