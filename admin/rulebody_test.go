package admin

import (
	"reflect"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// FuzzPlainRules: a body that is read here is one that the library accepts, and
// reads in the same way.
func FuzzPlainRules(f *testing.F) {
	for _, text := range []string{
		`[{"path":"/section/{publisherContentId}","allow":"entitled/{\"sku\":[\"premium\"]}"},{"path":"/","allow":"any"}]`,
		` [ { "rank" : 1000000 , "path" : "a" , "allow" : 15 , "methods" : [ "GET" , "POST" ] , "is_forward" : false , "engaged" : "App, Ö" } ] `,
		`[]`, `[ ]`, `[{}]`, `[{"path":"/"}]`, `[{"allow":0}]`, `[{"path":"","allow":0}]`, `[{"path":"/","allow":""}]`, `[{"path":"/","allow":null}]`,
		`[{"path":"/","allow":0,"rank":1000001}]`, `[{"path":"/","allow":0,"rank":null}]`, `[{"path":"/","allow":1.0}]`, `[{"path":"/","allow":01}]`,
		`[{"path":"/","allow":"a\q"}]`, `[{"path":"/","allow":"a\u00e9"}]`, `[{"path":"/","allow":"a\ud800"}]`, `[{"path":"a\/b","allow":"a\n"}]`,
		`[{"path":"/","path":"/","allow":0}]`, `[{"Path":"/","allow":0}]`, `[{"path":"/","allow":0,"more":1}]`, `[{"path":"/","allow":0,"methods":null}]`,
		`[{"path":"/","allow":0},]`, `[{"path":"/","allow":0}{"path":"/a","allow":0}]`, `[{"path":"/","allow":0}] []`, `{"path":"/","allow":0}`, `null`, `[null]`,
		"[{\"path\":\"/\xff\",\"allow\":0}]", "[{\"path\":\"/\x00\",\"allow\":0}]", `[{"path":"/","allow":{}}]`, `[{"path":"/","allow":0,"is_forward":"true"}]`,
	} {
		f.Add([]byte(text))
	}
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[[]RuleBody](), true, "")
	f.Fuzz(func(t *testing.T, text []byte) {
		got, plain := plainRules(text)
		if !plain {
			return
		}
		var tree any
		if err := jsonFormat.Unmarshal(text, &tree); err != nil {
			t.Fatalf("%q is read, and is no JSON: %v", text, err)
		}
		var result huma.ValidateResult
		huma.Validate(registry, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, tree, &result)
		if len(result.Errors) > 0 {
			t.Fatalf("%q is read, and is against the schema: %v", text, result.Errors)
		}
		want := []RuleBody{}
		if err := jsonFormat.Unmarshal(text, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is read as %+v, and by the library as %+v (%v)", text, got, want, err)
		}
	})
}

// What programs write is read without the library: else nothing is gained.
func TestPlainRulesAreReadHere(t *testing.T) {
	text := `[{"path":"/section/{publisherContentId}","allow":"entitled/{\"sku\":[\"premium\"]}"},{"rank":7,"path":"/ö","allow":0,"methods":["GET"],"is_forward":true,"engaged":"App"}]`
	if rules, plain := plainRules([]byte(text)); !plain || len(rules) != 2 {
		t.Errorf("read as %v, %v", rules, plain)
	}
}
