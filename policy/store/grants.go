package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Grant is one reader's entry in an access list: it gives a sku for a time. The time
// is a half-open interval: StartsAt is included.
type Grant struct {
	ID                  string            `json:"id"`
	Source              string            `json:"source"`
	Email               string            `json:"email,omitempty"`
	UserID              string            `json:"userId,omitempty"`
	PublisherUserID     string            `json:"publisherUserId,omitempty"`
	SKU                 string            `json:"sku"`
	PurchaseOptionID    string            `json:"poId,omitempty"`
	Status              string            `json:"status"`
	StartsAt            *time.Time        `json:"startsAt,omitempty"`
	EndsAt              *time.Time        `json:"endsAt,omitempty"`
	FirstName           string            `json:"firstName,omitempty"`
	LastName            string            `json:"lastName,omitempty"`
	Phone               string            `json:"phone,omitempty"`
	DeliveryAddress     *Address          `json:"deliveryAddress,omitempty"`
	BillingAddress      *Address          `json:"billingAddress,omitempty"`
	PublisherPurchaseID string            `json:"publisherPurchaseId,omitempty"`
	Notes               string            `json:"notes,omitempty"`
	ExtraFields         map[string]string `json:"extraFields,omitempty"`
	ExcludeFromStats    bool              `json:"excludeFromStats"`
	CreatedAt           time.Time         `json:"createdAt"`
	UpdatedAt           time.Time         `json:"updatedAt"`
	// Import is the tag of the import that last wrote the grant.
	Import string `json:"import,omitempty"`
}

// Address is a postal address for delivery or billing.
type Address struct {
	Street  string `json:"street,omitempty"`
	City    string `json:"city,omitempty"`
	Zip     string `json:"zip,omitempty"`
	Country string `json:"country,omitempty"`
	CO      string `json:"co,omitempty"`
}

// maxExtraFields bounds the extra fields of a grant.
const maxExtraFields = 64

// normalize fills in defaults and checks the grant.
func (g *Grant) normalize() error {
	if g.SKU == "" {
		return &FieldError{"sku", "is required"}
	}
	if g.UserID == "" && g.PublisherUserID == "" && g.Email == "" {
		return &FieldError{"userId", "is required, or publisherUserId or email"}
	}
	if err := checkEmail(g.Email); err != nil {
		return err
	}
	if err := normalizeStatus(&g.Status, StatusActive, StatusInactive, StatusCanceled); err != nil {
		return err
	}
	// Decisions count in milliseconds.
	for _, at := range []**time.Time{&g.StartsAt, &g.EndsAt} {
		if *at != nil {
			utc := (*at).UTC().Truncate(time.Millisecond)
			*at = &utc
		}
	}
	if g.StartsAt != nil && g.EndsAt != nil && !g.EndsAt.After(*g.StartsAt) {
		return &FieldError{"endsAt", "must be after startsAt"}
	}
	return g.checkTexts()
}

// checkEmail checks an e-mail address; empty is none.
func checkEmail(email string) error {
	if email != "" && (strings.Count(email, "@") != 1 || strings.ContainsAny(email, " \t") || email[0] == '@' || email[len(email)-1] == '@') {
		return &FieldError{"email", "is not an e-mail address"}
	}
	return checkText("email", email, 254)
}

func (g *Grant) checkTexts() error {
	if len(g.ExtraFields) > maxExtraFields {
		return &FieldError{"extraFields", "holds too many fields"}
	}
	for name, value := range g.ExtraFields {
		if err := checkText("extraFields", name+value, 2048); err != nil {
			return err
		}
	}
	lines := strings.NewReplacer("\n", "", "\r", "", "\t", "") // allowed in notes
	return cmp.Or(
		checkText("sku", g.SKU, 255),
		checkText("userId", g.UserID, 255),
		checkText("publisherUserId", g.PublisherUserID, 255),
		checkText("poId", g.PurchaseOptionID, 255),
		checkText("firstName", g.FirstName, 255),
		checkText("lastName", g.LastName, 255),
		checkText("phone", g.Phone, 64),
		checkText("publisherPurchaseId", g.PublisherPurchaseID, 255),
		g.DeliveryAddress.check("deliveryAddress"),
		g.BillingAddress.check("billingAddress"),
		checkText("notes", lines.Replace(g.Notes), 4096),
	)
}

func (a *Address) check(field string) error {
	if a == nil {
		return nil
	}
	return checkText(field, a.Street+a.City+a.Zip+a.Country+a.CO, 1024)
}

