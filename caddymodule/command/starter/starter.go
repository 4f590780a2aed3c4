// Package starter writes a first Caddyfile for a site: a gate before the site's own origin,
// with the settings that origins of its kind need. It imports nothing of Caddy's.
//
//	starter.go  answers to the questions of `gatefold init`, and the Caddyfile for them
package starter

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
)

// Site describes a site. Each Set method checks one answer, and returns an error that says
// what to answer instead. SetKind comes before SetOrigin.
type Site struct {
	address  string // as in a Caddyfile
	host     string // without scheme and port
	kind     *kind
	upstream string // of reverse_proxy or php_fastcgi
	folder   string // of files and scripts
	issuer   string // empty for Gatefold's own tokens alone
	audience string
	paid     []string
}

// kind is a kind of origin.
type kind struct {
	name, origin string // origin is the usual one
	handlers     func(*Site) string
	// note is a remark on rules for such origins.
	note string
}

var kinds = []*kind{
	{"express", "localhost:3000", proxied, ""},
	{"django", "localhost:8000", proxied, "# Django reads the client's scheme with SECURE_PROXY_SSL_HEADER = (\"HTTP_X_FORWARDED_PROTO\", \"https\").\n"},
	{"wordpress", "/var/www/html unix//run/php/php-fpm.sock", wordpress, ""},
	{"php", "/var/www/html unix//run/php/php-fpm.sock", php, ""},
	{"static", "/srv/site", static, ""},
	{"other", "localhost:3000", proxied, ""},
}

// Kinds returns the names of the kinds of origins.
func Kinds() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

var hostPattern = regexp.MustCompile(`^([\pL\pN_-]+\.)*[\pL\pN_-]+\.?$`)

// SetHost sets the address of the site: a host, optionally with a scheme and a port. This
// machine's own names are served over plain HTTP.
func (s *Site) SetHost(text string) error {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "", text
	}
	host, port := rest, ""
	if h, p, err := net.SplitHostPort(rest); err == nil {
		host, port = h, p
	}
	bare := strings.Trim(host, "[]")
	ip := net.ParseIP(bare)
	if scheme != "" && scheme != "http" && scheme != "https" || ip == nil && !hostPattern.MatchString(host) || port != "" && !portPattern.MatchString(port) {
		return fmt.Errorf("%q is no address of a site: write its host, such as news.example.com or localhost:8080, without a path", text)
	}
	if scheme == "" && (bare == "localhost" || ip != nil) {
		scheme = "http"
	}
	s.host, s.address = bare, rest
	if scheme != "" {
		s.address = scheme + "://" + rest
	}
	return nil
}

var portPattern = regexp.MustCompile(`^[0-9]{1,5}$`)

// SetKind sets the kind of the origin.
func (s *Site) SetKind(text string) error {
	i := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == strings.ToLower(text) })
	if i < 0 {
		return fmt.Errorf("%q is no kind of origin: write one of %s", text, strings.Join(Kinds(), ", "))
	}
	s.kind = kinds[i]
	return nil
}

// DefaultOrigin returns the usual origin of the kind.
func (s *Site) DefaultOrigin() string { return s.kind.origin }

// SetOrigin sets where the pages come from: host and port, or a URL; for files and PHP a
// folder, for PHP followed by the address of PHP-FPM.
func (s *Site) SetOrigin(text string) error {
	words := strings.Fields(text)
	switch s.kind.name {
	case "static":
		if len(words) != 1 || !filepath.IsAbs(words[0]) || !plain(words[0]) {
			return fmt.Errorf("%q is no folder: write its whole path, such as %s", text, s.kind.origin)
		}
		s.folder = words[0]
		return nil
	case "wordpress", "php":
		if len(words) != 2 || !filepath.IsAbs(words[0]) || !plain(text) {
			return fmt.Errorf("%q does not name the site's folder and PHP-FPM's address: write both, such as %q. A server that runs PHP itself is of the kind other", text, s.kind.origin)
		}
		s.folder, s.upstream = words[0], words[1]
		return nil
	}
	if len(words) != 1 || !plain(text) {
		return fmt.Errorf("%q is no origin: write its host and port, such as %s", text, s.kind.origin)
	}
	if page, err := url.Parse(text); err == nil && page.Host != "" {
		if page.Scheme != "http" && page.Scheme != "https" || strings.Trim(page.Path, "/") != "" || page.RawQuery != "" || page.User != nil {
			return fmt.Errorf("%q has more than scheme, host and port: write https://origin.example.com", text)
		}
		s.upstream = page.Scheme + "://" + page.Host
		return nil
	}
	if _, port, err := net.SplitHostPort(text); err != nil || !portPattern.MatchString(port) {
		return fmt.Errorf("%q has no port: write host and port, such as %s", text, s.kind.origin)
	}
	s.upstream = text
	return nil
}

