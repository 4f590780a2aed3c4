package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The rule that publishers state for gifts, "the first 10 people, for 14 days", is one
// command: ten readers get the page, again and again, and the eleventh and twelfth do not.
func TestGiftForTheFirstTenPeople(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "10", "--expires", "14d")
	for range 2 {
		for person := range 12 {
			status := http.StatusOK
			if person >= 10 {
				status = http.StatusForbidden
			}
			s.get(link, "User-Agent", fmt.Sprint("person/", person)).expect(t, status, "")
		}
	}
	var links []struct {
		TokenID, Status      string
		Uses, MaxUses        int64
		CreatedAt, ExpiresAt time.Time
	}
	decode(t, s.must("link", "list", "--json"), &links)
	if len(links) != 1 || links[0].Status != "used_up" || links[0].Uses != 10 || links[0].MaxUses != 10 {
		t.Fatalf("the links are %+v", links)
	}
	if lifetime := links[0].ExpiresAt.Sub(links[0].CreatedAt).Round(time.Minute); lifetime != 14*24*time.Hour {
		t.Errorf("the link lasts %s, want 14 days", lifetime)
	}
}

// The other limits of a link, from the command to the gate: each refuses by its own reason,
// and explain says why.
func TestLimitsOfALink(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	page := s.site + "/articles/hello"
	room := s.must("link", "create", page, "--ip-prefix", "203.0.113.0/24")
	s.get(room).expect(t, http.StatusForbidden, "link_other_network")
	s.get(room, "X-Forwarded-For", "203.0.113.9").expect(t, http.StatusForbidden, "link_other_network")
	own := s.must("link", "create", page, "--ip-prefix", "127.0.0.1")
	s.get(own).expect(t, http.StatusOK, "")

	devices := s.must("link", "create", page, "--max-devices", "1")
	for range 2 {
		s.get(devices, "User-Agent", "player/1").expect(t, http.StatusOK, "")
	}
	s.get(devices, "User-Agent", "player/2").expect(t, http.StatusForbidden, "link_device_limit")

	embargo := s.must("link", "create", page, "--starts-in", "1h")
	s.get(embargo).expect(t, http.StatusForbidden, "link_not_yet_valid")

	subscribers := s.must("link", "create", page, "--per-reader", "--max-uses", "1")
	s.get(subscribers).expect(t, http.StatusUnauthorized, "login_required")
	for _, person := range []struct {
		user   string
		status int
		says   string
	}{{"anna", http.StatusOK, ""}, {"anna", http.StatusOK, ""}, {"bert", http.StatusForbidden, "link_used_up"}} {
		token := s.must("token", "reader", "--user", person.user)
		s.get(subscribers, "Authorization", "Bearer "+token).expect(t, person.status, person.says)
	}

	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{room}, []string{"deny, link_other_network", "network FAILS", "203.0.113.0/24 only"}},
		{[]string{room, "--client-ip", "203.0.113.9"}, []string{"allow", "network ok"}},
		{[]string{room, "--client-ip", "198.51.100.1"}, []string{"deny, link_other_network", "the client's address is 198.51.100.1"}},
		{[]string{devices}, []string{"deny, link_device_limit", "1 of 1 devices"}},
		{[]string{embargo}, []string{"deny, link_not_yet_valid"}},
		{[]string{subscribers}, []string{"deny, login_required", "reader FAILS"}},
		{[]string{subscribers, "--user", "anna"}, []string{"reader ok", "1 of 1 uses"}},
	} {
		got := s.must(append([]string{"explain"}, c.args...)...)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("explain %v does not say %q:\n%s", c.args[1:], want, got)
			}
		}
	}
	if got := s.command("explain", room, "--client-ip", "here"); got.code != 1 || !strings.Contains(got.stderr, "must be an IP address") {
		t.Errorf("an address that is none: %+v", got)
	}
}