// addTo adds the readers of the grant to an invalidation.
func (g *Grant) addTo(change *policy.Invalidation, vendor string) {
	change.Add(policy.KindUserID, vendor, g.UserID)
	change.Add(policy.KindEmail, vendor, policy.LowerEmail(g.Email))
	change.Add(policy.KindPublisherUserID, vendor, g.PublisherUserID)
}

// decides returns the part of the grant that decisions use.
func (g *Grant) decides(listActive bool) policy.Grant {
	grant := policy.Grant{ID: g.ID, SKU: g.SKU, Active: listActive && g.Status == StatusActive}
	if g.StartsAt != nil {
		grant.StartsAt = g.StartsAt.UnixMilli()
	}
	if g.EndsAt != nil {
		// Zero means no end.
		grant.EndsAt = max(g.EndsAt.UnixMilli(), 1)
	}
	return grant
}

// replaceGrant commits a batch that replaces the grant old by next; old is
// nil for a new grant, next for a removal. Stored holds the bytes of old.
func (w Writer) replaceGrant(ctx context.Context, vendor, list, id string, stored []byte, old, next *Grant) error {
	k := key(prefixGrant, list, id)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: stored}}}
	var change policy.Invalidation
	if old != nil {
		batch.Deletes = old.index()
		old.addTo(&change, vendor)
	}
	if next == nil {
		batch.Deletes = append(batch.Deletes, k)
		return w.commit(ctx, vendor, batch, change)
	}
	if err := next.addPuts(batch); err != nil {
		return err
	}
	if list != DefaultList {
		batch.Checks = append(batch.Checks, engine.Check{Key: key(prefixList, list), Present: true})
	}
	next.addTo(&change, vendor)
	return w.commit(ctx, vendor, batch, change)
}

// addPuts adds the record and the index of a grant to a batch.
func (g *Grant) addPuts(batch *engine.Batch) error {
	stored, err := encode(g)
	if err != nil {
		return err
	}
	batch.Puts = append(batch.Puts, engine.Put{Key: key(prefixGrant, g.Source, g.ID), Value: stored, Expires: g.expires()})
	for _, k := range g.index() {
		batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: []byte{}, Expires: g.expires()})
	}
	return nil
}

// expires returns when Sweep may remove the grant and its index: Retention after its end,
// and never without one.
func (g *Grant) expires() time.Time {
	if g.EndsAt == nil {
		return time.Time{}
	}
	return g.EndsAt.Add(Retention)
}

// CreateGrant stores a new grant in an access list under a new id. It returns
// ErrNotFound when there is no such list.
func (w Writer) CreateGrant(ctx context.Context, vendor, list string, grant Grant) (Grant, error) {
	if err := grant.normalize(); err != nil {
		return Grant{}, err
	}
	if _, err := w.List(ctx, vendor, list); err != nil {
		return Grant{}, err
	}
	now := w.timestamp()
	grant.ID, grant.Source, grant.CreatedAt, grant.UpdatedAt = newID("grant_", now), list, now, now
	return grant, w.replaceGrant(ctx, vendor, list, grant.ID, nil, nil, &grant)
}

// Grant returns a grant of an access list, or ErrNotFound.
func (s *Store) Grant(ctx context.Context, vendor, list, id string) (Grant, error) {
	grant, _, err := s.grant(ctx, vendor, list, id)
	return grant, err
}

// grant also returns the stored bytes.
func (s *Store) grant(ctx context.Context, vendor, list, id string) (grant Grant, stored []byte, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if _, _, err := listIn(snapshot, list); err != nil {
			return err
		}
		stored, err = getIn(snapshot, key(prefixGrant, list, id), &grant)
		return err
	})
	return grant, stored, err
}

// UpdateGrant changes a grant: change gets the current one. Its id, list and time of
// creation cannot be changed. A change that changes nothing is not written.
func (w Writer) UpdateGrant(ctx context.Context, vendor, list, id string, change func(*Grant) error) (Grant, error) {
	old, stored, err := w.grant(ctx, vendor, list, id)
	if err != nil {
		return Grant{}, err
	}
	grant := old
	if err := change(&grant); err != nil {
		return Grant{}, err
	}
	grant.ID, grant.Source, grant.Import, grant.CreatedAt, grant.UpdatedAt = old.ID, old.Source, old.Import, old.CreatedAt, old.UpdatedAt
	if err := grant.normalize(); err != nil {
		return Grant{}, err
	}
	if next, err := encode(&grant); err == nil && bytes.Equal(next, stored) {
		return grant, nil
	}
	grant.UpdatedAt = w.advanced(old.UpdatedAt)
	return grant, w.replaceGrant(ctx, vendor, list, id, stored, &old, &grant)
}

