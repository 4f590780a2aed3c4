package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// TokenRenewal is how long after the login of its reader a token of the vendor is renewed, and
// so how long it is kept that all sessions of a reader ended.
const TokenRenewal = 30 * 24 * time.Hour

// tokensEndedKey is the key under which it is kept that no token of a user is renewed that was
// first issued before. It outlives an erasure, after which the tokens must not be renewed either,
// and so has a hash of the user. That hash has no key: who guesses an id can confirm it.
func tokensEndedKey(user string) []byte {
	sum := sha256.Sum256([]byte(user))
	return append(tokensEndedPrefix(), sum[:]...)
}

func tokensEndedPrefix() []byte { return keyPrefix(prefixLoginIndex, loginTokensEnded) }

func isTokensEnded(k []byte) bool { return bytes.HasPrefix(k, tokensEndedPrefix()) }

// endTokens notes that the tokens of a user that were issued until now are not renewed.
func (t *transaction) endTokens(user string) {
	at := binary.BigEndian.AppendUint64(nil, uint64(t.now.UnixMilli())) //nolint:gosec // a time
	t.set(tokensEndedKey(user), at, t.now.Add(TokenRenewal))
}

// tokensEndedAgain notes again that the tokens of a user ended, unless it is noted that they
// ended at the same time or later.
func tokensEndedAgain(ctx context.Context, w Writer, vendor string, r *Removal) (made bool, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		stored, err := t.load(r.Key)
		made = err == nil && bytes.Compare(stored, r.Value) < 0 && t.now.Before(r.Expires)
		if made {
			t.set(r.Key, r.Value, r.Expires)
		}
		return err
	})
	return made, err
}

// TokensEndedAt returns when all sessions of a user ended last: tokens that were first issued
// until then are not renewed. It returns the zero time for never, or longer ago than
// TokenRenewal.
func (s *Store) TokensEndedAt(ctx context.Context, vendor, user string) (at time.Time, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		stored, err := snapshot.Get(tokensEndedKey(user))
		if err == nil && len(stored) >= 8 {
			at = time.UnixMilli(int64(binary.BigEndian.Uint64(stored))) //nolint:gosec // a time
		}
		return err
	})
	return at, err
}
