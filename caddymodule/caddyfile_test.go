package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys/keystest"
)

// adapt turns a Caddyfile into JSON, as `caddy adapt` does.
func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// An error in a Caddyfile fails the load. The message has file, line and remedy.
func TestCaddyfileBadInput(t *testing.T) {
	site := func(lines string) string { return "http://localhost:1 {\n\tgatefold {\n" + lines + "\n\t}\n}\n" }
	global := func(lines string) string { return "{\n\tgatefold {\n" + lines + "\n\t}\n}\n" }
	tests := []struct{ name, text, want string }{
		{"unknown subdirective", site("rules x"), `unknown option "rules"; known are vendor, site, link_param, link_cookie_ttl, link_device_window, link_country_header, link_networks, deny, paths, identify, local, rule, share_param, share_domain`},
		{"a matcher", "http://localhost:1 {\n\tgatefold /articles/* {\n}\n}\n", "takes no matcher"},
		{"a named matcher", "http://localhost:1 {\n\t@a path /a\n\tgatefold @a {\n}\n}\n", "takes no matcher"},
		{"vendor twice", site("vendor a\nvendor b"), "vendor is given twice"},
		{"vendor in capitals", site("vendor Acme"), "lower-case"},
		{"vendor missing", site("vendor"), "wrong argument count"},
		{"site of two words", site("site a b"), "wrong argument count"},
		{"unknown operator", site("rule / everybody"), "everybody"},
		{"operator missing", site("rule /"), "write `rule"},
		{"methods without operator", site("rule / GET,HEAD"), "operator is missing"},
		{"entitled without sku", site("rule / entitled"), "sku"},
		{"any with an argument", site("rule / any premium"), "sku"},
		{"sku of an unknown capture", site("rule /a/{id} entitled {other}"), "other"},
		{"caddy's own placeholder", site("rule /a/{path} entitled x"), "choose another name"},
		{"unknown source", site("identify oauth"), `unknown source "oauth"`},
		{"jwt without issuer", site("identify jwt"), "issuer is missing"},
		{"unknown jwt option", site("identify jwt {\nissuer self\nsecret x\n}"), `unknown option "secret"`},
		{"unknown claim field", site("identify jwt {\nissuer self\nclaim admin role\n}"), "admin"},
		{"option of http_auth", site("identify http_auth {\nissuer self\n}"), `unknown option "issuer"; known are header, copied`},
		{"header without user", site("identify http_auth {\nheader email Remote-Email\n}"), "header user_id is missing"},
		{"copied without user", site("identify http_auth {\ncopied Remote-Groups\n}"), "header user_id is missing"},
		{"header of no field", site("identify http_auth {\nheader user_id Remote-User\nheader name X\n}"), "header name: unknown; known are user_id, email, publisher_user_id"},
		{"header that requests need", site("identify http_auth {\nheader user_id Authorization\n}"), "requests need this header as it is"},
		{"header of the gate", site("identify http_auth {\nheader user_id X-Gatefold-User\n}"), "requests need this header as it is"},
		{"header with a space", site("identify http_auth {\nheader user_id \"Remote User\"\n}"), "is not the name of a header"},
		{"header in two spellings", site("identify http_auth {\nheader user_id Remote-User\ncopied Remote_User\n}"), "is given twice"},
		{"header twice", site("identify http_auth {\nheader user_id A\nheader user_id B\n}"), "header user_id is given twice"},
		{"link_cookie_ttl in words", site("link_cookie_ttl tomorrow"), "24h"},
		{"link_cookie_ttl of nothing", site("link_cookie_ttl 0s"), "at least 1s"},
		{"the former name of link_cookie_ttl", site("session_ttl 24h"), "session_ttl is now link_cookie_ttl"},
		{"option twice in a rule", site("rule / any {\nengage a\nengage b\n}"), "rule /: engage is given twice"},
		{"claim twice", site("identify jwt {\nissuer self\nclaim user_id a\nclaim user_id b\n}"), "claim user_id is given twice"},
		{"store without an engine", global("store"), "store bolt [<file>]"},
		{"link_param with a space", site(`link_param "a b"`), "letters, digits"},
		{"unknown deny option", site("deny {\nredirect x\n}"), `unknown option "redirect"`},
		{"unknown rule option", site("rule / any {\nremote\n}"), `unknown option "remote"`},
		{"routes in a rule", site("rule / any {\nlocal /x\n}"), "once for the site"},
		{"engage nothing", site("rule / any {\nengage\n}"), "wrong argument count"},
		{"a tag of two", site("rule / any {\nengage a,b\n}"), "a comma"},
		{"local twice", site("local {\n}\nlocal {\n}"), "local is given twice"},
		{"unknown local directive", site("local {\nserve x\n}"), "serve"},
		{"unknown path form", site("paths {\njudge rewritten\n}"), `judge: "rewritten" is unknown; known are current, received`},
		{"case_sensitive with an argument", site("paths {\ncase_sensitive off\n}"), "argument"},
		{"unknown path trait", site("paths {\nallow dots\n}"), `"dots" is unknown; known are empty_segments`},
		{"global unknown option", global("cache 1MiB"), `unknown option "cache"`},
		{"global twice", "{\n\tgatefold\n\tdebug\n\tgatefold\n}\n", "given twice"},
		{"unknown engine", global("store mysql x"), `unknown engine "mysql"`},
		{"redis without a URL", global("store redis"), "redis://host:6379"},
		{"unknown redis option", global("store redis redis://h {\ncolour red\n}"), `unknown option "colour"`},
		{"redis option twice", global("store redis redis://h {\nprefix a\nprefix b\n}"), "prefix is given twice"},
		{"redis password in the open", global("store redis redis://h {\npassword hunter2\n}"), "{env.NAME}"},
		{"redis password in the URL", global("store redis redis://:hunter2@h"), "{env.NAME}"},
		{"redis pool of none", global("store redis redis://h {\npool_size 0\n}"), "above zero"},
		{"redis timeout in words", global("store redis redis://h {\ntimeout soon\n}"), "500ms"},
		{"redis replicas", global("store redis redis://h {\nack_replicas all\n}"), "from 1 to 100"},
		{"redis certificate alone", global("store redis rediss://h {\ntls {\ncertificate x\n}\n}"), "its key"},
		{"unknown tls option", global("store redis rediss://h {\ntls {\ninsecure\n}\n}"), `unknown option "insecure"`},
		{"settings of bolt", global("store bolt /tmp/x {\nprefix a\n}"), "it takes none"},
		{"stale_for of nothing", global("stale_for 0s"), "above zero"},
		{"backup without a directory", global("backup"), "backup <directory> every 6h keep 14"},
		{"backup of words", global("backup /b often"), `"often" is unknown`},
		{"backup every nothing", global("backup /b every"), `"every" is unknown, or has no value`},
		{"backup of a negative number", global("backup /b keep -1"), "-1"},
		{"stream_grace of nothing", global("stream_grace 10ms"), "1s"},
		{"stream_grace of an hour", global("stream_grace 1h"), "5m"},
		{"secret in the open", global("secret hunter2hunter2hunter2"), "{env.NAME}"},
		{"small cache", global("cache_size 10KiB"), "64MiB"},
		{"cache without a unit", global("cache_size 64"), `"64" has no unit: write 64MiB`},
		{"methods in lower case", site("rule /a get,Post any"), `"get,Post" are no methods: write them in upper case, in one word, separated by commas: GET,POST`},
		{"methods with a comma too many", site("rule /a GET, any"), "separated by commas: GET"},
		{"a host with its scheme", site("hosts https://news.example.com"), "must be a host name, such as news.example.com"},
		{"a host with its port", site("hosts news.example.com:8080"), "must be a host name"},
		{"a host in a sentence", site("hosts news.example.com, www.example.com"), "must be a host name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := adapt(test.text)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("the error is %q, want %q and the line", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// Settings that contradict each other or the files they name fail the load.
func TestContradictorySettings(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.json")
	if err := os.WriteFile(empty, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ gate, want string }{
		"self with jwks":       {"identify jwt {\nissuer self\njwks x\n}", "jwks"},
		"without audience":     {"identify jwt {\nissuer https://id.example.com\njwks " + empty + "\n}", "audience is required"},
		"without jwks":         {"identify jwt {\nissuer urn:id\naudience a\n}", "jwks is required"},
		"jwks without TLS":     {"identify jwt {\nissuer https://id.example.com\naudience a\njwks http://id.example.com/jwks\n}", "not an https URL"},
		"issuer without TLS":   {"identify jwt {\nissuer http://id.example.com\naudience a\n}", "not an https URL"},
		"share and link alike": {"share_param token", "different names"},
		"jwks that is absent":  {"identify jwt {\nissuer https://id.example.com\naudience a\njwks " + dir + "/none\n}", "no such file"},
		"jwks without keys":    {"identify jwt {\nissuer https://id.example.com\naudience a\njwks " + empty + "\n}", "no usable key"},
		"our name":             {"identify jwt {\nissuer gatefold:default\naudience a\njwks " + empty + "\n}", "issuer self"},
		"login of nowhere":     {"deny {\nlogin javascript:alert(1)\n}", "http or https"},
		"login elsewhere":      {"deny {\nlogin //evil.example/login\n}", "http or https"},
		"local without routes": {"rule /x any {\nlocal\n}", "no local routes"},
		"errors and login":     {"deny {\nerrors\nlogin /login\n}", "exclude one another"},
	} {
		t.Run(name, func(t *testing.T) {
			err := load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tgatefold {\n\t\tstore bolt %s\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n\t\t%s\n\t\trule / any\n\t}\n}\n",
				filepath.Join(dir, "gatefold.db"), keystest.FreePort(t), test.gate))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
			if users, open := openstore.Pool.References(filepath.Join(dir, "gatefold.db")); open {
				t.Errorf("the failed load left %d users of the database", users)
			}
		})
	}
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
}

