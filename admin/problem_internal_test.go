package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// A store that cannot be read while a field is checked is no mistake of the caller: a
// billing system that got a 4xx would drop its change.
func TestUnavailableStoreIsNoInvalidField(t *testing.T) {
	a := &api{Options: Options{Failed: func(error) {}}}
	field := &store.FieldError{Field: "profile", Problem: "does not exist"}
	if p := a.problemOf(errors.Join(engine.ErrUnavailable, field)); p.Status != http.StatusServiceUnavailable {
		t.Errorf("an unavailable store is answered with %d %s", p.Status, p.Detail)
	}
	if p := a.problemOf(field); p.Status != http.StatusUnprocessableEntity {
		t.Errorf("an invalid field is answered with %d", p.Status)
	}
}

// A full store is no failure of the server, and no outage that ends by itself: the caller
// learns that the operator must make room.
func TestFullStoreSaysSo(t *testing.T) {
	a := &api{Options: Options{Failed: func(error) {}}}
	for _, err := range []error{engine.ErrFull, fmt.Errorf("writing: %w", engine.ErrFull), errors.Join(engine.ErrFull, engine.ErrUnavailable)} {
		if p := a.problemOf(err); p.Status != http.StatusInsufficientStorage || p.Code != "store_full" || p.GetHeaders() != nil {
			t.Errorf("%v is answered with %d %s", err, p.Status, p.Code)
		}
	}
}

// The error of a full store names a folder of the server. Its operator reads it at the node;
// other machines do not.
func TestFullStoreNamesNoFolderToOthers(t *testing.T) {
	full := fmt.Errorf("no space for database /var/lib/gate/gatefold.db: %w", engine.ErrFull)
	var logged error
	a := &api{Options: Options{Failed: func(err error) { logged = err }}}
	if p := a.problemOf(full); strings.Contains(p.Detail, "/var/lib") || !errors.Is(logged, full) {
		t.Errorf("another machine reads %q, the log %v", p.Detail, logged)
	}
	a.Operator = true
	if p := a.problemOf(full); p.Status != http.StatusInsufficientStorage || !strings.Contains(p.Detail, "/var/lib/gate/gatefold.db") {
		t.Errorf("the operator reads %d %q", p.Status, p.Detail)
	}
}
