package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Bounds of site licences: the domains and the ranges of one, the contracts of a vendor that
// have one and are in effect, and what all of these cover together. Concurrent writers may
// exceed the bounds of a vendor by their number.
const (
	MaxSiteDomains = 1000
	MaxSiteRanges  = 10_000
	MaxSites       = 2000
	MaxSitesCover  = 100_000
)

// A range must be at least so long, in bits: a shorter one is of many institutions.
const (
	minRange4 = 8
	minRange6 = 16
)

// noClients are the networks whose addresses no client of a gate has, other than by mistake:
// a gate behind a proxy that it does not trust sees all readers at a loopback address.
var noClients = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// ParseRange reads a range of addresses: a prefix such as 198.51.100.0/24, or one address.
func ParseRange(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, &FieldError{"range", "is not a range of addresses: write it as 198.51.100.0/24 or 2001:db8:7::/48"}
	}
	return network, nil
}

// normalRange returns a range as it is stored, or what is wrong with it.
func normalRange(network netip.Prefix) (_ netip.Prefix, problem string) {
	if !network.IsValid() {
		return network, "is not a range of addresses: write it as 198.51.100.0/24 or 2001:db8:7::/48"
	}
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	shortest := minRange6
	if network.Addr().Is4() {
		shortest = minRange4
	}
	if network.Bits() < shortest {
		return network, fmt.Sprintf("covers more than an institution has: a range has at least /%d", shortest)
	}
	network = network.Masked()
	for _, of := range noClients {
		if network.Overlaps(of) {
			return network, "is within " + of.String() + ", from where no reader comes: write the addresses with which the institution reaches the site"
		}
	}
	return network, ""
}

// normalLicensed returns a domain of a site licence as it is stored, or what is wrong with
// it.
func normalLicensed(domain string) (_, problem string) {
	name, all := strings.CutPrefix(domain, "*.")
	normal, err := keys.NormalDomain(name)
	switch {
	case err != nil:
		return "", err.Error()
	case !strings.Contains(normal, "."):
		return "", "is a top-level domain, whose readers are of no institution: write the institution's own domain"
	case all:
		return "*." + normal, ""
	}
	return normal, ""
}

// Normalize brings the licence into its stored form: in order, each domain and range once,
// without ranges that another one contains. It returns a *FieldError when one is not valid,
// or when there is none.
func (l *SiteLicence) Normalize() error {
	switch {
	case len(l.Domains)+len(l.Ranges) == 0:
		return &FieldError{"siteLicence", "covers no reader: it needs domains or ranges; leave it out for a contract without a site licence"}
	case len(l.Domains) > MaxSiteDomains:
		return &FieldError{"siteLicence.domains", fmt.Sprintf("has more than %d", MaxSiteDomains)}
	case len(l.Ranges) > MaxSiteRanges:
		return &FieldError{"siteLicence.ranges", fmt.Sprintf("has more than %d", MaxSiteRanges)}
	}
	domains := make([]string, len(l.Domains))
	for i, domain := range l.Domains {
		normal, problem := normalLicensed(domain)
		if problem != "" {
			return &FieldError{fmt.Sprintf("siteLicence.domains[%d]", i), problem}
		}
		domains[i] = normal
	}
	ranges := make([]netip.Prefix, len(l.Ranges))
	for i, network := range l.Ranges {
		normal, problem := normalRange(network)
		if problem != "" {
			return &FieldError{fmt.Sprintf("siteLicence.ranges[%d]", i), problem}
		}
		ranges[i] = normal
	}
	slices.Sort(domains)
	l.Domains, l.Ranges = slices.Compact(domains), withoutContained(ranges)
	return nil
}

