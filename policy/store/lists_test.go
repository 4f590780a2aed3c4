package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func TestDefaultListIsThereFromTheStart(t *testing.T) {
	b := newFixture(t)
	lists, err := b.Lists(t.Context(), vendor, store.Page{})
	b.ok(err)
	if len(lists) != 1 || lists[0].ID != store.DefaultList || lists[0].Status != store.StatusActive {
		t.Fatalf("a new vendor has %+v", lists)
	}
	// It is changed like any other, and comes first.
	_, err = b.CreateList(t.Context(), vendor, store.AccessList{Name: "Other"})
	b.ok(err)
	_, err = b.UpdateList(t.Context(), vendor, store.DefaultList, func(l *store.AccessList) error {
		l.Name = "Mine"
		return nil
	})
	b.ok(err)
	lists, err = b.Lists(t.Context(), vendor, store.Page{})
	b.ok(err)
	if len(lists) != 2 || lists[0].ID != store.DefaultList || lists[0].Name != "Mine" || lists[1].Name != "Other" {
		t.Errorf("the lists are %+v", lists)
	}
	list, err := b.List(t.Context(), vendor, store.DefaultList)
	if err != nil || list.Name != "Mine" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestListsAreChecked(t *testing.T) {
	b := newFixture(t)
	for field, list := range map[string]store.AccessList{
		"name":        {},
		"type":        {Name: "x", Type: "AUTOMATIC"},
		"status":      {Name: "x", Status: "active"},
		"description": {Name: "x", Description: strings.Repeat("x", 1025)},
	} {
		_, err := b.CreateList(t.Context(), vendor, list)
		b.names(err, field)
	}
	_, err := b.CreateList(t.Context(), vendor, store.AccessList{Name: "a\x00b"})
	b.names(err, "name")
	_, err = b.List(t.Context(), vendor, "src_none")
	b.is(err, store.ErrNotFound)
	_, err = b.UpdateList(t.Context(), vendor, "src_none", func(*store.AccessList) error { return nil })
	b.is(err, store.ErrNotFound)

	made, err := b.CreateList(t.Context(), vendor, store.AccessList{ID: "src_mine", Name: "x"})
	b.ok(err)
	if made.ID == "src_mine" || !strings.HasPrefix(made.ID, "src_") {
		t.Errorf("the id is %s", made.ID)
	}
	_, err = b.UpdateList(t.Context(), vendor, made.ID, func(l *store.AccessList) error {
		l.ID, l.Name = "src_other", ""
		return nil
	})
	b.names(err, "name")
	wrong := errors.New("no")
	_, err = b.UpdateList(t.Context(), vendor, made.ID, func(*store.AccessList) error { return wrong })
	b.is(err, wrong)
	if kept, err := b.List(t.Context(), vendor, made.ID); err != nil || kept != made {
		t.Errorf("a change that failed left %+v, %v", kept, err)
	}
}

// The grants of an inactive list give nothing, and cached decisions are invalidated.
func TestInactiveListGivesNothing(t *testing.T) {
	b := newFixture(t)
	reader := policy.Reader{UserID: "u"}
	b.grant(store.Grant{UserID: "u", SKU: "premium"})
	if got := b.skus(reader); got != "premium+" {
		t.Errorf("before: %s", got)
	}
	stamp := b.versions.Reader(vendor, &reader)
	_, err := b.UpdateList(t.Context(), vendor, store.DefaultList, func(l *store.AccessList) error {
		l.Status = store.StatusInactive
		return nil
	})
	b.ok(err)
	if got := b.skus(reader); got != "premium" {
		t.Errorf("after: %s", got)
	}
	if b.versions.Reader(vendor, &reader) == stamp {
		t.Error("nothing became stale")
	}
}

// Two people change one list at the same time: one of them is told.
func TestListChangedByTwo(t *testing.T) {
	b := newFixture(t)
	_, err := b.UpdateList(t.Context(), vendor, store.DefaultList, func(l *store.AccessList) error {
		l.Name = "outer"
		_, err := b.UpdateList(t.Context(), vendor, store.DefaultList, func(l *store.AccessList) error {
			l.Name = "inner"
			return nil
		})
		return err
	})
	b.is(err, store.ErrConflict)
	if list, _ := b.List(t.Context(), vendor, store.DefaultList); list.Name != "inner" {
		t.Errorf("the list is %s", list.Name)
	}
}
