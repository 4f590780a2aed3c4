package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// Domain is a publisher domain that a vendor trusts to sign links: by pinned
// keys or by its key set, exactly one of the two.
type Domain struct {
	Domain             string   `json:"domain"`
	SigningKeyPEM      string   `json:"signingKeyPem,omitempty"`
	JWKSURI            string   `json:"jwksUri,omitempty"`
	AllowedResourceIDs []string `json:"allowedResourceIds,omitempty"`

	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// UpdatedBy is the name of the actor that wrote it last.
	UpdatedBy string `json:"updatedBy,omitempty"`
	// Probe is what came out of looking at its keys when it was written.
	Probe Probe `json:"probe"`
}

// Probe is what came out of looking at a domain's keys.
type Probe struct {
	OK         bool      `json:"ok"`
	ActiveKeys int       `json:"activeKeys"`
	Error      string    `json:"error,omitempty"`
	At         time.Time `json:"at,omitzero"`
}

// MaxDomains bounds how many domains a vendor may trust, MaxDeniedKeys how many keys
// it may deny. Writers that come at once may exceed them by their number.
const (
	MaxDomains    = 10_000
	MaxDeniedKeys = 1000
)

// Normalize brings the domain into the form in which it is kept, and checks it.
// The error is a *FieldError.
func (d *Domain) Normalize() error {
	name, err := keys.NormalDomain(d.Domain)
	if err != nil {
		return &FieldError{"domain", err.Error()}
	}
	d.Domain = name
	switch {
	case d.SigningKeyPEM == "" && d.JWKSURI == "":
		return &FieldError{"signingKeyPem", "is missing, and so is jwksUri: give exactly one of them"}
	case d.SigningKeyPEM != "" && d.JWKSURI != "":
		return &FieldError{"jwksUri", "and signingKeyPem exclude one another: give exactly one of them"}
	case d.SigningKeyPEM != "":
		if _, err := keys.ParsePinnedKeys(d.SigningKeyPEM); err != nil {
			return &FieldError{"signingKeyPem", err.Error()}
		}
	default:
		if err := keys.CheckPublisherJWKS(d.Domain, d.JWKSURI); err != nil {
			return &FieldError{"jwksUri", err.Error()}
		}
	}
	if err := keys.CheckAllowedResources(d.AllowedResourceIDs); err != nil {
		return &FieldError{"allowedResourceIds", err.Error()}
	}
	return nil
}

// PutDomain writes a domain in the place of the one with its name, if there is
// one: its CreatedAt stays. Allowed may refuse that with an error: it gets the one
// that there is, nil if there is none. The caller publishes the domain with
// policy.Policy.RefreshDomains before it acknowledges.
func (w Writer) PutDomain(ctx context.Context, vendor string, domain Domain, allowed ...func(before *Domain) error) (Domain, error) {
	if err := domain.Normalize(); err != nil {
		return Domain{}, err
	}
	k := key(prefixDomain, domain.Domain)
	var before Domain
	stored, err := w.get(ctx, vendor, k, &before)
	if err := allow(&before, err, allowed); err != nil {
		return Domain{}, err
	}
	now := w.timestamp()
	switch {
	case errors.Is(err, ErrNotFound):
		domain.CreatedAt = now
		if err := w.checkQuota(ctx, vendor, prefixDomain, MaxDomains, "domain"); err != nil {
			return Domain{}, err
		}
	case err != nil:
		return Domain{}, err
	default:
		domain.CreatedAt = before.CreatedAt
	}
	domain.UpdatedAt, domain.UpdatedBy = now, w.actor.Name
	if !now.After(before.UpdatedAt) {
		domain.UpdatedAt = before.UpdatedAt.Add(time.Millisecond) // it advances with every write
	}
	encoded, err := encode(domain)
	if err != nil {
		return Domain{}, err
	}
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: stored}}, Puts: []engine.Put{{Key: k, Value: encoded}}}
	return domain, w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}

// allow asks whether a record may be written or removed. It is told of none where
// reading it failed.
func allow[T any](before *T, failed error, allowed []func(*T) error) error {
	if failed != nil {
		before = nil
	}
	for _, ask := range allowed {
		if err := ask(before); err != nil {
			return err
		}
	}
	return nil
}

