package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// The states of a link.
const (
	LinkActive    = "active"
	LinkScheduled = "scheduled" // opens later
	LinkUsedUp    = "used_up"
	LinkExpired   = "expired"
	LinkRevoked   = "revoked"
)

// State returns the state of a link at a time.
func (l *SignedLink) State(now time.Time) string {
	switch {
	case !l.RevokedAt.IsZero():
		return LinkRevoked
	case now.Unix() >= l.Claims.ExpiresAt:
		return LinkExpired
	case now.Unix() < l.Claims.NotBefore:
		return LinkScheduled
	case l.Claims.MaxUses > 0 && l.Uses >= l.Claims.MaxUses:
		return LinkUsedUp
	}
	return LinkActive
}

// LinkQuery selects the links of an issuer. An empty field selects all.
type LinkQuery struct {
	UserID, SKU, PublisherContentID string
	// URL is the url of a link, or the beginning of it if it ends with an asterisk.
	URL string
	// Meta has members of the metadata with their values as text.
	Meta map[string]string
	// Status is a state of links.
	Status string
	// RevokedAt is the exact time of the revocation.
	RevokedAt time.Time
	Created
	Page
}

// Narrow reports whether the query has a condition besides a status.
func (q *LinkQuery) Narrow() bool {
	return q.UserID != "" || q.SKU != "" || q.PublisherContentID != "" || q.URL != "" && q.URL != "*" || len(q.Meta) > 0 || !q.RevokedAt.IsZero()
}

// selects reports whether the claims of a link match the query.
func (q *LinkQuery) selects(l *SignedLink) bool {
	url, begins := strings.CutSuffix(q.URL, "*")
	return (q.UserID == "" || q.UserID == l.Claims.Subject) &&
		(q.SKU == "" || q.SKU == l.Claims.SKU) &&
		(q.PublisherContentID == "" || q.PublisherContentID == l.Claims.PublisherContentID) &&
		(q.URL == "" || url == l.Claims.URL || begins && strings.HasPrefix(l.Claims.URL, url)) &&
		hasMeta(l.Claims.Meta, q.Meta)
}

func hasMeta(stored json.RawMessage, wanted map[string]string) bool {
	if len(wanted) == 0 {
		return true
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(stored, &members) != nil {
		return false
	}
	for name, value := range wanted {
		raw, ok := members[name]
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw) // a number or a boolean
		}
		if !ok || text != value {
			return false
		}
	}
	return true
}

// FindLinks returns links of an issuer: the vendor's own in the order of their creation, the
// newest first if the query says so. It reads at most maxSearch links, and of the vendor's own
// no others than those of a user, a url or a content when the query has one. More
// reports that there may be further ones: the query continues after next, the id of a link.
func (s *Store) FindLinks(ctx context.Context, vendor, issuer string, query LinkQuery) (found []SignedLink, next string, more bool, err error) {
	now := s.now()
	found = []SignedLink{}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		links, err := query.links(snapshot, vendor, issuer)
		if err != nil {
			return err
		}
		read := 0
		var waiting []SignedLink
		// Of many links the revocations and uses are read in one round trip.
		take := func() error {
			matched, err := readUses(snapshot, waiting)
			for i := range matched {
				if l := &matched[i]; (query.Status == "" || query.Status == l.State(now)) && (query.RevokedAt.IsZero() || query.RevokedAt.Equal(l.RevokedAt)) {
					found = append(found, *l)
				}
			}
			waiting = waiting[:0]
			return err
		}
		for link, err := range links {
			if err != nil {
				return err
			}
			if link.SignedLink != nil && query.selects(link.SignedLink) {
				waiting = append(waiting, *link.SignedLink)
			}
			next, read = link.id, read+1
			more = read == maxSearch
			if len(found)+len(waiting) == query.limit() || len(waiting) == prefetchPlaces || more {
				if err := take(); err != nil {
					return err
				}
				if more = more || len(found) == query.limit(); more {
					return nil
				}
			}
		}
		return take()
	})
	return found, next, more, err
}

