package admin_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// change is a PUT or PATCH of the document, of a record that GET returns at the same path.
type change struct {
	operation
	// written are the members of its body, and read those of the response of GET.
	written, read, required []string
	schema                  map[string]any
}

// changes returns the operations of the document that change what can be read.
func (p *public) changes(operations []operation) []change {
	p.Helper()
	document := p.document()
	schemas := node(node(document["components"])["schemas"])
	members := func(content any) map[string]any {
		schema := node(node(node(content)["application/json"])["schema"])
		if ref, ok := schema["$ref"].(string); ok {
			schema = node(schemas[ref[strings.LastIndex(ref, "/")+1:]])
		}
		return schema
	}
	var all []change
	for _, o := range operations {
		item := node(node(document["paths"])[o.path])
		if o.method != http.MethodPut && o.method != http.MethodPatch || item["get"] == nil {
			continue
		}
		body := members(node(node(item[strings.ToLower(o.method)])["requestBody"])["content"])
		read := members(node(node(node(item["get"])["responses"])["200"])["content"])
		if len(node(body["properties"])) == 0 || strings.HasSuffix(o.path, "/rules") {
			continue // no record: rules are moved and replaced together
		}
		one := change{operation: o, schema: node(body["properties"]), written: slices.Sorted(maps.Keys(node(body["properties"])))}
		for name := range node(read["properties"]) {
			if !slices.Contains(one.written, name) {
				one.read = append(one.read, name)
			}
		}
		for _, name := range listOf(body["required"]) {
			one.required = append(one.required, name.(string))
		}
		slices.Sort(one.read)
		all = append(all, one)
	}
	return all
}

func listOf(value any) []any { list, _ := value.([]any); return list }

// computed are read-only members that responses compute: no body can be compared with them.
var computed = map[string][]string{
	"/management/domains/{domain}": {"probe", "keyIds", "ageSeconds", "stale", "dropped"},
	"/management/webhooks/{id}":    {"failingSince", "nextAt", "lastError", "deliveredAt", "waiting", "deadLetters"},
	"/api/profile/{profile}":       {"subscriptions", "nick_name"},

	"/management/paywalls/{paywallId}": {"previewUrl"},
}

// A client reads a record and sends it back as it is: nothing changes, not even the ETag. It
// sends it back with another value in a member that it cannot change: that is refused, and
// the answer names the member.
func TestWhatWasReadCanBeSentBack(t *testing.T) {
	p := newPublic(t)
	operations := p.operations()
	token := p.token(p.client("acme", vendorScopes(operations)...))
	known := p.makeRecords(token, operations)
	changes := p.changes(operations)
	if len(changes) < 12 {
		t.Fatalf("only %d operations change records: this test sees too little", len(changes))
	}
	for _, o := range changes {
		t.Run(o.String(), func(t *testing.T) {
			path, ok := known.fill(o.path)
			if !ok {
				t.Fatal("no operation of the document makes such a record")
			}
			// Time passes, so that a write shows in the record.
			p.clock = p.clock.Add(time.Minute)
			kind := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
			get := func() answer {
				got := p.ask(http.MethodGet, path, "", http.Header{"Authorization": {"Bearer " + token}})
				got.t = t
				return got.want(http.StatusOK, nil)
			}
			before := get()
			p.clock = p.clock.Add(time.Minute)
			sent := p.ask(o.method, path, before.body, kind)
			sent.t = t
			sent.want(http.StatusOK, nil)
			after := get()
			was, is := before.fields(), after.fields()
			for _, name := range computed[o.path] {
				delete(was, name)
				delete(is, name)
			}
			if a, b := encoded(was), encoded(is); a != b {
				t.Errorf("it was\n%s, and is\n%s", a, b)
			}
			if a, b := before.head.Get("ETag"), after.head.Get("ETag"); a != b || sent.head.Get("ETag") != a {
				t.Errorf("the ETag was %s, that of the answer is %s, and is %s", a, sent.head.Get("ETag"), b)
			}
			for _, name := range o.read {
				if slices.Contains(computed[o.path], name) {
					continue
				}
				body := before.fields()
				body[name] = "another value"
				refused := p.ask(o.method, path, encoded(body), kind)
				refused.t = t
				refused.refused(http.StatusUnprocessableEntity, "validation_failed", "body."+name)
			}
			if is := get(); encoded(is.fields()) != encoded(after.fields()) {
				t.Errorf("what was refused made %s of %s", is.body, after.body)
			}
		})
	}
}

func encoded(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}
