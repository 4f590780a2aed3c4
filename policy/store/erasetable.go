package store

import (
	"bytes"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Reasons why a kind keeps nothing of a person.
const (
	ofVendor   = "is of the vendor, and names no reader"
	ofIndex    = "is an index, which is written with its records"
	ofCounters = "counts, and names no reader"
	ofImports  = "has positions and counts of an import"
	ofKeys     = "has keys"
)

// erasers has every prefix of layout.go, in the order of an erasure: what decisions use first,
// then what has copies of other records.
var erasers = []eraser{
	{
		prefix: prefixProfile, kind: "profiles", ranges: profilesOf, forget: forgetProfile,
		about: aboutIn(func(p *Person, profile *Profile) bool { return profile.Owner == p.ID || p.hasEmail(profile.Email) }),
	},
	{
		prefix: prefixRole, kind: "roles", forget: removeIn(roleKind),
		ranges: func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
			return []eraseRange{{prefix: memberPrefix(memberUser, p.ID), place: func(profile string) []byte { return roleKind.key(profile, p.ID) }}}, nil
		},
	},
	{prefix: prefixUser, kind: "users", ranges: exactly(userKind.key), forget: removeIn(userKind)},
	{prefix: prefixReader, kind: "readers", ranges: exactly(readerKind.key), forget: removeIn(readerKind)},
	{
		prefix: prefixSignature, kind: "signatures", forget: removeIn(signatureKind),
		ranges: func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
			return []eraseRange{{prefix: keyPrefix(prefixSignature, p.ID)}}, nil
		},
	},
	{
		prefix: prefixGrant, kind: "grants", forget: forgetGrant,
		ranges: byIdentity(prefixGrant,
			func(id string) []byte { return indexPrefix(indexUserID, id) }, func(email string) []byte { return indexPrefix(indexEmail, email) }),
	},
	{
		prefix: prefixSeat, kind: "seats", forget: forgetSeat,
		ranges: byIdentity(prefixSeat,
			func(id string) []byte { return contractPrefix(contractHolder, id) }, func(email string) []byte { return contractPrefix(contractMailed, email) }),
	},
	{
		prefix: prefixContract, kind: "contracts", forget: forgetIn(contractKind, forgetParties),
		ranges: byIdentity(prefixContract,
			func(id string) []byte { return contractPrefix(contractUser, id) }, func(email string) []byte { return contractPrefix(contractEmail, email) }),
		about: aboutIn(func(p *Person, c *Contract) bool { return p.party(&c.Owner) || p.party(&c.Payer) }),
	},
	{
		prefix: prefixBill, kind: "bills", ranges: sentOf(prefixBill, billOfUser),
		forget: forgetIn(billKind, func(_ *Person, b *Bill) bool { b.UserID, b.ReceiptURL = "", ""; return false }),
	},
	{
		prefix: prefixTransaction, kind: "transactions", ranges: sentOf(prefixTransaction, transactionOfUser),
		forget: forgetIn(transactionKind, func(_ *Person, t *Transaction) bool { t.UserID = ""; return false }),
	},
	{
		prefix: prefixFulfilment, kind: "fulfilments", ranges: sentOf(prefixFulfilment, fulfilmentOfUser),
		forget: forgetIn(fulfilmentKind, func(_ *Person, f *Fulfilment) bool { f.UserID = ""; return false }),
	},
	{
		prefix: prefixLogin, kind: "sessions", forget: forgetLogin,
		ranges: func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
			return within(prefixLogin, keyPrefix(prefixLoginIndex, loginUser+p.ID)), nil
		},
	},
	{
		prefix: prefixReaderKey, kind: "readerKeys", forget: forgetReaderKey,
		ranges: byIdentity(prefixReaderKey,
			func(id string) []byte { return keyPrefix(prefixReaderKeyIndex, readerKeyUser+id) },
			func(email string) []byte { return keyPrefix(prefixReaderKeyIndex, readerKeyEmail+email) }),
	},
	{
		prefix: prefixRefusal, kind: "refusals", forget: forgetRefusal,
		ranges: func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
			return within(prefixRefusal, keyPrefix(prefixRefusalIndex, p.ID)), nil
		},
	},
	scrubs(prefixHookEvent, "hookEvents"),
	{
		prefix: prefixLink, kind: "links", forget: forgetLink,
		about: func(p *Person, _, value []byte) bool { return p.mentioned(value) },
	},
	scrubs(prefixImportLog, "importLogs"),
	{
		prefix: prefixMeter, kind: "meters", forget: removeEntry,
		ranges: func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
			return []eraseRange{{prefix: keyPrefix(prefixMeter, p.ID)}}, nil
		},
	},
	{prefix: prefixEngagement, kind: "engagement", ranges: engagementOf, forget: removeEntry},
	{prefix: prefixAudit, kind: "auditFound", hidden: true, about: aboutAudit, forget: markAudited},
	{prefix: prefixAudit, kind: "audit", about: aboutAudit, all: true, forget: forgetAudit},
	{
		prefix: prefixIdempotency, kind: "idempotency", hidden: true, forget: forgetAnswer,
		about: aboutAnswer,
	},
	{
		prefix: prefixDelivery, kind: "events", hidden: true, forget: removeEntry, about: aboutEvent,
	},
	{
		prefix: prefixRemoved, kind: "markers", hidden: true, forget: removeEntry,
		ranges: func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
			return []eraseRange{
				{prefix: removedKey(removedUser, p.ID), exact: true},
				{prefix: removedKey(removedProfile, p.ID), exact: true},
				{prefix: keyPrefix(prefixRemoved, erasedRecord+p.ID)},
			}, nil
		},
	},

	{prefix: prefixIndex, nothing: ofIndex},
	{prefix: prefixMember, nothing: ofIndex},
	{prefix: prefixContractIndex, nothing: ofIndex},
	{prefix: prefixLoginIndex, nothing: "is an index, which is written with its records; of the end of a user's tokens it has a hash of the id for 30 days"},
	{prefix: prefixRefusalIndex, nothing: ofIndex},
	{prefix: prefixReaderKeyIndex, nothing: ofIndex},
	{prefix: prefixOrder, nothing: "has the ids of an order and its contract"},
	{prefix: prefixContainer, nothing: ofIndex},
	{prefix: prefixGrantIndex, nothing: ofIndex},
	{prefix: prefixLinkIndex, nothing: ofIndex},
	{prefix: prefixList, nothing: ofVendor},
	{prefix: prefixRule, nothing: ofVendor},
	{prefix: prefixRevision, nothing: ofVendor},
	{prefix: prefixForwarding, nothing: ofVendor},
	{prefix: prefixPagePurge, nothing: "has URLs and tags of pages"},
	{prefix: prefixRoleType, nothing: ofVendor},
	{prefix: prefixPlan, nothing: ofVendor},
	{prefix: prefixAgreement, nothing: ofVendor},
	{prefix: prefixSubscription, nothing: "is of a profile, and removed with a personal one"},
	{prefix: prefixProduct, nothing: ofVendor},
	{prefix: prefixPaywall, nothing: ofVendor},
	{prefix: prefixPaywallWas, nothing: ofVendor},
	{prefix: prefixPurchaseOption, nothing: ofVendor},
	{prefix: prefixPromo, nothing: ofVendor},
	{prefix: prefixPromoUses, nothing: ofCounters},
	{prefix: prefixUsage, nothing: "counts, and has keyed hashes of readers for two months"},
	{prefix: prefixHook, nothing: ofVendor},
	{prefix: prefixDomain, nothing: ofVendor},
	{prefix: prefixSpace, nothing: ofVendor},
	{prefix: prefixVendor, nothing: ofVendor},
	{prefix: prefixClient, nothing: "is of a client of the API"},
	{prefix: prefixWebhook, nothing: ofVendor},
	{prefix: prefixRoute, nothing: ofVendor},
	{prefix: prefixWebhookState, nothing: ofVendor},
	{prefix: prefixRevocation, nothing: "has a time and a cause"},
	{prefix: prefixUses, nothing: ofCounters},
	{prefix: prefixUse, nothing: "has a time, the class of a program and a country"},
	{prefix: prefixDevices, nothing: ofCounters},
	{prefix: prefixDevice, nothing: "has a random id of a device"},
	{prefix: prefixHistory, nothing: "has times, classes of programs and countries"},
	{prefix: prefixNetworks, nothing: "has networks of the last hour, of no named reader"},
	{prefix: prefixKept, nothing: ofCounters},
	{prefix: prefixImport, nothing: ofImports},
	{prefix: prefixImportMark, nothing: ofImports},
	{prefix: prefixImportTurn, nothing: ofImports},
	{prefix: prefixRecordImport, nothing: ofImports},
	{prefix: prefixPurge, nothing: ofVendor},
	{prefix: prefixSessionKey, nothing: ofKeys},
	{prefix: prefixKey, nothing: ofKeys},
	{prefix: prefixCurrentKey, nothing: ofKeys},
	{prefix: prefixDeniedKey, nothing: ofKeys},
	{prefix: prefixKeySet, nothing: ofKeys},
	{prefix: prefixProbe, nothing: "has a time"},
}