// storedLink is a link that a query read; nil for one that is not stored any more.
type storedLink struct {
	*SignedLink
	id string
}

// links returns the links of an issuer that may match, in order: those that the index has, and
// those after its frontier.
func (q *LinkQuery) links(snapshot engine.Snapshot, vendor, issuer string) (iter.Seq2[storedLink, error], error) {
	ids, prefix := q.ids(linkIDPrefix, q.From), q.indexed()
	if prefix == nil || issuer != keys.VendorIssuer(vendor) {
		return linksIn(snapshot, issuer, ids), nil
	}
	front, _, err := linkFrontierIn(snapshot)
	upTo, after := ids.split(front.Through)
	first, second := linksAt(snapshot, issuer, prefix, upTo.scan(snapshot, prefix)), linksIn(snapshot, issuer, after)
	if ids.newest {
		first, second = second, first
	}
	return func(yield func(storedLink, error) bool) {
		for link, err := range first {
			if !yield(link, err) || err != nil {
				return
			}
		}
		second(yield)
	}, err
}

// linksIn yields the links of a range from their records.
func linksIn(snapshot engine.Snapshot, issuer string, ids idRange) iter.Seq2[storedLink, error] {
	prefix := keyPrefix(prefixLink, issuer)
	return func(yield func(storedLink, error) bool) {
		for entry, err := range ids.scan(snapshot, prefix) {
			link := storedLink{SignedLink: new(SignedLink)}
			if err == nil {
				link.id = string(entry.Key[len(prefix):])
				err = decode(entry.Key, entry.Value, link.SignedLink)
			}
			if !yield(link, err) || err != nil {
				return
			}
		}
	}
}

// linksAt yields the links that entries of the index name, which it reads many at a time.
func linksAt(snapshot engine.Snapshot, issuer string, prefix []byte, entries iter.Seq2[engine.Entry, error]) iter.Seq2[storedLink, error] {
	return func(yield func(storedLink, error) bool) {
		var waiting []string
		flush := func() bool {
			at := make([][]byte, len(waiting))
			for i, id := range waiting {
				at[i] = key(prefixLink, issuer, id)
			}
			err := engine.Prefetch(snapshot, at...)
			for i := 0; err == nil && i < len(at); i++ {
				link := storedLink{SignedLink: new(SignedLink), id: waiting[i]}
				_, err = getIn(snapshot, at[i], link.SignedLink)
				if errors.Is(err, ErrNotFound) {
					link.SignedLink, err = nil, nil
				}
				if err == nil && !yield(link, nil) {
					return false
				}
			}
			waiting = waiting[:0]
			if err != nil {
				yield(storedLink{}, err)
			}
			return err == nil
		}
		for entry, err := range entries {
			if err != nil {
				yield(storedLink{}, err)
				return
			}
			if waiting = append(waiting, string(entry.Key[len(prefix):])); len(waiting) == prefetchPlaces && !flush() {
				return
			}
		}
		flush()
	}
}

// readUses reads the revocations and the uses of links.
func readUses(snapshot engine.Snapshot, links []SignedLink) ([]SignedLink, error) {
	keys := make([][]byte, 0, 3*len(links))
	for i := range links {
		keys = append(keys, useKeys(links[i].Claims.Issuer, links[i].Claims.ID)...)
	}
	if err := engine.Prefetch(snapshot, keys...); err != nil {
		return nil, err
	}
	for i := range links {
		if err := links[i].readUse(snapshot); err != nil {
			return nil, err
		}
	}
	return links, nil
}

