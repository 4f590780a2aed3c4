package command

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A flag that can only be a mistake is refused before anything is sent.
func TestMistakesInLinkFlags(t *testing.T) {
	for flags, remedy := range map[string]string{
		"--max-uses 0":        "at least 1",
		"--max-devices 0":     "at least 1",
		"--max-devices -1":    "at least 1",
		"--ip-prefix=":        "leave it out",
		"--starts-in 3":       "15m",
		"--starts-in 0d":      "more than zero",
		"--starts-in 367d":    "366 days",
		"--starts-at morning": "2027-01-31",
		"--starts-in 1h --starts-at 2027-01-31T06:00:00Z": "none of the others can be",
	} {
		args := append([]string{"link", "create", "https://site.example/a"}, strings.Fields(flags)...)
		_, _, err := execute(func(http.ResponseWriter, *http.Request) { t.Errorf("%s was sent", flags) }, args...)
		if err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%s: %v, want %q", flags, err, remedy)
		}
	}
}

// A start is counted from now, as the end is.
func TestLinkThatStartsIn(t *testing.T) {
	var sent struct{ StartsAt time.Time }
	before := time.Now()
	_, _, err := execute(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return // whether the server has the host
		}
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, `{"token":"t"}`)
	}, "link", "create", "https://news.example.com/a", "--starts-in", "3d")
	if early := sent.StartsAt.Sub(before.Add(3 * 24 * time.Hour)); err != nil || early < 0 || early > time.Minute {
		t.Errorf("it starts at %s, %v", sent.StartsAt, err)
	}
}

// used is the history of a link that was opened in one browser and refused in another.
const used = `[{"id":"history/2","kind":"refused","reason":"link_used_up","agentClass":"app","since":"2027-01-04T09:00:00Z","at":"2027-01-04T09:10:00Z","count":3},` +
	`{"id":"a","kind":"confirmed","country":"SE","agentClass":"browser","since":"2027-01-03T09:00:00Z","at":"2027-01-03T09:00:00Z","count":1}]`

// The on-call engineer sees by whom a link was used up.
func TestHistoryIsShown(t *testing.T) {
	const link = `{"tokenId":"link_2","status":"used_up","sku":"s","uses":1,"maxUses":1,"createdAt":"2027-01-01T00:00:00Z","expiresAt":"2027-01-08T00:00:00Z"}`
	answer := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/links/link_2/uses") {
			_, _ = io.WriteString(w, used)
			return
		}
		_, _ = io.WriteString(w, link)
	}
	out, _, err := execute(answer, "link", "show", "link_2")
	shown := strings.Join(strings.Fields(out), " ")
	want := "TIME WHAT REASON COUNTRY PROGRAM REQUESTS 2027-01-04T09:00:00Z to 2027-01-04T09:10:00Z refused link_used_up - app 3 2027-01-03T09:00:00Z confirmed - SE browser 1"
	if err != nil || !strings.HasSuffix(shown, want) {
		t.Errorf("%v: %s", err, out)
	}
	var decoded struct {
		TokenID string
		History []struct{ Kind string }
	}
	out, _, err = execute(answer, "link", "show", "link_2", "--json")
	if err != nil || json.Unmarshal([]byte(out), &decoded) != nil || decoded.TokenID != "link_2" || len(decoded.History) != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

// The listing and the record show the limits of a link, and nothing of those it does not have.
func TestLimitsAreShown(t *testing.T) {
	const plain = `{"tokenId":"link_1","status":"active","sku":"s","uses":0,"createdAt":"2027-01-01T00:00:00Z","expiresAt":"2027-01-08T00:00:00Z"}`
	const limited = `{"tokenId":"link_2","status":"scheduled","sku":"s","uses":2,"maxUses":10,"devices":1,"maxDevices":3,"startsAt":"2027-01-02T06:00:00Z",` +
		`"ipPrefix":"203.0.113.0/24","perReader":true,"createdAt":"2027-01-01T00:00:00Z","expiresAt":"2027-01-08T00:00:00Z"}`
	show := func(answer string) string {
		t.Helper()
		out, _, err := execute(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/uses") {
				answer = "[]"
			}
			_, _ = io.WriteString(w, answer)
		}, "link", "show", "link_2")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(out), " ")
	}
	got := show(limited)
	for _, want := range []string{"status scheduled", "uses 2 of 10, devices 1 of 3", "starts 2027-01-02T06:00:00Z", "network 203.0.113.0/24", "readers identified ones only"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not show %q: %s", want, got)
		}
	}
	got = show(plain)
	for _, unwanted := range []string{"devices", "starts", "network", "readers"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("it shows %q of a link without: %s", unwanted, got)
		}
	}
	out, _, err := execute(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "["+plain+","+limited+"]") }, "link", "list", "--status", "scheduled")
	if err != nil || !strings.Contains(out, "not counted") || !strings.Contains(out, "2 of 10, devices 1 of 3") {
		t.Errorf("%v: %s", err, out)
	}
}