// plain reports whether a text is one that a Caddyfile takes as it is.
func plain(text string) bool { return !strings.ContainsAny(text, "{}\"`#\\\n") }

// OwnTokens is the answer for readers with tokens of Gatefold's own keys alone.
const OwnTokens = "none"

// SetIdentity sets the identity provider: the issuer's URL, and the audience of its tokens
// if that is not the site's host.
func (s *Site) SetIdentity(text string) error {
	words := strings.Fields(text)
	if len(words) == 1 && words[0] == OwnTokens {
		s.issuer = ""
		return nil
	}
	if len(words) == 0 || len(words) > 2 || !plain(text) {
		return fmt.Errorf("%q is no identity provider: write the URL of its issuer and the audience of its tokens, or %s", text, OwnTokens)
	}
	issuer, err := url.Parse(words[0])
	if err != nil || issuer.Scheme != "https" || issuer.Host == "" || issuer.RawQuery != "" || issuer.Fragment != "" {
		return fmt.Errorf("%q is no issuer: write its https URL, as in the tokens' iss claim, or %s", words[0], OwnTokens)
	}
	s.issuer, s.audience = words[0], s.host
	if len(words) == 2 {
		s.audience = words[1]
	}
	return nil
}

// SetPaid sets the paths that are paid for, separated by commas or spaces.
func (s *Site) SetPaid(text string) error {
	s.paid = nil
	var rules []policy.Rule
	for _, path := range strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' }) {
		if path = strings.TrimSuffix(path, "*"); !strings.HasPrefix(path, "/") || !plain(strings.NewReplacer("{", "", "}", "").Replace(path)) {
			return fmt.Errorf("%q is no path: it begins with a slash, such as /articles/{publisherContentId}", path)
		}
		if len(path) > 1 {
			path = strings.TrimSuffix(path, "/")
		}
		s.paid = append(s.paid, path)
		rules = append(rules, policy.Rule{Rank: len(rules) + 1, Path: path, Allow: policy.Allow{Operator: "authenticated"}})
	}
	if len(rules) == 0 {
		return errors.New("no path is paid for: write at least one, such as /articles/{publisherContentId}, or / for the whole site")
	}
	set, err := policy.CompileRules(rules, policy.StandardOperators())
	if err != nil {
		return err
	}
	if warnings := set.Warnings(policy.PathOptions{}); len(warnings) > 0 {
		return errors.New(warnings[0].String())
	}
	return nil
}

// Caddyfile returns the configuration.
func (s *Site) Caddyfile() string {
	var text strings.Builder
	text.WriteString(preamble)
	fmt.Fprintf(&text, "%s {\n\tlog {\n\t\toutput stderr\n\t\timport without_tokens\n\t}\n\n", s.address)
	if s.kind.name == "wordpress" {
		text.WriteString(dropQueries)
	}
	text.WriteString("\tgatefold {\n")
	text.WriteString("\t\t# Tokens of Gatefold's own keys, for tests and support: gatefold token reader\n\t\tidentify jwt {\n\t\t\tissuer self\n\t\t\tcookie reader\n\t\t}\n")
	if s.issuer != "" {
		fmt.Fprintf(&text, "\t\t# The keys are found by OpenID discovery. Has the login page an address?\n\t\t# deny { login <url> } sends readers there.\n\t\tidentify jwt {\n\t\t\tissuer %s\n\t\t\taudience %s\n\t\t}\n", s.issuer, s.audience)
	}
	text.WriteString("\n\t\t# Rules are tried in order. Each matches all paths below its own.\n")
	for _, path := range s.paid {
		skus := "premium"
		if strings.Contains(path+"/", "/{publisherContentId}/") {
			skus += " {publisherContentId}"
		}
		fmt.Fprintf(&text, "\t\trule %s entitled %s\n", path, skus)
	}
	if s.kind.name == "wordpress" && !slices.Contains(s.paid, "/wp-json") && !slices.Contains(s.paid, "/") {
		text.WriteString("\t\t# The REST API has the whole text of articles; so may feeds.\n\t\trule /wp-json entitled premium\n")
	}
	if !slices.Contains(s.paid, "/") {
		text.WriteString("\t\trule / any\n")
	}
	text.WriteString("\t}\n\n")
	for line := range strings.Lines(s.kind.note + s.kind.handlers(s)) {
		text.WriteString("\t" + line)
	}
	text.WriteString("}\n")
	return text.String()
}

