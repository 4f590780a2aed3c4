package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Domain is a publisher domain that a vendor trusts to sign links, by pinned keys or
// by its key set: exactly one of them.
type Domain struct {
	Domain             string   `json:"domain"`
	SigningKeyPEM      string   `json:"signingKeyPem,omitempty"`
	JWKSURI            string   `json:"jwksUri,omitempty"`
	AllowedResourceIDs []string `json:"allowedResourceIds,omitempty"`

	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// UpdatedBy is the name of the actor that wrote it last.
	UpdatedBy string `json:"updatedBy,omitempty"`
	// Probe is the result of checking its keys when it was written.
	Probe Probe `json:"probe"`
}

// Probe is the result of checking the keys of a domain.
type Probe struct {
	OK         bool      `json:"ok"`
	ActiveKeys int       `json:"activeKeys"`
	Error      string    `json:"error,omitempty"`
	At         time.Time `json:"at,omitzero"`
}

// MaxDomains bounds the trusted domains of a vendor, MaxDeniedKeys its denied keys.
// Concurrent writers may exceed a bound by their number.
const (
	MaxDomains    = 10_000
	MaxDeniedKeys = 1000
)

// Normalize brings the domain into its stored form. It returns a *FieldError when
// the domain is not valid.
func (d *Domain) Normalize() error {
	name, err := keys.NormalDomain(d.Domain)
	if err != nil {
		return &FieldError{"domain", err.Error()}
	}
	d.Domain = name
	switch {
	case d.SigningKeyPEM == "" && d.JWKSURI == "":
		return &FieldError{"signingKeyPem", "is missing, and so is jwksUri: set exactly one of them"}
	case d.SigningKeyPEM != "" && d.JWKSURI != "":
		return &FieldError{"jwksUri", "excludes signingKeyPem: set exactly one of them"}
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

// PutDomain creates or replaces a domain, and keeps the CreatedAt of the one that it
// replaces. Allowed gets that one, or nil, and the next one, which it may change, and may
// refuse with an error. Only the probe of a domain that is not changed is written. The caller
// publishes the domain with policy.Policy.RefreshDomains before acknowledging it.
func (w Writer) PutDomain(ctx context.Context, vendor string, domain Domain, allowed ...func(before, next *Domain) error) (Domain, error) {
	if err := domain.Normalize(); err != nil {
		return Domain{}, err
	}
	k := key(prefixDomain, domain.Domain)
	var before Domain
	stored, err := w.get(ctx, vendor, k, &before)
	known := &before
	if err != nil {
		known = nil
	}
	for _, ask := range allowed {
		if err := ask(known, &domain); err != nil {
			return Domain{}, err
		}
	}
	switch {
	case errors.Is(err, ErrNotFound):
		domain.CreatedAt = w.timestamp()
		if err := w.checkQuota(ctx, vendor, prefixDomain, MaxDomains, "domain"); err != nil {
			return Domain{}, err
		}
	case err != nil:
		return Domain{}, err
	default:
		domain.CreatedAt = before.CreatedAt
	}
	domain.UpdatedAt, domain.UpdatedBy = w.advanced(before.UpdatedAt), w.actor.Name
	if known != nil && domain.SigningKeyPEM == before.SigningKeyPEM && domain.JWKSURI == before.JWKSURI && slices.Equal(domain.AllowedResourceIDs, before.AllowedResourceIDs) {
		domain.UpdatedAt, domain.UpdatedBy = before.UpdatedAt, before.UpdatedBy // only the probe is new
	}
	return domain, w.put(ctx, vendor, k, stored, domain, policy.Invalidation{Shared: true})
}

// allow calls the functions that may refuse a write with the current record, nil when
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

// checkQuota returns a *FieldError when one more record of a kind would exceed the
// maximum. It counts the records, unless quotas has an allowance left.
func (s *Store) checkQuota(ctx context.Context, vendor string, prefix byte, maximum int, field string) error {
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
	if err == nil && count >= maximum {
		return &FieldError{field, fmt.Sprintf("exceeds the maximum: there are %d, remove some first", count)}
	}
	if err == nil {
		s.quotas.counted(vendor, prefix, maximum-count)
	}
	return err
}

// quotas saves counting thousands of records for each one that is added: after a
// count, a part of the free quota is an allowance that needs no further count. Near
// the maximum every record is counted, so that one process alone never exceeds it.
type quotas struct {
	mu   sync.Mutex
	left map[quota]int
}

type quota struct {
	vendor string
	prefix byte
}

// allowanceShare is the part of the free quota that is an allowance: small enough for
// several nodes to have one each.
const allowanceShare = 16

func (q *quotas) counted(vendor string, prefix byte, free int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left == nil {
		q.left = make(map[quota]int)
	}
	q.left[quota{vendor, prefix}] = free/allowanceShare - 1 // this one is taken
}

func (q *quotas) take(vendor string, prefix byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left[quota{vendor, prefix}] <= 0 {
		return false
	}
	q.left[quota{vendor, prefix}]--
	return true
}

// Domain returns a domain by its normalized name, or ErrNotFound.
func (s *Store) Domain(ctx context.Context, vendor, name string) (Domain, error) {
	var domain Domain
	_, err := s.get(ctx, vendor, key(prefixDomain, name), &domain)
	return domain, err
}

// RemoveDomain removes a domain, if there is one. Allowed and publishing are as for
// PutDomain.
func (w Writer) RemoveDomain(ctx context.Context, vendor, name string, allowed ...func(before *Domain) error) error {
	return remove(ctx, w, vendor, key(prefixDomain, name), allowed)
}

// remove removes a record that all readers share, if there is one.
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

// TrustedDomains returns a page of a vendor's domains, by name.
func (s *Store) TrustedDomains(ctx context.Context, vendor string, page Page) ([]Domain, error) {
	return pageOf[Domain](ctx, s, vendor, []byte{prefixDomain}, page)
}

// DeniedKey is a key whose signatures are rejected although its publisher still
// publishes it: it leaked, and the publisher cannot be reached.
type DeniedKey struct {
	KeyID    string    `json:"kid"`
	Note     string    `json:"note,omitempty"`
	DeniedAt time.Time `json:"deniedAt"`
	// DeniedBy is the name of the actor that denied it.
	DeniedBy string `json:"deniedBy,omitempty"`
}

// DenyKey denies a key, or updates its denial. The caller publishes that as for
// PutDomain.
func (w Writer) DenyKey(ctx context.Context, vendor string, denied DeniedKey) (DeniedKey, error) {
	if denied.KeyID == "" {
		return DeniedKey{}, &FieldError{"kid", "is required"}
	}
	if err := cmp.Or(checkText("kid", denied.KeyID, 255), checkText("note", denied.Note, 1024)); err != nil {
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

// DeniedKeys returns the denied keys of a vendor by id.
func (s *Store) DeniedKeys(ctx context.Context, vendor string) (denied []DeniedKey, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		denied, err = all[DeniedKey](snapshot, []byte{prefixDeniedKey})
		return err
	})
	return denied, err
}

// trustedRecord is the part of a Domain that the policy reads.
type trustedRecord struct {
	Domain             string   `json:"domain"`
	SigningKeyPEM      string   `json:"signingKeyPem"`
	JWKSURI            string   `json:"jwksUri"`
	AllowedResourceIDs []string `json:"allowedResourceIds"`
}

// Domains implements policy.Records: the domains and the denied keys of one snapshot.
// Records that have not changed since before are not decoded again.
func (s *Store) Domains(ctx context.Context, vendor string, before *policy.Domains) (policy.Domains, error) {
	var domains policy.Domains
	err := s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		var known []*policy.TrustedDomain // the rest of before, in the same order
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
		denied, err := all[DeniedKey](snapshot, []byte{prefixDeniedKey})
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
	_, err := s.get(decides(ctx), SystemPartition, key(prefixKeySet, name), set)
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
