package policy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The prefixes of the keys that speak for a reader: those of their programs, and those in the
// URLs of their feeds.
const (
	PrefixAPIKey = "gfk_"
	PrefixFeed   = "gff_"
)

// ReaderKeySize is the length of a key with its prefix, in bytes.
const ReaderKeySize = len(PrefixAPIKey) + TicketSize

// ReaderKeyIssuer is the issuer under which the store keeps that a key is revoked, as it does
// for links, so that a revocation that the store lost is made again.
const ReaderKeyIssuer = "gatefold:reader-key"

// ReaderKeys makes the keys of one kind of a site: a prefix, and a ticket that Tickets makes,
// whose authentication code is the key's checksum. It is safe for concurrent use.
type ReaderKeys struct {
	prefix  string
	tickets *Tickets
	secret  [sha256.Size]byte
	site    []byte
}

// NewReaderKeys returns the keys of a kind, PrefixAPIKey or PrefixFeed, of a site of a vendor.
// The secret is of the kind.
func NewReaderKeys(prefix string, secret [sha256.Size]byte, vendor, site string) *ReaderKeys {
	k := &ReaderKeys{prefix: prefix, secret: secret}
	for _, text := range [...]string{vendor, site} {
		k.site = append(binary.AppendUvarint(k.site, uint64(len(text))), text...)
	}
	k.tickets = newTickets(secret, vendor, site, func(id string) uint16 { return Stripe(KindLink, vendor, ReaderKeyIssuer, id) })
	return k
}

// New returns a new key, and the id under which it is stored.
func (k *ReaderKeys) New() (key, id string) {
	ticket, id := k.tickets.New()
	return k.prefix + ticket, id
}

// Derived returns the key of some texts, which is always the same one, and its id.
func (k *ReaderKeys) Derived(texts ...string) (key, id string) {
	mac := hmac.New(sha256.New, k.secret[:])
	named := append([]byte("derived\x00"), k.site...)
	for _, text := range texts {
		named = append(binary.AppendUvarint(named, uint64(len(text))), text...)
	}
	_, _ = mac.Write(named) // never fails, see hash.Hash
	ticket, id := k.tickets.of([ticketRandom]byte(mac.Sum(nil)))
	return k.prefix + ticket, id
}

// ID returns the id of a key. It returns false for a key that New and Derived did not make.
func (k *ReaderKeys) ID(key string) (string, bool) {
	ticket, found := strings.CutPrefix(key, k.prefix)
	if !found {
		return "", false
	}
	return k.tickets.ID(ticket)
}

// KeyVerifier verifies keys of one kind at one site. It is safe for concurrent use.
type KeyVerifier struct {
	keys *ReaderKeys
	SessionVerifier
}

// NewKeyVerifier returns a verifier. The stored keys are read as sessions are, whose Origin
// is KeyOrigin.
func NewKeyVerifier(keys *ReaderKeys, stored LoginSessions, vendor, site string) *KeyVerifier {
	origin := KeyOrigin(keys.prefix, site)
	return &KeyVerifier{keys, *NewSessionVerifier(keys.tickets, stored, vendor, origin, func(string) {})}
}

// KeyOrigin names the kind and the site of keys, as LoginSession.Origin does those of sessions.
func KeyOrigin(prefix, site string) string { return prefix + "\x00" + site }

// ErrReaderKey is the error of a key that is not known: it ended, was revoked, is of another
// site, or was never made.
var ErrReaderKey = errors.New("the key is unknown: it ended, was revoked, is another site's, or is incomplete")

// KeyReader returns the reader of a key as SessionReader does that of a session: without a read
// of the store if the key is known or made up. The error is ErrReaderKey or ErrUnavailable.
func (p *Policy) KeyReader(ctx context.Context, v *KeyVerifier, key string, now time.Time) (Reader, error) {
	ticket, found := strings.CutPrefix(key, v.keys.prefix)
	if !found {
		return Reader{}, ErrReaderKey
	}
	reader, err := p.SessionReader(ctx, &v.SessionVerifier, ticket, now)
	if err == nil && reader.Anonymous() {
		err = ErrReaderKey
	}
	return reader, err
}

// KeyStamp returns the version of a key, as SessionStamp does that of a session.
func (p *Policy) KeyStamp(v *KeyVerifier, key string) uint64 {
	return p.SessionStamp(strings.TrimPrefix(key, v.keys.prefix))
}

// keepToSpace makes the reader of a feed anonymous unless every page that the path can mean is
// of the feed's content space.
func (r *Request) keepToSpace() {
	space := r.Reader.ContentSpace
	if space == "" {
		return
	}
	within := r.Method == http.MethodGet || r.Method == http.MethodHead
	for i := range r.matches {
		rule := r.matches[i].rule
		within = within && rule != nil && rule.space() == space
	}
	if !within {
		r.Reader = Reader{Rejected: true, Failure: fmt.Errorf("the feed's link opens GET and HEAD of pages of the content space %s alone", space)}
	}
}
