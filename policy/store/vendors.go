package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Vendor is the description of a vendor. A vendor may have records without one.
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
	return cmp.Or(
		checkText("name", v.Name, 255), checkText("country", v.Country, 255),
		checkText("logo", v.Logo, 2048), checkText("website", v.Website, 2048),
	)
}

// CreateVendor stores the description of a vendor. It returns ErrExists when there
// is one.
func (w Writer) CreateVendor(ctx context.Context, vendor Vendor) (Vendor, error) {
	if err := vendor.check(); err != nil {
		return Vendor{}, err
	}
	vendor.CreatedAt = w.timestamp()
	err := w.put(ctx, SystemPartition, key(prefixVendor, vendor.ID), nil, vendor, policy.Invalidation{})
	if errors.Is(err, ErrConflict) {
		err = ErrExists
	}
	return vendor, err
}

// Vendor returns the description of a vendor, or ErrNotFound.
func (s *Store) Vendor(ctx context.Context, id string) (Vendor, error) {
	var vendor Vendor
	_, err := s.get(ctx, SystemPartition, key(prefixVendor, id), &vendor)
	return vendor, err
}

// VendorList returns a page of the vendors by id: those with a description, and
// those that only have records.
func (s *Store) VendorList(ctx context.Context, page Page) ([]Vendor, error) {
	ids, err := s.Vendors(ctx)
	if err != nil {
		return nil, err
	}
	vendors := map[string]Vendor{}
	for _, id := range ids {
		vendors[id] = Vendor{ID: id, Name: id}
	}
	err = s.engine.View(ctx, SystemPartition, func(snapshot engine.Snapshot) error {
		for vendor, err := range records[Vendor](snapshot, []byte{prefixVendor}, "") {
			if err != nil {
				return err
			}
			vendors[vendor.ID] = vendor
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := []Vendor{}
	for _, id := range slices.Sorted(maps.Keys(vendors)) {
		if id > page.From && len(list) < page.limit() {
			list = append(list, vendors[id])
		}
	}
	return list, nil
}
