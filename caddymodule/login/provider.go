package login

import (
	"context"
	"sync"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// provider is the provider's configuration in memory.
type provider struct {
	mu        sync.Mutex
	known     *keys.Provider
	fetchedAt time.Time
	failedAt  time.Time
	err       error
}

const (
	// providerFresh is how long a configuration is used, and providerAgain how long none is
	// fetched after one could not be.
	providerFresh = time.Hour
	providerAgain = 2 * time.Second
)

// discover returns the provider's configuration. It is fetched when it is first needed, so
// that a provider that is down does not stop the site; one that was fetched before is used
// while it cannot be fetched again.
func (s *Site) discover(ctx context.Context) (*keys.Provider, error) {
	p := &s.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	now := s.Now()
	if p.known != nil && now.Sub(p.fetchedAt).Abs() < providerFresh {
		return p.known, nil
	}
	if p.err == nil || now.Sub(p.failedAt).Abs() >= providerAgain {
		// Others wait for the result, so that it does not depend on one of them.
		fetched, err := s.Sets.Provider(context.WithoutCancel(ctx), s.Issuer)
		if p.err = err; err == nil {
			p.known, p.fetchedAt = &fetched, now
		} else {
			p.failedAt = now
		}
	}
	if p.known == nil {
		return nil, p.err
	}
	return p.known, nil
}
