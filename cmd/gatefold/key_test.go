package main

import (
	"net/http"
	"strings"
	"testing"
)

// After a key is rotated and retired, the links, link cookies and reader tokens that
// it signed are refused with the next request.
func TestKeyRotationAndRetirement(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello")
	token := s.must("token", "reader", "--user", "u")
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	old := strings.Fields(strings.Split(s.must("key", "list"), "\n")[1])[0]

	if refused := s.command("key", "retire", old); refused.code != 1 || !strings.Contains(refused.stderr, "rotate first") {
		t.Errorf("retiring the signing key: %d %s", refused.code, refused.stderr)
	}
	s.must("key", "rotate")
	s.get(link).expect(t, http.StatusOK, "")
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")

	s.must("key", "retire", old)

	s.get(link).expect(t, http.StatusForbidden, "link_invalid")
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, http.StatusUnauthorized, "bad_credential")
	s.get(s.must("link", "create", s.site+"/articles/hello")).expect(t, http.StatusOK, "")

	// A restart reads the keys as they are now.
	s.kill()
	s.start()
	s.get(link).expect(t, http.StatusForbidden, "link_invalid")
	if list := s.must("key", "list"); !strings.Contains(list, "retired") || !strings.Contains(list, "signing") {
		t.Errorf("key list says\n%s", list)
	}
	var keys []struct{ Kid, Status string }
	decode(t, s.must("key", "list", "--json"), &keys)
	if len(keys) != 2 {
		t.Errorf("key list --json gives %v", keys)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("link", "create", s.site+"/articles/hello")
	status := s.must("status")
	for _, part := range []string{"ok", "reachable", "vendor default", "feed at 2", "signs for"} {
		if !strings.Contains(status, part) {
			t.Errorf("status lacks %q:\n%s", part, status)
		}
	}
	var health struct {
		Status  string
		Vendors []struct{ Vendor string }
	}
	decode(t, s.must("status", "--json"), &health)
	if health.Status != "ok" || len(health.Vendors) != 1 {
		t.Errorf("status --json gives %+v", health)
	}
	s.stop()
	if gone := s.command("status"); gone.code != 1 || !strings.Contains(gone.stderr, "no server answers") {
		t.Errorf("without a server: %d %s", gone.code, gone.stderr)
	}
}
