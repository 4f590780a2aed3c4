package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// limits are the optional limits of a link in an answer.
type limits struct {
	MaxUses, MaxDevices int64
	StartsAt, IPPrefix  string
	PerReader           bool
	Status              string
}

// A link with every limit: the answers of all calls say them, and its token carries them.
func TestLinkWithEveryLimit(t *testing.T) {
	b := newFixture(t, false)
	starts := b.clock.Add(3 * 24 * time.Hour)
	body := `{"url":"https://news.example.com/a","maxUses":10,"maxDevices":3,"ipPrefix":"::ffff:203.0.113.0/120","perReader":true,"expiresIn":"14d","startsAt":"` + starts.Add(-500*time.Millisecond).Format(time.RFC3339Nano) + `"}`
	var made struct {
		limits
		linkMade
	}
	b.call(http.MethodPost, createLink, body).want(http.StatusOK, &made)
	want := limits{MaxUses: 10, MaxDevices: 3, StartsAt: starts.Format(time.RFC3339), IPPrefix: "203.0.113.0/24", PerReader: true}
	if made.limits != want {
		t.Errorf("the answer has %+v, want %+v", made.limits, want)
	}
	want.Status = "scheduled"
	var shown limits
	b.call(http.MethodGet, "/management/signed-links/"+made.TokenID, "").want(http.StatusOK, &shown)
	if shown != want {
		t.Errorf("the record is %+v, want %+v", shown, want)
	}
	var found []limits
	for status, links := range map[string]int{"scheduled": 1, "active": 0} {
		b.call(http.MethodGet, "/management/signed-links?status="+status, "").want(http.StatusOK, &found)
		if len(found) != links {
			t.Errorf("%d links are %s, want %d", len(found), status, links)
		}
	}
	set, err := b.keyring.Source("acme").KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	claims, err := keys.VerifyLink(made.Token, keys.VendorIssuer("acme"), set, starts)
	if err != nil || claims.MaxDevices != 3 || claims.IPPrefix != "203.0.113.0/24" || !claims.PerReader || claims.NotBefore != starts.Unix() || claims.ExpiresAt != b.clock.Add(14*24*time.Hour).Unix() {
		t.Errorf("the claims are %+v, %v", claims, err)
	}
	// Without limits the answers have what they had.
	plain := b.call(http.MethodPost, createLink, `{"sku":"s"}`).want(http.StatusOK, nil)
	for _, field := range []string{"maxUses", "maxDevices", "startsAt", "ipPrefix", "perReader", "devices"} {
		if _, there := plain.fields()[field]; there {
			t.Errorf("a link without limits has %s: %s", field, plain.body)
		}
	}
}

