package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/gatefold/gatefold/policy"
)

// MaxEntryPoint bounds the URL of an origin, in bytes.
const MaxEntryPoint = 255

// Forwarding returns the forwarding settings of a site, the zero value by default.
func (s *Store) Forwarding(ctx context.Context, vendor, site string) (policy.Forwarding, error) {
	settings, _, err := s.forwarding(decides(ctx), vendor, site)
	return settings, err
}

// forwarding also returns the stored bytes.
func (s *Store) forwarding(ctx context.Context, vendor, site string) (settings policy.Forwarding, stored []byte, err error) {
	stored, err = s.get(ctx, vendor, key(prefixForwarding, site), &settings)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return settings, stored, err
}

// ChangeForwarding changes the settings of a site in one atomic step: change gets the
// current ones. Its error is returned as it is. ChangeForwarding returns a *FieldError
// for settings that are not valid, and ErrConflict when they were changed
// concurrently; nothing is stored then. The new settings apply to the next request.
func (w Writer) ChangeForwarding(
	ctx context.Context, vendor, site string, change func(*policy.Forwarding) error,
) (policy.Forwarding, error) {
	settings, stored, err := w.forwarding(ctx, vendor, site)
	if err != nil {
		return settings, err
	}
	if err := change(&settings); err != nil {
		return settings, err
	}
	if err := checkForwarding(&settings); err != nil {
		return settings, err
	}
	return settings, w.put(ctx, vendor, key(prefixForwarding, site), stored, settings, policy.Invalidation{Shared: true, SameDomains: true})
}

func checkForwarding(settings *policy.Forwarding) error {
	if !settings.Backend.Valid() {
		return &FieldError{"session_backend", fmt.Sprintf("%d is not a valid choice: 0 sends no session, 1 a cookie, 2 a token under a shared key, 3 an assertion", settings.Backend)}
	}
	if settings.EntryPoint == "" {
		return nil
	}
	if _, err := ParseEntryPoint(settings.EntryPoint); err != nil {
		return &FieldError{"entry_point", err.Error()}
	}
	return nil
}

// ParseEntryPoint parses the URL of an origin: http or https, a host, an optional
// port, and an optional path that is prepended to those of requests.
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
		return nil, errors.New("must be an absolute http or https URL")
	case entry.User != nil:
		return nil, errors.New("must have no user name")
	case entry.RawQuery != "" || entry.ForceQuery || entry.Fragment != "":
		return nil, errors.New("must have no query and no fragment")
	}
	var path policy.Path
	if err := path.Read(entry.EscapedPath(), policy.PathOptions{}); entry.Path != "" && err != nil {
		return nil, errors.New("must have an unambiguous path")
	}
	return entry, nil
}