// exactly returns the range of the one record of a person.
func exactly(at func(path ...string) []byte) func(engine.Snapshot, *Person) ([]eraseRange, error) {
	return func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
		return []eraseRange{{prefix: at(p.ID), exact: true}}, nil
	}
}

// sentOf returns the ranges of what sellers sent of a person, in whose index a time of 8 bytes
// comes first.
func sentOf(record byte, kind string) func(engine.Snapshot, *Person) ([]eraseRange, error) {
	return func(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
		return []eraseRange{{prefix: contractPrefix(kind, p.ID), place: func(rest string) []byte {
			return append([]byte{record}, rest[min(8, len(rest)):]...)
		}}}, nil
	}
}

// removeEntry removes an entry that no index has.
func removeEntry(e *erasing, k, _ []byte) error {
	e.t.set(k, nil, time.Time{})
	return nil
}

// profilesOf returns the profiles on which a person has roles, and those with their address.
func profilesOf(_ engine.Snapshot, p *Person) ([]eraseRange, error) {
	prefixes := append(make([][]byte, 0, 1+len(p.Emails)), memberPrefix(memberUser, p.ID))
	for _, email := range p.Emails {
		prefixes = append(prefixes, memberPrefix(memberProfileEmail, email))
	}
	return within(prefixProfile, prefixes...), nil
}

