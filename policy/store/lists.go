package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// AccessList is a named source of access. It holds grants.
type AccessList struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	Description      string `json:"description,omitempty"`
	Type             string `json:"type"`
	Status           string `json:"status"`
	ExcludeFromStats bool   `json:"excludeFromStats"`
}

// DefaultList is the list that every vendor has. It takes the grants that name no
// list.
const DefaultList = "src_default"

// The values of an access list's type and of a list's or grant's status. Only an ACTIVE grant
// of an ACTIVE list gives anything.
const (
	TypeManual     = "MANUAL"
	StatusActive   = "ACTIVE"
	StatusInactive = "INACTIVE"
	StatusCanceled = "CANCELED"
	StatusDraft    = "DRAFT"
)

// listTypes are the types of access lists. They are the same for the gate:
// the type says what fills a list.
var listTypes = []string{TypeManual, "HOOK", "BASIC_API", "CSV_FILE", "CSV_FILE_OLD", "CSV_TRANSACTIONS", "CLAIMED"}

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
	if !slices.Contains(listTypes, l.Type) {
		return &FieldError{"type", "must be one of " + strings.Join(listTypes, ", ")}
	}
	if err := normalizeStatus(&l.Status, StatusActive, StatusInactive, StatusDraft, StatusCanceled); err != nil {
		return err
	}
	return cmp.Or(checkText("name", l.Name, 255), checkText("description", l.Description, 1024))
}

// normalizeStatus sets the default of a status that must be one of some.
func normalizeStatus(status *string, of ...string) error {
	*status = cmp.Or(*status, StatusActive)
	if !slices.Contains(of, *status) {
		return &FieldError{"status", "must be one of " + strings.Join(of, ", ")}
	}
	return nil
}

// CreateList stores a new access list under a new id.
func (w Writer) CreateList(ctx context.Context, vendor string, list AccessList) (AccessList, error) {
	if err := list.normalize(); err != nil {
		return AccessList{}, err
	}
	list.ID = newID("src_", w.now())
	return list, w.put(ctx, vendor, key(prefixList, list.ID), nil, list, policy.Invalidation{})
}

// List returns an access list, or ErrNotFound.
func (s *Store) List(ctx context.Context, vendor, id string) (AccessList, error) {
	list, _, err := s.list(ctx, vendor, id)
	return list, err
}

// list also returns the stored bytes, nil for the built-in list until it is changed.
func (s *Store) list(ctx context.Context, vendor, id string) (list AccessList, stored []byte, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		list, stored, err = listIn(snapshot, id)
		return err
	})
	return list, stored, err
}

// listIn is list within a snapshot.
func listIn(snapshot engine.Snapshot, id string) (list AccessList, stored []byte, err error) {
	stored, err = getIn(snapshot, key(prefixList, id), &list)
	if errors.Is(err, ErrNotFound) && id == DefaultList {
		return builtInList(), nil, nil
	}
	return list, stored, err
}

// Lists returns a page of a vendor's access lists: the built-in one, then the
// others in the order of their creation.
func (s *Store) Lists(ctx context.Context, vendor string, page Page) ([]AccessList, error) {
	lists := []AccessList{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		from := page.From
		switch from {
		case "":
			list, _, err := listIn(snapshot, DefaultList)
			if err != nil {
				return err
			}
			lists = append(lists, list)
		case DefaultList:
			from = "" // its key sorts after those of the others
		}
		for list, err := range records[AccessList](snapshot, []byte{prefixList}, from) {
			switch {
			case err != nil:
				return err
			case len(lists) == page.limit():
				return nil
			case list.ID != DefaultList:
				lists = append(lists, list)
			}
		}
		return nil
	})
	return lists, err
}

// UpdateList changes an access list: change gets the current one. Its id cannot be
// changed. It invalidates the decisions of all readers.
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
	return list, w.put(ctx, vendor, key(prefixList, id), stored, list, policy.Invalidation{Shared: true, SameDomains: true})
}
