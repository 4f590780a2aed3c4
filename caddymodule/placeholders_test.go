package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/keys/keystest"
)

// An operator keeps the database's path in the environment. Once `store bolt {env.DB}`
// made a database of that literal name in the working directory.
func TestDatabaseFromTheEnvironment(t *testing.T) {
	database := filepath.Join(t.TempDir(), "state.db")
	t.Setenv("GATEFOLD_DB", database)
	t.Cleanup(func() { _ = caddy.Stop() })
	config := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tgatefold {\n\t\tstore bolt {env.GATEFOLD_DB}\n\t}\n}\nhttp://127.0.0.1:%s {\n\tgatefold {\n\t\trule / any\n\t}\n\trespond ok\n}\n", keystest.FreePort(t))
	if err := load(config); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(database); err != nil {
		t.Errorf("the database is not where the variable says: %v", err)
	}
	if literal, _ := filepath.Glob("*env.GATEFOLD_DB*"); len(literal) > 0 {
		t.Errorf("the working directory has %q", literal)
	}
	adapted, err := adapt(config)
	if err != nil || !strings.Contains(string(adapted), `"file":"{env.GATEFOLD_DB}"`) {
		t.Errorf("the configuration does not keep the placeholder: %s, %v", adapted, err)
	}
}

// placeholderPlaces are Caddyfiles with a placeholder X in one argument: every argument
// that is no keyword and no path of a rule.
func placeholderPlaces(port string) map[string]string {
	places := map[string]string{}
	for name, lines := range map[string]string{
		"bolt": "store bolt X", "cache_size": "cache_size X", "secret": "secret X", "jwks allow": "jwks {\nallow X\n}", "jwks ca": "jwks {\nca X\n}",
		"stale_if_error": "jwks {\nstale_if_error X\n}", "cooldown": "jwks {\ncooldown X\n}",
		"redis url": "store redis redis://X:6379", "whole redis url": "store redis X",
		"stale_for": "stale_for X", "stream_grace": "stream_grace X", "redis user": "store redis redis://127.0.0.1:1 {\nuser X\n}", "redis password": "store redis redis://127.0.0.1:1 {\npassword X\n}",
		"sentinel_password": "store redis redis://127.0.0.1:1 {\nsentinel_password X\n}", "prefix": "store redis redis://127.0.0.1:1 {\nprefix X\n}",
		"pool_size": "store redis redis://127.0.0.1:1 {\npool_size X\n}", "timeout": "store redis redis://127.0.0.1:1 {\ntimeout X\n}",
		"redeem_timeout": "store redis redis://127.0.0.1:1 {\nredeem_timeout X\n}",
		"dial_timeout":   "store redis redis://127.0.0.1:1 {\ndial_timeout X\n}", "ack_replicas": "store redis redis://127.0.0.1:1 {\nack_replicas X\n}",
		"ack timeout": "store redis redis://127.0.0.1:1 {\nack_replicas 1 X\n}", "authority": "store redis rediss://127.0.0.1:1 {\ntls {\nauthority X\n}\n}",
		"certificate": "store redis rediss://127.0.0.1:1 {\ntls {\ncertificate X b\n}\n}", "server_name": "store redis rediss://127.0.0.1:1 {\ntls {\nserver_name X\n}\n}",
	} {
		if strings.Contains(lines, "redis") && name != "secret" {
			lines += "\nsecret {env.GATEFOLD_TEST_SECRET}"
		}
		places[name] = fmt.Sprintf("{\nadmin off\nauto_https off\ngatefold {\n%s\n}\n}\nhttp://127.0.0.1:%s {\ngatefold {\nrule / any\n}\n}\n", lines, port)
	}
	gate := map[string]string{
		"vendor": "vendor X", "site": "site X", "link_param": "link_param X", "link_cookie_ttl": "link_cookie_ttl X", "share_param": "share_param X",
		"share_domain": "share_domain X", "login": "deny {\nlogin X\n}", "issuer": "identify jwt {\nissuer X\naudience a\n}",
		"audience": "identify jwt {\nissuer https://a.example\naudience X\n}", "jwks": "identify jwt {\nissuer https://a.example\naudience a\njwks X\n}",
		"cookie": "identify jwt {\nissuer self\ncookie X\n}", "claim": "identify jwt {\nissuer https://a.example\naudience a\nclaim email X\n}",
		"claim field": "identify jwt {\nissuer https://a.example\naudience a\nclaim X email\n}",
		"sku":         "rule /a/{id} entitled X {id}", "step": "rule /a {\nauthenticated\nentitled X\n}", "engage": "rule /a {\nany\nengage X\n}",
	}
	site := map[string]string{
		"keys vendor": "gatefold_keys X", "api issuer": "gatefold_api {\nissuer X {\naudience a\n}\n}", "api audience": "gatefold_api {\nissuer https://a.example {\naudience X\n}\n}",
		"api jwks": "gatefold_api {\nissuer https://a.example {\naudience a\njwks X\n}\n}", "cors": "gatefold_api {\ncors X\n}",
		"entry point allow": "reverse_proxy {\ndynamic gatefold {\nallow X\n}\n}", "entry point ca": "reverse_proxy {\ndynamic gatefold {\nca X\n}\n}",
	}
	for name, lines := range gate {
		site[name] = "gatefold {\n" + lines + "\nrule / any\n}"
	}
	for name, lines := range site {
		places[name] = fmt.Sprintf("{\nadmin off\nauto_https off\ngatefold {\nstore bolt {env.GATEFOLD_TEST_DB}\n}\n}\nhttp://127.0.0.1:%s {\n%s\n}\n", port, lines)
	}
	return places
}

