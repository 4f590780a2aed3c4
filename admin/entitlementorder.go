package admin

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/gatefold/gatefold/policy/store"
)

// entitlementPlace is the place of an entitlement in a listing: ids are compared, or with an
// order the times of creation first.
type entitlementPlace struct {
	created int64 // Unix milliseconds
	id      string
}

func placeOf(e *entitlement) entitlementPlace {
	return entitlementPlace{e.CreatedAt.UnixMilli(), e.ID}
}

// compare compares places in an order; empty is by id.
func (p entitlementPlace) compare(other entitlementPlace, order string) int {
	switch order {
	case "":
		return strings.Compare(p.id, other.id)
	case store.NewestFirst:
		p, other = other, p
	}
	return cmp.Or(cmp.Compare(p.created, other.created), strings.Compare(p.id, other.id))
}

// position returns the place as from of the next page. One by creation has its time, as the
// entitlement may have ended by then.
func (p entitlementPlace) position(ordered bool) string {
	if !ordered {
		return p.id
	}
	return strconv.FormatInt(p.created, 10) + "/" + p.id
}

// position returns the place after which the page starts, nil for the first page.
func (p *entitlementParams) position() (*entitlementPlace, error) {
	if p.From == "" {
		return nil, nil
	}
	place := entitlementPlace{id: p.From}
	var err error
	if p.ordered() {
		var created string
		created, place.id, _ = strings.Cut(p.From, "/")
		place.created, err = strconv.ParseInt(created, 10, 64)
	}
	if err != nil || !isEntitlementID(place.id) {
		return nil, notAPosition()
	}
	return &place, nil
}

// isEntitlementID reports whether a text has the form of an entitlement's id: that of a grant,
// or that of a contract, a seat or a subscription with a SKU.
func isEntitlementID(id string) bool {
	source, sku, both := strings.Cut(id, ".")
	if !both {
		return store.IsID("grant_", id)
	}
	return sku != "" && (store.IsContractID(source) || store.IsID("seat_", source) || store.IsID("sub_", source))
}