// What can only be a mistake is refused, with what to write instead.
func TestLimitsThatAreMistakes(t *testing.T) {
	b := newFixture(t, false)
	at := func(d time.Duration) string { return b.clock.Add(d).Format(time.RFC3339Nano) }
	for _, c := range []struct{ body, location, remedy string }{
		{`"maxDevices":"3"`, "body.maxDevices", ""},
		{`"maxDevices":0`, "body.maxDevices", ""},
		{`"maxDevices":-1`, "body.maxDevices", ""},
		{`"maxDevices":1.5`, "body.maxDevices", ""},
		{`"maxDevices":2147483648`, "body.maxDevices", ""},
		{`"ipPrefix":""`, "body.ipPrefix", ""}, // a program that does not have the network would open the link to all
		{`"maxNetworks":0`, "body.maxNetworks", ""},
		{`"maxNetworks":257`, "body.maxNetworks", ""},
		{`"ipPrefix":"0.0.0.0/0"`, "body.ipPrefix", "leave it out"},
		{`"ipPrefix":"::/0"`, "body.ipPrefix", "leave it out"},
		{`"ipPrefix":"::ffff:0.0.0.0/96"`, "body.ipPrefix", "leave it out"},
		{`"ipPrefix":"203.0.113.7/24"`, "body.ipPrefix", "write 203.0.113.0/24 for the network, or 203.0.113.7"},
		{`"ipPrefix":"2001:db8::1/32"`, "body.ipPrefix", "write 2001:db8::/32 for the network, or 2001:db8::1"},
		{`"ipPrefix":"::ffff:203.0.113.0/80"`, "body.ipPrefix", "such as"},
		{`"ipPrefix":"203.0.113.0/33"`, "body.ipPrefix", "such as"},
		{`"ipPrefix":"203.0.113"`, "body.ipPrefix", "such as"},
		{`"ipPrefix":"fe80::1%eth0"`, "body.ipPrefix", "such as"},
		{`"ipPrefix":"news.example"`, "body.ipPrefix", "such as"},
		{`"ipPrefix":"` + strings.Repeat("1", 65) + `"`, "body.ipPrefix", ""},
		{`"ipPrefix":["203.0.113.0/24"]`, "body.ipPrefix", ""},
		{`"perReader":"yes"`, "body.perReader", ""},
		{`"perReader":1`, "body.perReader", ""},
		{`"startsAt":"` + at(-61*time.Second) + `"`, "body.startsAt", "leave it out"},
		{`"startsAt":"2020-01-01T00:00:00Z"`, "body.startsAt", "leave it out"},
		{`"startsAt":"` + at(366*24*time.Hour+time.Second) + `","expiresIn":"366d"`, "body.startsAt", "366 days"},
		{`"startsAt":"` + at(7*24*time.Hour) + `"`, "body.expiresIn", "counts from now"},
		{`"startsAt":"` + at(2*time.Hour) + `","expiresIn":"1h"`, "body.expiresIn", "counts from now"},
		{`"startsAt":"` + at(59*time.Minute+59*time.Second+time.Millisecond) + `","expiresIn":"1h"`, "body.expiresIn", "counts from now"},
		{`"startsAt":"tomorrow"`, "body.startsAt", ""},
		{`"startsAt":1800000000`, "body.startsAt", ""},
	} {
		for path, body := range map[string]string{
			createLink: `{"sku":"s",` + c.body + `}`,
			bulkPath:   `{"sku":"s","recipients":[{"userId":"u",` + c.body + `}]}`,
		} {
			location := c.location
			if path == bulkPath {
				location = strings.Replace(location, "body.", "body.recipients[0].", 1)
			}
			got := b.call(http.MethodPost, path, body)
			got.refused(http.StatusUnprocessableEntity, "validation_failed", location)
			if !strings.Contains(got.body, c.remedy) {
				t.Errorf("%s: the answer does not say %q: %s", c.body, c.remedy, got.body)
			}
		}
	}
	if stored := b.links(); len(stored) != 0 {
		t.Errorf("%d links were made", len(stored))
	}
	// A clock that is behind by some seconds is no mistake, and neither is one address.
	for body, want := range map[string]string{
		`"startsAt":"` + at(-30*time.Second) + `"`: `"startsAt":"` + b.clock.Add(-30*time.Second).Format(time.RFC3339) + `"`,
		`"ipPrefix":"203.0.113.7"`:                 `"ipPrefix":"203.0.113.7/32"`,
		`"ipPrefix":"2001:DB8:0::7"`:               `"ipPrefix":"2001:db8::7/128"`,
		`"ipPrefix":"::ffff:203.0.113.7"`:          `"ipPrefix":"203.0.113.7/32"`,
	} {
		if got := b.call(http.MethodPost, createLink, `{"sku":"s",`+body+`}`).want(http.StatusOK, nil); !strings.Contains(got.body, want) {
			t.Errorf("%s: %s", body, got.body)
		}
	}
}

// The limits of a batch are the defaults of its recipients, each of whom may have others.
func TestLimitsOfManyLinks(t *testing.T) {
	b := newFixture(t, false)
	starts := b.clock.Add(time.Hour).Format(time.RFC3339)
	later := b.clock.Add(2 * time.Hour).Format(time.RFC3339)
	got := b.call(http.MethodPost, bulkPath, `{"sku":"s","maxDevices":2,"perReader":true,"ipPrefix":"203.0.113.0/24","startsAt":"`+starts+`","recipients":[
		{"userId":"a"},{"userId":"b","maxDevices":5,"perReader":false,"ipPrefix":"2001:db8::/32","startsAt":"`+later+`"}]}`).want(http.StatusOK, nil)
	want := []limits{
		{MaxDevices: 2, PerReader: true, IPPrefix: "203.0.113.0/24", StartsAt: starts},
		{MaxDevices: 5, IPPrefix: "2001:db8::/32", StartsAt: later},
	}
	for i, line := range strings.Split(strings.TrimSpace(got.body), "\n") {
		var made limits
		if err := json.Unmarshal([]byte(line), &made); err != nil || fmt.Sprint(made) != fmt.Sprint(want[i]) {
			t.Errorf("recipient %d has %+v, want %+v, %v", i, made, want[i], err)
		}
	}
}
