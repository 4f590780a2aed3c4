package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

var recipeBlock = regexp.MustCompile("(?s)<!-- recipe: (\\w+) -->\n```caddyfile\n(.*?)```")

// TestRecipes runs every site block of docs/recipes.md. Only the host, the root and
// the ports differ from what is written.
func TestRecipes(t *testing.T) {
	text, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]int{ // status by path, without a credential
		"static":    {"/": 200, "/articles/hello.html": 401, "/ARTICLES/hello.html": 401, "/articles/none": 401},
		"feed":      {"/": 200, "/feeds/full.xml": 401},
		"http_auth": {"/": 200, "/articles/hello.html": 401},
	}
	blocks := recipeBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != len(want) || strings.Count(string(text), "```caddyfile") != len(want) {
		t.Fatalf("docs/recipes.md has %d recipes, this test expects %d", len(blocks), len(want))
	}
	for _, block := range blocks {
		t.Run(block[1], func(t *testing.T) {
			s := recipeServer(t, block[2])
			if want[block[1]] == nil {
				t.Fatal("this recipe is not tested")
			}
			for path, status := range want[block[1]] {
				response, err := http.Get(s.site + path)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != status {
					t.Errorf("%s: status %d, not %d", path, response.StatusCode, status)
				}
			}
			if block[1] != "feed" {
				return
			}
			link := strings.TrimSpace(runTranscript(t, s, []string{"gatefold link create " + s.site + "/feeds/full.xml --expires 365d"})[0])
			out := runTranscript(t, s, []string{"curl -sL -c jar -b jar '" + link + "'", "curl -sL -c jar2 -b jar2 '" + link + "'"})
			for _, body := range out {
				if body != "whole\n" {
					t.Errorf("the link to the feed answers %q", body)
				}
			}
		})
	}
}

// recipeServer runs a site block of docs/recipes.md with files at its root.
func recipeServer(t *testing.T, block string) *server {
	t.Helper()
	ports := freePorts(t, 2)
	s := &server{t: t, dir: t.TempDir(), admin: "127.0.0.1:" + ports[0], site: "http://127.0.0.1:" + ports[1], log: new(keystest.Log), leaks: true}
	s.config = filepath.Join(s.dir, "Caddyfile")
	site := t.TempDir()
	for _, name := range []string{"index.html", "articles/hello.html", "feeds/full.xml"} {
		file := filepath.Join(site, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("whole\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	block = strings.NewReplacer("news.example.com", s.site, "/srv/news", site).Replace(block)
	s.writeConfig("{\n\tadmin " + s.admin + "\n\tauto_https off\n\tgatefold {\n\t\tstore bolt " + s.database() + "\n\t}\n}\n" + block)
	s.start()
	return s
}
