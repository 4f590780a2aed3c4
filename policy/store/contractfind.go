package store

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// index adds the entries of a contract: its order, and those of the index.
func (c *Contract) index(add func(k, value []byte)) {
	user, email := c.Owner.identity()
	if payer := policy.LowerEmail(c.Payer.Email); payer != "" {
		add(contractKey(contractEmail, payer, c.ID), nil)
	}
	if mailed := policy.LowerEmail(c.Owner.Email); mailed != "" {
		add(contractKey(contractEmail, mailed, c.ID), nil)
	}
	switch entry := c.ownerEntry(); {
	case user != "":
		add(contractKey(contractUser, user, c.ID), entry)
	case email != "":
		add(contractKey(contractEmail, email, c.ID), entry)
	}
	for i := range c.Items {
		add(contractKey(contractSKU, c.Items[i].SKU, c.ID), nil)
	}
	if c.Promo != "" {
		add(contractKey(contractPromo, c.Promo, c.ID), nil)
	}
	if c.OrderID != "" {
		add(contractKey(contractOrder, c.OrderID, c.ID), nil)
		add(orderKey(c.Seller, c.OrderID), []byte(c.ID))
	}
	if kept := c.kept(); !kept.IsZero() && c.expires().IsZero() {
		add(sweptKey(kept, c.ID), nil)
	}
	indexSite(c, add)
}

func sweptKey(at time.Time, contract string) []byte {
	k := binary.BigEndian.AppendUint64(contractPrefix(contractSwept, ""), uint64(at.UnixMilli()))
	return append(k, contract...)
}

// ContractQuery selects contracts; those that match all of what is not empty.
type ContractQuery struct {
	// UserID and Email are those of the owner.
	UserID, Email string
	// PayerEmail is the address of the payer.
	PayerEmail string
	SKU, Promo string
	// OrderID is the id of the order, Seller that of who sent it.
	OrderID, Seller string
	// Status is the status now.
	Status string
	// Text begins the id, the name, the promo or the order, or the user id, the e-mail address
	// or the name of the owner or the payer. Case does not matter.
	Text string
}

// matches reports whether a contract matches at a time.
func (q *ContractQuery) matches(c *Contract, now time.Time) bool {
	return (q.UserID == "" || q.UserID == c.Owner.UserID) &&
		(q.Email == "" || policy.LowerEmail(q.Email) == policy.LowerEmail(c.Owner.Email)) &&
		(q.PayerEmail == "" || policy.LowerEmail(q.PayerEmail) == policy.LowerEmail(c.Payer.Email)) &&
		(q.SKU == "" || c.hasSKU(q.SKU)) &&
		(q.Promo == "" || q.Promo == c.Promo) && (q.OrderID == "" || q.OrderID == c.OrderID) && (q.Seller == "" || q.Seller == c.Seller) &&
		(q.Status == "" || q.Status == c.Status(now)) &&
		(q.Text == "" || c.hasText(q.Text))
}

func (c *Contract) hasSKU(sku string) bool {
	for i := range c.Items {
		if c.Items[i].SKU == sku {
			return true
		}
	}
	return false
}

func (c *Contract) hasText(text string) bool {
	text = strings.ToLower(text)
	for _, of := range [...]string{
		c.ID, c.Name, c.Promo, c.OrderID, c.Owner.UserID, c.Owner.Email, c.Owner.FullName, c.Payer.UserID, c.Payer.Email, c.Payer.FullName,
	} {
		if strings.HasPrefix(strings.ToLower(of), text) {
			return true
		}
	}
	return false
}

// indexed returns the prefix of the index with the fewest contracts that may match, nil for
// none but the contracts themselves.
func (q *ContractQuery) indexed(snapshot engine.Snapshot) ([]byte, error) {
	for _, of := range [...][2]string{
		{contractOrder, q.OrderID}, {contractUser, q.UserID}, {contractEmail, policy.LowerEmail(q.Email)}, {contractEmail, policy.LowerEmail(q.PayerEmail)}, {contractPromo, q.Promo}, {contractSKU, q.SKU},
	} {
		if of[1] != "" {
			return contractPrefix(of[0], of[1]), nil
		}
	}
	if !strings.Contains(q.Text, "@") {
		return nil, nil
	}
	// A whole address.
	prefix := contractPrefix(contractEmail, policy.LowerEmail(q.Text))
	for _, err := range snapshot.Scan(prefix, nil) {
		return prefix, err
	}
	return nil, nil
}

// ListContracts lists contracts, the newest first.
func (s *Store) ListContracts(vendor string, query ContractQuery) Listing[Contract] {
	return s.contractsAfter(vendor, query, "").Where(func(c *Contract) bool { return query.matches(c, s.now()) })
}

// contractsAfter lists the contracts that may match a query after one, in the index that has
// the fewest.
func (s *Store) contractsAfter(vendor string, query ContractQuery, from string) Listing[Contract] {
	return Listing[Contract]{store: s, vendor: vendor, kind: contractKind, ranges: func(snapshot engine.Snapshot) ([]listingRange, error) {
		prefix, err := query.indexed(snapshot)
		found := listingRange{prefix: []byte{prefixContract}}
		if prefix != nil {
			found.prefix, found.place = prefix, func(rest string) []string { return []string{rest} }
		}
		if from != "" {
			found.after = append(append([]byte{}, found.prefix...), from...)
		}
		return []listingRange{found}, err
	}}
}

// FindContracts returns a page of the contracts that match, the newest first. A page starts
// after the contract page.From, so that it is the same while others are made. It returns a
// *FieldError for one that is no contract's id. Next, unless empty, is where the search goes
// on: it ended at the limit, or after it read maxSearch contracts.
func (s *Store) FindContracts(ctx context.Context, vendor string, query ContractQuery, page Page) (found []Contract, next string, err error) {
	if page.From != "" && !IsContractID(page.From) {
		return nil, "", &FieldError{"from", "is no contract's id: send that of the last contract of a page"}
	}
	found = []Contract{}
	now, read := s.now(), 0
	for contract, err := range s.contractsAfter(vendor, query, page.From).All(ctx) {
		if err != nil {
			return nil, "", err
		}
		if len(found) == page.limit() || read == maxSearch {
			return found, next, nil
		}
		if query.matches(&contract, now) {
			found = append(found, contract)
		}
		next, read = contract.ID, read+1
	}
	return found, "", nil
}

// IsContractID reports whether a text has the form of a contract's id.
func IsContractID(text string) bool {
	return len(text) == 32 && strings.Trim(text, "0123456789abcdef") == ""
}
