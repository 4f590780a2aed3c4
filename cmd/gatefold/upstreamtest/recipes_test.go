package upstreamtest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// recipe is the section of docs/recipes.md with a heading, while its site runs.
type recipe struct {
	*initSite
	text       string
	substitute *strings.Replacer
}

// section returns a section of docs/recipes.md.
func section(t *testing.T, heading string) string {
	t.Helper()
	return sectionOf(t, "docs/recipes.md", heading)
}

// sectionOf returns a section of a document.
func sectionOf(t *testing.T, file, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(document(t, file), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", file, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// block returns the first block of a language in a section.
func block(t *testing.T, text, language string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("there is no block of %s in\n%s", language, text)
	}
	return found[1]
}

// startRecipe runs the Caddyfile of a section of docs/recipes.md. Only addresses, folders
// and the place of the store differ from what is written: pairs are old and new.
// Validate accepts it without a warning.
func startRecipe(t *testing.T, heading string, variables []string, pairs ...string) *recipe {
	t.Helper()
	return startSection(t, section(t, heading), "http", variables, pairs...)
}

// startSection is startRecipe for the text of a section, on http or, with a certificate of
// Caddy's own authority, on https.
func startSection(t *testing.T, text, scheme string, variables []string, pairs ...string) *recipe {
	t.Helper()
	return startSectionAt(t, text, place{scheme: scheme, host: "localhost"}, variables, pairs...)
}

// place is where a section's site runs. Its store is an embedded database if it names none.
type place struct{ scheme, host, store string }

// startSectionAt is startSection at a place.
func startSectionAt(t *testing.T, text string, at place, variables []string, pairs ...string) *recipe {
	t.Helper()
	ports := keystest.FreePorts(t, 2)
	g := &gate{t: t, dir: t.TempDir(), admin: "127.0.0.1:" + ports[0]}
	site := at.scheme + "://" + at.host + ":" + ports[1]
	r := &recipe{initSite: &initSite{gate: g, address: site}, text: text}
	begin, automation := site+" {", "auto_https off"
	if at.scheme == "https" {
		begin, automation = begin+"\n\ttls internal", "auto_https disable_redirects\n\tskip_install_trust"
	}
	r.substitute = strings.NewReplacer(append(pairs, "\nnews.example.com {", "\n"+begin, "https://news.example.com", site, "localhost:2019", g.admin)...)
	config := "\n" + block(t, r.text, "caddyfile")
	if !strings.HasPrefix(config, "\n{\n") {
		config = "\n{\n}\n" + config
	}
	store := cmp.Or(at.store, "bolt "+filepath.Join(g.dir, "gatefold.db"))
	options := fmt.Sprintf("{\n\tadmin %s\n\t%s\n\tpersist_config off\n\tgatefold {\n\t\tstore %s\n\t}\n", g.admin, automation, store)
	g.config = write(t, g.dir, "Caddyfile", strings.Replace(r.substitute.Replace(config), "{\n", options, 1))
	environment := append(g.environment(), variables...)
	g.process = run(t, g.dir, environment, binary, "run", "--config", g.config)
	g.process.waitFor(t, "the commands work", func() error {
		_, err := g.command("status", "--wait")
		return err
	})
	if log := g.process.log.String(); strings.Contains(log, "a mistake in the routes of a site") {
		t.Errorf("the site is loaded with a warning:\n%s", log)
	}
	return r
}

// wants gets a page, and compares the status and a part of the body.
func (r *recipe) wants(target string, status int, part string, headers ...string) {
	r.t.Helper()
	got, body, _ := r.get(r.address+target, headers...)
	if got != status || !strings.Contains(body, part) || status >= 400 && strings.Contains(body, "SECRET") {
		r.t.Errorf("%s with %q is %d %s, not %d with %q", target, headers, got, body, status, part)
	}
}

const secretHello = "SECRET-ARTICLE:hello;"

// Strangers read what is public, subscribers their articles, and no spelling of an
// article's address opens it.
func TestRecipesOfOrigins(t *testing.T) {
	node, python, fpm := startNode(t), startPython(t), startFPM(t)
	upstream := func(o origin) string { return strings.TrimPrefix(o.handler, "reverse_proxy ") }
	folder, socket, _ := strings.Cut(strings.TrimPrefix(fpm[0].handler, "root "), "\n\tphp_fastcgi ")
	for heading, pairs := range map[string][]string{
		"Express":                {"localhost:3000", upstream(node[0])},
		"Django":                 {"localhost:8000", upstream(python[0])},
		"A PHP front controller": {"/srv/news/public", folder, "unix//run/php/php-fpm.sock", socket},
		"A static site":          {"/srv/news", pages(t)},
	} {
		t.Run(heading, func(t *testing.T) {
			r := startRecipe(t, heading, nil, pairs...)
			slash := ""
			if heading == "A static site" {
				slash = "/"
			}
			r.wants("/", http.StatusOK, "PUBLIC-PAGE")
			for _, closed := range []string{"/articles/hello", "/articles/hello/", "/ARTICLES/hello" + slash, "/account" + slash} {
				r.wants(closed, http.StatusUnauthorized, "login_required")
			}
			for _, closed := range []string{"/index.php/articles/hello", "//articles/hello", "/x/..%2Farticles/hello"} {
				r.wants(closed, http.StatusBadRequest, "bad_path")
			}
			premium, other := r.reader("user-premium", "premium"), r.reader("user-other", "other")
			r.wants("/articles/hello"+slash, http.StatusOK, secretHello, premium)
			r.wants("/articles/hello"+slash, http.StatusForbidden, "not_entitled", other)
			r.wants("/account"+slash, http.StatusOK, "SECRET-ACCOUNT", other)
		})
	}
}

// A provider's token counts in the cookie and as a header; one for another site does not.
func TestRecipeOfIdentityProvider(t *testing.T) {
	provider := startIssuer(t)
	origin := startGo(t)[0]
	r := startRecipe(t, "Tokens of an identity provider", []string{"SSL_CERT_FILE=" + provider.WriteRoots(t)},
		"https://id.example.com", provider.URL, "localhost:3000", strings.TrimPrefix(origin.handler, "reverse_proxy "))
	token, foreign := provider.mustToken(t, "reader-1001", "news"), provider.mustToken(t, "reader-1001", "shop")
	r.wants("/articles/hello", http.StatusForbidden, "not_entitled", "Cookie: id_token="+token)
	r.must("grant", "add", "--user", "reader-1001", "--sku", "premium")
	r.wants("/articles/hello", http.StatusOK, secretHello, "Cookie: id_token="+token)
	r.wants("/articles/hello", http.StatusOK, secretHello, "Authorization: Bearer "+token)
	r.wants("/articles/hello", http.StatusUnauthorized, "bad_credential", "Authorization: Bearer "+foreign)
	if status, _, location := r.get(r.address+"/articles/hello", "Accept: text/html"); status/100 != 3 || !strings.HasPrefix(location, provider.URL+"/login?next=") {
		t.Errorf("a browser without a token gets %d %s", status, location)
	}
}

// The login service says who a session is by a signed token. A header that a client sets
// makes no reader.
func TestRecipeOfForwardAuth(t *testing.T) {
	provider := startIssuer(t)
	token := provider.mustToken(t, "reader-1001", "news")
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("_oauth2_proxy"); r.URL.Path != "/oauth2/auth" || err != nil || cookie.Value != "session" {
			http.Error(w, "no session", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Authorization", "Bearer "+token)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(service.Close)
	origin := startGo(t)[0]
	_, text, found := strings.Cut(section(t, "forward_auth in front"), "\n### oauth2-proxy\n")
	if !found {
		t.Fatal("docs/recipes.md has no recipe of oauth2-proxy")
	}
	r := startSection(t, text, "http", []string{"SSL_CERT_FILE=" + provider.WriteRoots(t)}, "https://id.example.com", provider.URL,
		"localhost:4180", strings.TrimPrefix(service.URL, "http://"), "localhost:3000", strings.TrimPrefix(origin.handler, "reverse_proxy "))
	r.must("grant", "add", "--user", "reader-1001", "--sku", "premium")
	r.wants("/", http.StatusOK, "PUBLIC-PAGE")
	r.wants("/articles/hello", http.StatusOK, secretHello, "Cookie: _oauth2_proxy=session")
	r.wants("/articles/hello", http.StatusUnauthorized, "no session", "Cookie: _oauth2_proxy=forged")
	r.wants("/articles/hello", http.StatusUnauthorized, "login_required", "Remote-User: reader-1001", "X-Forwarded-User: reader-1001")
}
