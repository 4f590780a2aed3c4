package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// Product is what is sold under a sku. A sku needs no product to be granted or
// asked for: a product describes it, and says what is in it.
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
	// Members are skus that whoever has this one has as well. Only collections
	// have some.
	Members   []string  `json:"members,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// productTypes are the types that there are; true for collections, which may have
// members.
var productTypes = map[string]bool{
	"article": false, "audiobook": false, "ebook": false, "podcast": false, "physical_issue": false,
	"bundle": true, "pass": true, "publication": true,
}

// Bounds of products.
const (
	// MaxMembers is how many members a product may have. It fits in one value,
	// whatever the members are called.
	MaxMembers = 1000
	// MaxContainers is how many collections a sku may be in, at any depth.
	MaxContainers = 256

	maxExternalIDs = 32
)

// normalize puts the members in order, and checks the product.
func (p *Product) normalize() error {
	if p.SKU == "" || path.Clean("/"+p.SKU) != "/"+p.SKU {
		return &FieldError{"sku", "must not be empty, nor be or hold what is left out of paths: . and .., double slashes, slashes at an end"}
	}
	collection, known := productTypes[p.Type]
	switch {
	case !known:
		return &FieldError{"type", "is not a type of products"}
	case len(p.Members) > 0 && !collection:
		return &FieldError{"members", "can be had by products of the types bundle, pass and publication only"}
	case len(p.Members) > MaxMembers:
		return &FieldError{"members", fmt.Sprintf("are more than %d: what is in a collection without being listed is said by rules that ask for any of several skus", MaxMembers)}
	case len(p.ExternalIDs) > maxExternalIDs:
		return &FieldError{"externalIds", fmt.Sprintf("are more than %d", maxExternalIDs)}
	}
	texts := map[string]string{
		"sku": p.SKU, "title": p.Title, "language": p.Language, "publisherContentId": p.PublisherContentID,
	}
	for name, id := range p.ExternalIDs {
		texts["externalIds."+name] = name + id
	}
	for field, text := range texts {
		if err := checkText(field, text, 255); err != nil {
			return err
		}
	}
	for field, text := range map[string]string{"url": p.URL, "presentationUrl": p.PresentationURL, "cover": p.Cover} {
		if err := checkText(field, text, 2048); err != nil {
			return err
		}
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

// ErrExists says that a record of this name is there already.
var ErrExists = errors.New("there is such a record already")

// NewSKU returns a sku for a product that has none.
func (s *Store) NewSKU() string { return newID("sku_", s.now()) }

// CreateProduct stores a new product. ErrExists means that its sku has one.
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

// UpdateProduct changes a product: change gets it as it is and alters it; its sku
// and its time of creation stay. When its members change, everybody's
// entitlements are decided anew.
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

// DeleteProduct removes a product, unless allowed, which gets it as it is,
// returns an error; nil allows it. Grants of its sku stay, and what was in it is
// no longer.
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

// productAttempts is how often a product is written when others change what is in
// collections at the same time.
const productAttempts = 3

// putProduct makes of a product, nil where there is none, what change returns;
// nil removes it.
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
			product.UpdatedAt = w.timestamp()
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
		// Somebody else changed this product, or the members of another. Where
		// the caller set a condition, change finds that it no longer holds.
	}
	if err != nil {
		return Product{}, err
	}
	return product, nil
}

// productWrite is a product at one moment.
type productWrite struct {
	sku string
	old *Product // nil when there is none
	// stored is the product as it is stored, revision what every change of
	// members replaces.
	stored, revision []byte
}

func (s *Store) readProduct(ctx context.Context, vendor, sku string) (*productWrite, error) {
	write := &productWrite{sku: sku}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		revision, err := snapshot.Get([]byte{prefixContainer})
		if err != nil {
			return err
		}
		write.revision = bytes.Clone(revision)
		k := key(prefixProduct, sku)
		stored, err := snapshot.Get(k)
		if err != nil || stored == nil {
			return err
		}
		write.stored, write.old = bytes.Clone(stored), new(Product)
		return decode(k, stored, write.old)
	})
	return write, err
}

// productBatch returns what makes a product of another, and whether entitlements
// depend on the difference.
func (s *Store) productBatch(ctx context.Context, vendor string, write *productWrite, next *Product) (*engine.Batch, bool, error) {
	k := key(prefixProduct, write.sku)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: write.stored}}}
	var before, after []string
	if write.old != nil {
		before = write.old.Members
	}
	if next == nil {
		batch.Deletes = append(batch.Deletes, k)
	} else {
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
	// Whoever changes members at the same time could close a circle with us.
	k = []byte{prefixContainer}
	batch.Checks = append(batch.Checks, engine.Check{Key: k, Value: write.revision})
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: []byte(newID("", s.now()))})
	return batch, true, nil
}

// checkMembers refuses new members that hold the product themselves, or would be
// in too many collections.
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
				return &FieldError{"members", fmt.Sprintf("hold %q, which holds this product: a collection cannot be in itself", member)}
			}
			containers, err := containersIn(snapshot, member)
			if err != nil {
				return err
			}
			if len(containers)+len(above) > MaxContainers {
				return &FieldError{"members", fmt.Sprintf("hold %q, which would be in more than %d collections", member, MaxContainers)}
			}
		}
		return nil
	})
}

// Containers implements policy.Records.
func (s *Store) Containers(ctx context.Context, vendor, sku string) (containers []string, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		containers, err = containersIn(snapshot, sku)
		return err
	})
	return containers, err
}

// containersIn returns the collections that a sku is in, at any depth, the nearest
// first: each once, so that a circle ends, and MaxContainers at the most.
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

// maxProductScan bounds how many products one search looks at.
const maxProductScan = 20_000

// Products returns a page of the products whose sku, title or content id holds a
// text, in any case of its letters, by sku. More says that there may be more of
// them: the search goes on behind next.
func (s *Store) Products(ctx context.Context, vendor, text string, page Page) (products []Product, next string, more bool, err error) {
	products = []Product{}
	text = strings.ToLower(text)
	scanned := 0
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var after []byte
		if page.From != "" {
			after = key(prefixProduct, page.From)
		}
		for entry, err := range snapshot.Scan([]byte{prefixProduct}, after) {
			if err != nil {
				return err
			}
			var product Product
			if err := decode(entry.Key, entry.Value, &product); err != nil {
				return err
			}
			next = product.SKU
			scanned++
			if product.holds(text) {
				products = append(products, product)
			}
			if len(products) == page.limit() || scanned == maxProductScan {
				more = true
				return nil
			}
		}
		return nil
	})
	return products, next, more, err
}

func (p *Product) holds(lowered string) bool {
	for _, field := range []string{p.SKU, p.Title, p.PublisherContentID} {
		if strings.Contains(strings.ToLower(field), lowered) {
			return true
		}
	}
	return false
}
