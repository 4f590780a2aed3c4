package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// MaxEntryPoint bounds the URL of an origin, in bytes.
const MaxEntryPoint = 255

// Forwarding returns how a site's requests go on; the zero value where nothing
// was ever set.
func (s *Store) Forwarding(ctx context.Context, vendor, site string) (policy.Forwarding, error) {
	var settings policy.Forwarding
	_, err := s.get(ctx, vendor, key(prefixForwarding, site), &settings)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return settings, err
}

// ChangeForwarding alters the settings of a site in one atomic step: change gets
// those that there are. Its error is returned as it is. Settings that cannot be
// are refused with a *FieldError, and nothing is stored. Where somebody else
// changes them at the same time the error is ErrConflict. The next request at
// the gate goes by the new ones.
func (w Writer) ChangeForwarding(
	ctx context.Context, vendor, site string, change func(*policy.Forwarding) error,
) (policy.Forwarding, error) {
	var settings policy.Forwarding
	place := key(prefixForwarding, site)
	stored, err := w.get(ctx, vendor, place, &settings)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return settings, err
	}
	if err := change(&settings); err != nil {
		return settings, err
	}
	if err := checkForwarding(&settings); err != nil {
		return settings, err
	}
	updated, err := encode(settings)
	if err != nil {
		return settings, err
	}
	batch := &engine.Batch{
		Checks: []engine.Check{{Key: place, Value: stored}},
		Puts:   []engine.Put{{Key: place, Value: updated}},
	}
	return settings, w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true, SameDomains: true})
}

func checkForwarding(settings *policy.Forwarding) error {
	if !settings.Backend.Valid() {
		return &FieldError{"session_backend", fmt.Sprintf("%d is not a valid choice: 0 tells the origin nothing, 1 is a cookie, 2 a token under a shared key, 3 an assertion", settings.Backend)}
	}
	if settings.EntryPoint == "" {
		return nil
	}
	if _, err := ParseEntryPoint(settings.EntryPoint); err != nil {
		return &FieldError{"entry_point", err.Error()}
	}
	return nil
}

// ParseEntryPoint reads the URL of an origin: http or https, a host, perhaps a
// port and a path to put before that of requests, and nothing else.
func ParseEntryPoint(text string) (*url.URL, error) {
	if len(text) > MaxEntryPoint {
		return nil, fmt.Errorf("must have no more than %d characters", MaxEntryPoint)
	}
	if err := checkText("entry_point", text, MaxEntryPoint); err != nil {
		return nil, errors.New("holds a control character or invalid UTF-8")
	}
	entry, err := url.Parse(text)
	switch {
	case err != nil, entry.Host == "", entry.Hostname() == "", entry.Scheme != "http" && entry.Scheme != "https":
		return nil, errors.New("must be a whole http or https URL")
	case entry.User != nil:
		return nil, errors.New("must hold no user name: the origin knows the gate by the session, or by its address")
	case entry.RawQuery != "" || entry.ForceQuery || entry.Fragment != "":
		return nil, errors.New("must hold no query and no fragment: those are the request's")
	}
	var path policy.Path
	if err := path.Read(entry.EscapedPath(), policy.PathOptions{}); entry.Path != "" && err != nil {
		return nil, errors.New("must hold a path that can be read in one way only")
	}
	return entry, nil
}