// A placeholder without a value fails the load in every argument, and the error names
// it. The adapted configuration keeps it.
func TestUnsetPlaceholders(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_SECRET", "0123456789abcdef0123456789abcdef")
	t.Setenv("GATEFOLD_TEST_DB", filepath.Join(t.TempDir(), "gatefold.db"))
	t.Cleanup(func() { _ = caddy.Stop() })
	places := placeholderPlaces(keystest.FreePort(t))
	for name, config := range places {
		t.Run(name, func(t *testing.T) {
			for _, placeholder := range []string{"{env.GATEFOLD_UNSET}", "{file./nonexistent/x}"} {
				text := strings.ReplaceAll(config, "X", placeholder)
				adapted, err := adapt(text)
				if err != nil {
					t.Fatalf("it is not adapted: %v", err)
				}
				if !strings.Contains(string(adapted), placeholder) {
					t.Errorf("the adapted configuration has no %s: %s", placeholder, adapted)
				}
				if err := load(text); err == nil || !strings.Contains(err.Error(), placeholder+" is not set") {
					t.Errorf("the error is %v, want %s is not set", err, placeholder)
				}
			}
		})
	}
}

// The value of a placeholder is checked as the argument itself is.
func TestValuesOfPlaceholdersAreChecked(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_SECRET", "0123456789abcdef0123456789abcdef")
	t.Setenv("GATEFOLD_TEST_DB", filepath.Join(t.TempDir(), "gatefold.db"))
	t.Cleanup(func() { _ = caddy.Stop() })
	places := placeholderPlaces(keystest.FreePort(t))
	for name, test := range map[string]struct{ value, want string }{
		"vendor":            {"Acme", `vendor: "Acme" must be lower-case letters, digits and hyphens`},
		"site":              {"a b", `site: "a b" must be lower-case`},
		"keys vendor":       {"Acme", `vendor: "Acme" must be lower-case`},
		"link_param":        {"a b", `link_param: "a b" must be letters, digits, - and _`},
		"share_param":       {"token", "give them different names"},
		"share_domain":      {"a/b", `share_domain: "a/b"`},
		"link_cookie_ttl":   {"tomorrow", "must be a duration above zero, such as"},
		"login":             {"javascript:alert(1)", "http or https"},
		"cache_size":        {"10B", "must be at least 1MiB"},
		"stale_if_error":    {"9000h", "at most 720h"},
		"cooldown":          {"1ms", "from 1s to 1h"},
		"jwks allow":        {"here", `"here" is neither an address`},
		"pool_size":         {"0", "must be a number above zero"},
		"ack_replicas":      {"101", "from 1 to 100"},
		"whole redis url":   {"http://user:hunter2@h", "unknown scheme"},
		"claim field":       {"admin", "claim admin: unknown"},
		"cors":              {"nowhere", `cors: "nowhere"`},
		"entry point allow": {"127.0.0.1", "add the port"},
		"engage":            {"a,b", "a comma"},
		"issuer":            {"gatefold:default", "issuer self"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GATEFOLD_SET", test.value)
			err := load(strings.ReplaceAll(places[name], "X", "{env.GATEFOLD_SET}"))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

// A rule's sku from the environment decides, beside what the path captured.
func TestSKUFromTheEnvironment(t *testing.T) {
	t.Setenv("GATEFOLD_SKU", "gold")
	s := newTestSite(t, "identify jwt {\nissuer self\n}\nrule /articles/{id} entitled {env.GATEFOLD_SKU} {id}\nrule / any")
	rules := ruleconfig.Ranked(s.app().gates.list()[0].Rules)
	if got := string(rules[0].Allow.Arguments["sku"]); got != `["gold","{id}"]` {
		t.Errorf("the rule asks for %s", got)
	}
}