const preamble = `# Made by gatefold init. Check it after each change:
#
#	gatefold validate --config Caddyfile

# Neither the query of a request nor a Referer may bring the token of a signed link
# into a log.
(without_tokens) {
	format filter {
		import without_tokens_in request>uri
		import without_tokens_in request>headers>Referer
		import without_tokens_in request>headers>Gatefold-Reader-Base
		request>headers>Gatefold-Session delete
		import without_tokens_in resp_headers>Location
		import without_tokens_in uri
		import without_tokens_in path
	}
}
(without_tokens_in) {
	{args[0]} regexp ` + "`" + `(e|%(25)*65)([+=\s]|%(25)*[0-9A-Fa-f][0-9A-Fa-f]|[^\x00-\x7F])*(y|%(25)*79)([+=\s]|%(25)*[0-9A-Fa-f][0-9A-Fa-f]|[^\x00-\x7F])*([A-DIJ]|%(25)*4[1-49Aa])[^&#/]*` + "`" + ` REDACTED
	{args[0]} regexp ` + "`" + `(?i)\b(token|share)(=|%3D)[^&#]*` + "`" + ` $1=REDACTED
	{args[0]} regexp ` + "`" + `(?i)(/accept/)[^/?#]+` + "`" + ` $1REDACTED
	{args[0]} regexp ` + "`" + `(?i)/\.gatefold/callback(\?|%3F)[^#]+` + "`" + ` /.gatefold/callback?REDACTED
	{args[0]} regexp ` + "`" + `(?i)(g|%(25)*67)([+=\s]|%(25)*[0-9A-F][0-9A-F]|[^\x00-\x7F])*(f|%(25)*66)([+=\s]|%(25)*[0-9A-F][0-9A-F]|[^\x00-\x7F])*([kf]|%(25)*6[B6])([+=\s]|%(25)*[0-9A-F][0-9A-F]|[^\x00-\x7F])*(_|%(25)*5F)[^&#/]*` + "`" + ` REDACTED
}

{
	# Grants, links and keys are in Caddy's data directory.
	gatefold {
		store bolt
	}
	# At a stop, what is still open then is closed.
	grace_period 20s
	log {
		output stderr
		import without_tokens
	}
}

`

func proxied(s *Site) string { return "reverse_proxy " + s.upstream + "\n" }

func static(s *Site) string { return "root * " + s.folder + "\nfile_server\n" }

func php(s *Site) string {
	return "root * " + s.folder + "\nphp_fastcgi " + s.upstream + "\nfile_server\n"
}

func wordpress(s *Site) string {
	return "# What is no page, and what a stranger must not ask for\nrespond /xmlrpc.php 403\nrespond /wp-config.php 403\n" + php(s)
}

// dropQueries drops queries that could select another page. WordPress answers /about/?p=5
// with the page 5, and so does /wp-blog-header.php?p=5. Only the token of a link stays.
const dropQueries = `	# WordPress answers /about/?p=5 and /?rest_route=/wp/v2/posts with other pages, and rules
	# do not see the query: it is dropped, except for files, the login and the back office.
	# Of a link's query the token stays.
	@token_and_more {
		query token=*
		not expression ` + "`" + `{http.request.uri.query}.matches("^token=[^&;]*$")` + "`" + `
	}
	redir @token_and_more {path}?token={query.token} 302
	@selects_by_query {
		not query ""
		not expression ` + "`" + `{http.request.uri.query}.matches("^(token|share)=[^&;]*$")` + "`" + `
		not {
			file
			not path / *.php
		}
		not {
			file
			path /wp-login.php /wp-admin/* /wp-comments-post.php
		}
	}
	redir @selects_by_query {path} 302

`
