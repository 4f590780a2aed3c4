package store

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// closing says how the records of a kind take access away: by their removal, and by a change.
type closing struct {
	// narrows reports whether a change takes access away. Nil: none does.
	narrows func(before, after []byte) bool
	// members are those of a stored record that close it. Only these are remembered of a
	// change, with nothing that describes a person.
	members []string
	// again makes a removal again, see Rewrite.
	again remaker
}

// closings has the kinds of records whose removals and changes nodes remember. What closes by
// being there is not among them, see closesByBeing.
var closings = [256]*closing{}

func init() { // again refers to closings
	for prefix, kind := range map[byte]closing{
		prefixGrant: {narrowed(func(before, after *Grant) bool {
			return before.Status == StatusActive && after.Status != StatusActive || sooner(before.EndsAt, after.EndsAt)
		}), []string{"status", "endsAt", "updatedAt"}, grantAgain},
		prefixList: {narrowed(func(before, after *AccessList) bool {
			return before.Status == StatusActive && after.Status != StatusActive
		}), []string{"status", "updatedAt"}, listAgain},
		prefixDomain: {narrowed(func(before, after *Domain) bool {
			return before.SigningKeyPEM != after.SigningKeyPEM || before.JWKSURI != after.JWKSURI || !slices.Equal(before.AllowedResourceIDs, after.AllowedResourceIDs)
		}), []string{"signingKeyPem", "jwksUri", "allowedResourceIds", "updatedAt"}, domainAgain},
		prefixClient: {narrowed(func(before, after *Client) bool {
			return before.Generation != after.Generation || before.Active() && !after.Active()
		}), []string{"secretHash", "generation", "secretCreatedAt", "revokedAt"}, clientAgain},
		prefixKey: {narrowed(func(before, after *keyRecord) bool {
			return before.RetiredAt.IsZero() && !after.RetiredAt.IsZero()
		}), []string{"sealed", "retiredAt"}, keyAgain},
		prefixRole: {narrowed(func(before, after *Role) bool {
			return before.Type != after.Type || before.GrantKey == "" && after.GrantKey != "" || sooner(before.EndsAt, after.EndsAt)
		}), []string{"type", "grant_key", "invite_ends_at", "ends_at", "updated_at"}, kindAgain(roleKind, nil)},
		prefixSubscription: {narrowed(func(before, after *Subscription) bool {
			return after.EndsAt.Before(before.EndsAt) || after.BalanceDue && !before.BalanceDue
		}), []string{"ends_at", "balance_due", "updated_at"}, kindAgain(subscriptionKind, nil)},
		prefixProfile: {narrowed(func(before, after *Profile) bool {
			return !before.Inactive && after.Inactive
		}), []string{"inactive", "updated_at"}, kindAgain(profileKind, func(t *transaction, old *Profile) error {
			return markRemoved(t, removedProfile, old.Slug, removedMember{At: t.now})
		})},
		prefixUser: {narrowed(func(before, after *User) bool {
			return !before.Inactive && after.Inactive
		}), []string{"inactive", "updated_at"}, kindAgain(userKind, func(t *transaction, old *User) error {
			return markRemoved(t, removedUser, old.Slug, removedMember{At: t.now})
		})},
		prefixContract: {narrowed((*Contract).narrows), []string{
			"items", "seats", "ownerSeat", "site", "state", "expiresAt", "cancelRequestedAt", "willCancelAt", "cancelReason", "cancelAtEnd",
			"decidedAt", "canceledAt", "updatedAt",
		}, kindAgain(contractKind, nil)},
		prefixSeat:      {nil, nil, kindAgain(seatKind, freeSeat)},
		prefixSignature: {nil, nil, kindAgain(signatureKind, nil)},
		prefixLogin:     {nil, nil, loginAgain},
	} {
		closings[prefix] = &kind
	}
}

// closesByBeing reports whether an entry closes something while it is there: a revocation, a
// denied key, the end of a user's tokens.
func closesByBeing(k []byte) bool {
	prefix := first(k)
	return prefix == prefixRevocation || prefix == prefixDeniedKey || isTokensEnded(k)
}

// narrowed compares stored records.
func narrowed[T any](narrows func(before, after *T) bool) func(before, after []byte) bool {
	return func(before, after []byte) bool {
		var was, is T
		return json.Unmarshal(before, &was) == nil && json.Unmarshal(after, &is) == nil && narrows(&was, &is)
	}
}

