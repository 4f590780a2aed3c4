package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func namesOf[T any](list []T, name func(T) string) []string {
	var names []string
	for _, element := range list {
		names = append(names, name(element))
	}
	return names
}

// Every row has its contenders, and no contender runs without a row.
func TestEachRowHasItsContenders(t *testing.T) {
	used := make(map[string]bool)
	known := namesOf(contenders, func(c contender) string { return c.name })
	for _, p := range pairs {
		for _, name := range []string{p.of, p.against} {
			used[name] = true
			if !slices.Contains(known, name) {
				t.Errorf("%s: there is no contender %q", p.name, name)
			}
		}
	}
	for _, name := range known {
		if !used[name] {
			t.Errorf("%s takes part in nothing", name)
		}
	}
}

// One row is measured with what it needs; a part with all its rows.
func TestOnlyWhatIsWantedIsMeasured(t *testing.T) {
	for only, want := range map[string]struct{ parts, contenders []string }{
		"^against forward_auth in Caddy": {[]string{partProxied}, []string{"gate-reader", "forward-auth"}},
		"big site: CPU":                  {[]string{partProxied}, []string{"gate-crowd", "plain-crowd"}},
		"revocation$":                    {[]string{"revocation"}, nil},
		"denied at another|^memory$":     {[]string{"revocation", "memory"}, nil},
		"anonymous memory":               {[]string{"memory"}, nil},
		"no such thing":                  {nil, nil},
	} {
		o := &options{only: regexp.MustCompile(only)}
		if got := namesOf(o.chosen(), func(p part) string { return p.name }); !slices.Equal(got, want.parts) {
			t.Errorf("%s: the parts %q", only, got)
		}
		if got := namesOf(o.chosenContenders(), func(c contender) string { return c.name }); !slices.Equal(got, want.contenders) {
			t.Errorf("%s: the contenders %q", only, got)
		}
	}
	for _, o := range []*options{{}, {only: regexp.MustCompile(partProxied)}} {
		if got := len(o.chosenContenders()); got != len(contenders) {
			t.Errorf("%v: %d contenders of %d", o.only, got, len(contenders))
		}
	}
	if got := len(new(options).chosen()); got != len(parts()) {
		t.Errorf("without a choice %d parts of %d are measured", got, len(parts()))
	}
	for _, p := range parts() {
		if !strings.Contains(partNames(), p.name) {
			t.Errorf("the help does not name %s", p.name)
		}
	}
}

// What several parts need is done once, and failed for all of them when it failed.
func TestWhatIsNeededIsDoneOnce(t *testing.T) {
	b := &bench{needed: make(map[string]error), began: time.Now()}
	times, failure := 0, errors.New("it broke")
	for range 3 {
		if err := b.need("a thing", func() error { times++; return failure }); !errors.Is(err, failure) {
			t.Errorf("got %v", err)
		}
	}
	if err := b.need("another", func() error { times++; return nil }); err != nil || times != 2 {
		t.Errorf("done %d times, %v", times, err)
	}
}

// A profile is kept as it came; an answer that is none is not.
func TestAProfileIsKept(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/profile" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte("samples"))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "gate.pprof")
	if err := save(context.Background(), server.URL+"/other", file); err == nil {
		t.Error("a page that is missing is taken for a profile")
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Error("and kept")
	}
	if err := save(context.Background(), server.URL+"/profile", file); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "samples" {
		t.Errorf("kept %q, %v", text, err)
	}
}
