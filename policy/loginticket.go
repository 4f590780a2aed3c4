package policy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
)

// Tickets makes and verifies the tickets of login sessions of one site: the values of their
// cookie. It is safe for concurrent use.
//
// A ticket is base64url of a stripe, of 32 random bytes, and of the first bytes of an
// HMAC-SHA256 over vendor, site, stripe and random bytes. The session is stored under the
// SHA-256 of the random bytes, so that the store has no ticket. The authentication code lets
// a made-up ticket be refused without a read of the store; the stripe is that of the
// session's id, so that a lookup in memory needs no hash.
type Tickets struct {
	site     []byte
	stripeOf func(id string) uint16
	macs     sync.Pool // of keyed hash.Hash
}

const (
	ticketStripe = 2
	ticketRandom = 32
	ticketTag    = 14 // NIST SP 800-107, section 5.3.3, allows HMAC to be truncated so

	// TicketSize is the length of a ticket, in bytes.
	TicketSize = (ticketStripe + ticketRandom + ticketTag) / 3 * 4
)

// NewTickets returns the tickets of a site of a vendor, authenticated with a key.
func NewTickets(key [sha256.Size]byte, vendor, site string) *Tickets {
	return newTickets(key, vendor, site, func(id string) uint16 { return Stripe(KindSession, vendor, id) })
}

func newTickets(key [sha256.Size]byte, vendor, site string, stripe func(id string) uint16) *Tickets {
	t := &Tickets{stripeOf: stripe}
	for _, text := range [...]string{vendor, site} {
		t.site = append(binary.AppendUvarint(t.site, uint64(len(text))), text...)
	}
	t.macs.New = func() any { return hmac.New(sha256.New, key[:]) }
	return t
}

// New returns a new ticket, and the id of its session.
func (t *Tickets) New() (ticket, id string) {
	var random [ticketRandom]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return t.of(random)
}

// of returns the ticket of some bytes, which cannot be guessed, and the id of its session.
func (t *Tickets) of(random [ticketRandom]byte) (ticket, id string) {
	var b [ticketStripe + ticketRandom + ticketTag]byte
	id = ticketID(random[:])
	binary.BigEndian.PutUint16(b[:], t.stripeOf(id))
	copy(b[ticketStripe:], random[:])
	copy(b[ticketStripe+ticketRandom:], t.tag(b[:ticketStripe+ticketRandom]))
	return base64.RawURLEncoding.EncodeToString(b[:]), id
}

// ID returns the id of the session of a ticket. It returns false for a ticket that New of
// this site did not make.
func (t *Tickets) ID(ticket string) (string, bool) {
	if len(ticket) != TicketSize {
		return "", false
	}
	var b [ticketStripe + ticketRandom + ticketTag]byte
	if n, err := base64.RawURLEncoding.Decode(b[:], []byte(ticket)); err != nil || n != len(b) {
		return "", false
	}
	signed, tag := b[:ticketStripe+ticketRandom], b[ticketStripe+ticketRandom:]
	if !hmac.Equal(tag, t.tag(signed)) {
		return "", false
	}
	return ticketID(signed[ticketStripe:]), true
}

func ticketID(random []byte) string {
	sum := sha256.Sum256(random)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (t *Tickets) tag(signed []byte) []byte {
	h, _ := t.macs.Get().(hash.Hash)
	defer t.macs.Put(h)
	h.Reset()
	h.Write(t.site)
	h.Write(signed)
	return h.Sum(nil)[:ticketTag]
}

// stripeOf returns the stripe that a ticket names, which may be a made-up one.
func stripeOf(ticket string) (stripe uint16, ok bool) {
	if len(ticket) != TicketSize {
		return 0, false
	}
	var digits uint32
	for i := range 3 { // 18 bits, of which the first 16 are the stripe
		value := base64Values[ticket[i]]
		if value > 63 {
			return 0, false
		}
		digits = digits<<6 | uint32(value)
	}
	return uint16(digits >> 2), true
}

// base64Values has the values of the digits of base64url, and 64 for every other byte.
var base64Values = func() (values [256]byte) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range values {
		values[i] = 64
	}
	for i := range len(digits) {
		values[digits[i]] = byte(i)
	}
	return values
}()