// sooner reports whether an end was set, or is earlier than before. Nil is no end.
func sooner(before, after *time.Time) bool {
	return after != nil && (before == nil || after.Before(*before))
}

// narrows reports whether a changed contract gives less. Who owns it does not count.
func (c *Contract) narrows(next *Contract) bool {
	was, is := c.gives(), next.gives()
	if was == nil {
		return false
	}
	return is == nil || is.StartsAt > was.StartsAt || is.EndsAt != 0 && (was.EndsAt == 0 || is.EndsAt < was.EndsAt) ||
		!slices.Equal(c.Items, next.Items) || next.Seats < c.Seats || next.OwnerSeat && !c.OwnerSeat || c.Site.narrows(next.Site)
}

func (s *SiteLicence) narrows(next *SiteLicence) bool {
	return s != nil && (next == nil || !slices.Equal(s.Domains, next.Domains) || !slices.Equal(s.Ranges, next.Ranges))
}

// of returns what a batch takes away, and what it gives back of what earlier ones took away.
func (r *removals) of(partition string, batch *engine.Batch, at time.Time) (found []Removal) {
	if batch.Spares {
		return nil
	}
	for _, k := range batch.Deletes {
		switch {
		case closesByBeing(k):
			found = append(found, Removal{Key: k, GivenBack: true, At: at})
		case closings[first(k)] != nil && !r.withList(partition, k):
			found = append(found, Removal{Key: k, At: at})
		}
	}
	var stored map[string][]byte
	for i := range batch.Puts {
		put := &batch.Puts[i]
		if closesByBeing(put.Key) {
			found = append(found, Removal{Key: put.Key, Value: put.Value, Expires: put.Expires, At: at})
			continue
		}
		kind := closings[first(put.Key)]
		if kind == nil {
			continue
		}
		if stored == nil {
			stored = checked(batch)
		}
		before, known := stored[string(put.Key)], r.get(partition, put.Key)
		switch {
		case known != nil && known.Value == nil:
			found = append(found, Removal{Key: put.Key, GivenBack: true, At: at})
		case kind.narrows != nil && (known != nil || before != nil && !bytes.Equal(before, put.Value) && kind.narrows(before, put.Value)):
			found = append(found, Removal{Key: put.Key, Value: kind.cut(put.Value), At: at})
		}
	}
	return found
}

// withList reports whether a key is that of a grant which is removed because its list was.
func (r *removals) withList(partition string, k []byte) bool {
	if first(k) != prefixGrant {
		return false
	}
	list, _, _ := bytes.Cut(k[1:], []byte{0})
	removed := r.get(partition, key(prefixList, string(list)))
	return removed != nil && removed.Value == nil
}

// checked returns what keys hold before a batch, as far as its checks say so.
func checked(batch *engine.Batch) map[string][]byte {
	stored := make(map[string][]byte, len(batch.Checks))
	for i := range batch.Checks {
		if check := &batch.Checks[i]; check.Value != nil {
			stored[string(check.Key)] = check.Value
		}
	}
	return stored
}

// closes reports whether a batch that takes access away may use the room that is reserved for
// that: not if it also makes new records.
func closes(batch *engine.Batch, removed []Removal) bool {
	if !slices.ContainsFunc(removed, func(r Removal) bool { return !r.GivenBack }) {
		return false
	}
	stored := checked(batch)
	return !slices.ContainsFunc(batch.Puts, func(put engine.Put) bool {
		_, replaced := stored[string(put.Key)]
		return closings[first(put.Key)] != nil && !replaced
	})
}

// cut returns the members of a stored record that close it.
func (c *closing) cut(stored []byte) []byte {
	all := decodeMembers(stored)
	cut := make(map[string]json.RawMessage, len(c.members))
	for _, name := range c.members {
		if cut[name] = all[name]; all[name] == nil {
			cut[name] = json.RawMessage("null")
		}
	}
	encoded, _ := json.Marshal(cut) // of what was decoded
	return encoded
}

// merged returns a stored record with the members that cut returned in place of its own.
func merged[T any](k, stored, cut []byte) (*T, error) {
	all := decodeMembers(stored)
	for name, value := range decodeMembers(cut) {
		if string(value) == "null" {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	joined, err := encode(all)
	if err != nil {
		return nil, err
	}
	record := new(T)
	return record, decode(k, joined, record)
}
