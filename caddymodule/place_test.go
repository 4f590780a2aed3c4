package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

// A mistake that only shows when the configuration is provisioned has the file and the
// line of its option all the same. The line in question ends with `# here`.
func TestProvisioningErrorsHaveAPlace(t *testing.T) {
	t.Setenv("GATEFOLD_SHORT", "short")
	for name, test := range map[string]struct{ global, gate, want string }{
		"audience":             {"", "rule / any\nidentify http_auth\nidentify jwt { # here\nissuer https://id.example.com\n}", "audience is required"},
		"login without scheme": {"", "rule / any\ndeny {\npage x\nlogin id.example.com/login # here\n}", "must be an http or https URL"},
		"unset variable":       {"", "rule / any\nidentify jwt {\nissuer https://id.example.com\naudience {env.GATEFOLD_NONE} # here\n}", "{env.GATEFOLD_NONE} is not set"},
		"unset in a rule":      {"", "rule /a any\nrule /b entitled {env.GATEFOLD_NONE} # here\nrule / any", "{env.GATEFOLD_NONE} is not set"},
		"unset share domain":   {"", "share_domain a.example.com\nshare_domain {env.GATEFOLD_NONE} # here", "{env.GATEFOLD_NONE} is not set"},
		"number of a variable": {"", "link_cookie_ttl {env.GATEFOLD_SHORT} # here", "must be a duration"},
		"vendor of a variable": {"", "site a\nvendor {env.HOME} # here", "lower-case"},
		"jwks":                 {"", "identify jwt {\naudience a\nissuer https://id.example.com\njwks /nonexistent/jwks.json # here\n}", "no such file"},
		"issuer of ours":       {"", "identify jwt {\naudience a\nissuer gatefold:default # here\n}", "write issuer self"},
		"page of denials":      {"", "deny {\npage /nonexistent/page.html # here\n}", "no such file"},
		"local without routes": {"", "rule /a any\nrule /b any { # here\nlocal\n}\nrule / any", "no local routes"},
		"parameters alike":     {"", "share_param token # here", "different names"},
		"secret":               {"secret {env.GATEFOLD_NONE} # here", "rule / any", "not set"},
		"short secret":         {"stale_for 1m\nsecret {env.GATEFOLD_SHORT} # here", "rule / any", "openssl rand"},
		"cache of a variable":  {"cache_size {env.GATEFOLD_SHORT} # here", "rule / any", "must be a size"},
		"authorities":          {"jwks {\ncooldown 1m\nca /nonexistent/ca.pem # here\n}", "rule / any", "no such file"},
		"redis without secret": {"store redis redis://127.0.0.1:1 # here", "rule / any", "a secret is required"},
		"database":             {"store bolt /proc/version # here", "rule / any", "store: "},
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf("{\n\tadmin off\n\tgatefold {\n%s\n\t}\n}\nhttp://127.0.0.1:1 {\n\tgatefold {\n%s\n\t}\n}\n", test.global, test.gate)
			before, _, _ := strings.Cut(text, "# here")
			place := fmt.Sprintf("Caddyfile:%d: ", 1+strings.Count(before, "\n"))
			err := load(strings.ReplaceAll(text, " # here", ""))
			if err == nil || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %s… %s", err, place, test.want)
			}
		})
	}
	for name, test := range map[string]struct{ site, want string }{
		"issuer of the API": {"http://127.0.0.1:1 {\n\tgatefold_api {\n\t\tissuer self\n\t\tissuer urn:id {\n\t\t\taudience a\n\t\t\tjwks /nonexistent\n\t\t}\n\t}\n}\n", "Caddyfile:6: "},
		"API without TLS":   {"http://:1 {\n\tgatefold_api\n}\n", "Caddyfile:2: "},
		"keys of a vendor":  {"http://127.0.0.1:1 {\n\tgatefold_keys {env.GATEFOLD_NONE}\n}\n", "Caddyfile:2: "},
		"a snippet":         {"(gate) {\n\tgatefold {\n\t\tshare_param token\n\t}\n}\nhttp://127.0.0.1:1 {\n\timport gate\n}\n", "Caddyfile:3: "},
	} {
		if err := load(test.site); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want %s", name, err, test.want)
		}
	}
}
