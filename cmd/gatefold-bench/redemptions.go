package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	redeemers           = 32
	rowRedemptions      = "redemptions with 32 clients, embedded"
	rowRedisRedemptions = "redemptions with 32 clients, Redis"
)

// redemptions measures the redemptions per second of the embedded store with many
// clients, each synced before it is acknowledged, against bbolt's own serial
// Update, in turns.
func (b *bench) redemptions(ctx context.Context) error {
	backend, err := boltengine.Open(filepath.Join(b.dir, "redeem.db"))
	if err != nil {
		return err
	}
	defer backend.Close()
	redeem, err := redeemer(ctx, backend)
	if err != nil {
		return err
	}
	bare, err := bbolt.Open(filepath.Join(b.dir, "bare.db"), 0o600, nil)
	if err != nil {
		return err
	}
	defer bare.Close()
	var number atomic.Int64
	ratios, rates, err := b.inTurns(ctx, redeem, func() error {
		return bare.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("uses"))
			if err != nil {
				return err
			}
			return bucket.Put(binary.BigEndian.AppendUint64(nil, uint64(number.Add(1))), make([]byte, 64)) //nolint:gosec // it counts up
		})
	})
	if err != nil {
		return err
	}
	b.table.ratio(rowRedemptions+", against bbolt's serial Update", medianOf(ratios), 5, false)
	b.table.context("redemptions, embedded", fmt.Sprintf("%.0f/s, each on the disk", medianOf(rates).median))
	return nil
}

// redeemer makes a counted link in a store and returns a function that redeems it.
func redeemer(ctx context.Context, backend engine.Engine) (func() error, error) {
	records := store.New(backend, new(policy.Versions), time.Now).As(store.Actor{})
	claims := keys.LinkClaims{
		Issuer: keys.VendorIssuer(vendor), ID: records.NewLinkID(), SKU: "premium", MaxUses: keys.MaxMaxUses,
		IssuedAt: time.Now().Unix(), ExpiresAt: time.Now().Add(time.Hour).Unix(),
	}
	if _, err := records.CreateLink(ctx, vendor, claims); err != nil {
		return nil, err
	}
	var number atomic.Int64
	return func() error {
		return records.Redeem(ctx, vendor, policy.Redemption{
			Issuer: claims.Issuer, LinkID: claims.ID, ID: fmt.Sprint("use-", number.Add(1)),
			MaxUses: claims.MaxUses, At: time.Now(), ExpiresAt: time.Unix(claims.ExpiresAt, 0),
		})
	}, nil
}

// inTurns measures the rates of two functions in turns. It returns the ratios of
// the first to the second, and the rates of the first.
func (b *bench) inTurns(ctx context.Context, one, other func() error) (ratios, rates []float64, err error) {
	for range max(b.options.rounds()/3, 2) {
		first, err := rate(ctx, redeemers, b.options.slice/4, one)
		if err != nil {
			return nil, nil, err
		}
		second, err := rate(ctx, redeemers, b.options.slice/4, other)
		if err != nil {
			return nil, nil, err
		}
		ratios, rates = append(ratios, first/second), append(rates, first)
	}
	return ratios, rates, nil
}

// rate returns the calls per second that a number of clients make.
func rate(ctx context.Context, clients int, length time.Duration, do func() error) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var done atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, clients)
	began := time.Now()
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := do(); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	close(failed)
	return float64(done.Load()) / time.Since(began).Seconds(), <-failed
}
