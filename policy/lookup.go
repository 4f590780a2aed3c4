package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
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

// loadRecords sets the stored records of the reader of a request, once.
func (p *Policy) loadRecords(ctx context.Context, r *Request) (err error) {
	if !r.recordsLoaded {
		err = p.readerRecords(ctx, r.Site.Vendor, &r.Reader, r.Now, &r.records)
		r.recordsLoaded = err == nil
	}
	return err
}

// Entitlements returns what a reader may have, from memory if no record of it
// changed. The error is ErrUnavailable.
func (p *Policy) Entitlements(ctx context.Context, vendor string, reader Reader, now time.Time) (*Entitlements, error) {
	records := new(packedReader)
	if err := p.readerRecords(ctx, vendor, &reader, now, records); err != nil {
		return nil, err
	}
	return &records.Entitlements, nil
}

// readerRecords sets the stored records of the reader of a request, or those that
// override them. The error is ErrUnavailable.
func (p *Policy) readerRecords(ctx context.Context, vendor string, reader *Reader, now time.Time, to *packedReader) error {
	if p.overrides != nil && p.overrides.Grants {
		*to = p.overrides.records()
		return nil
	}
	return p.userRecords(ctx, vendor, reader, now, to)
}

// userRecords sets the stored records of a reader, from memory if none of them changed.
// The records are a parameter, zero before, because copying them is slow. The error is
// ErrUnavailable.
func (p *Policy) userRecords(ctx context.Context, vendor string, reader *Reader, now time.Time, to *packedReader) error {
	inToken := false // whether the record of the reader's token may contain them
	if p.readers != nil && reader.record.cache == p.readers {
		packed, ok, fits := reader.record.stored(p.versions, vendor, reader)
		if ok {
			p.counts.entitlements.hits.Add()
			to.unpack(packed)
			return nil
		}
		inToken = fits
	}
	var space [keySpace]byte
	key := appendReaderKey(space[:0], vendor, reader)
	if !inToken {
		stamp := p.versions.Reader(vendor, reader)
		if record := p.readers.Get(key, stamp, now.UnixMilli()); record.Exists() && p.versions.currentShared(record.Value()) {
			p.counts.entitlements.hits.Add()
			to.unpack(record.Value())
			return nil
		}
	}
	p.counts.entitlements.misses.Add()
	read, err := p.readReader(ctx, vendor, *reader)
	switch {
	case err != nil:
		return err
	case !read.settled:
	case !inToken:
		// The records contain their periods, so they do not expire.
		p.readers.Set(key, []byte(read.text), read.stamp, never)
	default:
		if value, ok := appendReaderRecord(nil, reader, &storedRecords{vendor: vendor, packed: read.text, stamp: read.stamp}); ok {
			reader.record.Record = p.readers.Replace(reader.record.Record, value)
		}
	}
	*to = read.packedReader
	return nil
}

// readRecords are the records of a reader with the stamp of Versions.Reader that was
// loaded before they were read. Settled reports whether they may be cached.
type readRecords struct {
	packedReader
	stamp   uint64
	settled bool
}

// readReader reads the records of a reader. On which profiles and contracts they depend is
// known only once they are read: a reader with such is read again, with the versions of those
// loaded before, and cached unless they changed in between.
func (p *Policy) readReader(ctx context.Context, vendor string, reader Reader) (read readRecords, err error) {
	read.stamp = p.versions.Reader(vendor, &reader)
	records, err := p.records.ReaderRecords(ctx, vendor, reader)
	if err != nil {
		return read, unavailable(err)
	}
	shared, sum := records.Stripes(vendor), uint64(0)
	read.settled = true
	if len(shared) > 0 && p.readers != nil {
		read.stamp, sum = p.versions.Reader(vendor, &reader), p.versions.sum(shared)
		if records, err = p.records.ReaderRecords(ctx, vendor, reader); err != nil {
			return read, unavailable(err)
		}
		read.settled = slices.Equal(shared, records.Stripes(vendor))
	}
	read.packedReader = records.pack(shared, sum)
	return read, nil
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