// A Caddyfile with every subdirective gives this JSON.
func TestCaddyfileGrammar(t *testing.T) {
	config, err := adapt(`{
	gatefold {
		store bolt /tmp/x.db
		secret {env.GATEFOLD_SECRET}
		cache_size 32MiB
	}
}

http://localhost:1 {
	respond "page"
	gatefold {
		vendor acme
		site news
		identify jwt {
			issuer self
			cookie reader
		}
		identify jwt {
			issuer https://id.example.com
			jwks /etc/jwks.json
			audience news
			claim user_id uid
		}
		identify http_auth
		rule /articles/{publisherContentId} GET,POST entitled premium {publisherContentId}
		rule noslash authenticated
		rule /{open any
		rule /pre{x} any
		rule /old/:name any
		rule / any
		link_param t
		link_cookie_ttl 2d
		deny {
			login https://id.example.com/login
		}
		paths {
			allow empty_segments
			allow encoded_slash parameters
		}
	}
	forward_auth localhost:2 {
		uri /x
	}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Apps struct {
			Gatefold json.RawMessage
			HTTP     struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []struct {
							Routes []struct{ Handle []json.RawMessage }
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(config, &got); err != nil {
		t.Fatal(err)
	}
	equal := func(what string, got json.RawMessage, want string) {
		t.Helper()
		var a, b map[string]any
		if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil || a["places"] == nil {
			t.Errorf("%s is\n%s", what, got)
		}
		if delete(a, "places"); !reflect.DeepEqual(a, b) {
			t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
		}
	}
	equal("the app", got.Apps.Gatefold, `{"store":{"engine":"bolt","file":"/tmp/x.db"},"secret":"{env.GATEFOLD_SECRET}","cache_size":33554432}`)
	var handlers []json.RawMessage
	for _, route := range got.Apps.HTTP.Servers["srv0"].Routes {
		for _, handle := range route.Handle {
			for _, inner := range handle.Routes {
				handlers = append(handlers, inner.Handle...)
			}
		}
	}
	// The directive's order: after forward_auth, before the handlers that respond.
	if len(handlers) != 3 || !strings.Contains(string(handlers[0]), "reverse_proxy") || !strings.Contains(string(handlers[2]), "static_response") {
		t.Fatalf("the order is %s", handlers)
	}
	equal("the handler", handlers[1], `{
		"handler": "gatefold", "vendor": "acme", "site": "news",
		"identify": [
			{"source": "jwt", "issuer": "self", "cookie": "reader"},
			{"source": "jwt", "issuer": "https://id.example.com", "jwks": "/etc/jwks.json", "audience": "news", "claims": {"user_id": "uid"}},
			{"source": "http_auth"}
		],
		"rules": [
			{"path": "/articles/{publisherContentId}", "methods": ["GET", "POST"], "operator": "entitled", "arguments": {"sku": ["premium", "{publisherContentId}"]}, "origin": "Caddyfile:25"},
			{"path": "noslash", "operator": "authenticated", "origin": "Caddyfile:26"},
			{"path": "/{open", "operator": "any", "origin": "Caddyfile:27"},
			{"path": "/pre{x}", "operator": "any", "origin": "Caddyfile:28"},
			{"path": "/old/:name", "operator": "any", "origin": "Caddyfile:29"},
			{"path": "/", "operator": "any", "origin": "Caddyfile:30"}
		],
		"link_param": "t", "link_cookie_ttl": 172800000000000,
		"deny": {"login": "https://id.example.com/login"},
		"paths": {"empty_segments": true, "encoded_slash": true, "parameters": true}
	}`)
}

// JSON with the former name of link_cookie_ttl fails the load with the new name.
func TestFormerNameInJSON(t *testing.T) {
	config, err := adapt(fmt.Sprintf("{\n\tadmin off\n\tgatefold {\n\t\tstore bolt %s\n\t}\n}\n\nhttp://127.0.0.1:1 {\n\tgatefold {\n\t\tlink_cookie_ttl 24h\n\t}\n}\n",
		filepath.Join(t.TempDir(), "gatefold.db")))
	if err != nil {
		t.Fatal(err)
	}
	former := bytes.Replace(config, []byte("link_cookie_ttl"), []byte("session_ttl"), 1)
	if err := caddy.Load(former, true); err == nil || !strings.Contains(err.Error(), "session_ttl is now link_cookie_ttl") {
		t.Errorf("the error is %v", err)
	}
}

// A rule that never decides is logged with its line and that of the rule before it.
func TestHiddenRuleIsReported(t *testing.T) {
	newTestSite(t, "rule / any\n\t\trule /articles entitled premium")
	for _, entry := range logged.entries(t, "http.handlers.gatefold") {
		if entry["level"] == "warn" && entry["rule"] == "/articles" && entry["hidden_by"] == "/" &&
			strings.HasPrefix(entry["at"].(string), "Caddyfile:") && entry["at"] != entry["hidden_by_at"] {
			return
		}
	}
	t.Errorf("no warning:\n%s", logged)
}
