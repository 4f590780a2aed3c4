package starter

import (
	"strings"
	"testing"
)

// A wrong answer is refused with what to answer instead.
func TestWrongAnswers(t *testing.T) {
	origin := func(kind string) func(*Site, string) error {
		return func(s *Site, text string) error {
			if err := s.SetKind(kind); err != nil {
				return err
			}
			return s.SetOrigin(text)
		}
	}
	for _, test := range []struct {
		name         string
		set          func(*Site, string) error
		answer, want string
	}{
		{"a path", (*Site).SetHost, "news.example.com/articles", "without a path"},
		{"another scheme", (*Site).SetHost, "ftp://news.example.com", "write its host"},
		{"a sentence", (*Site).SetHost, "news.example.com, www", "write its host"},
		{"a brace", (*Site).SetHost, "{host}", "write its host"},
		{"nothing", (*Site).SetHost, "", "write its host"},
		{"a word for a port", (*Site).SetHost, "news.example.com:http", "write its host"},
		{"an unknown kind", (*Site).SetKind, "rails", "write one of express, django, wordpress, php, static, other"},
		{"no port", origin("express"), "localhost", "has no port"},
		{"a URL with a path", origin("other"), "https://origin.example.com/app", "more than scheme, host and port"},
		{"a placeholder", origin("other"), "{env.ORIGIN}:80", "write its host and port"},
		{"a relative folder", origin("static"), "public", "its whole path"},
		{"a folder alone", origin("wordpress"), "/var/www/html", "write both"},
		{"a proxied WordPress", origin("wordpress"), "localhost:8080", "of the kind other"},
		{"a provider without TLS", (*Site).SetIdentity, "http://id.example.com", "https URL"},
		{"a provider's name", (*Site).SetIdentity, "Auth0", "https URL"},
		{"three words", (*Site).SetIdentity, "https://id.example.com a b", "and the audience"},
		{"no path", (*Site).SetPaid, " , ", "at least one"},
		{"no slash", (*Site).SetPaid, "articles", "begins with a slash"},
		{"a pattern", (*Site).SetPaid, "/articles/[0-9]+", "/articles/"},
		{"a path twice", (*Site).SetPaid, "/articles, /articles/{publisherContentId}", "never decides"},
		{"a directive", (*Site).SetPaid, "/a\"\n}", "begins with a slash"},
	} {
		if err := test.set(new(Site), test.answer); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want %q", test.name, err, test.want)
		}
	}
}

// Answers as people write them give the site that they mean.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		host, kind, origin, identity, paid string
		want                               []string
		not                                string
	}{
		{"news.example.com", "Express", "localhost:3000", "none", "/articles/{publisherContentId}", []string{"\nnews.example.com {", "\treverse_proxy localhost:3000\n", "rule /articles/{publisherContentId} entitled premium {publisherContentId}\n\t\trule / any"}, "audience"},
		{"localhost:8080", "django", "https://django.internal", "https://id.example.com", "/premium/*", []string{"\nhttp://localhost:8080 {", "reverse_proxy https://django.internal\n", "audience localhost\n", "rule /premium entitled premium\n"}, ""},
		{"https://[::1]:8443", "other", "[::1]:80", "https://id.example.com news", "/", []string{"\nhttps://[::1]:8443 {", "audience news\n", "rule / entitled premium\n"}, "rule / any"},
		{"blog.example.com", "wordpress", "/var/www/html unix//run/php/php-fpm.sock", "none", "/magazine, /archive/{id}", []string{"root * /var/www/html\n\tphp_fastcgi unix//run/php/php-fpm.sock\n", "rule /wp-json entitled premium\n", "rule /archive/{id} entitled premium\n"}, ""},
		{"blog.example.com", "php", "/var/www/html 127.0.0.1:9000", "none", "/magazine", []string{"php_fastcgi 127.0.0.1:9000\n"}, "wp-json"},
		{"files.example.com", "static", "/srv/site", "none", "/issues/{publisherContentId}", []string{"root * /srv/site\n\tfile_server\n"}, "reverse_proxy"},
	} {
		s := new(Site)
		for _, err := range []error{s.SetHost(test.host), s.SetKind(test.kind), s.SetOrigin(test.origin), s.SetIdentity(test.identity), s.SetPaid(test.paid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		text := s.Caddyfile()
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", test.host, want, text)
			}
		}
		if test.not != "" && strings.Contains(text, test.not) {
			t.Errorf("%s has %q:\n%s", test.host, test.not, text)
		}
	}
}
