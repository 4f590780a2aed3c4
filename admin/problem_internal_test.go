package admin

import (
	"errors"
	"net/http"
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
