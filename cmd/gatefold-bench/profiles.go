package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// takeProfiles takes a CPU profile of each Caddy under its load, if -profiles is
// set. It runs after all slices, because profiling takes processor time.
func (b *bench) takeProfiles(ctx context.Context, runners []runner) error {
	if b.options.profiles == "" {
		return nil
	}
	if err := os.MkdirAll(b.options.profiles, 0o755); err != nil { //nolint:gosec // not a secret
		return err
	}
	for _, r := range runners {
		if r.process.admin == "" {
			continue // not a Caddy
		}
		b.progress("profile of %s", r.name)
		if err := b.takeProfile(ctx, r); err != nil {
			return fmt.Errorf("the profile of %s: %w", r.name, err)
		}
	}
	return nil
}

// takeProfile drives a contender during its profile.
func (b *bench) takeProfile(ctx context.Context, r runner) error {
	seconds := int(b.options.profile / time.Second)
	driven := make(chan error, 1)
	go func() {
		_, err := b.drive(ctx, r.process, r.load(0), b.options.connections, b.options.profile+time.Second)
		driven <- err
	}()
	err := save(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.process.admin, seconds),
		filepath.Join(b.options.profiles, r.name+".pprof"))
	if failed := <-driven; err == nil {
		err = failed
	}
	return err
}

// save writes the response of a URL to a file.
func save(ctx context.Context, address, name string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", response.Status)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644) //nolint:gosec // not a secret
}
