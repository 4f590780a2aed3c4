package admin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// After a rotation, older links stay valid until the old key is retired.
func TestKeysAreRotatedAndRetired(t *testing.T) {
	b := newFixture(t, true)
	type key struct{ KID, Status string }
	list := func() (all []key) {
		t.Helper()
		got := b.call(http.MethodGet, "/management/keys", "").want(http.StatusOK, &all)
		if strings.Contains(strings.ToLower(got.body), "seal") || strings.Contains(got.body, "private") {
			t.Errorf("a key shows: %s", got.body)
		}
		return all
	}
	verifies := func(token string) bool {
		t.Helper()
		set, err := b.keyring.Source("acme").KeySet(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = keys.VerifyLink(token, keys.VendorIssuer("acme"), set, b.clock)
		return err == nil
	}
	if got := list(); len(got) != 0 {
		t.Fatalf("a new vendor has %v", got)
	}
	var before, after linkMade
	b.call(http.MethodPost, createLink, `{"sku":"s"}`).want(http.StatusOK, &before)
	old := list()[0]
	if old.Status != "signing" {
		t.Errorf("the first key is %s", old.Status)
	}
	b.call(http.MethodDelete, "/management/keys/"+old.KID, "").refused(http.StatusConflict, "conflict", "")

	var made key
	b.call(http.MethodPost, "/management/keys/rotate", "{}").want(http.StatusCreated, &made)
	b.call(http.MethodPost, createLink, `{"sku":"s"}`).want(http.StatusOK, &after)
	if made.Status != "signing" || made.KID == old.KID || !verifies(before.Token) || !verifies(after.Token) {
		t.Errorf("after the rotation: %+v, the old link %v, the new one %v", made, verifies(before.Token), verifies(after.Token))
	}
	for range 2 { // idempotent
		if got := b.call(http.MethodDelete, "/management/keys/"+old.KID, ""); got.code != http.StatusNoContent {
			t.Errorf("DELETE: %d %s", got.code, got.body)
		}
	}
	if verifies(before.Token) || !verifies(after.Token) {
		t.Errorf("after the old key is retired: the old link %v, the new one %v", verifies(before.Token), verifies(after.Token))
	}
	for _, key := range list() {
		if want := map[bool]string{true: "retired", false: "signing"}[key.KID == old.KID]; key.Status != want {
			t.Errorf("%s is %s, want %s", key.KID, key.Status, want)
		}
	}
	b.call(http.MethodDelete, "/management/keys/nothing", "").refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodDelete, "/management/keys/"+made.KID, "").refused(http.StatusNotFound, "not_found", "")

	for range 31 {
		b.call(http.MethodPost, "/management/keys/rotate", "{}").want(http.StatusCreated, nil)
	}
	b.call(http.MethodPost, "/management/keys/rotate", "{}").refused(http.StatusUnprocessableEntity, "validation_failed", "")
}

// Rotating keys requires the scope, not the operator.
func TestKeysAreRotatedByScope(t *testing.T) {
	b := newFixture(t, false)
	as := func(scope string) answer {
		header := http.Header{"X-Test-Scope": {scope}, "Content-Type": {"application/json"}}
		return b.send("acme", http.MethodPost, "/management/keys/rotate", "{}", header)
	}
	as("keys:read").refused(http.StatusForbidden, "forbidden", "")
	as("keys:write").want(http.StatusCreated, nil)
}
