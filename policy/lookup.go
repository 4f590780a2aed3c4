package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// appendReaderKey appends what a reader without a token is known by, as far as
// grants match: by any of the identifiers. No two readers have the same, and none
// has that of a token (see appendTokenKey), whose first byte is even.
func appendReaderKey(key []byte, vendor string, reader *Reader) []byte {
	key = append(key, 1)
	for _, text := range [...]string{vendor, reader.UserID, reader.PublisherUserID, reader.Email} {
		key = append(binary.AppendUvarint(key, uint64(len(text))), text...)
	}
	return key
}

// keySpace is room for the keys of nearly everybody, on the stack.
const keySpace = 256

// linkKey is a link: its issuer and its jti, never the spelling of a token.
type linkKey struct {
	vendor, issuer, id string
}

// skuKey is a sku of a vendor's.
type skuKey struct {
	vendor, sku string
}

// linkState is what is kept in memory of a link's record.
type linkState struct {
	revoked   bool
	maxUses   int64
	expiresAt int64   // Unix seconds
	target    *target // nil when the link opens nothing; err says why
	err       error
	published // of a publisher's link
}

// published is what is kept besides of a link that a publisher signed.
type published struct {
	keyID                string
	fingerprint          [sha256.Size]byte
	contentNames, scopes []string
}

// loadEntitlements gives the request its reader's entitlements, once.
func (p *Policy) loadEntitlements(ctx context.Context, r *Request) error {
	if r.loaded {
		return nil
	}
	granted, err := p.granted(ctx, r.Site.Vendor, &r.Reader, r.Now)
	if err != nil {
		return err
	}
	r.granted = granted
	r.entitlements, r.loaded = &r.granted, true
	return nil
}

// Entitlements returns what a reader may have, from memory where nothing
// changed since it was read. An error is ErrUnavailable.
func (p *Policy) Entitlements(ctx context.Context, vendor string, reader Reader, now time.Time) (*Entitlements, error) {
	granted, err := p.granted(ctx, vendor, &reader, now)
	if err != nil {
		return nil, err
	}
	return &granted, nil
}

func (p *Policy) granted(ctx context.Context, vendor string, reader *Reader, now time.Time) (Entitlements, error) {
	if p.readers != nil && reader.record.cache == p.readers {
		granted, ok, room := reader.record.grants(p.versions, vendor, reader)
		switch {
		case ok:
			p.counts.entitlements.hits.Add()
			return unpackEntitlements(granted), nil
		case room:
			p.counts.entitlements.misses.Add()
			return p.grantedByToken(ctx, vendor, reader)
		}
	}
	var space [keySpace]byte
	key := appendReaderKey(space[:0], vendor, reader)
	stamp := p.versions.Reader(vendor, reader)
	if record := p.readers.Get(key, stamp, now.UnixMilli()); record.Exists() {
		p.counts.entitlements.hits.Add()
		return unpackEntitlements(record.Value()), nil
	}
	p.counts.entitlements.misses.Add()
	entitlements, err := p.readEntitlements(ctx, vendor, *reader)
	if err != nil {
		return Entitlements{}, err
	}
	// Entitlements hold their times and are queried with a time: waiting does not
	// make them wrong.
	p.readers.Set(key, []byte(entitlements.text), stamp, never)
	return *entitlements, nil
}

// grantedByToken reads the reader's entitlements, and keeps them in the record of
// the reader's token.
func (p *Policy) grantedByToken(ctx context.Context, vendor string, reader *Reader) (Entitlements, error) {
	stamp := p.versions.Reader(vendor, reader)
	entitlements, err := p.readEntitlements(ctx, vendor, *reader)
	if err != nil {
		return Entitlements{}, err
	}
	if value, ok := appendReaderRecord(nil, reader, &recordedGrants{vendor: vendor, text: entitlements.text, stamp: stamp}); ok {
		reader.record.Record = p.readers.Replace(reader.record.Record, value)
	}
	return *entitlements, nil
}

func (p *Policy) readEntitlements(ctx context.Context, vendor string, reader Reader) (*Entitlements, error) {
	grants, err := p.records.Grants(ctx, vendor, reader)
	if err != nil {
		return nil, unavailable(err)
	}
	return NewEntitlements(grants), nil
}

// containersOf returns the collections that a sku is in, from memory where
// nothing changed since they were read. An error is ErrUnavailable.
func (p *Policy) containersOf(ctx context.Context, vendor, sku string, now int64) ([]string, error) {
	key := skuKey{vendor, sku}
	stamp := p.versions.Shared()
	if containers, ok := p.containers.Get(key, stamp, now); ok {
		return containers, nil
	}
	containers, err := p.records.Containers(ctx, vendor, sku)
	if err != nil {
		return nil, unavailable(err)
	}
	size := int64(len(vendor) + len(sku))
	for _, container := range containers {
		size += 16 + int64(len(container))
	}
	p.containers.Set(key, containers, stamp, never, size)
	return containers, nil
}

// link returns the state of a link, from memory where nothing changed since it
// was read. It returns ErrNotFound for a link that the store does not know;
// that is not kept.
func (p *Policy) link(ctx context.Context, vendor, issuer, id string, now time.Time) (linkState, error) {
	key := linkKey{vendor, issuer, id}
	stamp := p.versions.Link(vendor, issuer, id)
	if state, ok := p.links.Get(key, stamp, now.UnixMilli()); ok {
		return state, nil
	}
	state, err := p.readLink(ctx, vendor, issuer, id)
	if err != nil {
		return linkState{}, err
	}
	p.links.Set(key, state, stamp, state.expiresAt*1000, state.target.size()+int64(len(vendor)+len(issuer)+len(id)))
	return state, nil
}

func (p *Policy) readLink(ctx context.Context, vendor, issuer, id string) (linkState, error) {
	link, err := p.records.Link(ctx, vendor, issuer, id)
	if err != nil {
		return linkState{}, err
	}
	state := linkState{revoked: link.Revoked, maxUses: link.Claims.MaxUses, expiresAt: link.Claims.ExpiresAt}
	state.target, state.err = newTarget(&link.Claims)
	if link.KeyID == "" {
		return state, nil
	}
	state.keyID, state.contentNames, state.scopes = link.KeyID, link.Claims.ContentNames, link.Claims.Scopes
	state.fingerprint, err = fingerprint(&link.Claims)
	return state, err
}
