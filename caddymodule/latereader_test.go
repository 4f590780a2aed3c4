package caddymodule

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/keys"
)

// lateReader is a handler whose goroutine reads variables and placeholders of the request until
// the test ends, as a dial of the reverse proxy does that outlives its request.
type lateReader struct{}

func init() {
	caddy.RegisterModule(lateReader{})
	httpcaddyfile.RegisterHandlerDirective("test_late_reader", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return lateReader{}, nil })
}

func (lateReader) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_late_reader", New: func() caddy.Module { return new(lateReader) }}
}

// lateReaders ends the goroutines of the handlers, and lets requests wait for one another.
var lateReaders struct {
	end      chan struct{}
	left     sync.WaitGroup
	together *sync.WaitGroup // nil unless they wait
}

// readVariablesLate prepares a test that has the directive test_late_reader.
func readVariablesLate(t *testing.T) {
	t.Helper()
	lateReaders.end = make(chan struct{})
	t.Cleanup(func() { close(lateReaders.end); lateReaders.left.Wait() })
}

func (lateReader) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	began, ctx := make(chan struct{}), r.Context()
	lateReaders.left.Go(func() {
		repl, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		for first := true; ; first = false {
			select {
			case <-lateReaders.end:
				return
			default:
				caddyhttp.GetVar(ctx, "reverse_proxy.proxy")
				repl.Get("http.gatefold.cache")
			}
			if first {
				close(began)
			}
		}
	})
	<-began
	if together := lateReaders.together; together != nil {
		together.Done()
		together.Wait()
	}
	return next.ServeHTTP(w, r)
}

// A dial of the reverse proxy that outlives its request reads the request's variables. The gate
// writes none of them behind itself: not when no gatefold_cache takes the page that it offers,
// and not when it denies after the fact, because the origin requires more. Two goroutines at one
// map end the process, and the race detector sees it sooner.
func TestVariablesAreNotWrittenBehindTheGate(t *testing.T) {
	const kept = "gatefold_cache {\nmemory 8MiB\nmax_size 64KiB\n}\n"
	for name, test := range map[string]struct {
		gate, behind, path string
		want               int
	}{
		"no cache takes the page": {
			"rule / any {\ncache\n}\n", "handle /kept/* {\n" + kept + "}\ntest_late_reader\nrespond page",
			"/a", http.StatusOK,
		},
		"a cache takes the page": {
			"rule / any {\ncache\n}\n", kept + "test_late_reader\nheader Cache-Control no-store\nrespond page",
			"/a", http.StatusOK,
		},
		"the origin requires more": {
			originRules, "test_late_reader\nheader Gatefold-Require authenticated\nrespond page",
			"/articles/1", http.StatusUnauthorized,
		},
		"the origin requires more, and error routes answer": {
			originRules + "\ndeny {\nerrors\n}\n", "test_late_reader\nheader Gatefold-Require authenticated\nrespond page",
			"/articles/1", http.StatusUnauthorized,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, standardRules)
			readVariablesLate(t)
			s.load(s.siteOf("gatefold {\n" + test.gate + "\n}\nroute {\n" + test.behind + "\n}\nhandle_errors {\nrespond \"an error for {http.request.orig_uri.path}\" {err.status_code}\n}"))
			for range 10 {
				got := s.get(test.path)
				if got.StatusCode != test.want {
					t.Fatalf("the page answers %d %q", got.StatusCode, got.body)
				}
				if strings.Contains(got.body, test.path) {
					t.Fatalf("error routes see the denied request: %q", got.body)
				}
			}
		})
	}
}

// The same with a use that could not be counted any more when the page was there.
func TestRefusedUseWritesNoVariables(t *testing.T) {
	const readers = 4
	s := newTestSite(t, standardRules)
	readVariablesLate(t)
	s.load(s.siteOf("gatefold {\n" + standardRules + "\ndeny {\nerrors\n}\n}\nroute {\ntest_late_reader\nrespond page\n}\nhandle_errors {\nrespond refused {err.status_code}\n}"))
	lateReaders.together = new(sync.WaitGroup)
	lateReaders.together.Add(readers)
	defer func() { lateReaders.together = nil }()
	link, _ := s.link(keys.LinkClaims{MaxUses: 1})
	answers := make(chan answer, readers)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() { answers <- s.get(link) })
	}
	all.Wait()
	statuses := map[int]int{}
	for range readers {
		statuses[(<-answers).StatusCode]++
	}
	if statuses[http.StatusOK] != 1 || statuses[http.StatusForbidden] != readers-1 {
		t.Errorf("the answers are %v", statuses)
	}
}
