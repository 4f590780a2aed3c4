package store

import (
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// counters returns what a redemption counts: a use, the device, or both. A link without
// either bound counts uses without one.
func counters(r *policy.Redemption) []engine.Counter {
	var counted []engine.Counter
	if r.MaxUses > 0 || r.MaxDevices == 0 && r.Link == nil {
		counted = append(counted, useCounter(r))
	}
	if r.MaxDevices > 0 {
		counted = append(counted, deviceCounter(r))
	}
	return counted
}

// deviceCounter returns the counter of a link's devices, as a redemption counts it. The
// time in its marker distinguishes the redemption that counted the device from later ones.
func deviceCounter(r *policy.Redemption) engine.Counter {
	return engine.Counter{
		Key:              key(prefixDevices, r.Issuer, r.LinkID),
		Max:              r.MaxDevices,
		IdempotencyKey:   key(prefixDevice, r.Issuer, r.LinkID, r.DeviceID),
		IdempotencyValue: []byte(r.At.UTC().Format(time.RFC3339Nano)),
		Expires:          r.ExpiresAt.Add(Retention),
	}
}

// exhausted returns the error of a redemption whose counter is at its bound.
func exhausted(r *policy.Redemption, bound *engine.BoundError) error {
	if bound.Index == 1 || r.MaxUses == 0 && r.MaxDevices > 0 {
		return policy.ErrLinkDeviceLimit
	}
	return policy.ErrLinkUsedUp
}