// hasRoom refuses one more record of a kind where there are as many as may be. Far
// from the bound it counts them only now and then: see rooms.
func (s *Store) checkQuota(ctx context.Context, vendor string, prefix byte, most int, field string) error {
	if s.quotas.take(vendor, prefix) {
		return nil
	}
	count := 0
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		for _, err := range snapshot.Scan([]byte{prefix}, nil) {
			if err != nil {
				return err
			}
			count++
		}
		return nil
	})
	if err == nil && count >= most {
		return &FieldError{field, fmt.Sprintf("is one too many: there are %d, remove some first", count)}
	}
	if err == nil {
		s.quotas.counted(vendor, prefix, most-count)
	}
	return err
}

// rooms spares the counting of thousands of records before each one that is added:
// of the room that was counted, a part is given away without counting again. The
// last few are counted one by one, so that a process alone never exceeds a bound.
type quotas struct {
	mu   sync.Mutex
	left map[quota]int
}

type quota struct {
	vendor string
	prefix byte
}

// roomShare is which part of the room is given away without counting again: small
// enough for other nodes, who give away theirs.
const roomShare = 16

func (r *quotas) counted(vendor string, prefix byte, free int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == nil {
		r.left = make(map[quota]int)
	}
	r.left[quota{vendor, prefix}] = free/roomShare - 1 // this one is taken
}

func (r *quotas) take(vendor string, prefix byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left[quota{vendor, prefix}] <= 0 {
		return false
	}
	r.left[quota{vendor, prefix}]--
	return true
}

// Domain returns a domain by its normal name, or ErrNotFound.
func (s *Store) Domain(ctx context.Context, vendor, name string) (Domain, error) {
	var domain Domain
	_, err := s.get(ctx, vendor, key(prefixDomain, name), &domain)
	return domain, err
}

// RemoveDomain removes a domain; one that is not there is no error. Allowed may
// refuse that, and the caller publishes it, like PutDomain.
func (w Writer) RemoveDomain(ctx context.Context, vendor, name string, allowed ...func(before *Domain) error) error {
	return remove(ctx, w, vendor, key(prefixDomain, name), allowed)
}

// remove removes a record on which everything that is shared depends; one that is
// not there is no error.
func remove[T any](ctx context.Context, w Writer, vendor string, k []byte, allowed []func(before *T) error) error {
	var record T
	stored, err := w.get(ctx, vendor, k, &record)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := allow(&record, err, allowed); err != nil {
		return err
	}
	if err != nil {
		return nil
	}
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: stored}}, Deletes: [][]byte{k}}
	return w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}

// TrustedDomains returns a page of a vendor's domains, in the order of their names.
func (s *Store) TrustedDomains(ctx context.Context, vendor string, page Page) ([]Domain, error) {
	domains := []Domain{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var after []byte
		if page.From != "" {
			after = key(prefixDomain, page.From)
		}
		for entry, err := range snapshot.Scan([]byte{prefixDomain}, after) {
			if err != nil {
				return err
			}
			var domain Domain
			if err := decode(entry.Key, entry.Value, &domain); err != nil {
				return err
			}
			if domains = append(domains, domain); len(domains) == page.limit() {
				break
			}
		}
		return nil
	})
	return domains, err
}

// DeniedKey is a key that does not count, whoever publishes it: the brake for
// when a publisher's key leaked and its host cannot be reached.
type DeniedKey struct {
	KeyID    string    `json:"kid"`
	Note     string    `json:"note,omitempty"`
	DeniedAt time.Time `json:"deniedAt"`
	DeniedBy string    `json:"deniedBy,omitempty"`
}

// DenyKey denies a key. Denying twice writes it anew. The caller publishes it
// like PutDomain.
func (w Writer) DenyKey(ctx context.Context, vendor string, denied DeniedKey) (DeniedKey, error) {
	if denied.KeyID == "" {
		return DeniedKey{}, &FieldError{"kid", "is required"}
	}
	if err := errors.Join(checkText("kid", denied.KeyID, 255), checkText("note", denied.Note, 1024)); err != nil {
		return DeniedKey{}, err
	}
	if err := w.checkQuota(ctx, vendor, prefixDeniedKey, MaxDeniedKeys, "kid"); err != nil {
		return DeniedKey{}, err
	}
	denied.DeniedAt, denied.DeniedBy = w.timestamp(), w.actor.Name
	encoded, err := encode(denied)
	if err != nil {
		return DeniedKey{}, err
	}
	batch := &engine.Batch{Puts: []engine.Put{{Key: key(prefixDeniedKey, denied.KeyID), Value: encoded}}}
	return denied, w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}

