package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// CauseLeak is the cause of the revocation of a link that was opened from more networks
// than its limit.
const CauseLeak = "leak"

// LeakWindow is the time within which the networks of a link are counted.
const LeakWindow = time.Hour

// MaxLinkNetworks bounds the limit of a link's networks, and so its record: at most 9 KiB.
const MaxLinkNetworks = 256

// NetworkLimit says from how many networks a link may be opened within LeakWindow.
type NetworkLimit struct {
	Networks int
	// Quarantine: a link that exceeds the limit is revoked. Otherwise it is only
	// reported.
	Quarantine bool
}

// linkNetworks is the record of the networks from which a link was opened. It expires
// when the last of them is no longer counted.
type linkNetworks struct {
	Seen []byte `json:"seen,omitempty"` // see networkSize
	// Networks and Limit are those of the last report.
	Networks   int       `json:"networks,omitempty"`
	Limit      int       `json:"limit,omitempty"`
	ReportedAt time.Time `json:"reportedAt,omitzero"`
}

// seenNetwork is a network: its keyed hash, and when a link was opened from it. A network
// is forgiven when the link was restored: it does not count any more.
type seenNetwork struct {
	hash     uint64
	at       int64 // Unix seconds
	forgiven bool
}

// networkSize is the size of a network in a record: 8 bytes of its hash, 4 of its time, and
// one byte that is 1 if it is forgiven.
const networkSize = 13

func (n *linkNetworks) networks(now time.Time) (list []seenNetwork) {
	for seen := range slices.Chunk(n.Seen, networkSize) {
		if len(seen) < networkSize {
			break
		}
		network := seenNetwork{binary.BigEndian.Uint64(seen), int64(binary.BigEndian.Uint32(seen[8:])), seen[12] == 1}
		if now.Sub(time.Unix(network.at, 0)) < LeakWindow {
			list = append(list, network)
		}
	}
	return list
}

func (n *linkNetworks) set(list []seenNetwork) {
	n.Seen = n.Seen[:0]
	for _, network := range list {
		n.Seen = binary.BigEndian.AppendUint64(n.Seen, network.hash)
		n.Seen = binary.BigEndian.AppendUint32(n.Seen, uint32(network.at)) //nolint:gosec // G115: until the year 2106
		mark := byte(0)
		if network.forgiven {
			mark = 1
		}
		n.Seen = append(n.Seen, mark)
	}
}

// reported reports whether the link was reported so recently that nothing is counted.
func (n *linkNetworks) reported(now time.Time) bool {
	return !n.ReportedAt.IsZero() && now.Sub(n.ReportedAt) < LeakWindow
}

// count adds networks. It returns how many count, and whether the record changed.
func (n *linkNetworks) count(hashes []uint64, limit int, now time.Time) (counted int, changed bool) {
	list := n.networks(now)
	for _, network := range list {
		if !network.forgiven {
			counted++
		}
	}
	for _, hash := range hashes {
		i := slices.IndexFunc(list, func(network seenNetwork) bool { return network.hash == hash })
		switch {
		case i >= 0:
			changed = changed || list[i].at != now.Unix()
			list[i].at = now.Unix()
		case counted <= limit:
			counted++
			list, changed = append(list, seenNetwork{hash, now.Unix(), false}), true
		}
	}
	n.set(list)
	return counted, changed
}

// forgive lets the networks of a record count no more. It keeps at most as many as a
// limit allows.
func (n *linkNetworks) forgive(now time.Time) {
	list := n.networks(now)
	list = list[max(0, len(list)-MaxLinkNetworks-1):]
	for i := range list {
		list[i].at, list[i].forgiven = now.Unix(), true
	}
	n.set(list)
	n.ReportedAt, n.Networks, n.Limit = time.Time{}, 0, 0
}

// put returns the put of the record.
func (n *linkNetworks) put(k []byte, now time.Time) (engine.Put, error) {
	stored, err := encode(n)
	return engine.Put{Key: k, Value: stored, Expires: now.Add(LeakWindow)}, err
}