// withoutContained sorts masked ranges, and removes those that another one contains.
func withoutContained(ranges []netip.Prefix) (kept []netip.Prefix) {
	slices.SortFunc(ranges, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	for _, network := range ranges {
		if n := len(kept); n == 0 || !kept[n-1].Contains(network.Addr()) {
			kept = append(kept, network)
		}
	}
	return kept
}

// siteEntry is a value of the index of contracts with a site licence that are confirmed: what
// decides about them, so that one scan reads all of a vendor.
type siteEntry struct {
	SKUs     []string       `json:"skus"`
	StartsAt int64          `json:"from,omitempty"`
	EndsAt   int64          `json:"to,omitempty"`
	Domains  []string       `json:"domains,omitempty"`
	Ranges   []netip.Prefix `json:"ranges,omitempty"`
}

func siteKey(contract string) []byte { return key(prefixContractIndex, contractSite, contract) }

// siteEntry returns the value of the index for a contract, nil for one without a site
// licence, or that gives nothing at any time. A contract that cannot be encoded has none.
func (c *Contract) siteEntry() []byte {
	if c == nil || c.Site == nil || c.State != StatusActive {
		return nil
	}
	entry := siteEntry{StartsAt: c.StartsAt.UnixMilli(), Domains: c.Site.Domains, Ranges: c.Site.Ranges}
	for _, end := range [...]*time.Time{c.EndsAt, c.WillCancelAt} {
		if end != nil && (entry.EndsAt == 0 || end.UnixMilli() < entry.EndsAt) {
			entry.EndsAt = max(end.UnixMilli(), 1) // zero means no end
		}
	}
	for _, item := range c.Items {
		entry.SKUs = append(entry.SKUs, item.SKU)
	}
	value, err := encode(entry)
	if err != nil {
		return nil
	}
	return value
}

// indexSite adds the entry of a contract with a site licence to the index.
func indexSite(c *Contract, add func(k, value []byte)) {
	if entry := c.siteEntry(); entry != nil {
		add(siteKey(c.ID), entry)
	}
}

// staleSites adds what a change of a contract makes stale of the vendor's site licences:
// nothing, unless its own one changes. Old is nil for a new contract, next for one that is
// removed.
func staleSites(change *policy.Invalidation, old, next *Contract) {
	if !bytes.Equal(old.siteEntry(), next.siteEntry()) {
		change.Join(policy.Invalidation{Shared: true, SameDomains: true})
	}
}

// checkSites refuses a site licence with which those of the vendor would be more, or cover
// more, than the maximum.
func checkSites(t *transaction, next *Contract) error {
	if next.siteEntry() == nil {
		return nil
	}
	own, number, cover := siteKey(next.ID), 1, len(next.Site.Domains)+len(next.Site.Ranges)
	for entry, err := range t.snapshot.Scan(keyPrefix(prefixContractIndex, contractSite), nil) {
		if err != nil {
			return err
		}
		var other siteEntry
		if bytes.Equal(entry.Key, own) {
			continue
		}
		if err := decode(entry.Key, entry.Value, &other); err != nil {
			return err
		}
		if other.EndsAt == 0 || other.EndsAt > t.now.UnixMilli() {
			number, cover = number+1, cover+len(other.Domains)+len(other.Ranges)
		}
	}
	if number > MaxSites {
		return &FieldError{"siteLicence", fmt.Sprintf("exceeds the maximum: %d contracts have a site licence, end some first", number-1)}
	}
	if cover > MaxSitesCover {
		return &FieldError{"siteLicence", fmt.Sprintf("exceeds the maximum: the site licences of the vendor would have %d domains and ranges, of at most %d", cover, MaxSitesCover)}
	}
	return nil
}

// SiteLicences implements policy.Records: those of the contracts that are confirmed and have
// not ended.
func (s *Store) SiteLicences(ctx context.Context, vendor string) (list []policy.SiteLicence, err error) {
	now := s.now().UnixMilli()
	err = s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		list = nil
		prefix := keyPrefix(prefixContractIndex, contractSite)
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return err
			}
			var found siteEntry
			if err := decode(entry.Key, entry.Value, &found); err != nil {
				return err
			}
			if found.EndsAt != 0 && found.EndsAt <= now {
				continue
			}
			list = append(list, policy.SiteLicence{
				Contract: string(entry.Key[len(prefix):]), SKUs: found.SKUs, StartsAt: found.StartsAt, EndsAt: found.EndsAt, Domains: found.Domains, Ranges: found.Ranges,
			})
		}
		return nil
	})
	return list, err
}
