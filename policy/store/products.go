package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Product describes what is sold under a sku, and what a collection contains. A sku
// needs no product to be granted or required.
type Product struct {
	SKU                string            `json:"sku"`
	Type               string            `json:"type"`
	Title              string            `json:"title,omitempty"`
	URL                string            `json:"url,omitempty"`
	PresentationURL    string            `json:"presentationUrl,omitempty"`
	Cover              string            `json:"cover,omitempty"`
	Language           string            `json:"language,omitempty"`
	PublisherContentID string            `json:"publisherContentId,omitempty"`
	ExternalIDs        map[string]string `json:"externalIds,omitempty"`
	// Members are skus that this one includes. Only collections have members.
	Members   []string  `json:"members,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// productTypes has the types of products; true for collections.
var productTypes = map[string]bool{
	"article": false, "audiobook": false, "ebook": false, "podcast": false, "physical_issue": false,
	"bundle": true, "pass": true, "publication": true,
}

// Bounds of products.
const (
	// MaxMembers is the maximum number of members. They fit in one value, whatever
	// their names.
	MaxMembers = 1000
	// MaxContainers is the maximum number of collections of a sku, at any depth.
	MaxContainers = 256

	maxExternalIDs = 32
)

// normalize sorts the members, and checks the product.
func (p *Product) normalize() error {
	if p.SKU == "" || path.Clean("/"+p.SKU) != "/"+p.SKU {
		return &FieldError{"sku", "must not be empty, nor contain what cleaning a path removes: . and .., double slashes, slashes at an end"}
	}
	collection, known := productTypes[p.Type]
	switch {
	case !known:
		return &FieldError{"type", "is not a type of products"}
	case len(p.Members) > 0 && !collection:
		return &FieldError{"members", "are allowed for the types bundle, pass and publication only"}
	case len(p.Members) > MaxMembers:
		return &FieldError{"members", fmt.Sprintf("are more than %d: use rules that accept any of several skus", MaxMembers)}
	case len(p.ExternalIDs) > maxExternalIDs:
		return &FieldError{"externalIds", fmt.Sprintf("are more than %d", maxExternalIDs)}
	}
	for name, id := range p.ExternalIDs {
		if err := checkText("externalIds."+name, name+id, 255); err != nil {
			return err
		}
	}
	err := cmp.Or(
		checkText("sku", p.SKU, 255), checkText("title", p.Title, 255), checkText("language", p.Language, 255),
		checkText("publisherContentId", p.PublisherContentID, 255),
		checkText("url", p.URL, 2048), checkText("presentationUrl", p.PresentationURL, 2048), checkText("cover", p.Cover, 2048),
	)
	if err != nil {
		return err
	}
	for _, member := range p.Members {
		if member == "" {
			return &FieldError{"members", "must not be empty"}
		}
		if err := checkText("members", member, 255); err != nil {
			return err
		}
	}
	slices.Sort(p.Members)
	p.Members = slices.Compact(p.Members)
	return nil
}

// NewSKU returns a new sku.
func (s *Store) NewSKU() string { return newID("sku_", s.now()) }

// CreateProduct stores a new product. It returns ErrExists when its sku has one.
func (w Writer) CreateProduct(ctx context.Context, vendor string, product Product) (Product, error) {
	if err := product.normalize(); err != nil {
		return Product{}, err
	}
	product.CreatedAt = w.timestamp()
	return w.putProduct(ctx, vendor, product.SKU, func(old *Product) (*Product, error) {
		if old != nil {
			return nil, ErrExists
		}
		return &product, nil
	})
}

// UpdateProduct changes a product: change gets the current one. Its sku and time of
// creation cannot be changed. A change of members invalidates all decisions; one that
// changes nothing is not written.
func (w Writer) UpdateProduct(ctx context.Context, vendor, sku string, change func(*Product) error) (Product, error) {
	return w.putProduct(ctx, vendor, sku, func(old *Product) (*Product, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		product := *old
		product.Members = slices.Clone(old.Members)
		if err := change(&product); err != nil {
			return nil, err
		}
		product.SKU, product.CreatedAt = old.SKU, old.CreatedAt
		return &product, product.normalize()
	})
}

// DeleteProduct removes a product with its purchase options, unless allowed returns an error;
// it may be nil. Grants of its sku stay, and no longer include its members.
func (w Writer) DeleteProduct(ctx context.Context, vendor, sku string, allowed func(Product) error) error {
	_, err := w.putProduct(ctx, vendor, sku, func(old *Product) (*Product, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		if allowed != nil {
			return nil, allowed(*old)
		}
		return nil, nil
	})
	return err
}

// productAttempts bounds the attempts to write a product when members of collections
// change concurrently.
const productAttempts = 3

// putProduct replaces a product by what change returns; nil is none.
func (w Writer) putProduct(ctx context.Context, vendor, sku string, change func(*Product) (*Product, error)) (product Product, err error) {
	for range productAttempts {
		var write *productWrite
		if write, err = w.readProduct(ctx, vendor, sku); err != nil {
			return Product{}, err
		}
		var next *Product
		if next, err = change(write.old); err != nil {
			return Product{}, err
		}
		product = Product{}
		if next != nil {
			product = *next
			if same, err := encode(next); err == nil && write.old != nil && bytes.Equal(same, write.stored) {
				return product, nil
			}
			product.UpdatedAt = w.timestamp()
			if write.old != nil {
				product.UpdatedAt = w.advanced(write.old.UpdatedAt)
			}
			next = &product
		}
		var batch *engine.Batch
		var shared bool
		if batch, shared, err = w.productBatch(ctx, vendor, write, next); err != nil {
			return Product{}, err
		}
		if err = w.commit(ctx, vendor, batch, policy.Invalidation{Shared: shared, SameDomains: true}); !errors.Is(err, ErrConflict) {
			break
		}
		// This product or the members of another one changed: change checks its
		// condition, if it has one, again.
	}
	if err != nil {
		return Product{}, err
	}
	return product, nil
}

// productWrite is a product in one snapshot.
type productWrite struct {
	sku string
	old *Product // nil when there is none
	// stored is the product as stored, revision the record that every change of
	// members replaces.
	stored, revision []byte
	// options are the product's purchase options. Without the product none is created, so that
	// those of one that was removed are found when it is created again.
	options []engine.Entry
}

func (s *Store) readProduct(ctx context.Context, vendor, sku string) (*productWrite, error) {
	write := &productWrite{sku: sku}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		revision, err := snapshot.Get([]byte{prefixContainer})
		if err != nil {
			return err
		}
		write.revision = bytes.Clone(revision)
		var old Product
		write.stored, err = getIn(snapshot, key(prefixProduct, sku), &old)
		switch {
		case err == nil:
			write.old = &old
		case errors.Is(err, ErrNotFound):
			err = nil
		}
		if err != nil {
			return err
		}
		for entry, err := range snapshot.Scan(keyPrefix(prefixPurchaseOption, sku), nil) {
			if err != nil {
				return err
			}
			write.options = append(write.options, engine.Entry{Key: bytes.Clone(entry.Key), Value: bytes.Clone(entry.Value)})
		}
		return nil
	})
	return write, err
}

// productBatch returns the batch that replaces a product, and whether entitlements
// change.
func (s *Store) productBatch(ctx context.Context, vendor string, write *productWrite, next *Product) (*engine.Batch, bool, error) {
	k := key(prefixProduct, write.sku)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: write.stored}}}
	var before, after []string
	if write.old != nil {
		before = write.old.Members
	}
	if next == nil {
		batch.Deletes = append(batch.Deletes, k)
	}
	if write.old == nil || next == nil {
		for _, option := range write.options {
			batch.Checks = append(batch.Checks, engine.Check{Key: option.Key, Value: option.Value})
			batch.Deletes = append(batch.Deletes, option.Key)
		}
	}
	if next != nil {
		after = next.Members
		stored, err := encode(next)
		if err != nil {
			return nil, false, err
		}
		batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: stored})
	}
	if slices.Equal(before, after) {
		return batch, false, nil
	}
	var added []string
	for _, member := range after {
		if !slices.Contains(before, member) {
			added = append(added, member)
			batch.Puts = append(batch.Puts, engine.Put{Key: key(prefixContainer, member, write.sku), Value: []byte{}})
		}
	}
	for _, member := range before {
		if !slices.Contains(after, member) {
			batch.Deletes = append(batch.Deletes, key(prefixContainer, member, write.sku))
		}
	}
	if err := s.checkMembers(ctx, vendor, write.sku, added); err != nil {
		return nil, false, err
	}
	// A concurrent change of members could complete a cycle with this one.
	k = []byte{prefixContainer}
	batch.Checks = append(batch.Checks, engine.Check{Key: k, Value: write.revision})
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: []byte(newID("", s.now()))})
	return batch, true, nil
}

// checkMembers returns a *FieldError for new members that contain the product
// themselves, or would be in too many collections.
func (s *Store) checkMembers(ctx context.Context, vendor, sku string, added []string) error {
	if len(added) == 0 {
		return nil
	}
	return s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		above, err := containersIn(snapshot, sku)
		if err != nil {
			return err
		}
		above = append(above, sku)
		for _, member := range added {
			if slices.Contains(above, member) {
				return &FieldError{"members", fmt.Sprintf("include %q, which includes this product: a collection cannot contain itself", member)}
			}
			containers, err := containersIn(snapshot, member)
			if err != nil {
				return err
			}
			if len(containers)+len(above) > MaxContainers {
				return &FieldError{"members", fmt.Sprintf("include %q, which would be in more than %d collections", member, MaxContainers)}
			}
		}
		return nil
	})
}

// Containers implements policy.Records.
func (s *Store) Containers(ctx context.Context, vendor, sku string) (containers []string, err error) {
	err = s.engine.View(decides(ctx), vendor, func(snapshot engine.Snapshot) error {
		containers, err = containersIn(snapshot, sku)
		return err
	})
	return containers, err
}

// containersIn returns the collections of a sku, at any depth, the nearest first:
// each once, so that cycles end, and at most MaxContainers.
func containersIn(snapshot engine.Snapshot, sku string) ([]string, error) {
	var containers []string
	for next := 0; ; next++ {
		prefix := keyPrefix(prefixContainer, sku)
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return nil, err
			}
			container := string(entry.Key[len(prefix):])
			if len(containers) == MaxContainers {
				return containers, nil
			}
			if !slices.Contains(containers, container) {
				containers = append(containers, container)
			}
		}
		if next == len(containers) {
			return containers, nil
		}
		sku = containers[next]
	}
}

// Product returns the product of a sku, or ErrNotFound.
func (s *Store) Product(ctx context.Context, vendor, sku string) (Product, error) {
	var product Product
	_, err := s.get(ctx, vendor, key(prefixProduct, sku), &product)
	return product, err
}

// Products returns a page of the products by sku. A text selects those whose sku,
// title or content id contains it, case-insensitively. More reports that there may be
// further products: the search continues after next.
func (s *Store) Products(ctx context.Context, vendor, text string, page Page) (products []Product, next string, more bool, err error) {
	text = strings.ToLower(text)
	var after []byte
	if page.From != "" {
		after = key(prefixProduct, page.From)
	}
	return search(ctx, s, vendor, []byte{prefixProduct}, after, page.limit(), func(_ string, product *Product) (matches, end bool) {
		return product.contains(text), false
	})
}

func (p *Product) contains(lowered string) bool {
	return slices.ContainsFunc([]string{p.SKU, p.Title, p.PublisherContentID}, func(field string) bool {
		return strings.Contains(strings.ToLower(field), lowered)
	})
}
