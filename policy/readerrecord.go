package policy

import (
	"encoding/binary"

	"github.com/gatefold/gatefold/policy/memory"
)

// A reader record caches a verified token's claims together with the reader's
// grants, so a request needs one lookup. It never changes: it is written when the
// token is verified, and written again when the grants are read.
//
//	stamp of the grants 8 | their stripes 3 × 2 | flags 1 | lengths of the texts 1, 3 × 2
//
// The texts follow: the vendor of the grants, user id, publisher's user id and
// e-mail; then the grants as Entitlements hold them.
const (
	recordFlags = 14
	recordTexts = 15
	recordStart = 22
)

// Flags of a record.
const (
	hasGrants = 1 << iota
	hasUserStripe
	hasPublisherUserStripe
	hasEmailStripe
)

// tokenKeySize is the length of a record's key, see appendTokenKey.
const tokenKeySize = 4 + memory.FingerprintSize

// readerRecord is the record of a reader, with the cache that contains it. The zero
// value is none.
type readerRecord struct {
	cache *memory.RecordCache
	memory.Record
}

// textEnds returns the ends of a record's texts in their order. Each text begins where
// the one before it ends.
func textEnds(value string) (vendor, user, publisherUser, email int) {
	lengths := value[recordTexts:recordStart]
	vendor = recordStart + int(lengths[0])
	user = vendor + load16(lengths[1:])
	publisherUser = user + load16(lengths[3:])
	return vendor, user, publisherUser, publisherUser + load16(lengths[5:])
}

// reader returns the token's reader. The texts share the record's memory.
func (k readerRecord) reader() Reader {
	value := k.Value()
	at, user, publisherUser, email := textEnds(value)
	return Reader{UserID: value[at:user], PublisherUserID: value[user:publisherUser], Email: value[publisherUser:email], record: k}
}

// grants returns the grants of a reader at a vendor. Ok reports whether the record
// contains them and they are current. Fits reports whether they may be written to it:
// the record must be this reader's, without the grants of another vendor whose site
// uses the same verifier.
func (k readerRecord) grants(versions *Versions, vendor string, reader *Reader) (granted string, ok, fits bool) {
	value := k.Value()
	at, user, publisherUser, email := textEnds(value)
	// Texts that share memory, as these mostly do, compare in constant time.
	if value[at:user] != reader.UserID || value[user:publisherUser] != reader.PublisherUserID || value[publisherUser:email] != reader.Email {
		return "", false, false
	}
	flags := value[recordFlags]
	if flags&hasGrants == 0 {
		return "", false, true
	}
	if value[recordStart:at] != vendor {
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
	if sum != load64(value) {
		return "", false, true
	}
	return value[email:], true, true
}

// recordedGrants are the grants in a record.
type recordedGrants struct {
	vendor, text string
	stamp        uint64 // of Versions.Reader, loaded before the grants were read
}

// appendReaderRecord appends the value of a record, without grants if they are nil. It
// returns false if a text is too long for a record.
func appendReaderRecord(to []byte, reader *Reader, grants *recordedGrants) (value []byte, ok bool) {
	var stripes [3]uint16
	var flags byte
	if grants == nil {
		grants = &recordedGrants{}
	} else {
		flags = hasGrants
		for i, id := range [...]struct {
			kind Kind
			text string
		}{{KindUserID, reader.UserID}, {KindPublisherUserID, reader.PublisherUserID}, {KindEmail, reader.Email}} {
			if id.text != "" {
				stripes[i], flags = Stripe(id.kind, grants.vendor, id.text), flags|hasUserStripe<<i
			}
		}
	}
	to = binary.LittleEndian.AppendUint64(to, grants.stamp)
	for _, stripe := range stripes {
		to = binary.LittleEndian.AppendUint16(to, stripe)
	}
	if len(grants.vendor) > 1<<8-1 {
		return nil, false
	}
	to = append(to, flags, byte(len(grants.vendor))) //nolint:gosec // it fits
	texts := [...]string{grants.vendor, reader.UserID, reader.PublisherUserID, reader.Email}
	for _, text := range texts[1:] {
		if len(text) > 1<<16-1 {
			return nil, false
		}
		to = binary.LittleEndian.AppendUint16(to, uint16(len(text))) //nolint:gosec // it fits
	}
	for _, text := range texts {
		to = append(to, text...)
	}
	return append(to, grants.text...), true
}
