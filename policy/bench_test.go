package policy

import (
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// hotPaths are the decisions that a busy site makes all the time, each made
// once before, so that everything about it is in memory.
func hotPaths(t testing.TB) map[string]func() Decision {
	w := newWorld(t)
	w.subscribe(0, 0)
	paths := map[string]func() Decision{}
	for name, c := range map[string]struct {
		visit visit
		want  Reason
	}{
		"public":        {visit{path: "/public/page"}, ReasonPublic},
		"entitled":      {visit{path: "/articles/some-article", reader: ann}, ReasonEntitled},
		"uncountedlink": {visit{path: "/articles/a1", link: carries(w.newLink(keys.LinkClaims{}))}, ReasonSignedLink},
	} {
		w.want(c.visit, c.want)
		w.settle()
		request := new(Request)
		paths[name] = func() Decision {
			request.Reset()
			request.Site, request.Method, request.Host = w.site, "GET", "news.example"
			request.Reader, request.Now = c.visit.reader, w.now()
			if request.Path.Read(c.visit.path, PathOptions{}) != nil || w.policy.Match(t.Context(), request) != nil {
				t.Fatal("the request cannot be read")
			}
			request.Link = c.visit.link
			return w.policy.Decide(t.Context(), request)
		}
		if decision := paths[name](); decision.Reason != c.want {
			t.Fatalf("%s: %s", name, decision.Reason)
		}
	}
	return paths
}

// BenchmarkDecide takes a request from its raw path to the decision.
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
