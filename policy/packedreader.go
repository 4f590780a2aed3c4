package policy

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// packedReader is all that decides about one reader: entitlements, roles, subscriptions
// and signatures. It is immutable and safe for concurrent use.
//
// It is one text without pointers, the form in which memory.RecordCache keeps it; the
// empty text is no records. A reference is the offset of a text in 4 bytes and its length
// in 2.
//
//	sum of the shared records' versions 8 | numbers of the entries below 5 × 4
//	stripes of the shared records 2 each: profiles and contracts
//	entitlements, by sku and then by end, the latest first:
//		from 8 | to 8 | offset and length of the sku 4 + 4 | of the grant 4 + 4
//	roles, by profile:
//		profile | type | ends at 8 | flags 1
//	subscriptions, by profile and plan, the latest end first:
//		profile | plan | provider | starts at 8 | ends at 8 | counts until 8 | flags 1 | by provider 4
//	signatures, by agreement:
//		agreement | signed at 8
//	texts
//
// The roles are few for most readers, and are found by binary search; so a decision does
// not depend on the profiles of others.
type packedReader struct {
	Entitlements
	roles, subscriptions, signatures section
}

// section is the place of the entries of one kind in a packed text.
type section struct{ at, n int }

const (
	packedHeader       = 28
	spanRecord         = 32
	roleRecord         = 21
	subscriptionRecord = 47
	signatureRecord    = 14
)

// Flags of a packed role.
const (
	rolePending = 1 << iota
	roleSecondFactor
	roleOfManager
)

// subscriptionLocked is the flag of a packed subscription that is locked.
const subscriptionLocked = 1

// packedRole is a role of the reader. Its end is never for none.
type packedRole struct {
	profile, kind string
	endsAt        int64
	flags         byte
}

func (r *packedRole) pending() bool { return r.flags&rolePending != 0 }

// counts reports whether the role gives anything at a moment.
func (r *packedRole) counts(now int64) bool { return !r.pending() && now < r.endsAt }

// packedSubscription is a subscription of a profile of the reader. Until is the end of
// the reader's part in it: that of the last role which the plan accepts, or zero.
type packedSubscription struct {
	profile, plan, provider string
	from, to, until         int64
	locked                  bool
	// grant names the subscription as the origin of entitlements.
	grant string
}

// active reports whether the subscription is active at a moment.
func (s *packedSubscription) active(now int64) bool { return s.from <= now && now < s.to }

// originPrefix begins the name of a subscription as the origin of entitlements:
// `subscription:<profile>/<plan>`.
const originPrefix = "subscription:"

// unpackReader returns packed records, which share the memory of the text.
func unpackReader(text string) (p packedReader) {
	p.unpack(text)
	return p
}

// unpack is unpackReader into zero records, which need not be copied then.
func (p *packedReader) unpack(text string) {
	if len(text) < packedHeader {
		return
	}
	p.text = text
	p.spans = section{packedHeader + 2*int(load32(text[8:])), int(load32(text[12:]))}
	p.roles = section{p.spans.at + spanRecord*p.spans.n, int(load32(text[16:]))}
	p.subscriptions = section{p.roles.at + roleRecord*p.roles.n, int(load32(text[20:]))}
	p.signatures = section{p.subscriptions.at + subscriptionRecord*p.subscriptions.n, int(load32(text[24:]))}
}

// packedStripes returns the stripes of a packed text's shared records, two bytes each, and the
// sum of their versions when the records were read.
func packedStripes(text string) (list string, sum uint64) {
	if len(text) < packedHeader {
		return "", 0
	}
	return text[packedHeader : packedHeader+2*int(load32(text[8:]))], load64(text)
}

// ref returns the text of a reference.
func (e *Entitlements) ref(at int) string {
	from := int(load32(e.text[at:]))
	return e.text[from : from+load16(e.text[at+4:])]
}

func (p *packedReader) roleProfile(i int) string { return p.ref(p.roles.at + roleRecord*i) }

func (p *packedReader) role(i int) packedRole {
	at := p.roles.at + roleRecord*i
	return packedRole{profile: p.ref(at), kind: p.ref(at + 6), endsAt: p.number(at + 12), flags: p.text[at+20]}
}

// firstRole returns the index of the first role on a profile, or on one after it.
func (p *packedReader) firstRole(profile string) int {
	return p.search(p.roles, roleRecord, profile)
}

