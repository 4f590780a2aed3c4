package store

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// Grant is one reader's entry in an access list: who, which sku, from when to
// when. Times are half open: StartsAt counts, EndsAt does not.
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
}

// Address is where something is delivered or billed.
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
		return &FieldError{"sku", "is required: what is granted"}
	}
	if g.UserID == "" && g.PublisherUserID == "" && g.Email == "" {
		return &FieldError{"userId", "is required, or publisherUserId or email: who gets the grant"}
	}
	if g.Email != "" && (strings.Count(g.Email, "@") != 1 || strings.ContainsAny(g.Email, " \t") || g.Email[0] == '@' || g.Email[len(g.Email)-1] == '@') {
		return &FieldError{"email", "is not an e-mail address"}
	}
	if err := normalizeStatus(&g.Status); err != nil {
		return err
	}
	// A millisecond is what decisions count in.
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

func (g *Grant) checkTexts() error {
	if len(g.ExtraFields) > maxExtraFields {
		return &FieldError{"extraFields", "holds too many fields"}
	}
	texts := []struct {
		field, text string
		max         int
	}{
		{"sku", g.SKU, 255},
		{"userId", g.UserID, 255},
		{"publisherUserId", g.PublisherUserID, 255},
		{"email", g.Email, 254},
		{"poId", g.PurchaseOptionID, 255},
		{"firstName", g.FirstName, 255},
		{"lastName", g.LastName, 255},
		{"phone", g.Phone, 64},
		{"publisherPurchaseId", g.PublisherPurchaseID, 255},
	}
	for name, address := range map[string]*Address{"deliveryAddress": g.DeliveryAddress, "billingAddress": g.BillingAddress} {
		if address != nil {
			joined := address.Street + address.City + address.Zip + address.Country + address.CO
			texts = append(texts, struct {
				field, text string
				max         int
			}{name, joined, 1024})
		}
	}
	for name, value := range g.ExtraFields {
		texts = append(texts, struct {
			field, text string
			max         int
		}{"extraFields", name + value, 2048})
	}
	for _, t := range texts {
		if err := checkText(t.field, t.text, t.max); err != nil {
			return err
		}
	}
	// Notes may have lines.
	return checkText("notes", strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(g.Notes), 4096)
}

// index lists the keys under which the grant is found by its identifiers.
func (g *Grant) index() [][]byte {
	var index [][]byte
	add := func(kind byte, identifier string) {
		if identifier != "" {
			index = append(index, indexKey(kind, identifier, g.Source, g.ID))
		}
	}
	add(indexUserID, g.UserID)
	add(indexEmail, policy.LowerEmail(g.Email))
	add(indexPublisherUserID, g.PublisherUserID)
	return index
}

// touch notes in a change whose decisions the grant has a part in.
func (g *Grant) addTo(change *policy.Invalidation, vendor string) {
	change.Add(policy.KindUserID, vendor, g.UserID)
	change.Add(policy.KindEmail, vendor, policy.LowerEmail(g.Email))
	change.Add(policy.KindPublisherUserID, vendor, g.PublisherUserID)
}

// decides returns the grant as far as it decides.
func (g *Grant) decides(listActive bool) policy.Grant {
	grant := policy.Grant{ID: g.ID, SKU: g.SKU, Active: listActive && g.Status == StatusActive}
	if g.StartsAt != nil {
		grant.StartsAt = g.StartsAt.UnixMilli()
	}
	if g.EndsAt != nil {
		// Zero would say that there is no end.
		grant.EndsAt = max(g.EndsAt.UnixMilli(), 1)
	}
	return grant
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
	stored, err := encode(grant)
	if err != nil {
		return Grant{}, err
	}
	k := key(prefixGrant, list, grant.ID)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k}}, Puts: []engine.Put{{Key: k, Value: stored}}}
	if list != DefaultList {
		batch.Checks = append(batch.Checks, engine.Check{Key: key(prefixList, list), Present: true})
	}
	for _, k := range grant.index() {
		batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: []byte{}})
	}
	var change policy.Invalidation
	grant.addTo(&change, vendor)
	return grant, w.commit(ctx, vendor, batch, change)
}

// Grant returns a grant of an access list, or ErrNotFound.
func (s *Store) Grant(ctx context.Context, vendor, list, id string) (Grant, error) {
	grant, _, err := s.grant(ctx, vendor, list, id)
	return grant, err
}

// grant returns a grant whose list is there, and its bytes as they are stored.
func (s *Store) grant(ctx context.Context, vendor, list, id string) (grant Grant, stored []byte, err error) {
	k := key(prefixGrant, list, id)
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if _, err := listIn(snapshot, list); err != nil {
			return err
		}
		found, err := snapshot.Get(k)
		if err != nil {
			return err
		}
		if found == nil {
			return ErrNotFound
		}
		stored = append([]byte(nil), found...)
		return decode(k, stored, &grant)
	})
	return grant, stored, err
}