// forgetProfile removes a personal profile with all that belongs to it. Another profile stays
// without the person's address.
func forgetProfile(e *erasing, k, stored []byte) error {
	var profile Profile
	if err := decode(k, stored, &profile); err != nil {
		return err
	}
	if profile.Type != TypePersonal || profile.Owner != e.person.ID {
		if !e.person.hasEmail(profile.Email) {
			return nil
		}
		next := profile
		next.Email = ""
		return profileKind.rewrite(e.t, &profile, &next)
	}
	p := memberPurge{t: e.t, left: purgeBatch}
	p.profile(profile.Slug)
	if p.err != nil || p.left <= 0 {
		e.again = true
		return p.err
	}
	profileKind.write(e.t, &profile, nil, nil)
	return e.mark("profile", profile.Slug)
}

// forgetGrant removes a grant of a person. One that names another user by their id stays,
// without the person's address.
func forgetGrant(e *erasing, k, stored []byte) error {
	var grant Grant
	if err := decode(k, stored, &grant); err != nil {
		return err
	}
	for _, at := range grant.index() {
		e.t.set(at, nil, time.Time{})
	}
	grant.addTo(&e.t.change, e.t.vendor)
	if e.person.is(grant.UserID, grant.Email) {
		e.t.set(k, nil, time.Time{})
		return e.mark("grant", grant.Source, grant.ID)
	}
	var next Grant
	value, _ := e.person.scrub(stored)
	if err := decode(k, value, &next); err != nil {
		return err
	}
	e.t.set(k, value, next.expires())
	for _, at := range next.index() {
		e.t.set(at, []byte{}, next.expires())
	}
	return nil
}