// search returns the index of the first entry whose first reference is a text, or is
// after it.
func (p *packedReader) search(s section, size int, text string) int {
	low, high := 0, s.n
	for low < high {
		middle := int(uint(low+high) >> 1) //nolint:gosec // neither is negative
		if p.ref(s.at+size*middle) < text {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (p *packedReader) subscription(i int) packedSubscription {
	return p.subscriptionAt(p.subscriptions.at + subscriptionRecord*i)
}

func (p *packedReader) subscriptionAt(at int) packedSubscription {
	s := packedSubscription{
		profile: p.ref(at), plan: p.ref(at + 6), provider: p.ref(at + 12),
		from: p.number(at + 18), to: p.number(at + 26), until: p.number(at + 34), locked: p.text[at+42]&subscriptionLocked != 0,
	}
	profile := int(load32(p.text[at:]))
	s.grant = p.text[profile-len(originPrefix) : int(load32(p.text[at+6:]))+len(s.plan)]
	return s
}

// byProvider returns the offset of the i-th subscription in the order of providers.
func (p *packedReader) byProvider(i int) int {
	return p.subscriptions.at + subscriptionRecord*int(load32(p.text[p.subscriptions.at+subscriptionRecord*i+43:]))
}

// signedAt returns when the reader signed an agreement, in Unix milliseconds.
func (p *packedReader) signedAt(agreement string) (at int64, ok bool) {
	i := p.search(p.signatures, signatureRecord, agreement)
	entry := p.signatures.at + signatureRecord*i
	if i == p.signatures.n || p.ref(entry) != agreement {
		return 0, false
	}
	return p.number(entry + 6), true
}

func (e *Entitlements) number(at int) int64 {
	return int64(load64(e.text[at:])) //nolint:gosec // written from the same type
}

// roleUntil returns the end of the last role on a profile that counts at a moment, or
// zero.
func (p *packedReader) roleUntil(profile string, now int64) (until int64) {
	for i := p.firstRole(profile); i < p.roles.n; i++ {
		role := p.role(i)
		if role.profile != profile {
			break
		}
		if role.counts(now) {
			until = max(until, role.endsAt)
		}
	}
	return until
}

// Stripes returns the stripes of the records that a reader shares with others, each once,
// in order: the profiles on which they have a role that is not pending, and the contracts in
// which they have a seat.
func (r *ReaderRecords) Stripes(vendor string) (list []uint16) {
	for i := range r.Roles {
		if !r.Roles[i].Pending {
			list = append(list, Stripe(KindProfile, vendor, r.Roles[i].Profile))
		}
	}
	for _, contract := range r.Contracts {
		list = append(list, Stripe(KindContract, vendor, contract))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// pack packs the records of a reader, with the stripes of their shared records and the sum of
// the versions of those.
func (r *ReaderRecords) pack(shared []uint16, sum uint64) packedReader {
	if len(r.Grants)+len(r.Roles)+len(r.Signatures)+len(r.Contracts) == 0 {
		return packedReader{}
	}
	roles, subscriptions, signatures := slices.Clone(r.Roles), slices.Clone(r.Subscriptions), slices.Clone(r.Signatures)
	slices.SortFunc(roles, func(a, b Role) int {
		return cmp.Or(strings.Compare(a.Profile, b.Profile), strings.Compare(a.Type, b.Type))
	})
	slices.SortFunc(subscriptions, func(a, b Subscription) int {
		return cmp.Or(strings.Compare(a.Profile, b.Profile), strings.Compare(a.Plan, b.Plan), cmp.Compare(cmp.Or(b.EndsAt, never), cmp.Or(a.EndsAt, never)))
	})
	slices.SortFunc(signatures, func(a, b Signature) int { return strings.Compare(a.Agreement, b.Agreement) })
	parts := make([]part, len(subscriptions))
	for i := range subscriptions {
		parts[i] = partOf(&subscriptions[i], roles)
	}
	spans := r.spans(subscriptions, parts)

	size := packedHeader + 2*len(shared) + spanRecord*len(spans) + roleRecord*len(roles) + subscriptionRecord*len(subscriptions) + signatureRecord*len(signatures)
	w := packer{texts: size, known: map[string]int{}}
	w.out = binary.LittleEndian.AppendUint64(make([]byte, 0, 2*size), sum)
	for _, n := range [...]int{len(shared), len(spans), len(roles), len(subscriptions), len(signatures)} {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(n)) //nolint:gosec // far less than 4 Gi
	}
	for _, stripe := range shared {
		w.out = binary.LittleEndian.AppendUint16(w.out, stripe)
	}
	for i := range subscriptions {
		w.origin(&subscriptions[i], parts[i].origin)
	}
	for i := range spans {
		w.span(&spans[i])
	}
	for i := range roles {
		w.role(&roles[i])
	}
	w.subscriptions(subscriptions, parts)
	for i := range signatures {
		w.ref(signatures[i].Agreement)
		w.number(signatures[i].SignedAt)
	}
	return unpackReader(string(append(w.out, w.tail...)))
}

// part is the reader's part in a subscription.
type part struct {
	until  int64
	origin string
}

// partOf returns the part that roles give in a subscription.
func partOf(s *Subscription, roles []Role) part {
	p := part{origin: originPrefix + s.Profile + "/" + s.Plan}
	for i := range roles {
		role := &roles[i]
		if role.Profile == s.Profile && !role.Pending && (len(s.RoleTypes) == 0 || slices.Contains(s.RoleTypes, role.Type)) {
			p.until = max(p.until, cmp.Or(role.EndsAt, never))
		}
	}
	return p
}

// spans returns the periods in which grants and subscriptions give skus, in the order of
// a packed text. A subscription gives its skus while the reader has a part in it, unless
// it is locked.
func (r *ReaderRecords) spans(subscriptions []Subscription, parts []part) []span {
	spans := make([]span, 0, len(r.Grants)+len(subscriptions))
	for _, grant := range r.Grants {
		if grant.Active && grant.SKU != "" {
			spans = append(spans, span{sku: grant.SKU, grant: grant.ID, from: grant.StartsAt, to: cmp.Or(grant.EndsAt, never)})
		}
	}
	for i := range subscriptions {
		s := &subscriptions[i]
		to := min(cmp.Or(s.EndsAt, never), parts[i].until)
		if s.Locked || to <= s.StartsAt {
			continue
		}
		skus := s.SKUs
		if len(skus) == 0 {
			skus = []string{s.Plan}
		}
		for _, sku := range skus {
			spans = append(spans, span{sku: sku, grant: parts[i].origin, from: s.StartsAt, to: to})
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(strings.Compare(a.sku, b.sku), cmp.Compare(b.to, a.to), strings.Compare(a.grant, b.grant))
	})
	return spans
}

// packer writes entries that refer to texts behind them, each of which is written once.
type packer struct {
	out, tail []byte
	texts     int // offset of the texts
	known     map[string]int
}

// text returns the offset of a text.
func (w *packer) text(text string) int {
	at, ok := w.known[text]
	if !ok {
		at = w.texts + len(w.tail)
		w.known[text] = at
		w.tail = append(w.tail, text...)
	}
	return at
}

// origin writes the name of a subscription, of which its profile and plan are parts.
func (w *packer) origin(s *Subscription, name string) {
	at := w.text(name) + len(originPrefix)
	if _, ok := w.known[s.Profile]; !ok {
		w.known[s.Profile] = at
	}
	if at += len(s.Profile) + 1; w.known[s.Plan] == 0 {
		w.known[s.Plan] = at
	}
}

func (w *packer) ref(text string) {
	w.refAt(w.text(text), text)
}

func (w *packer) refAt(at int, text string) {
	w.out = binary.LittleEndian.AppendUint32(w.out, uint32(at))        //nolint:gosec // far less than 4 GiB
	w.out = binary.LittleEndian.AppendUint16(w.out, uint16(len(text))) //nolint:gosec // ids are bounded by the store
}

func (w *packer) number(n int64) {
	w.out = binary.LittleEndian.AppendUint64(w.out, uint64(n)) //nolint:gosec // read as the same type
}

func (w *packer) span(s *span) {
	w.number(s.from)
	w.number(s.to)
	for _, text := range [...]string{s.sku, s.grant} {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.text(text))) //nolint:gosec // far less than 4 GiB
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(len(text)))    //nolint:gosec // far less than 4 GiB
	}
}

func (w *packer) role(r *Role) {
	w.ref(r.Profile)
	w.ref(r.Type)
	w.number(cmp.Or(r.EndsAt, never))
	var flags byte
	if r.Pending {
		flags |= rolePending
	}
	if r.SecondFactor {
		flags |= roleSecondFactor
	}
	if r.Type == RoleManager {
		flags |= roleOfManager
	}
	w.out = append(w.out, flags)
}

func (w *packer) subscriptions(list []Subscription, parts []part) {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(list[a].Provider, list[b].Provider) })
	for i := range list {
		s := &list[i]
		// The profile and the plan are those in the name, which follows from their place.
		at := w.text(parts[i].origin) + len(originPrefix)
		w.refAt(at, s.Profile)
		w.refAt(at+len(s.Profile)+1, s.Plan)
		w.ref(s.Provider)
		w.number(s.StartsAt)
		w.number(cmp.Or(s.EndsAt, never))
		w.number(parts[i].until)
		var flags byte
		if s.Locked {
			flags = subscriptionLocked
		}
		w.out = append(w.out, flags)
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(order[i])) //nolint:gosec // far less than 4 Gi
	}
}
