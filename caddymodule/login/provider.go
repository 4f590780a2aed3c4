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
	fetching  chan struct{} // closed when the fetch under way ends; nil if none is
}

const (
	// providerFresh is how long a configuration is used, and providerAgain how long none is
	// fetched after one could not be.
	providerFresh = time.Hour
	providerAgain = 2 * time.Second
)

// discover returns the provider's configuration. It is fetched when it is first needed, so
// that a provider that is down does not stop the site; one that was fetched before is used
// while it is fetched again. At most one fetch is under way.
func (s *Site) discover(ctx context.Context) (*keys.Provider, error) {
	p := &s.provider
	p.mu.Lock()
	now := s.Now()
	stale := p.known == nil || now.Sub(p.fetchedAt).Abs() >= providerFresh
	if stale && p.fetching == nil && (p.err == nil || now.Sub(p.failedAt).Abs() >= providerAgain) {
		p.fetching = make(chan struct{})
		// Others wait for the result, so that it does not depend on one of them.
		go s.fetchProvider(context.WithoutCancel(ctx))
	}
	known, err, fetching := p.known, p.err, p.fetching
	p.mu.Unlock()
	switch {
	case known != nil:
		return known, nil
	case fetching == nil:
		return nil, err
	}
	select {
	case <-fetching:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		return nil, p.err
	}
	return p.known, nil
}

// fetchProvider fetches the configuration, in the time that Sets have for it.
func (s *Site) fetchProvider(ctx context.Context) {
	fetched, err := s.Sets.Provider(ctx, s.Issuer)
	p := &s.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	// The time counts from the end of the fetch, which may itself take longer than providerAgain.
	if p.err = err; err == nil {
		p.known, p.fetchedAt = &fetched, s.Now()
	} else {
		p.failedAt = s.Now()
	}
	close(p.fetching)
	p.fetching = nil
}
