package policy

import (
	"encoding/binary"

	"github.com/gatefold/gatefold/policy/memory"
)

// A reader record caches a verified token's claims together with the reader's
// records in the store, so a request needs one lookup. It never changes: it is written
// when the token is verified, and written again when the store is read.
//
//	stamp of the stored records 8 | their stripes 3 × 2 | flags 1 | lengths of the texts 1, 6 × 2
//
// The texts follow: the vendor of the stored records, user id, publisher's user id,
// e-mail, `acr`, `amr` and content space; the time of the login in 8 bytes, if it is known; then
// the stored records as packedReader holds them.
const (
	recordFlags = 14
	recordTexts = 15
	recordStart = 28
)

// Flags of a record.
const (
	hasStored = 1 << iota
	hasUserStripe
	hasPublisherUserStripe
	hasEmailStripe
	hasAuthTime
)

// tokenKeySize is the length of a record's key, see appendTokenKey.
const tokenKeySize = 4 + memory.FingerprintSize

// readerRecord is the record of a reader, with the cache that contains it. The zero
// value is none.
type readerRecord struct {
	cache *memory.RecordCache
	memory.Record
}

// textEnds holds the ends of a record's texts in their order. Each text begins where
// the one before it ends.
// authTime is that of the time of the login.
type textEnds struct{ vendor, user, publisherUser, email, acr, amr, space, authTime int }

func recordEnds(value string) (e textEnds) {
	lengths := value[recordTexts:recordStart]
	e.vendor = recordStart + int(lengths[0])
	e.user = e.vendor + load16(lengths[1:])
	e.publisherUser = e.user + load16(lengths[3:])
	e.email = e.publisherUser + load16(lengths[5:])
	e.acr = e.email + load16(lengths[7:])
	e.amr = e.acr + load16(lengths[9:])
	e.space = e.amr + load16(lengths[11:])
	e.authTime = e.space
	if value[recordFlags]&hasAuthTime != 0 {
		e.authTime += 8
	}
	return e
}

// reader returns the token's reader. The texts share the record's memory.
func (k readerRecord) reader() Reader {
	value := k.Value()
	e := recordEnds(value)
	reader := Reader{
		UserID: value[e.vendor:e.user], PublisherUserID: value[e.user:e.publisherUser], Email: value[e.publisherUser:e.email],
		ACR: value[e.email:e.acr], AMR: value[e.acr:e.amr], ContentSpace: value[e.amr:e.space], record: k,
	}
	if e.authTime > e.space {
		reader.AuthTime = int64(load64(value[e.space:])) //nolint:gosec // written from the same type
	}
	return reader
}

// stored returns the packed records of a reader at a vendor. Ok reports whether the
// record contains them and they are current. Fits reports whether they may be written to
// it: the record must be this reader's, without the records of another vendor whose site
// uses the same verifier.
func (k readerRecord) stored(versions *Versions, vendor string, reader *Reader) (packed string, ok, fits bool) {
	value := k.Value()
	e := recordEnds(value)
	// Texts that share memory, as these mostly do, compare in constant time.
	if value[e.vendor:e.user] != reader.UserID || value[e.user:e.publisherUser] != reader.PublisherUserID || value[e.publisherUser:e.email] != reader.Email {
		return "", false, false
	}
	flags := value[recordFlags]
	if flags&hasStored == 0 {
		return "", false, true
	}
	if value[recordStart:e.vendor] != vendor {
		return "", false, false
	}
	sum := versions.shared.Load()
	if flags&hasUserStripe != 0 {
		sum += versions.stripe[load16(value[8:])].Load()
	}
	if flags&hasPublisherUserStripe != 0 {
		sum += versions.stripe[load16(value[10:])].Load()
	}
	if flags&hasEmailStripe != 0 {
		sum += versions.stripe[load16(value[12:])].Load()
	}
	packed = value[e.authTime:]
	if sum != load64(value) || !versions.currentShared(packed) {
		return "", false, true
	}
	return packed, true, true
}

// storedRecords are the stored records in a reader record.
type storedRecords struct {
	vendor, packed string
	stamp          uint64 // of Versions.Reader, loaded before the records were read
}

// appendReaderRecord appends the value of a record, without stored records if they are
// nil. It returns false if a text is too long for a record.
func appendReaderRecord(to []byte, reader *Reader, stored *storedRecords) (value []byte, ok bool) {
	var stripes [3]uint16
	var flags byte
	if stored == nil {
		stored = &storedRecords{}
	} else {
		flags = hasStored
		for i, id := range [...]struct {
			kind Kind
			text string
		}{{KindUserID, reader.UserID}, {KindPublisherUserID, reader.PublisherUserID}, {KindEmail, reader.Email}} {
			if id.text != "" {
				stripes[i], flags = Stripe(id.kind, stored.vendor, id.text), flags|hasUserStripe<<i
			}
		}
	}
	if reader.AuthTime != 0 {
		flags |= hasAuthTime
	}
	to = binary.LittleEndian.AppendUint64(to, stored.stamp)
	for _, stripe := range stripes {
		to = binary.LittleEndian.AppendUint16(to, stripe)
	}
	if len(stored.vendor) > 1<<8-1 {
		return nil, false
	}
	to = append(to, flags, byte(len(stored.vendor))) //nolint:gosec // it fits
	texts := [...]string{stored.vendor, reader.UserID, reader.PublisherUserID, reader.Email, reader.ACR, reader.AMR, reader.ContentSpace}
	for _, text := range texts[1:] {
		if len(text) > 1<<16-1 {
			return nil, false
		}
		to = binary.LittleEndian.AppendUint16(to, uint16(len(text))) //nolint:gosec // it fits
	}
	for _, text := range texts {
		to = append(to, text...)
	}
	if reader.AuthTime != 0 {
		to = binary.LittleEndian.AppendUint64(to, uint64(reader.AuthTime)) //nolint:gosec // read as the same type
	}
	return append(to, stored.packed...), true
}
