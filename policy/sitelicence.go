package policy

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/idna"

	"github.com/gatefold/gatefold/keys"
)

// SiteLicence is the part of a contract that decides about the readers of an institution,
// who need neither a grant nor a seat: those whose verified e-mail address is in one of the
// domains, and those whose client address is in one of the ranges. What its slices hold is
// immutable.
type SiteLicence struct {
	// Contract is the id of the contract.
	Contract string
	SKUs     []string
	// StartsAt and EndsAt bound the half-open interval in which the contract gives its skus,
	// in Unix milliseconds. Zero means no bound.
	StartsAt, EndsAt int64
	// Domains are in normal form, see keys.NormalDomain; one that begins with `*.` is all
	// domains below it.
	Domains []string
	// Ranges are masked, and those of IPv4 are not mapped to IPv6.
	Ranges []netip.Prefix
}

// ContractOrigin begins the name of a contract as the origin of what it gives:
// `contract:<id>`.
const ContractOrigin = "contract:"

// LicenceBy is what of a reader a site licence covers.
type LicenceBy uint8

// What a site licence can cover. LicenceNone: no site licence decided.
const (
	LicenceNone LicenceBy = iota
	LicenceDomain
	LicenceAddress
)

// String returns `domain` or `address`; empty for LicenceNone.
func (b LicenceBy) String() string { return [...]string{"", "domain", "address"}[b] }

// AddressSource supplies the address of the client of a request.
type AddressSource interface {
	// ClientAddress returns the address, or the zero value if it is unknown.
	ClientAddress() netip.Addr
}

// FixedAddress is the AddressSource of an address that is known.
type FixedAddress netip.Addr

// ClientAddress implements AddressSource.
func (a FixedAddress) ClientAddress() netip.Addr { return netip.Addr(a) }

// licence is a SiteLicence in a table.
type licence struct {
	grant    string // ContractOrigin and the id
	skus     []string
	from, to int64
}

func (l *licence) current(now int64) bool { return l.from <= now && now < l.to }

// licenceTable finds the site licences of one vendor that cover a reader. It is immutable.
type licenceTable struct {
	stamp uint64
	// domains has the licences of each domain, below those of all domains below it.
	domains, below map[string][]*licence
	ranges         licenceRanges
}

func newLicenceTable(list []SiteLicence, stamp uint64) *licenceTable {
	table := &licenceTable{stamp: stamp}
	if len(list) == 0 {
		return table
	}
	table.domains, table.below = map[string][]*licence{}, map[string][]*licence{}
	for i := range list {
		licensed := &list[i]
		entry := &licence{grant: ContractOrigin + licensed.Contract, skus: slices.Sorted(slices.Values(licensed.SKUs)), from: licensed.StartsAt, to: never}
		if licensed.EndsAt != 0 {
			entry.to = licensed.EndsAt
		}
		for _, domain := range licensed.Domains {
			if parent, all := strings.CutPrefix(domain, "*."); all {
				table.below[parent] = append(table.below[parent], entry)
			} else {
				table.domains[domain] = append(table.domains[domain], entry)
			}
		}
		for _, network := range licensed.Ranges {
			table.ranges.add(network, entry)
		}
	}
	table.ranges.sort()
	return table
}

func (t *licenceTable) empty() bool {
	return len(t.domains)+len(t.below)+len(t.ranges.networks) == 0
}

// ofEmail returns the licences that cover a verified e-mail address.
func (t *licenceTable) ofEmail(email string) (found []*licence) {
	domain := mailDomain(email)
	if domain == "" {
		return nil
	}
	found = t.domains[domain]
	for {
		_, parent, more := strings.Cut(domain, ".")
		if !more {
			return found
		}
		found, domain = joinLicences(found, t.below[parent]), parent
	}
}

// maxMailDomain is the maximum length of the domain of an e-mail address, in bytes, in any
// form.
const maxMailDomain = 1024

