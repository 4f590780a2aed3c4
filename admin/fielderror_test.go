package admin_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// One fault has one status, one code and the pointer of the field, whichever operation
// answers it.
func TestOneStatusForOneFault(t *testing.T) {
	b := newFixture(t, true)
	b.call(http.MethodPut, rulesPath, `[{"path":"/kept","allow":0}]`).want(http.StatusOK, nil)
	for _, test := range []struct{ method, path, body, location string }{
		{"POST", listsPath, `{}`, "body.name"},
		{"POST", listsPath, `{"name":7}`, "body.name"},
		{"POST", defaultPath, `{"userId":"u"}`, "body.sku"},
		{"POST", defaultPath + "/batch", `{"importId":"i","grants":[{"sku":"s","userId":"u"}]}`, "body.position"},
		{"POST", "/management/signed-links/batch", `{"sku":"s"}`, "body.recipients"},
		{"POST", "/management/vendors", `{"id":"x"}`, "body.name"},
		{"POST", "/management/products", `{"type":"article","url":"x"}`, "body.url"},
		{"POST", rulesPath, `{"path":"/a//b","allow":0}`, "body.path"},
		{"PUT", rulesPath, `[{"path":"/a","allow":0},{"path":"/b"}]`, "body[1].allow"},
		{"PUT", rulesPath, `[{"path":"/a","allow":0},{"path":"/a","allow":0}]`, "body[1].path"},
		{"PATCH", rulesPath + "/kept", `{"engaged":"` + strings.Repeat("x", 300) + `"}`, "body.engaged"},
		{"PATCH", rulesPath + "/kept", `{"then":["public",{}]}`, "body.then[1]"},
		{"PUT", "/api/proxy", `{"session_backend":77}`, "body.session_backend"},
		{"PUT", "/management/content-space", `{"contentSpace":"a b"}`, "body.contentSpace"},
		{"GET", "/management/domains/a_b..c", ``, "path.domain"},
		{"GET", defaultPath + "?limit=0", ``, "query.limit"},
		{"GET", defaultPath + "?limt=1", ``, "query.limt"},
		{"GET", "/api/users?o=shoe", ``, "query.o"},
	} {
		b.call(test.method, test.path, test.body).refused(http.StatusUnprocessableEntity, "validation_failed", test.location)
	}
	for _, path := range []string{listsPath, defaultPath, "/management/products", rulesPath, "/management/vendors"} {
		for _, body := range []string{`{`, `nonsense`, `{"name":"a","name":"b"}`, ``} {
			b.send("acme", http.MethodPost, path, body, isJSON).refused(http.StatusBadRequest, "bad_request", "")
		}
		b.call(http.MethodPost, path, `{"name":"`+strings.Repeat("x", 1<<20)+`"}`).refused(http.StatusRequestEntityTooLarge, "too_large", "")
	}
}

// What a stranger sends does not make an answer large.
func TestErrorsAreBounded(t *testing.T) {
	b := newFixture(t, false)
	var many strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, `"m%d":1,`, i)
	}
	p := b.call(http.MethodPost, listsPath, `{`+many.String()+`"name":"x"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	if len(p.Errors) != 100 {
		t.Errorf("%d errors", len(p.Errors))
	}
	got := b.call(http.MethodPost, listsPath, `{"name":"x","`+strings.Repeat("y", 500_000)+`":1}`)
	if got.refused(http.StatusUnprocessableEntity, "validation_failed", ""); len(got.body) > 2000 {
		t.Errorf("the answer has %d bytes", len(got.body))
	}
}

var (
	codeInSource = regexp.MustCompile(`(?:\bCode = |\bCode: +|\bcode[A-Z]\w+ += |http\.Status\w+(?:: +|, ))"([a-z_]+)"`)
	codesInTable = regexp.MustCompile("(?m)^\\| [0-9]{3} \\| (`[a-z_`, ]+`) \\|")
)

// docs/management.md has every code that the source can answer, and no other.
func TestCodesOfTheDocument(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	answered := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range codeInSource.FindAllStringSubmatch(string(text), -1) {
			answered[match[1]] = true
		}
	}
	text, err := os.ReadFile("../docs/management.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range codesInTable.FindAllStringSubmatch(string(text), -1) {
		for code := range strings.SplitSeq(row[1], ", ") {
			code = strings.Trim(code, "`")
			documented[code] = true
			if !answered[code] {
				t.Errorf("docs/management.md has the code %s, which nothing answers", code)
			}
		}
	}
	for code := range answered {
		if !documented[code] {
			t.Errorf("docs/management.md has no row for the code %s", code)
		}
	}
	if len(documented) < 20 {
		t.Errorf("the table has %d codes", len(documented))
	}
}