// UpdateGrant changes a grant: change gets it as it is and alters it; its id,
// its list and its time of creation stay.
func (w Writer) UpdateGrant(ctx context.Context, vendor, list, id string, change func(*Grant) error) (Grant, error) {
	k := key(prefixGrant, list, id)
	old, stored, err := w.grant(ctx, vendor, list, id)
	if err != nil {
		return Grant{}, err
	}
	grant := old
	if err := change(&grant); err != nil {
		return Grant{}, err
	}
	grant.ID, grant.Source, grant.CreatedAt = old.ID, old.Source, old.CreatedAt
	grant.UpdatedAt = w.timestamp()
	if err := grant.normalize(); err != nil {
		return Grant{}, err
	}
	updated, err := encode(grant)
	if err != nil {
		return Grant{}, err
	}
	batch := &engine.Batch{
		Checks:  []engine.Check{{Key: k, Value: stored}},
		Deletes: old.index(),
		Puts:    []engine.Put{{Key: k, Value: updated}},
	}
	if list != DefaultList {
		batch.Checks = append(batch.Checks, engine.Check{Key: key(prefixList, list), Present: true})
	}
	for _, k := range grant.index() {
		batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: []byte{}})
	}
	var stale policy.Invalidation
	old.addTo(&stale, vendor)
	grant.addTo(&stale, vendor)
	return grant, w.commit(ctx, vendor, batch, stale)
}

// DeleteGrant removes a grant, unless allowed, which gets it as it is, returns an
// error; nil allows it. It returns ErrNotFound when there is none.
func (w Writer) DeleteGrant(ctx context.Context, vendor, list, id string, allowed func(Grant) error) error {
	k := key(prefixGrant, list, id)
	grant, stored, err := w.grant(ctx, vendor, list, id)
	if err != nil {
		return err
	}
	if allowed != nil {
		if err := allowed(grant); err != nil {
			return err
		}
	}
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: stored}}, Deletes: append(grant.index(), k)}
	var change policy.Invalidation
	grant.addTo(&change, vendor)
	return w.commit(ctx, vendor, batch, change)
}

// ListGrants returns a page of the grants of an access list, in order of
// creation. It returns ErrNotFound when there is no such list.
func (s *Store) ListGrants(ctx context.Context, vendor, list string, page Page) ([]Grant, error) {
	grants := []Grant{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if _, err := listIn(snapshot, list); err != nil {
			return err
		}
		var after []byte
		if page.From != "" {
			after = key(prefixGrant, list, page.From)
		}
		for entry, err := range snapshot.Scan(keyPrefix(prefixGrant, list), after) {
			if err != nil {
				return err
			}
			var grant Grant
			if err := decode(entry.Key, entry.Value, &grant); err != nil {
				return err
			}
			grants = append(grants, grant)
			if len(grants) == page.limit() {
				break
			}
		}
		return nil
	})
	return grants, err
}

// FoundGrant is a grant with the list that it stands in.
type FoundGrant struct {
	Grant Grant
	List  AccessList
}

// maxGrantsOfReader bounds how many grants of one reader are looked at.
const maxGrantsOfReader = 10_000

// GrantsOf returns every grant that matches any identifier of a reader, each
// once.
func (s *Store) GrantsOf(ctx context.Context, vendor string, reader policy.Reader) ([]FoundGrant, error) {
	var found []FoundGrant
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		search := grantSearch{snapshot: snapshot, seen: map[string]bool{}, lists: map[string]AccessList{}}
		err := errors.Join(
			search.by(indexUserID, reader.UserID),
			search.by(indexPublisherUserID, reader.PublisherUserID),
			search.by(indexEmail, reader.Email),
		)
		found = search.found
		return err
	})
	return found, err
}

// grantSearch collects the grants of one reader from a snapshot.
type grantSearch struct {
	snapshot engine.Snapshot
	seen     map[string]bool // by the grant's key
	lists    map[string]AccessList
	found    []FoundGrant
}

func (g *grantSearch) by(kind byte, identifier string) error {
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

// prefetch reads the grants of places in the index, and their lists, at once
// where the engine can.
func (g *grantSearch) prefetch(places [][]byte) error {
	if _, ok := g.snapshot.(engine.Prefetcher); !ok {
		return nil
	}
	var keys [][]byte
	lists := make(map[string]bool)
	for _, place := range places {
		list, id, _ := bytes.Cut(place, []byte{0})
		keys = append(keys, key(prefixGrant, string(list), string(id)))
		if !lists[string(list)] {
			lists[string(list)] = true
			keys = append(keys, key(prefixList, string(list)))
		}
	}
	return prefetch(g.snapshot, keys...)
}

func (g *grantSearch) add(listID, id string) error {
	k := key(prefixGrant, listID, id)
	if g.seen[string(k)] {
		return nil
	}
	g.seen[string(k)] = true
	stored, err := g.snapshot.Get(k)
	if err != nil || stored == nil {
		return err
	}
	found := FoundGrant{}
	if err := decode(k, stored, &found.Grant); err != nil {
		return err
	}
	list, ok := g.lists[listID]
	if !ok {
		if list, err = listIn(g.snapshot, listID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		g.lists[listID] = list
	}
	// A grant whose list is gone ended with it.
	if list.ID == "" {
		return nil
	}
	found.List = list
	g.found = append(g.found, found)
	return nil
}

// Grants implements policy.Records.
func (s *Store) Grants(ctx context.Context, vendor string, reader policy.Reader) ([]policy.Grant, error) {
	found, err := s.GrantsOf(ctx, vendor, reader)
	if err != nil {
		return nil, err
	}
	grants := make([]policy.Grant, len(found))
	for i := range found {
		grants[i] = found[i].Grant.decides(found[i].List.Status == StatusActive)
	}
	return grants, nil
}

// Counts says whether the grant gives its sku at a moment: it and its list are
// ACTIVE, and the moment is within its window.
func (f *FoundGrant) Counts(now time.Time) bool {
	grant := f.Grant.decides(f.List.Status == StatusActive)
	_, _, ok := policy.NewEntitlements([]policy.Grant{grant}).Has(grant.SKU, now.UnixMilli())
	return ok
}
