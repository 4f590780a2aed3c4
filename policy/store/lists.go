package store

import (
	"bytes"
	"context"
	"errors"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// AccessList is a named source of access.
type AccessList struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	Description      string `json:"description,omitempty"`
	Type             string `json:"type"`
	Status           string `json:"status"`
	ExcludeFromStats bool   `json:"excludeFromStats"`
}

// DefaultList is the list that every vendor has from the start. It takes the
// grants that name no list.
const DefaultList = "src_default"

// The values of an access list's type and of a list's or grant's status.
const (
	TypeManual     = "MANUAL"
	StatusActive   = "ACTIVE"
	StatusInactive = "INACTIVE"
)

func builtInList() AccessList {
	return AccessList{
		ID: DefaultList, Name: "Default", Description: "Grants that name no other list",
		Type: TypeManual, Status: StatusActive,
	}
}

// normalize fills in defaults and checks the list.
func (l *AccessList) normalize() error {
	if l.Name == "" {
		return &FieldError{"name", "is required"}
	}
	if l.Type == "" {
		l.Type = TypeManual
	}
	if l.Type != TypeManual {
		return &FieldError{"type", "must be " + TypeManual}
	}
	if err := normalizeStatus(&l.Status); err != nil {
		return err
	}
	if err := checkText("name", l.Name, 255); err != nil {
		return err
	}
	return checkText("description", l.Description, 1024)
}

func normalizeStatus(status *string) error {
	switch *status {
	case "":
		*status = StatusActive
	case StatusActive, StatusInactive:
	default:
		return &FieldError{"status", "must be " + StatusActive + " or " + StatusInactive}
	}
	return nil
}

// CreateList stores a new access list under a new id.
func (w Writer) CreateList(ctx context.Context, vendor string, list AccessList) (AccessList, error) {
	if err := list.normalize(); err != nil {
		return AccessList{}, err
	}
	list.ID = newID("src_", w.now())
	stored, err := encode(list)
	if err != nil {
		return AccessList{}, err
	}
	k := key(prefixList, list.ID)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k}}, Puts: []engine.Put{{Key: k, Value: stored}}}
	return list, w.commit(ctx, vendor, batch, policy.Invalidation{})
}

// List returns an access list, or ErrNotFound.
func (s *Store) List(ctx context.Context, vendor, id string) (AccessList, error) {
	list, _, err := s.list(ctx, vendor, id)
	return list, err
}

// list returns an access list and its bytes as they are stored: nil for the
// built-in list that nobody changed.
func (s *Store) list(ctx context.Context, vendor, id string) (AccessList, []byte, error) {
	var list AccessList
	stored, err := s.get(ctx, vendor, key(prefixList, id), &list)
	if errors.Is(err, ErrNotFound) && id == DefaultList {
		return builtInList(), nil, nil
	}
	return list, stored, err
}

// listIn is list within a snapshot.
func listIn(snapshot engine.Snapshot, id string) (AccessList, error) {
	k := key(prefixList, id)
	stored, err := snapshot.Get(k)
	switch {
	case err != nil:
		return AccessList{}, err
	case stored == nil && id == DefaultList:
		return builtInList(), nil
	case stored == nil:
		return AccessList{}, ErrNotFound
	}
	var list AccessList
	return list, decode(k, stored, &list)
}

// Lists returns a page of a vendor's access lists, the built-in one first and the
// others in order of creation.
func (s *Store) Lists(ctx context.Context, vendor string, page Page) ([]AccessList, error) {
	lists := []AccessList{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var after []byte
		if page.From == "" {
			list, err := listIn(snapshot, DefaultList)
			if err != nil {
				return err
			}
			lists = append(lists, list)
		} else if page.From != DefaultList {
			after = key(prefixList, page.From)
		}
		for entry, err := range snapshot.Scan([]byte{prefixList}, after) {
			if err != nil {
				return err
			}
			if len(lists) == page.limit() {
				break
			}
			if bytes.Equal(entry.Key, key(prefixList, DefaultList)) {
				continue
			}
			var list AccessList
			if err := decode(entry.Key, entry.Value, &list); err != nil {
				return err
			}
			lists = append(lists, list)
		}
		return nil
	})
	return lists, err
}

// UpdateList changes an access list: change gets the list as it is and alters
// it; its id stays. Every grant of the list is decided anew.
func (w Writer) UpdateList(ctx context.Context, vendor, id string, change func(*AccessList) error) (AccessList, error) {
	list, stored, err := w.list(ctx, vendor, id)
	if err != nil {
		return AccessList{}, err
	}
	if err := change(&list); err != nil {
		return AccessList{}, err
	}
	list.ID = id
	if err := list.normalize(); err != nil {
		return AccessList{}, err
	}
	updated, err := encode(list)
	if err != nil {
		return AccessList{}, err
	}
	k := key(prefixList, id)
	batch := &engine.Batch{Checks: []engine.Check{{Key: k, Value: stored}}, Puts: []engine.Put{{Key: k, Value: updated}}}
	return list, w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true, SameDomains: true})
}
