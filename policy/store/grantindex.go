package store

import (
	"github.com/gatefold/gatefold/policy"
)

// rowKey returns the key by which an import recognizes the grant of a row: the
// publisher's id of the purchase or, without one, the reader and the sku. The reader is
// the first of user id, publisher user id and e-mail address.
func (g *Grant) rowKey() string {
	const separator = "\x01" // not in texts, see checkText
	switch {
	case g.PublisherPurchaseID != "":
		return purchaseKey(g.PublisherPurchaseID)
	case g.UserID != "":
		return indexUserID + g.UserID + separator + g.SKU
	case g.PublisherUserID != "":
		return indexPublisherUserID + g.PublisherUserID + separator + g.SKU
	default:
		return indexEmail + policy.LowerEmail(g.Email) + separator + g.SKU
	}
}

func purchaseKey(id string) string { return "o" + id }

// index returns the keys of the grant in the index of grants.
func (g *Grant) index() [][]byte {
	index := make([][]byte, 0, 7)
	add := func(kind, identifier string) {
		if identifier != "" {
			index = append(index, key(prefixIndex, kind+identifier, g.Source, g.ID))
		}
	}
	add(indexUserID, g.UserID)
	add(indexEmail, policy.LowerEmail(g.Email))
	add(indexPublisherUserID, g.PublisherUserID)
	add(indexSKU, g.SKU)
	add(indexRowKey, g.rowKey())
	return append(index, key(prefixIndex, indexCreated, g.ID, g.Source), key(prefixIndex, indexSKUCreated+g.SKU, g.ID, g.Source))
}
