package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys/keystest"
)

// promtool runs Prometheus's promtool, which `make test` puts on the path.
func promtool(t *testing.T, dir, input string, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: run `make test`, or `.ci/promtool <folder>` and put the folder on the path", err)
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// startWithOthersKeys starts a server with an issuer, whose keys it fetches, and a
// publisher with a pinned key. It returns a token that the publisher signed for
// /articles/hello.
func startWithOthersKeys(t *testing.T) (s *server, share string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwks := keystest.NewKeyHost(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig"}}})
	s = newServer(t)
	// The process trusts the server's certificate, and no other.
	s.variables = []string{"SSL_CERT_FILE=" + jwks.WriteRoots(t)}
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "\tgatefold {\n\t\tidentify",
		"\tgatefold {\n\t\tshare_domain partner.example\n\t\tcrawler finder {\n\t\t\tranges "+
			s.write("finder.txt", "127.0.0.0/8\n")+"\n\t\t\tagent Finderbot\n\t\t}\n\t\trule /found/{id} crawler finder\n"+
			"\t\trule /metered/{publisherContentId} metered free 1 per day\n\t\tidentify jwt {\n\t\t\tissuer https://id.example\n\t\t\tjwks "+jwks.URL+
			"/jwks.json\n\t\t\taudience news\n\t\t}\n\t\tidentify", 1))
	s.start()
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.must("domain", "put", "partner.example", "--allow", "hello",
		"--key", s.write("partner.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))))
	claims, err := json.Marshal(map[string]any{
		"type": "dca-share", "domain": "partner.example", "resourceId": "hello", "contentNames": []string{"bodytext"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	share, err = signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s, share
}

// elsewhere are metrics of a shared store, of backups, and of what is measured after a while, which this server does not have. caddymodule's tests check them.
var elsewhere = []string{
	"gatefold_store_state", "gatefold_feed_lag_seconds", "gatefold_clock_ahead_seconds", "gatefold_backup_age_seconds", "gatefold_store_disk_used_ratio",
	"gatefold_snapshot_bytes", "gatefold_snapshot_age_seconds", "gatefold_snapshot_usable", "gatefold_snapshot_changed_ratio",
}

var ourMetric = regexp.MustCompile(`gatefold_[a-z_]+`)

// The scraped metrics are well formed, and include every one that the documents, the
// alerts and the dashboard name.
func TestMetricsAndWhatIsMadeOfThem(t *testing.T) {
	t.Parallel()
	s, publisher := startWithOthersKeys(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")
	s.get(link)
	s.get(link)
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+s.must("token", "reader", "--user", "u"))
	s.get(s.site+"/articles/hello?share="+publisher).expect(t, http.StatusOK, "")
	s.get(s.site+"/found/one", "User-Agent", "Finderbot/1.0").expect(t, http.StatusOK, "")
	s.get(s.site+"/found/one", "User-Agent", "curl/8").expect(t, http.StatusUnauthorized, "login_required")
	for i, status := range []int{http.StatusOK, http.StatusForbidden, http.StatusForbidden} {
		s.get(fmt.Sprintf("%s/metered/%d", s.site, i), "Authorization", "Bearer "+s.must("token", "reader", "--user", "m")).expect(t, status, "")
	}
	var body string
	s.waitFor("the issuer's keys are there", func() bool {
		body = s.get("http://" + s.admin + "/metrics").body
		return strings.Contains(body, "gatefold_jwks_age_seconds{")
	})
	var ours strings.Builder
	families := map[string]bool{}
	for line := range strings.Lines(body) {
		if !strings.Contains(line, "gatefold_") {
			continue
		}
		ours.WriteString(line)
		if kind, found := strings.CutPrefix(line, "# TYPE "); found {
			name, _, _ := strings.Cut(kind, " ")
			families[name] = true
		}
	}
	for _, series := range []string{
		`gatefold_crawler_requests_total{crawler="finder",site="default",vendor="default"} 1`,
		`gatefold_decisions_total{decision="allow",reason="crawler",site="default",vendor="default"} 1`,
		`gatefold_meter_views_total{result="counted",site="default",vendor="default"} 1`,
		`gatefold_decisions_total{decision="allow",reason="metered",site="default",vendor="default"} 1`,
		`gatefold_decisions_total{decision="deny",reason="meter_used_up",site="default",vendor="default"} 2`,
	} {
		if !strings.Contains(ours.String(), series+"\n") {
			t.Errorf("the metrics do not have %s", series)
		}
	}
	if len(families) < 10 {
		t.Fatalf("only these were scraped: %v", families)
	}
	if out := promtool(t, ".", ours.String(), "check", "metrics"); strings.TrimSpace(out) != "" {
		t.Errorf("promtool says\n%s", out)
	}
	promtool(t, "../../docs", "", "check", "rules", "alerts.yml")
	promtool(t, "../../docs", "", "test", "rules", "alerts_test.yml")

	for _, file := range []string{"alerts.yml", "alerts_test.yml", "grafana.json", "observability.md"} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range ourMetric.FindAllString(string(text), -1) {
			family := name
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				family = strings.TrimSuffix(family, part)
			}
			if !families[family] && !families[name] && !slices.Contains(elsewhere, family) {
				t.Errorf("%s speaks of %s, which no server has", file, name)
			}
		}
		if file == "grafana.json" && !json.Valid(text) {
			t.Errorf("%s is not JSON", file)
		}
		if file == "observability.md" {
			for family := range families {
				if !strings.Contains(string(text), "`"+family+"`") {
					t.Errorf("%s does not describe %s", file, family)
				}
			}
		}
	}
}
