package store

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// Vendor describes a vendor. A vendor needs no description to have records.
type Vendor struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Logo      string    `json:"logo,omitempty"`
	Website   string    `json:"website,omitempty"`
	Country   string    `json:"country,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

var vendorPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (v *Vendor) check() error {
	if !vendorPattern.MatchString(v.ID) {
		return &FieldError{"id", "must be lower-case letters, digits and hyphens, at most 63"}
	}
	if v.Name == "" {
		return &FieldError{"name", "is required"}
	}
	for field, text := range map[string]string{"name": v.Name, "country": v.Country} {
		if err := checkText(field, text, 255); err != nil {
			return err
		}
	}
	for field, text := range map[string]string{"logo": v.Logo, "website": v.Website} {
		if err := checkText(field, text, 2048); err != nil {
			return err
		}
	}
	return nil
}

// CreateVendor stores a new vendor. ErrExists means that its id is taken.
func (w Writer) CreateVendor(ctx context.Context, vendor Vendor) (Vendor, error) {
	if err := vendor.check(); err != nil {
		return Vendor{}, err
	}
	vendor.CreatedAt = w.timestamp()
	stored, err := encode(vendor)
	if err != nil {
		return Vendor{}, err
	}
	k := key(prefixVendor, vendor.ID)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k}}, Puts: []engine.Put{{Key: k, Value: stored}}}
	err = w.commit(ctx, SystemPartition, batch, policy.Invalidation{})
	if errors.Is(err, ErrConflict) {
		err = ErrExists
	}
	return vendor, err
}

// Vendor returns a vendor, or ErrNotFound where nobody described one of this id.
func (s *Store) Vendor(ctx context.Context, id string) (Vendor, error) {
	var vendor Vendor
	_, err := s.get(ctx, SystemPartition, key(prefixVendor, id), &vendor)
	return vendor, err
}

// VendorList returns a page of the vendors, by id: those that were described, and
// those that have records without.
func (s *Store) VendorList(ctx context.Context, page Page) ([]Vendor, error) {
	ids, err := s.Vendors(ctx)
	if err != nil {
		return nil, err
	}
	vendors := make([]Vendor, 0, len(ids))
	for _, id := range ids {
		vendors = append(vendors, Vendor{ID: id, Name: id})
	}
	err = s.engine.View(ctx, SystemPartition, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte{prefixVendor}, nil) {
			if err != nil {
				return err
			}
			var vendor Vendor
			if err := decode(entry.Key, entry.Value, &vendor); err != nil {
				return err
			}
			vendors = append(vendors, vendor)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Of two with one id the one that was described stands last.
	slices.SortStableFunc(vendors, func(a, b Vendor) int { return strings.Compare(a.ID, b.ID) })
	list := []Vendor{}
	for i, vendor := range vendors {
		if i+1 < len(vendors) && vendors[i+1].ID == vendor.ID || vendor.ID <= page.From {
			continue
		}
		if list = append(list, vendor); len(list) == page.limit() {
			break
		}
	}
	return list, nil
}
