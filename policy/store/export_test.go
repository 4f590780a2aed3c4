package store

import "context"

// siteKind stores contracts with what is kept of their site licences.
var siteKind = kind[Contract]{
	prefix:    prefixContract,
	path:      func(c *Contract) []string { return []string{c.ID} },
	normalize: (*Contract).normalizeSite,
	check:     func(t *transaction, _, next *Contract) error { return checkSites(t, next) },
	index:     indexSite,
	stale:     staleSites,
}

// PutSite stores a contract in place of the one with its id.
func (w Writer) PutSite(ctx context.Context, vendor string, c Contract) error {
	return w.transact(ctx, vendor, func(t *transaction) error { return siteKind.put(t, &c) })
}

// RemoveSite removes a contract.
func (w Writer) RemoveSite(ctx context.Context, vendor, id string) error {
	return w.transact(ctx, vendor, func(t *transaction) error { return siteKind.remove(t, id) })
}
