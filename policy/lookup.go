package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// appendReaderKey appends the cache key of a reader without a token: the vendor and
// every identifier that grants match. It differs from the key of every token, whose
// first byte is even (see appendTokenKey).
func appendReaderKey(key []byte, vendor string, reader *Reader) []byte {
	key = append(key, 1)
	for _, text := range [...]string{vendor, reader.UserID, reader.PublisherUserID, reader.Email} {
		key = append(binary.AppendUvarint(key, uint64(len(text))), text...)
	}
	return key
}

// keySpace is the size of a stack buffer that holds nearly every reader's key.
const keySpace = 256

// linkKey is the cache key of a link: its issuer and jti, never the text of a token.
type linkKey struct {
	vendor, issuer, id string
}

// skuKey is the cache key of a vendor's sku.
type skuKey struct {
	vendor, sku string
}

// linkState is the cached part of a link's record.
type linkState struct {
	revoked       bool
	limits        linkLimits
	expiresAt     int64   // Unix seconds
	target        *target // nil if the link opens nothing, because of err
	err           error
	publisherLink // set for a publisher's link
}

type publisherLink struct {
	keyID                string
	claimsSum            [sha256.Size]byte
	contentNames, scopes []string
}

// loadEntitlements sets the entitlements of a request, once.
func (p *Policy) loadEntitlements(ctx context.Context, r *Request) (err error) {
	if r.entitlements == nil {
		if r.granted, err = p.cachedEntitlements(ctx, r.Site.Vendor, &r.Reader, r.Now); err == nil {
			r.entitlements = &r.granted
		}
	}
	return err
}

// Entitlements returns what a reader may have, from memory if no record of it
// changed. The error is ErrUnavailable.
func (p *Policy) Entitlements(ctx context.Context, vendor string, reader Reader, now time.Time) (*Entitlements, error) {
	granted, err := p.cachedEntitlements(ctx, vendor, &reader, now)
	if err != nil {
		return nil, err
	}
	return &granted, nil
}

func (p *Policy) cachedEntitlements(ctx context.Context, vendor string, reader *Reader, now time.Time) (Entitlements, error) {
	if p.readers != nil && reader.record.cache == p.readers {
		granted, ok, fits := reader.record.grants(p.versions, vendor, reader)
		switch {
		case ok:
			p.counts.entitlements.hits.Add()
			return unpackEntitlements(granted), nil
		case fits:
			p.counts.entitlements.misses.Add()
			return p.readIntoRecord(ctx, vendor, reader)
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
	// Entitlements contain their periods, so they do not expire.
	p.readers.Set(key, []byte(entitlements.text), stamp, never)
	return *entitlements, nil
}

// readIntoRecord reads a reader's entitlements, and caches them in the record of the
// reader's token.
func (p *Policy) readIntoRecord(ctx context.Context, vendor string, reader *Reader) (Entitlements, error) {
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
	records, err := p.records.ReaderRecords(ctx, vendor, reader)
	if err != nil {
		return nil, unavailable(err)
	}
	return NewEntitlements(records.Grants), nil
}

// containersOf returns the collections that contain a sku, from memory if no shared
// record changed. The error is ErrUnavailable.
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

// link returns the state of a link, from memory if its record did not change. It
// returns ErrNotFound for an unknown link, which is not cached.
func (p *Policy) link(ctx context.Context, vendor, issuer, id string, now time.Time) (linkState, error) {
	key := linkKey{vendor, issuer, id}
	stamp := p.versions.Link(vendor, issuer, id)
	if state, ok := p.links.Get(key, stamp, now.UnixMilli()); ok {
		return state, nil
	}
	link, err := p.records.Link(ctx, vendor, issuer, id)
	if err != nil {
		return linkState{}, err
	}
	state := linkState{revoked: link.Revoked, limits: limitsOf(&link.Claims), expiresAt: link.Claims.ExpiresAt}
	state.target, state.err = newTarget(&link.Claims)
	if link.KeyID != "" {
		state.keyID, state.contentNames, state.scopes = link.KeyID, link.Claims.ContentNames, link.Claims.Scopes
		if state.claimsSum, err = sumClaims(&link.Claims); err != nil {
			return linkState{}, err
		}
	}
	p.links.Set(key, state, stamp, state.expiresAt*1000, state.target.size()+int64(len(vendor)+len(issuer)+len(id)))
	return state, nil
}
