package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// An agreement is signed in the version that it has; a later version asks again. One that
// was signed is kept, and one of the future is refused, as no signature would count.
func TestAgreements(t *testing.T) {
	onBoth(t, func(b *fixture) {
		made, err := b.CreateAgreement(b.Context(), vendor, store.Agreement{Title: "Terms of Use", Text: "Be kind.\nAlways."})
		b.ok(err)
		if made.Slug != "terms-of-use" || !made.UpdatedAt.Equal(b.timeNow()) || !made.CreatedAt.Equal(b.timeNow()) {
			b.Errorf("%+v", made)
		}
		_, err = b.CreateAgreement(b.Context(), vendor, store.Agreement{Title: "terms, of use!"})
		b.is(err, store.ErrExists)
		future := func(a *store.Agreement) error { a.UpdatedAt = b.timeNow().Add(time.Millisecond); return nil }
		_, err = b.UpdateAgreement(b.Context(), vendor, made.Slug, future)
		b.names(err, "updated_at")
		_, err = b.CreateAgreement(b.Context(), vendor, store.Agreement{Title: "Later", UpdatedAt: b.timeNow().Add(time.Hour)})
		b.names(err, "updated_at")
		_, err = b.Sign(b.Context(), vendor, "none", "ann")
		b.is(err, store.ErrNotFound)
		_, err = b.Sign(b.Context(), vendor, made.Slug, "")
		b.names(err, "user")

		b.moveClock(time.Hour)
		reader := policy.Reader{UserID: "ann"}
		stamp := b.versions.Reader(vendor, &reader)
		signed, err := b.Sign(b.Context(), vendor, made.Slug, "ann")
		b.ok(err)
		hash := sha256.Sum256([]byte("Be kind.\nAlways."))
		if !signed.Version.Equal(made.UpdatedAt) || !signed.SignedAt.Equal(b.timeNow()) || signed.TextHash != hex.EncodeToString(hash[:]) {
			b.Errorf("%+v", signed)
		}
		if b.versions.Reader(vendor, &reader) == stamp {
			b.Error("a signature leaves what is cached of the user")
		}
		b.moveClock(time.Hour)
		stamp = b.versions.Shared()
		_, err = b.UpdateAgreement(b.Context(), vendor, made.Slug, func(a *store.Agreement) error {
			a.Text, a.UpdatedAt = "Be kinder.", b.timeNow()
			return nil
		})
		b.ok(err)
		if b.versions.Shared() == stamp {
			b.Error("a new version leaves what is cached")
		}
		counts := func() bool {
			agreement, err := b.Agreement(b.Context(), vendor, made.Slug)
			b.ok(err)
			records, err := b.ReaderRecords(b.Context(), vendor, reader)
			b.ok(err)
			return agreement.Exists && len(records.Signatures) == 1 && records.Signatures[0].SignedAt >= agreement.UpdatedAt
		}
		if counts() {
			b.Error("a signature of an earlier version counts")
		}
		_, err = b.Sign(b.Context(), vendor, made.Slug, "ann")
		b.ok(err)
		if !counts() {
			b.Error("the signature of the version does not count")
		}
		_, err = b.Sign(b.Context(), vendor, made.Slug, "bob")
		b.ok(err)
		signature := func(s store.Signature) string { return s.Agreement + "/" + s.User }
		b.equal(listed(b, b.SignaturesOn(vendor, made.Slug), signature), "terms-of-use/ann terms-of-use/bob")
		b.equal(listed(b, b.SignaturesOf(vendor, "bob"), signature), "terms-of-use/bob")
		b.is(b.DeleteAgreement(b.Context(), vendor, made.Slug, nil), store.ErrInUse)

		_, err = b.CreateAgreement(b.Context(), vendor, store.Agreement{Title: "Unused"})
		b.ok(err)
		refused := errors.New("not this one")
		b.is(b.DeleteAgreement(b.Context(), vendor, "unused", func(store.Agreement) error { return refused }), refused)
		b.ok(b.DeleteAgreement(b.Context(), vendor, "unused", nil))
		b.is(b.DeleteAgreement(b.Context(), vendor, "unused", nil), store.ErrNotFound)
	})
}

// An agreement is either signed or removed, never both.
func TestSigningWhatIsRemoved(t *testing.T) {
	onBoth(t, func(b *fixture) {
		for range 12 {
			_, err := b.CreateAgreement(b.Context(), vendor, store.Agreement{Slug: "a", Title: "A"})
			b.is(ignoring(err, store.ErrExists), nil)
			var group sync.WaitGroup
			var signed, removed error
			group.Go(func() { _, signed = b.Sign(b.Context(), vendor, "a", "ann") })
			group.Go(func() { removed = b.DeleteAgreement(b.Context(), vendor, "a", nil) })
			group.Wait()
			if (signed == nil) == (removed == nil) {
				b.Fatalf("signed: %v, removed: %v", signed, removed)
			}
			_, err = b.CreateUser(b.Context(), vendor, store.User{Slug: "ann"})
			b.ok(err)
			b.ok(b.DeleteUser(b.Context(), vendor, "ann", true, nil)) // with their signatures
		}
	})
}
