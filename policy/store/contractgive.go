package store

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// contractGift is what a contract gives a reader, and when: a half-open interval in Unix
// milliseconds, zero for no end.
type contractGift struct {
	SKUs     []string `json:"skus"`
	StartsAt int64    `json:"from,omitempty"`
	EndsAt   int64    `json:"to,omitempty"`
}

// encode encodes what is given for the index; nothing is nil.
func (g *contractGift) encode() []byte {
	if g == nil {
		return nil
	}
	value, err := encode(g)
	if err != nil {
		return nil
	}
	return value
}

// gives returns what the contract gives its owner, nil for one that gives nothing at any
// time.
func (c *Contract) gives() *contractGift {
	if c == nil || c.State != StateActive {
		return nil
	}
	gift := &contractGift{StartsAt: c.StartsAt.UnixMilli()}
	for _, end := range [...]*time.Time{c.EndsAt, c.WillCancelAt} {
		if end != nil && (gift.EndsAt == 0 || end.UnixMilli() < gift.EndsAt) {
			gift.EndsAt = max(end.UnixMilli(), 1) // zero means no end
		}
	}
	for i := range c.Items {
		gift.SKUs = append(gift.SKUs, c.Items[i].SKU)
	}
	return gift
}

// seatGives returns what the contract gives with a seat: the items that have seats or, if
// none has, all.
func (c *Contract) seatGives() *contractGift {
	gift := c.gives()
	if gift == nil || !slices.ContainsFunc(c.Items, func(i ContractItem) bool { return i.Seats > 0 }) {
		return gift
	}
	gift.SKUs = nil
	for i := range c.Items {
		if c.Items[i].Seats > 0 {
			gift.SKUs = append(gift.SKUs, c.Items[i].SKU)
		}
	}
	return gift
}

// ownerEntry returns the value of the owner's entry in the index, nil for an owner who has
// nothing by the contract.
func (c *Contract) ownerEntry() []byte {
	if c == nil || c.OwnerSeat {
		return nil
	}
	return c.gives().encode()
}

// ownedBy returns by what the owner reads.
func (c *Contract) ownedBy() [2]string {
	if c == nil {
		return [2]string{}
	}
	user, email := c.Owner.identity()
	return [2]string{user, email}
}

// grants adds what is given to the records of a reader.
func (g *contractGift) grants(contract string, now int64, records *policy.ReaderRecords) {
	if g == nil || g.EndsAt != 0 && g.EndsAt <= now {
		return
	}
	for _, sku := range g.SKUs {
		records.Grants = append(records.Grants, policy.Grant{
			ID: policy.ContractOrigin + contract, SKU: sku, Active: true, StartsAt: g.StartsAt, EndsAt: g.EndsAt,
		})
	}
}

// contractRanges returns the ranges of the index that have the contracts of a reader.
func contractRanges(reader *policy.Reader) (owned, seated [][]byte) {
	if reader.UserID != "" {
		owned, seated = append(owned, contractPrefix(contractUser, reader.UserID)), append(seated, contractPrefix(contractHolder, reader.UserID))
	}
	if reader.Email != "" {
		owned, seated = append(owned, contractPrefix(contractEmail, reader.Email)), append(seated, contractPrefix(contractMailed, reader.Email))
	}
	return owned, seated
}

var errManyContracts = errors.New("a reader has more contracts than can be looked at")

// ownedContracts adds what a reader has as an owner. The index has that, without reading a
// contract.
func ownedContracts(snapshot engine.Snapshot, reader *policy.Reader, now int64, records *policy.ReaderRecords) error {
	owned, _ := contractRanges(reader)
	seen := 0
	for _, prefix := range owned {
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return err
			}
			if seen++; seen > maxGrantsOfReader {
				return errManyContracts
			}
			if len(entry.Value) == 0 {
				continue
			}
			var gift contractGift
			if err := decode(entry.Key, entry.Value, &gift); err != nil {
				return err
			}
			gift.grants(string(entry.Key[len(prefix):]), now, records)
		}
	}
	return nil
}

// seatedContracts adds the contracts in which a reader has a seat, each once.
func seatedContracts(snapshot engine.Snapshot, reader *policy.Reader, records *policy.ReaderRecords) error {
	_, seated := contractRanges(reader)
	for _, prefix := range seated {
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return err
			}
			if len(records.Contracts) == maxGrantsOfReader {
				return errManyContracts
			}
			if id, _, _ := strings.Cut(string(entry.Key[len(prefix):]), "\x00"); len(entry.Value) > 0 && !slices.Contains(records.Contracts, id) {
				records.Contracts = append(records.Contracts, id)
			}
		}
	}
	return nil
}

// contractKeys returns the keys of contracts.
func contractKeys(ids []string) [][]byte {
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = contractKind.key(id)
	}
	return keys
}

// seatGrants adds what the seats of a reader give.
func seatGrants(snapshot engine.Snapshot, now int64, records *policy.ReaderRecords) error {
	for _, id := range records.Contracts {
		// A part of a contract, which is faster to read than all of it.
		var part struct {
			Items        []ContractItem `json:"items"`
			State        string         `json:"state"`
			StartsAt     time.Time      `json:"startsAt"`
			EndsAt       *time.Time     `json:"expiresAt"`
			WillCancelAt *time.Time     `json:"willCancelAt"`
		}
		if _, err := getIn(snapshot, contractKind.key(id), &part); err != nil {
			if errors.Is(err, ErrNotFound) {
				continue
			}
			return err
		}
		contract := Contract{Items: part.Items, State: part.State, StartsAt: part.StartsAt, EndsAt: part.EndsAt, WillCancelAt: part.WillCancelAt}
		contract.seatGives().grants(id, now, records)
	}
	return nil
}
