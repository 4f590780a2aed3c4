package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// A page is damaged while the server is stopped, and no request reads it: the check after
// the start finds it, and no backup carries the damage on. Before, the server said ok for
// months, and replaced its good backups one by one with damaged ones.
func TestDamageIsFoundWithoutARequest(t *testing.T) {
	s := newTestSite(t, standardRules)
	for i := range 300 {
		s.grant(store.Grant{UserID: fmt.Sprint("reader-", i), SKU: "premium"})
	}
	s.waitFor("the first check", func() bool { return s.shared().FileState().CheckedAt != nil })
	if _, err := s.shared().Backup(t.Context(), io.Discard); err != nil || s.found("store_damaged") != nil {
		t.Fatalf("nothing is damaged: %v, %v", err, s.found("store_damaged"))
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(s.database())
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for at := 2 * page; at+page <= len(content); at += page {
		// A page of grants, which nothing reads at the start.
		if content[at+8] == 2 && bytes.Contains(content[at:at+page], []byte(`"userId":"reader-150"`)) && !bytes.Contains(content[at:at+page], []byte("audit")) {
			copy(content[at+8:], []byte{0xff, 0xff}) // the page's type
			break
		}
	}
	if err := os.WriteFile(s.database(), content, 0o600); err != nil {
		t.Fatal(err)
	}

	s.load(s.config("", standardRules, ""))
	s.waitForCondition("store_damaged", "damaged")
	s.waitFor("the end of the check", func() bool { return s.shared().FileState().CheckedAt != nil })
	if state := s.shared().FileState(); state.Bytes != int64(len(content)) {
		t.Errorf("the state of the file is %+v", state)
	}
	var copied bytes.Buffer
	if _, err := s.shared().Backup(t.Context(), &copied); err == nil || copied.Len() != 0 {
		t.Errorf("a backup of %d bytes was made of it: %v", copied.Len(), err)
	}
	if err := boltengine.Verify(s.database(), store.CheckRecord); err == nil {
		t.Error("verify finds nothing")
	}
}