// RevokeLinks revokes the next links that a query selects, all at the given time. It
// returns how many it revoked. More reports that there may be further ones: the caller
// continues after next, with the same time, by which RestoreLinks finds all of them.
func (w Writer) RevokeLinks(ctx context.Context, vendor, issuer string, query LinkQuery, at time.Time) (revoked int, next string, more bool, err error) {
	return w.eachLink(ctx, vendor, issuer, query, func(batch *engine.Batch, link *SignedLink) bool {
		if !link.RevokedAt.IsZero() {
			return false
		}
		batch.Checks = append(batch.Checks,
			engine.Check{Key: key(prefixLink, issuer, link.Claims.ID), Present: true},
			engine.Check{Key: key(prefixRevocation, issuer, link.Claims.ID)})
		batch.Puts = append(batch.Puts, engine.Put{
			Key: key(prefixRevocation, issuer, link.Claims.ID), Value: revocation(at, ""), Expires: linkRetention(link.Claims.ExpiresAt),
		})
		return true
	})
}

// RestoreLinks gives back the next revoked links that a query selects, with the uses that
// they have left. It returns how many it gave back. More reports that there may be further
// ones: the caller continues after next.
func (w Writer) RestoreLinks(ctx context.Context, vendor, issuer string, query LinkQuery) (restored int, next string, more bool, err error) {
	query.Status = LinkRevoked
	return w.eachLink(ctx, vendor, issuer, query, func(batch *engine.Batch, link *SignedLink) bool {
		link.restore(batch)
		return true
	})
}

// restore adds the end of a revocation to a batch.
func (l *SignedLink) restore(batch *engine.Batch) {
	k := key(prefixRevocation, l.Claims.Issuer, l.Claims.ID)
	batch.Checks = append(batch.Checks, engine.Check{Key: k, Value: revocation(l.RevokedAt, l.RevokedFor)})
	batch.Deletes = append(batch.Deletes, k)
}

// eachLink changes the next links that a query selects in one step.
func (w Writer) eachLink(
	ctx context.Context, vendor, issuer string, query LinkQuery, add func(*engine.Batch, *SignedLink) bool,
) (changed int, next string, more bool, err error) {
	if !query.Narrow() {
		return 0, "", false, &FieldError{"url", "is required, or another condition: all links of a vendor are not changed at once"}
	}
	query.Limit = removeStep
	found, next, more, err := w.FindLinks(ctx, vendor, issuer, query)
	if err != nil {
		return 0, "", false, err
	}
	batch := new(engine.Batch)
	var change policy.Invalidation
	var links []SignedLink
	for i := range found {
		if add(batch, &found[i]) {
			links = append(links, found[i])
			change.Add(policy.KindLink, vendor, issuer, found[i].Claims.ID)
		}
	}
	if len(links) == 0 {
		return 0, next, more, nil
	}
	if err := w.forgiveNetworks(ctx, vendor, links, batch); err != nil { // of those that are restored
		return 0, "", false, err
	}
	return len(links), next, more, w.commit(ctx, vendor, batch, change)
}

// RestoreLink gives back a revoked link, with the uses that it has left: the next request
// with it, or with one of its link cookies, is decided as if it had not been revoked. A
// link that is not revoked is no error. The networks from which a link was opened that is
// quarantined count no more. RestoreLink returns ErrNotFound when there is no
// such link.
//
// A publisher's link may have been revoked before its first use, and have no record but
// the revocation.
func (w Writer) RestoreLink(ctx context.Context, vendor, issuer, id string) (SignedLink, error) {
	link, err := w.SignedLink(ctx, vendor, issuer, id)
	if errors.Is(err, ErrNotFound) {
		link.Claims.Issuer, link.Claims.ID = issuer, id
		if viewErr := w.engine.View(ctx, vendor, link.readUse); viewErr != nil {
			return link, fmt.Errorf("reading a revocation: %w", viewErr)
		}
		if !link.RevokedAt.IsZero() {
			err = nil
		}
	}
	if err != nil || link.RevokedAt.IsZero() {
		return link, err
	}
	batch := new(engine.Batch)
	link.restore(batch)
	if err := w.forgiveNetworks(ctx, vendor, []SignedLink{link}, batch); err != nil {
		return link, err
	}
	var change policy.Invalidation
	change.Add(policy.KindLink, vendor, issuer, id)
	err = w.commit(ctx, vendor, batch, change)
	if err == nil {
		link.RevokedAt, link.RevokedFor = time.Time{}, ""
	}
	return link, err
}
