package policy

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// hotPaths returns frequent decisions of a busy site by name. Each was made once, so
// that its records are cached.
func hotPaths(t testing.TB) map[string]func() Decision {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	paths := map[string]func() Decision{}
	for name, c := range map[string]struct {
		visit testRequest
		want  Reason
	}{
		"public":        {testRequest{path: "/public/page"}, ReasonPublic},
		"entitled":      {testRequest{path: "/articles/some-article", reader: ann}, ReasonEntitled},
		"uncountedlink": {testRequest{path: "/articles/a1", link: linkEvidence(env.newLink(keys.LinkClaims{}))}, ReasonSignedLink},
	} {
		env.want(c.visit, c.want)
		env.waitForCaches()
		request := new(Request)
		paths[name] = func() Decision {
			request.Reset()
			request.Site, request.Method, request.Host = env.site, "GET", "news.example"
			request.Reader, request.Now = c.visit.reader, env.now()
			request.Target, request.EscapedPath, request.Link = c.visit.path, c.visit.path, c.visit.link
			return env.policy.Decide(t.Context(), request)
		}
		if decision := paths[name](); decision.Reason != c.want {
			t.Fatalf("%s: %s", name, decision.Reason)
		}
	}
	return paths
}

// BenchmarkDecide measures decisions from the raw path on.
func BenchmarkDecide(b *testing.B) {
	for name, decide := range hotPaths(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if decision := decide(); !decision.Allow() {
					b.Fatal(decision.Reason)
				}
			}
		})
	}
}

// malformedTokens returns texts that are costly to refuse if a check comes too late.
func malformedTokens(env *testEnv) map[string]string {
	good := env.readerToken(keys.ReaderClaims{UserID: "ann"})
	header, rest, _ := strings.Cut(good, ".")
	letters := strings.Repeat("AbhZ7xu_", keys.MaxTokenSize/8)
	return map[string]string{
		"short":         "not.a.token",
		"letters":       letters,
		"eyJ_letters":   "eyJ" + letters[3:],
		"letters_claim": header + "." + letters[:keys.MaxTokenSize-len(good)] + "." + rest[strings.IndexByte(rest, '.')+1:],
		"dots":          strings.Repeat(".", keys.MaxTokenSize),
		"dots_behind":   good + strings.Repeat(".", keys.MaxTokenSize-len(good)),
		"spaces":        strings.Repeat(" ", keys.MaxTokenSize),
		"line_feed":     good + "\n",
		"padded":        good + "=",
		"too_long":      strings.Repeat(good, 16),
	}
}

// BenchmarkMalformed measures the refusal of malformed tokens.
func BenchmarkMalformed(b *testing.B) {
	env := newTestEnv(b)
	verifier, now := env.verifier(), env.now()
	for name, raw := range malformedTokens(env) {
		b.Run("reader/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := env.policy.Reader(context.Background(), verifier, raw, now); !errors.Is(err, keys.ErrMalformed) {
					b.Fatal(err)
				}
			}
		})
		b.Run("link/"+name, func(b *testing.B) {
			request := &Request{Site: env.site, Link: linkEvidence(raw), Now: now}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := env.policy.linkToken(context.Background(), request); !errors.Is(err, keys.ErrMalformed) {
					b.Fatal(err)
				}
			}
		})
	}
}
