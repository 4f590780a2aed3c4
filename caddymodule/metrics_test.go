package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// scrape returns the values of Gatefold's series by name and labels.
func (s *testSite) scrape(admin string) map[string]float64 {
	s.Helper()
	response, err := browser.Get(admin + "/metrics")
	for tries := 1; (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && tries < 10; tries++ {
		// A load replaced the endpoint's listener, see post.
		response, err = browser.Get(admin + "/metrics")
	}
	if err != nil || response.StatusCode != http.StatusOK {
		s.Fatalf("/metrics answers %v, %v", response, err)
	}
	got := s.read(response)
	series := map[string]float64{}
	for line := range strings.Lines(got.body) {
		if !strings.HasPrefix(line, "gatefold_") {
			continue
		}
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			s.Fatalf("%q: %v", line, err)
		}
		series[name] = value
	}
	return series
}

func TestMetricsCountDecisions(t *testing.T) {
	s, admin := newAdminSite(t)
	name, bearer := s.subscriber()
	link, _ := s.link(keys.LinkClaims{MaxUses: 1})
	before := s.scrape(admin)
	s.get("/public/x").page()
	for range 3 {
		s.get("/articles/hello", name, bearer).page()
	}
	s.get("/articles/hello")
	s.get(link).page()
	s.get(link)
	s.get("/articles/hello?token=" + cutLink)
	after := s.scrape(admin)
	site := `vendor="default"`
	for series, want := range map[string]float64{
		`gatefold_decisions_total{decision="allow",reason="public",site="default",` + site + `}`:        1,
		`gatefold_decisions_total{decision="allow",reason="entitled",site="default",` + site + `}`:      3,
		`gatefold_decisions_total{decision="allow",reason="signed_link",site="default",` + site + `}`:   1,
		`gatefold_decisions_total{decision="deny",reason="login_required",site="default",` + site + `}`: 1,
		`gatefold_decisions_total{decision="deny",reason="link_used_up",site="default",` + site + `}`:   1,
		`gatefold_decisions_total{decision="deny",reason="link_invalid",site="default",` + site + `}`:   1,
		`gatefold_decision_duration_seconds_count{site="default",` + site + `}`:                         8,
		`gatefold_redemptions_total{result="redeemed",site="default",` + site + `}`:                     1,
		`gatefold_redemptions_total{result="used_up",site="default",` + site + `}`:                      1,
		`gatefold_signature_verifications_total{kind="link",result="malformed"}`:                        1,
		`gatefold_self_check_failures_total`:                                                            0,
	} {
		if got := after[series] - before[series]; got != want {
			t.Errorf("%s grew by %v, want %v", series, got, want)
		}
		if _, there := before[series]; !there {
			t.Errorf("%s is missing at the start", series)
		}
	}
	for _, series := range []string{
		`gatefold_cache_hits_total{cache="entitlements"}`, `gatefold_cache_misses_total{cache="reader_tokens"}`,
		`gatefold_signature_verifications_total{kind="reader",result="ok"}`,
		`gatefold_store_operations_total{operation="view",result="ok"}`, `gatefold_store_operations_total{operation="commit",result="ok"}`,
		`gatefold_store_operation_duration_seconds_count{operation="commit"}`,
	} {
		if after[series] <= before[series] {
			t.Errorf("%s did not grow", series)
		}
	}
}

// Counters survive loads that succeed and loads that fail, with two gates in one
// configuration.
func TestMetricsSurviveReloads(t *testing.T) {
	s, admin := newAdminSite(t)
	config := strings.Replace(s.config("", standardRules, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1)
	config += fmt.Sprintf("\nhttp://127.0.0.1:%s {\n\tgatefold {\n\t\tsite second\n\t\trule / any\n\t}\n\trespond ok\n}\n", keystest.FreePort(t))
	const public = `gatefold_decisions_total{decision="allow",reason="public",site="default",vendor="default"}`
	before := s.scrape(admin)[public]
	for i := range 4 {
		s.get("/public/x").page()
		s.load(config)
		if err := load(strings.Replace(config, "store bolt", "secret {env.GATEFOLD_TEST_UNSET}\n\t\tstore bolt", 1)); err == nil {
			t.Fatal("loaded")
		}
		got := s.scrape(admin)
		if got[public] != before+float64(i)+1 {
			t.Errorf("after %d loads the counter is %v", i+1, got[public]-before)
		}
		if _, there := got[strings.ReplaceAll(public, `site="default"`, `site="second"`)]; !there {
			t.Error("the second gate has no series")
		}
	}
}

// Paths, users and tokens that clients invent create no series.
func TestMetricsAreBounded(t *testing.T) {
	s, admin := newAdminSite(t)
	s.get("/public/x").page()
	before := s.scrape(admin)
	s.waitFor("the first check of the file", func() bool {
		before = s.scrape(admin)
		_, checked := before["gatefold_store_checked_timestamp_seconds"]
		return checked
	})
	for i := range 200 {
		s.get(fmt.Sprintf("/articles/%d?token=%d", i, i), "Authorization", fmt.Sprintf("Bearer %d", i), "Host", fmt.Sprintf("127.0.0.1:%s", s.port))
	}
	for series := range s.scrape(admin) {
		if _, there := before[series]; !there {
			t.Errorf("there is a new series: %s", series)
		}
	}
}

// Metrics of publishers' tokens and of fetched key sets.
func TestMetricsOfPublishers(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, shareRules)
	admin := "127.0.0.1:" + keystest.FreePort(t)
	config := strings.Replace(s.config("", shareRules, ""), "admin off", "admin "+admin, 1)
	s.load(strings.Replace(config, "\tgatefold {\n\t\tstore", "\tgatefold {\n\t\t"+p.global()+"\n\t\tstore", 1))
	admin = "http://" + admin
	before := s.scrape(admin)
	s.api(http.MethodPut, "/management/domains/"+partnerDomain, `{"jwksUri":"https://`+partnerDomain+`/jwks?key=secret"}`, http.StatusOK)
	s.get("/articles/hello?share=" + p.share("share_1", "")).page()
	stranger := newPartner(t)
	s.get("/articles/hello?share="+stranger.share("share_2", "")).denied(http.StatusForbidden, "link_invalid")
	p.down()
	s.api(http.MethodPost, "/management/domains/"+partnerDomain+"/probe", "{}", http.StatusOK)
	after := s.scrape(admin)
	verified := `gatefold_publisher_verifications_total{domain="` + partnerDomain + `",result="%s",vendor="default"}`
	for series, want := range map[string]float64{
		fmt.Sprintf(verified, "ok"):                                       1,
		fmt.Sprintf(verified, "signature"):                                1,
		`gatefold_jwks_fetches_total{result="ok"}`:                        1,
		`gatefold_jwks_fetches_total{result="status"}`:                    1,
		`gatefold_jwks_unknown_kid_total{result="asked"}`:                 0,
		`gatefold_jwks_keys{source="https://` + partnerDomain + `/jwks"}`: 1,
	} {
		if got := after[series] - before[series]; got != want {
			t.Errorf("%s grew by %v, want %v", series, got, want)
		}
	}
	if _, ok := after[`gatefold_jwks_age_seconds{source="https://`+partnerDomain+`/jwks"}`]; !ok {
		t.Errorf("the age of the set is missing: %v", after)
	}
	for series := range after {
		if strings.Contains(series, "secret") {
			t.Errorf("%s holds a query", series)
		}
	}
}