// DeleteGrant removes a grant, unless allowed returns an error; it may be nil. It
// returns ErrNotFound when there is none.
func (w Writer) DeleteGrant(ctx context.Context, vendor, list, id string, allowed func(Grant) error) error {
	grant, stored, err := w.grant(ctx, vendor, list, id)
	if err != nil {
		return err
	}
	if allowed != nil {
		if err := allowed(grant); err != nil {
			return err
		}
	}
	return w.replaceGrant(ctx, vendor, list, id, stored, &grant, nil)
}

// ListGrants returns a page of the grants of an access list, in the order of their
// creation. It returns ErrNotFound when there is no such list.
func (s *Store) ListGrants(ctx context.Context, vendor, list string, page Page) (grants []Grant, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if _, _, err := listIn(snapshot, list); err != nil {
			return err
		}
		grants, err = pageIn[Grant](snapshot, keyPrefix(prefixGrant, list), page)
		return err
	})
	return grants, err
}

// FoundGrant is a grant with its access list.
type FoundGrant struct {
	Grant Grant
	List  AccessList
}

// maxGrantsOfReader bounds the grants of one reader that are read.
const maxGrantsOfReader = 10_000

// GrantsOf returns every grant that matches any identifier of a reader, each once.
func (s *Store) GrantsOf(ctx context.Context, vendor string, reader policy.Reader) ([]FoundGrant, error) {
	var found []FoundGrant
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
		found, err = grantsIn(snapshot, reader)
		return err
	})
	return found, err
}

// grantsIn is GrantsOf within a snapshot.
func grantsIn(snapshot engine.Snapshot, reader policy.Reader) ([]FoundGrant, error) {
	search := grantSearch{snapshot: snapshot, seen: map[string]bool{}, lists: map[string]AccessList{}}
	err := errors.Join(
		search.by(indexUserID, reader.UserID),
		search.by(indexPublisherUserID, reader.PublisherUserID),
		search.by(indexEmail, reader.Email),
	)
	return search.found, err
}

// grantSearch collects the grants of one reader from a snapshot.
type grantSearch struct {
	snapshot engine.Snapshot
	seen     map[string]bool // by the grant's key
	lists    map[string]AccessList
	found    []FoundGrant
}

func (g *grantSearch) by(kind, identifier string) error {
	if identifier == "" {
		return nil
	}
	prefix := indexPrefix(kind, identifier)
	var places [][]byte
	for entry, err := range g.snapshot.Scan(prefix, nil) {
		if err != nil {
			return err
		}
		if len(g.found)+len(places) == maxGrantsOfReader {
			return errors.New("a reader has more grants than can be looked at")
		}
		places = append(places, bytes.Clone(entry.Key[len(prefix):]))
	}
	if err := g.prefetch(places); err != nil {
		return err
	}
	for _, place := range places {
		list, id, _ := bytes.Cut(place, []byte{0})
		if err := g.add(string(list), string(id)); err != nil {
			return err
		}
	}
	return nil
}

// prefetch reads the grants of index entries, and their lists, in one round trip.
func (g *grantSearch) prefetch(places [][]byte) error {
	if _, ok := g.snapshot.(engine.Prefetcher); !ok {
		return nil
	}
	var keys [][]byte
	lists := make(map[string]bool)
	for _, place := range places {
		list, _, _ := strings.Cut(string(place), "\x00")
		keys = append(keys, append([]byte{prefixGrant}, place...))
		if !lists[list] {
			lists[list] = true
			keys = append(keys, key(prefixList, list))
		}
	}
	return engine.Prefetch(g.snapshot, keys...)
}

func (g *grantSearch) add(listID, id string) error {
	k := key(prefixGrant, listID, id)
	if g.seen[string(k)] {
		return nil
	}
	g.seen[string(k)] = true
	var found FoundGrant
	if _, err := getIn(g.snapshot, k, &found.Grant); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	list, ok := g.lists[listID]
	if !ok {
		var err error
		if list, _, err = listIn(g.snapshot, listID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		g.lists[listID] = list
	}
	// A grant ends with its list.
	if list.ID == "" {
		return nil
	}
	found.List = list
	g.found = append(g.found, found)
	return nil
}

// Counts reports whether the grant gives its sku at a time: it and its list are
// ACTIVE, and the time is in its interval.
func (f *FoundGrant) Counts(now time.Time) bool {
	grant := f.Grant.decides(f.List.Status == StatusActive)
	_, _, ok := policy.NewEntitlements([]policy.Grant{grant}).Has(grant.SKU, now.UnixMilli())
	return ok
}
