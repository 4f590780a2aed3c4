package policy

import "encoding/binary"

// What is known of a reader by her token is one record, so that a request finds
// in one place what the token says and what she was granted. A record never
// changes: it is written when the token was verified, and anew when her grants
// were read.
//
//	stamp of her grants 8 | stripes of them 2 × 3 | what is there 1 | lengths of the texts 1, 2 × 3
//
// and then the texts: the vendor whose grants are there, user id, publisher's user
// id and e-mail; and the grants, as Entitlements have them.
const (
	knownWhich = 14
	knownTexts = 15
	knownStart = 22
)

// Bits of a record's byte that says what is there.
const (
	grantsThere = 1 << iota
	userStripe
	publisherUserStripe
	emailStripe
)

// tokenKeySize is the length of the key of such a record: the number of the
// token's verifier, and the token's mark.
const tokenKeySize = 4 + FingerprintSize

// knownReader is the record in which a reader was found.
type readerRecord struct {
	// by is the cache that has it, whose stamps it has; nil when there is none.
	cache *RecordCache
	// record is all of it: header, key and value.
	bytes string
}

func (k *readerRecord) value() string { return k.bytes[recordHeader+tokenKeySize:] }

// known returns a record as what is known of its reader.
func (p *RecordCache) readerRecord(record []byte) readerRecord {
	if record == nil {
		return readerRecord{}
	}
	return readerRecord{cache: p, bytes: textOf(record)}
}

// textEnds returns where the texts of a record end, in their order: the user id
// begins where the vendor ends, and so on.
func textEnds(value string) (vendor, user, publisherUser, email int) {
	lengths := value[knownTexts:knownStart]
	vendor = knownStart + int(lengths[0])
	user = vendor + read16(lengths, 1)
	publisherUser = user + read16(lengths, 3)
	return vendor, user, publisherUser, publisherUser + read16(lengths, 5)
}

// reader returns whom the token names. Her texts share the record's memory.
func (k *readerRecord) reader() Reader {
	value := k.value()
	at, user, publisherUser, email := textEnds(value)
	return Reader{UserID: value[at:user], PublisherUserID: value[user:publisherUser], Email: value[publisherUser:email], record: *k}
}

// grants returns the grants of a reader at a vendor, and whether the record has
// them and they are today's. It has room for them if it is this reader's, whom
// nobody changed since she was found, and has not those of another vendor, which has
// the same verifier.
func (k *readerRecord) grants(versions *Versions, vendor string, reader *Reader) (granted string, ok, room bool) {
	value := k.value()
	at, user, publisherUser, email := textEnds(value)
	// Mostly these are the same memory, which is not looked at then.
	if value[at:user] != reader.UserID || value[user:publisherUser] != reader.PublisherUserID || value[publisherUser:email] != reader.Email {
		return "", false, false
	}
	which := value[knownWhich]
	if which&grantsThere == 0 {
		return "", false, true
	}
	if value[knownStart:at] != vendor {
		return "", false, false
	}
	sum := versions.shared.Load()
	if which&userStripe != 0 {
		sum += versions.stripe[read16(value, 8)].Load()
	}
	if which&publisherUserStripe != 0 {
		sum += versions.stripe[read16(value, 10)].Load()
	}
	if which&emailStripe != 0 {
		sum += versions.stripe[read16(value, 12)].Load()
	}
	if sum != read64(value, 0) {
		return "", false, true
	}
	return value[email:], true, true
}

// grantsOf is what is to be kept of a reader's grants; nil when nothing was read.
type grantsOf struct {
	vendor, text string
	stamp        uint64 // of Versions.Reader, loaded before they were read
}

// appendKnown appends the value of a record. It is false for one that is too long
// to be kept.
func appendReaderRecord(to []byte, reader *Reader, grants *grantsOf) (value []byte, ok bool) {
	var stripes [3]uint16
	var which byte
	if grants == nil {
		grants = &grantsOf{}
	} else {
		which = grantsThere
		for i, id := range [...]struct {
			kind Kind
			text string
		}{{KindUserID, reader.UserID}, {KindPublisherUserID, reader.PublisherUserID}, {KindEmail, reader.Email}} {
			if id.text != "" {
				stripes[i], which = Stripe(id.kind, grants.vendor, id.text), which|userStripe<<i
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
	to = append(to, which, byte(len(grants.vendor))) //nolint:gosec // it fits
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

// keep keeps a reader's grants with what is known of her by her token.
func (k *readerRecord) keep(reader *Reader, grants *grantsOf) {
	old := []byte(k.bytes)
	_, stamp, until, key, _ := parts(old)
	value, ok := appendReaderRecord(make([]byte, 0, len(old)+len(grants.vendor)+len(grants.text)), reader, grants)
	if !ok {
		return
	}
	k.cache.Set(key, value, stamp, until)
	if record := k.cache.Peek(key); record != nil {
		*k = k.cache.readerRecord(record)
	}
}

func read16(s string, at int) int { return int(s[at]) | int(s[at+1])<<8 }
