package keystest_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

func TestClockMovesOnlyWhenTold(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := keystest.NewClock(start)
	clock.Advance(time.Minute)
	if got := clock.Since(start); got != time.Minute {
		t.Errorf("after Advance the clock is %v ahead", got)
	}
	clock.Set(start)
	if !clock.Now().Equal(start) {
		t.Errorf("after Set the clock reads %v", clock.Now())
	}
}

func TestLogKeepsLines(t *testing.T) {
	var log keystest.Log
	fmt.Fprintf(&log, "one\ntwo\n")
	if got := log.Lines(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("the lines are %q", got)
	}
	log.Reset()
	if got := log.Lines(); got != nil || log.String() != "" {
		t.Errorf("after Reset the lines are %q", got)
	}
}

func TestOriginRecordsRequests(t *testing.T) {
	origin := keystest.NewOrigin(t)
	if status, body := get(t, http.DefaultClient, origin.URL+"/a?b"); status != http.StatusOK || body != "origin saw /a?b" {
		t.Errorf("the default answer is %d %q", status, body)
	}
	if got := origin.Last(t).RequestURI; got != "/a?b" {
		t.Errorf("recorded %q", got)
	}
	origin.WantNone(t)
	origin.Fail(http.StatusBadGateway)
	if status, _ := get(t, http.DefaultClient, origin.URL); status != http.StatusBadGateway || origin.Count() != 1 {
		t.Errorf("status %d, %d requests", status, origin.Count())
	}
}

func TestKeyHostServesKeysAndConfiguration(t *testing.T) {
	host := keystest.NewKeyHost(t, map[string]any{"keys": []any{}})
	if _, body := get(t, host.Client(), host.URL+"/jwks.json"); body != `{"keys":[]}` {
		t.Errorf("the key set is %q", body)
	}
	if _, body := get(t, host.Client(), host.URL+keystest.ConfigurationPath); !strings.Contains(body, `"jwks_uri":"`+host.URL+`/jwks.json"`) {
		t.Errorf("the configuration is %q", body)
	}
}

func get(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
