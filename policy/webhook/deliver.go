package webhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// deliver delivers what is due to an endpoint, round by round, and gives its lease back.
func (d *Dispatcher) deliver(at endpoint) error {
	leased := false
	for !d.closing() {
		done, err := d.round(at, &leased)
		if err == nil && !done {
			continue
		}
		if leased {
			// After an error the lease may still be there.
			_, failed := d.options.Store.Lease(context.WithoutCancel(d.ctx), at.vendor, at.id, d.node, 0, nil)
			err = errors.Join(err, failed)
		}
		if errors.Is(err, store.ErrLeased) || errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	if leased {
		_, err := d.options.Store.Lease(context.WithoutCancel(d.ctx), at.vendor, at.id, d.node, 0, nil)
		return err
	}
	return nil
}

// round delivers events that are due at once. Done reports that there are none, or that
// they have to wait.
func (d *Dispatcher) round(at endpoint, leased *bool) (done bool, err error) {
	stored := d.options.Store
	hook, err := stored.Webhook(d.ctx, at.vendor, at.id)
	if err != nil {
		return true, err
	}
	state, err := stored.WebhookState(d.ctx, at.vendor, at.id)
	if err != nil {
		return true, err
	}
	d.note(at, &hook, state)
	if hook.Disabled != "" || d.options.Now().Before(state.PausedUntil) {
		return true, nil
	}
	limit := roundSize
	if !state.Failing.IsZero() {
		limit = 1 // find out whether it answers again
	}
	due, err := stored.DueDeliveries(d.ctx, at.vendor, at.id, limit)
	if err != nil || len(due) == 0 {
		return true, err
	}
	first := !*leased
	if _, err := stored.Lease(d.ctx, at.vendor, at.id, d.node, leaseTime, nil); err != nil {
		*leased = false
		return true, err
	}
	*leased = true
	if first { // another node may have settled these
		if due, err = stored.DueDeliveries(d.ctx, at.vendor, at.id, limit); err != nil || len(due) == 0 {
			return true, err
		}
	}
	results := d.attempt(at, &hook, due)
	return d.settle(at, &hook, due, results)
}

// attempt sends events at once.
func (d *Dispatcher) attempt(at endpoint, hook *store.Webhook, due []store.Delivery) []result {
	results := make([]result, len(due))
	sender := d.sender.Load()
	var group sync.WaitGroup
	for i := range due {
		group.Go(func() { results[i] = sender.send(d.ctx, at.vendor, hook, &due[i], d.options.Now()) })
	}
	group.Wait()
	return results
}

// settle stores the results of a round.
func (d *Dispatcher) settle(at endpoint, hook *store.Webhook, due []store.Delivery, results []result) (done bool, err error) {
	if d.ctx.Err() != nil {
		return true, d.ctx.Err() // broken off: nothing is known of these attempts
	}
	now := d.options.Now().UTC().Truncate(time.Millisecond)
	settled := map[string][]store.Delivery{}
	var failures, successes int
	var last result
	gone := false
	for i, delivery := range due {
		outcome := results[i]
		delivery.Attempts++
		delivery.TriedAt, delivery.Status, delivery.Error, delivery.NextAt = now, outcome.status, outcome.problem, time.Time{}
		state := store.DeliveryDelivered
		if !outcome.ok() {
			failures, last = failures+1, outcome
			gone = gone || outcome.gone()
			state = store.DeliveryDead
			next, more := again(delivery.Attempts, now, d.options.Jitter())
			if more && !outcome.gone() {
				state, delivery.NextAt = store.DeliveryRetrying, next
			}
		} else {
			successes++
		}
		d.count(state)
		settled[state] = append(settled[state], delivery)
	}
	if err := d.options.Store.Settle(d.ctx, at.vendor, at.id, settled); err != nil {
		return true, err
	}
	state, err := d.options.Store.Lease(d.ctx, at.vendor, at.id, d.node, leaseTime, func(state *store.WebhookState) {
		if successes > 0 {
			state.Failing, state.Failures, state.PausedUntil, state.DeliveredAt = time.Time{}, 0, time.Time{}, now
		}
		if failures > 0 {
			state.Status, state.Error = last.status, last.problem
		}
		if failures > 0 && successes == 0 {
			if state.Failing.IsZero() {
				state.Failing = now
			}
			state.Failures++
			state.PausedUntil = pausedUntil(state.Failures, last.retryAfter, now, d.options.Jitter())
		}
	})
	if err != nil {
		return true, err
	}
	d.note(at, hook, state)
	switch webhooks := d.sender.Load().Webhooks; {
	case gone:
		err = webhooks.DisableWebhook(d.ctx, at.vendor, at.id, store.DisabledGone)
	case !state.Failing.IsZero() && now.Sub(state.Failing) >= store.WebhookPatience:
		err = webhooks.DisableWebhook(d.ctx, at.vendor, at.id, store.DisabledFailing)
	}
	return err != nil, err
}

func (d *Dispatcher) count(state string) {
	switch state {
	case store.DeliveryDelivered:
		d.delivered.Add(1)
	case store.DeliveryDead:
		d.dead.Add(1)
		d.failed.Add(1)
	default:
		d.failed.Add(1)
	}
}

// ErrNotConfigured is returned before the first Configure.
var ErrNotConfigured = errors.New("the node does not deliver events yet: try again in a second")

// Test sends an event of the type webhook.test to an endpoint now, from this node, whatever
// waits for it. It returns the attempt.
func (d *Dispatcher) Test(ctx context.Context, vendor, id string) (store.Delivery, error) {
	hook, err := d.options.Store.Webhook(ctx, vendor, id)
	if err != nil {
		return store.Delivery{}, err
	}
	sender := d.sender.Load()
	if sender == nil {
		return store.Delivery{}, ErrNotConfigured
	}
	made, err := d.options.Store.TestDelivery(id)
	if err != nil {
		return made, err
	}
	outcome := sender.send(ctx, vendor, &hook, &made, d.options.Now())
	made.Attempts, made.TriedAt, made.Status, made.Error = 1, d.options.Now().UTC(), outcome.status, outcome.problem
	return made, nil
}