// forgetSeat withdraws a seat of a person.
func forgetSeat(e *erasing, k, stored []byte) error {
	var seat Seat
	if err := decode(k, stored, &seat); err != nil {
		return err
	}
	if !e.person.is(seat.UserID, seat.Email) {
		next := seat
		next.Email, next.FullName = "", ""
		return seatKind.rewrite(e.t, &seat, &next)
	}
	contract, err := contractKind.get(e.t, seat.Contract)
	if err != nil {
		return err
	}
	if contract != nil {
		next := *contract
		next.SeatsTaken--
		if err := contractKind.rewrite(e.t, contract, &next); err != nil {
			return err
		}
	}
	seatKind.write(e.t, &seat, nil, nil)
	return e.mark("seat", seat.Contract, seat.ID)
}

// party reports whether a party of a contract is the person, or has their address.
func (p *Person) party(party *Party) bool {
	return party.UserID == p.ID || p.hasEmail(party.Email) || p.hasEmail(party.InvoiceEmail)
}

// forgetParties takes a person out of a contract, which stays for the books: only the holders
// of its seats read by it then.
func forgetParties(p *Person, c *Contract) bool {
	for _, party := range []*Party{&c.Owner, &c.Payer} {
		switch {
		case p.is(party.UserID, party.Email):
			*party = Party{}
		case p.hasEmail(party.Email):
			*party = Party{UserID: party.UserID}
		case p.hasEmail(party.InvoiceEmail):
			party.InvoiceEmail = ""
		default:
			continue
		}
		c.VendorData, c.ProviderData, c.ProviderPaymentData, c.Extra = nil, nil, nil, nil
		c.PaymentDescription, c.ManageURL, c.CancelReason, c.OrderHash = "", "", "", ""
	}
	return false
}

// engagementOf returns the records of a reader's visits, site by site. The counts of tags stay.
func engagementOf(snapshot engine.Snapshot, p *Person) ([]eraseRange, error) {
	var ranges []eraseRange
	for _, kind := range []string{kindMarker, kindVisitor} {
		sites, err := sitesIn(snapshot, kind)
		if err != nil {
			return nil, err
		}
		for _, site := range sites {
			if kind == kindMarker {
				ranges = append(ranges, eraseRange{prefix: keyPrefix(prefixEngagement, kindMarker+site, p.ID)})
				continue
			}
			at := visitorKey(site, p.ID)
			stored, err := snapshot.Get(at)
			if err != nil {
				return nil, err
			}
			if stored == nil {
				continue
			}
			seen, err := parseMilli(stored)
			if err != nil {
				return nil, err
			}
			// The visitor comes last: without it, the other is not found.
			ranges = append(ranges, eraseRange{prefix: recentKey(site, p.ID, seen), exact: true}, eraseRange{prefix: at, exact: true})
		}
	}
	return ranges, nil
}

// sitesIn returns the sites that have engagement records of a kind, without reading those of
// a site.
func sitesIn(snapshot engine.Snapshot, kind string) (sites []string, err error) {
	prefix := key(prefixEngagement, kind)
	var after []byte
	for {
		more := false
		for entry, err := range snapshot.Scan(prefix, after) {
			if err != nil {
				return nil, err
			}
			site, _, _ := strings.Cut(string(entry.Key[len(prefix):]), "\x00")
			sites, more = append(sites, site), true
			after = append(bytes.Clone(prefix), site+"\x01"...)
			break
		}
		if !more {
			return sites, nil
		}
	}
}

// expiry returns when a record may be removed that is rewritten.
func (e *erasing) expiry(k, _ []byte) time.Time {
	switch k[0] {
	case prefixImportLog:
		return e.t.now.Add(Retention)
	case prefixHookEvent:
		return e.t.now.Add(hookEventKept)
	}
	return time.Time{}
}

// hookEventKept is how long an event of a provider is kept after an erasure rewrote it.
const hookEventKept = Retention