// CountNetworks records that a link was opened from networks, given as keyed hashes. It
// returns the number of networks when their limit is exceeded, and zero otherwise: also
// if it was exceeded before within LeakWindow, by any node. A link to quarantine is
// revoked in the same atomic step. The audit log has both. CountNetworks returns
// ErrNotFound when there is no such link.
func (s *Store) CountNetworks(ctx context.Context, vendor, issuer, id string, hashes []uint64, limit NetworkLimit) (exceeded int, err error) {
	for range historyTries {
		if exceeded, err = s.countNetworks(ctx, vendor, issuer, id, hashes, limit); !errors.Is(err, ErrConflict) {
			return exceeded, err
		}
	}
	return exceeded, err
}

func (s *Store) countNetworks(ctx context.Context, vendor, issuer, id string, hashes []uint64, limit NetworkLimit) (exceeded int, err error) {
	var link SignedLink
	var networks linkNetworks
	var before []byte
	k, linkAt, revocationAt := key(prefixNetworks, issuer, id), key(prefixLink, issuer, id), key(prefixRevocation, issuer, id)
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
		if err := engine.Prefetch(snapshot, linkAt, k, revocationAt, key(prefixUses, issuer, id)); err != nil {
			return err
		}
		if _, err := getIn(snapshot, linkAt, &link); err != nil {
			return err
		}
		if err := link.readUse(snapshot); err != nil {
			return err
		}
		networks = linkNetworks{}
		before, err = getIn(snapshot, k, &networks)
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err
	})
	now := s.timestamp()
	if err != nil || !link.RevokedAt.IsZero() || networks.reported(now) {
		return 0, err
	}
	counted, changed := networks.count(hashes, limit.Networks, now)
	if !changed {
		return 0, nil
	}
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: before}, {Key: linkAt, Present: true}, {Key: revocationAt}}}
	var change policy.Invalidation
	operation := ""
	if counted > limit.Networks {
		exceeded, operation = counted, "report-link"
		networks.Networks, networks.Limit, networks.ReportedAt = counted, limit.Networks, now
		if limit.Quarantine {
			operation = "quarantine-link"
			batch.Puts = append(batch.Puts, engine.Put{Key: revocationAt, Value: revocation(now, CauseLeak), Expires: linkRetention(link.Claims.ExpiresAt)})
			change.Add(policy.KindLink, vendor, issuer, id)
		}
	}
	put, err := networks.put(k, now)
	if err != nil {
		return 0, err
	}
	batch.Puts = append(batch.Puts, put)
	if exceeded == 0 { // what the gate counts is not audited
		_, err = s.engine.Commit(ctx, vendor, batch)
		return 0, conflict(err)
	}
	if err := s.As(Actor{Name: "leak-detector", Operation: operation}).commit(ctx, vendor, batch, change); err != nil {
		return 0, err
	}
	return exceeded, nil
}

// forgiveNetworks adds to a batch that restores links that the networks from which they
// were opened do not count any more: a restored link is quarantined again only for others.
func (s *Store) forgiveNetworks(ctx context.Context, vendor string, links []SignedLink, batch *engine.Batch) error {
	var places [][]byte
	for i := range links {
		if links[i].RevokedFor == CauseLeak {
			places = append(places, key(prefixNetworks, links[i].Claims.Issuer, links[i].Claims.ID))
		}
	}
	if places == nil {
		return nil
	}
	checks, puts := len(batch.Checks), len(batch.Puts)
	return s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		batch.Checks, batch.Puts = batch.Checks[:checks], batch.Puts[:puts]
		if err := engine.Prefetch(snapshot, places...); err != nil {
			return err
		}
		now := s.timestamp()
		for _, k := range places {
			var networks linkNetworks
			stored, err := getIn(snapshot, k, &networks)
			if errors.Is(err, ErrNotFound) {
				continue // the hour is over
			}
			if err != nil {
				return err
			}
			networks.forgive(now)
			put, err := networks.put(k, now)
			if err != nil {
				return err
			}
			batch.Checks, batch.Puts = append(batch.Checks, engine.Check{Key: k, Value: stored}), append(batch.Puts, put)
		}
		return nil
	})
}