// AllowKey ends the denial of a key; one that is not denied is no error.
func (w Writer) AllowKey(ctx context.Context, vendor, kid string) error {
	return remove[DeniedKey](ctx, w, vendor, key(prefixDeniedKey, kid), nil)
}

// DeniedKeys returns the denied keys of a vendor in the order of their ids.
func (s *Store) DeniedKeys(ctx context.Context, vendor string) ([]DeniedKey, error) {
	denied := []DeniedKey{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
		denied, err = scan(snapshot, prefixDeniedKey, denied)
		return err
	})
	return denied, err
}

// scan appends all records of a kind.
func scan[T any](snapshot engine.Snapshot, prefix byte, to []T) ([]T, error) {
	for entry, err := range snapshot.Scan([]byte{prefix}, nil) {
		if err != nil {
			return nil, err
		}
		var record T
		if err := decode(entry.Key, entry.Value, &record); err != nil {
			return nil, err
		}
		to = append(to, record)
	}
	return to, nil
}

// trustedRecord is what the policy reads of a Domain.
type trustedRecord struct {
	Domain             string   `json:"domain"`
	SigningKeyPEM      string   `json:"signingKeyPem"`
	JWKSURI            string   `json:"jwksUri"`
	AllowedResourceIDs []string `json:"allowedResourceIds"`
}

// Domains implements policy.Records: the domains and the denied keys of one
// moment. Records that are byte for byte as they were before are not read again.
func (s *Store) Domains(ctx context.Context, vendor string, before *policy.Domains) (policy.Domains, error) {
	var domains policy.Domains
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var known []*policy.TrustedDomain // those of before that come behind, in the same order
		if before != nil {
			known = before.Trusted
		}
		domains = policy.Domains{Trusted: make([]*policy.TrustedDomain, 0, len(known)+1)}
		for entry, err := range snapshot.Scan([]byte{prefixDomain}, nil) {
			if err != nil {
				return err
			}
			name := string(entry.Key[1:])
			for len(known) > 0 && known[0].Domain < name {
				known = known[1:]
			}
			sum := sha256.Sum256(entry.Value)
			if len(known) > 0 && known[0].Domain == name && known[0].Sum == sum {
				domains.Trusted = append(domains.Trusted, known[0])
				continue
			}
			var domain trustedRecord
			if err := decode(entry.Key, entry.Value, &domain); err != nil {
				return err
			}
			domains.Trusted = append(domains.Trusted, &policy.TrustedDomain{
				Domain: domain.Domain, SigningKeyPEM: domain.SigningKeyPEM, JWKSURI: domain.JWKSURI,
				AllowedResourceIDs: domain.AllowedResourceIDs, Sum: sum,
			})
		}
		denied, err := scan[DeniedKey](snapshot, prefixDeniedKey, nil)
		for i := range denied {
			domains.DeniedKeys = append(domains.DeniedKeys, denied[i].KeyID)
		}
		return err
	})
	if err != nil {
		return policy.Domains{}, err
	}
	return domains, nil
}

// LoadKeySet implements keys.SetStore.
func (s *Store) LoadKeySet(ctx context.Context, name string) (*keys.StoredSet, error) {
	set := new(keys.StoredSet)
	_, err := s.get(ctx, SystemPartition, key(prefixKeySet, name), set)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return set, err
}

// SaveKeySet implements keys.SetStore.
func (s *Store) SaveKeySet(ctx context.Context, name string, set *keys.StoredSet, expires time.Time) error {
	encoded, err := encode(set)
	if err != nil {
		return err
	}
	batch := &engine.Batch{Puts: []engine.Put{{Key: key(prefixKeySet, name), Value: encoded, Expires: expires.Add(Retention)}}}
	_, err = s.engine.Commit(ctx, SystemPartition, batch)
	return err
}

// Interface guards
var (
	_ policy.Records = (*Store)(nil)
	_ keys.SetStore  = (*Store)(nil)
)
