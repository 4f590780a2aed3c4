package main

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// 32 readers open a link for ten at the same time: exactly ten get the page.
func TestTenUsesForThirtyTwoReaders(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "10")

	answers := make([]answer, 32)
	errs := make([]error, len(answers))
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range answers {
		done.Go(func() {
			start.Wait()
			answers[i], errs[i] = fetch(link)
		})
	}
	start.Done()
	done.Wait()

	pages := 0
	for i, a := range answers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if a.StatusCode == http.StatusOK {
			pages++
			continue
		}
		a.expect(t, http.StatusForbidden, "link_used_up")
	}
	if pages != 10 {
		t.Errorf("%d readers got the page, want exactly 10", pages)
	}
	if list := s.must("link", "list"); !strings.Contains(list, "10 of 10") || !strings.Contains(list, "used_up") {
		t.Errorf("the list does not say that the link is used up:\n%s", list)
	}
}

// After a link is revoked, the next request is denied: with the link, and with a
// link cookie of an earlier redemption.
func TestRevokedLinkDeniesTheNextRequest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello")
	first := s.get(link)
	first.expect(t, http.StatusOK, "")
	cookie := first.cookie(t)
	for range 3 { // from memory
		s.get(link).expect(t, http.StatusOK, "")
		s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusOK, "")
	}
	id := strings.Fields(strings.Split(s.must("link", "list"), "\n")[1])[0]

	s.must("link", "revoke", id)

	s.get(link).expect(t, http.StatusForbidden, "link_revoked")
	s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusUnauthorized, "login_required")
	if shown := s.must("link", "show", id); !strings.Contains(shown, "revoked") {
		t.Errorf("link show does not say that it is revoked:\n%s", shown)
	}
}

// After a grant is removed, the reader's next request is denied, although the
// entitlement was cached.
func TestRemovedGrantDeniesTheNextRequest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.must("token", "reader", "--user", "user-1")
	s.must("grant", "add", "--user", "user-1", "--sku", "premium")
	bearer := []string{"Authorization", "Bearer " + token}
	for range 3 {
		s.get(s.site+"/articles/hello", bearer...).expect(t, http.StatusOK, "")
		s.get(s.site+"/articles/hello", "Cookie", "reader="+token).expect(t, http.StatusOK, "")
	}
	id := strings.Fields(strings.Split(s.must("grant", "list"), "\n")[1])[0]

	s.must("grant", "remove", id)

	s.get(s.site+"/articles/hello", bearer...).expect(t, http.StatusForbidden, "not_entitled")
	s.get(s.site+"/articles/hello", "Cookie", "reader="+token).expect(t, http.StatusForbidden, "not_entitled")
}

// After the server is killed and restarted, every acknowledged write is there:
// grants, keys, links and their uses; and readers' cookies are valid.
func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.must("token", "reader", "--user", "user-1")
	s.must("grant", "add", "--user", "user-1", "--sku", "premium")
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "2")
	cookie := s.get(link).cookie(t)

	s.kill()
	s.start()

	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")
	s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusOK, "")
	s.get(link).expect(t, http.StatusOK, "")
	s.get(link).expect(t, http.StatusForbidden, "link_used_up")
	s.stop()
}

// Reloads during requests fail no request, and no use is given twice.
func TestReloadKeepsStateAndReaders(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")
	cookie := s.get(link).cookie(t)

	reload := runCommand(t, s.dir, s.environment(), "reload", "--config", s.config, "--force")
	if reload.code != 0 {
		t.Fatalf("reload: %s", reload.stderr)
	}

	s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusOK, "")
	s.get(link).expect(t, http.StatusForbidden, "link_used_up")
	s.stop()
}
