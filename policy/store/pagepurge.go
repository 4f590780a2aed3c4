package store

import (
	"context"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Limits of a purge of stored pages: of the paths, prefixes and tags together, and of each
// in bytes.
const (
	MaxPurged     = 500
	MaxPurgedText = 2048
)

// PagePurge is the last purge of a site's stored pages. Its record carries the purge to all
// nodes, and to the audit log.
type PagePurge struct {
	All      bool      `json:"all,omitempty"`
	Paths    []string  `json:"paths,omitempty"`
	Prefixes []string  `json:"prefixes,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Soft     bool      `json:"soft,omitempty"`
	PurgedAt time.Time `json:"purgedAt"`
}

// PurgePages purges stored pages of a site on every node. When it returns nil, this node
// uses none of them any more; other nodes follow as with a revocation. It returns a
// *FieldError for a purge of nothing, of too much, or of an invalid text.
func (w Writer) PurgePages(ctx context.Context, vendor string, purge *policy.PagePurge) error {
	texts := len(purge.Paths) + len(purge.Prefixes) + len(purge.Tags)
	switch {
	case texts == 0 && !purge.All:
		return &FieldError{"urls", "names nothing to purge: name urls, prefixes or tags, or set all"}
	case texts > 0 && purge.All:
		return &FieldError{"all", "purges every page of the site: leave out urls, prefixes and tags"}
	case texts > MaxPurged:
		return &FieldError{"urls", fmt.Sprintf("names more than %d urls, prefixes and tags: purge all, or use several calls", MaxPurged)}
	}
	for _, list := range [][]string{purge.Paths, purge.Prefixes, purge.Tags} {
		for _, text := range list {
			if err := checkText("urls", text, MaxPurgedText); err != nil {
				return err
			}
		}
	}
	batch, change, err := w.purgeBatch(vendor, purge)
	if err != nil {
		return err
	}
	return w.commit(ctx, vendor, batch, change)
}

// InvalidatePages purges stored pages of a site on every node, as PurgePages does, for a
// request to the site that changed them: it is not audited, and what it names is not checked.
func (s *Store) InvalidatePages(ctx context.Context, vendor string, purge *policy.PagePurge) error {
	batch, change, err := s.purgeBatch(vendor, purge)
	if err != nil {
		return err
	}
	return s.commit(ctx, vendor, batch, change)
}

func (s *Store) purgeBatch(vendor string, purge *policy.PagePurge) (*engine.Batch, policy.Invalidation, error) {
	var change policy.Invalidation
	stored, err := encode(&PagePurge{
		All: purge.All, Paths: purge.Paths, Prefixes: purge.Prefixes, Tags: purge.Tags, Soft: purge.Soft, PurgedAt: s.timestamp(),
	})
	if err != nil {
		return nil, change, err
	}
	change.AddPages(vendor, purge)
	return &engine.Batch{Puts: []engine.Put{{Key: key(prefixPagePurge, purge.Site), Value: stored}}}, change, nil
}