// mailDomain returns the domain of an e-mail address in normal form, or "" if that is in
// doubt. An address with two @ is refused whatever quotes it has, as programs differ on
// where its domain begins (CVE-2026-40574), and so is a domain that normalization changes
// other than to A-labels: its letters look like those of another one.
func mailDomain(email string) string {
	at := strings.IndexByte(email, '@')
	if at < 1 || strings.LastIndexByte(email, '@') != at || len(email)-at > maxMailDomain {
		return ""
	}
	domain := email[at+1:]
	if isPlainHost(domain) {
		if domain == "" || domain[0] == '.' || domain[len(domain)-1] == '.' || strings.Contains(domain, "..") {
			return ""
		}
		return domain
	}
	normal, err := keys.NormalDomain(domain)
	if err != nil || normal == domain {
		return normal
	}
	if spelled, err := idna.Lookup.ToUnicode(normal); err != nil || spelled != domain {
		return ""
	}
	return normal
}

// joinLicences returns the licences of two lists. It allocates only if neither is empty.
func joinLicences(a, b []*licence) []*licence {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return slices.Concat(a, b)
}

// licenceRanges finds the ranges that contain an address: one lookup for each length that
// any range has, whatever their number. Ranges may overlap.
type licenceRanges struct {
	networks           map[netip.Prefix][]*licence
	lengths4, lengths6 []int
}

func (r *licenceRanges) add(network netip.Prefix, entry *licence) {
	if r.networks == nil {
		r.networks = map[netip.Prefix][]*licence{}
	}
	r.networks[network] = append(r.networks[network], entry)
	lengths := &r.lengths6
	if network.Addr().Is4() {
		lengths = &r.lengths4
	}
	if !slices.Contains(*lengths, network.Bits()) {
		*lengths = append(*lengths, network.Bits())
	}
}

func (r *licenceRanges) sort() {
	slices.Sort(r.lengths4)
	slices.Sort(r.lengths6)
}

// containing returns the licences of the ranges that contain an address. One that is mapped
// to IPv6 is an address of IPv4 (CVE-2024-24790), and a zone is of no network.
func (r *licenceRanges) containing(address netip.Addr) (found []*licence) {
	if !address.IsValid() {
		return nil
	}
	address = address.Unmap().WithZone("")
	lengths := r.lengths6
	if address.Is4() {
		lengths = r.lengths4
	}
	for _, bits := range lengths {
		network, err := address.Prefix(bits)
		if err != nil {
			return nil
		}
		found = joinLicences(found, r.networks[network])
	}
	return found
}

// licenceTables holds the site licences of every vendor. Requests load a pointer. A table
// of another stamp than the current one is read again.
type licenceTables struct {
	vendors sync.Map // vendor -> *vendorLicences
}

type vendorLicences struct {
	mu     sync.Mutex // serializes loads
	loaded atomic.Pointer[licenceTable]
}

// siteLicences returns the site licences of a vendor, from memory if no shared record
// changed. The error is ErrUnavailable.
func (p *Policy) siteLicences(ctx context.Context, vendor string) (*licenceTable, error) {
	stamp := p.versions.Shared()
	value, ok := p.licences.vendors.Load(vendor)
	if !ok {
		value, _ = p.licences.vendors.LoadOrStore(strings.Clone(vendor), new(vendorLicences))
	}
	of, _ := value.(*vendorLicences)
	if table := of.loaded.Load(); table != nil && table.stamp == stamp {
		return table, nil
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	stamp = p.versions.Shared() // before reading
	if table := of.loaded.Load(); table != nil && table.stamp == stamp {
		return table, nil // read while this call waited
	}
	list, err := p.records.SiteLicences(ctx, vendor)
	if err != nil {
		return nil, unavailable(err)
	}
	table := newLicenceTable(list, stamp)
	of.loaded.Store(table)
	return table, nil
}
