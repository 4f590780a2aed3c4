package admin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document returns /openapi.json.
func (p *public) document() map[string]any {
	p.Helper()
	got := p.ask(http.MethodGet, "/openapi.json", "", nil)
	var document map[string]any
	got.want(http.StatusOK, &document)
	if got.head.Get("Content-Type") != "application/json" {
		p.Errorf("Content-Type is %q", got.head.Get("Content-Type"))
	}
	return document
}

// node returns a JSON object, or nil.
func node(value any) map[string]any { object, _ := value.(map[string]any); return object }

// described checks that every field, parameter and header has a description.
func described(t *testing.T, at string, value any) {
	switch value := value.(type) {
	case []any:
		for i, element := range value {
			described(t, fmt.Sprintf("%s/%d", at, i), element)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			here := at + "/" + name
			if name == "example" || name == "examples" || name == "default" {
				continue // examples may look like parts of the document
			}
			fields := node(value[name])
			switch name {
			case "properties":
				for field, schema := range fields {
					if text, _ := node(schema)["description"].(string); len(text) < 4 {
						t.Errorf("%s/%s has no description: give the field a `doc` tag", here, field)
					}
				}
			case "headers", "parameters":
				wanted := value[name]
				if fields == nil {
					fields = map[string]any{}
					for _, parameter := range wanted.([]any) {
						fields[node(parameter)["name"].(string)] = parameter
					}
				}
				for field, parameter := range fields {
					own, _ := node(parameter)["description"].(string)
					schemas, _ := node(node(parameter)["schema"])["description"].(string)
					if len(own) < 4 && len(schemas) < 4 {
						t.Errorf("%s/%s has no description: give the field a `doc` tag", here, field)
					}
				}
			}
			described(t, here, value[name])
		}
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	document := newPublic(t).document()
	described(t, "", document)
	for name := range node(node(document["components"])["schemas"]) {
		if !regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(name) {
			t.Errorf("the schema %q needs a name: give its type one", name)
		}
	}
	for path, item := range node(document["paths"]) {
		for method, operation := range node(item) {
			o := node(operation)
			if o["summary"] == nil || o["operationId"] == nil || o["tags"] == nil || o["security"] == nil {
				t.Errorf("%s %s lacks summary, operationId, tags or security", strings.ToUpper(method), path)
			}
		}
	}
}

// Every operation describes its errors and its scope, and a client can have each
// of these scopes.
func TestEveryOperationSaysScopeAndErrors(t *testing.T) {
	document := newPublic(t).document()
	flows := node(node(node(node(node(document["components"])["securitySchemes"])["oauth2"])["flows"])["clientCredentials"])
	scopes := node(flows["scopes"])
	if flows["tokenUrl"] != "./oauth/token" || len(scopes) < 10 {
		t.Errorf("the flow is %v", flows)
	}
	known := map[string]bool{}
	for _, tag := range document["tags"].([]any) {
		known[node(tag)["name"].(string)] = true
	}
	for path, item := range node(document["paths"]) {
		for method, operation := range node(item) {
			o := node(operation)
			name := strings.ToUpper(method) + " " + path
			for _, tag := range o["tags"].([]any) {
				if !known[tag.(string)] {
					t.Errorf("%s: the tag %v is not described in openapi.go", name, tag)
				}
			}
			security := o["security"].([]any)
			if len(security) == 0 {
				continue
			}
			scope := node(security[0])["oauth2"].([]any)[0].(string)
			if scopes[scope] == nil {
				t.Errorf("%s needs %s, which no client can have", name, scope)
			}
			statuses := []string{"401", "403", "422", "503", "default"}
			parameters, _ := o["parameters"].([]any)
			for _, parameter := range parameters {
				if node(parameter)["name"] == "If-Match" {
					statuses = append(statuses, "412")
				}
			}
			for _, status := range statuses {
				if node(o["responses"])[status] == nil {
					t.Errorf("%s does not say how it answers %s", name, status)
				}
			}
		}
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "ErrorModel") || strings.Contains(string(text), "ErrorDetail") {
		t.Error("the library's own errors are described")
	}
}
