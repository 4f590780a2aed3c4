package admin_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// operation is an operation of the document.
type operation struct {
	method, path string
	scope        string // empty: no authentication
	kind, body   string // of the example in the document
	query        string // required parameters
	last         string // the example of the path's last parameter, if it ends with one
}

// ends is 1 for an operation that ends a record which others need.
func (o *operation) ends() int {
	if strings.HasSuffix(o.path, "/cancel") || strings.HasSuffix(o.path, "/end") {
		return 1
	}
	return 0
}

func (o *operation) String() string { return o.method + " " + o.path }

var pathParameter = regexp.MustCompile(`\{[^}]+\}`)

// operations returns those of the document, short paths first, and those that
// create records before those that remove them.
func (p *public) operations() []operation {
	p.Helper()
	document := p.document()
	var all []operation
	for path, item := range node(document["paths"]) {
		for method, described := range node(item) {
			o := operation{method: strings.ToUpper(method), path: path}
			if security, _ := node(described)["security"].([]any); len(security) > 0 {
				o.scope = node(security[0])["oauth2"].([]any)[0].(string)
			}
			content := node(node(node(described)["requestBody"])["content"])
			for _, kind := range slices.Sorted(maps.Keys(content)) {
				if o.kind == "" || kind == "application/json" {
					o.kind, o.body = kind, exampleText(p.T, kind, node(content[kind])["example"])
				}
			}
			parameters, _ := node(described)["parameters"].([]any)
			query := url.Values{}
			for _, parameter := range parameters {
				described := node(parameter)
				switch {
				case described["in"] == "query" && (described["required"] == true || needed[path] == described["name"]):
					query.Set(described["name"].(string), fmt.Sprint(cmp.Or(described["example"], firstExample(described), any("x"))))
				case described["in"] == "path" && strings.HasSuffix(path, "/{"+described["name"].(string)+"}"):
					o.last, _ = cmp.Or(described["example"], firstExample(described)).(string)
				}
			}
			o.query = query.Encode()
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b operation) int {
		return cmp.Or(a.ends()-b.ends(), strings.Count(a.path, "/")-strings.Count(b.path, "/"), strings.Compare(a.path, b.path), strings.Compare(a.method, b.method))
	})
	return all
}

func firstExample(parameter map[string]any) any {
	examples, _ := node(parameter["schema"])["examples"].([]any)
	if len(examples) == 0 {
		return nil
	}
	return examples[0]
}

// named reports whether callers choose the ids of a path's records: they are put,
// not posted.
func named(o *operation, operations []operation) bool {
	collection := o.path[:strings.LastIndex(o.path, "/")]
	return o.method == http.MethodPut && o.last != "" && !strings.HasSuffix(collection, "/accept") && !slices.ContainsFunc(operations, func(other operation) bool {
		return other.method == http.MethodPost && (other.path == collection || elsewhere[other.path] == collection)
	})
}

// needed are query parameters of which an operation needs one of several.
var needed = map[string]any{"/management/entitlements": "userId", "/api/legal/{agreement}/sign": "user", "/management/contracts": "confirm"}

func exampleText(t *testing.T, kind string, example any) string {
	t.Helper()
	if text, ok := example.(string); ok && !strings.Contains(kind, "json") {
		return text
	}
	text, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	if kind == "application/x-ndjson" && example != nil {
		var compact bytes.Buffer
		if text, ok := example.(string); ok {
			return text
		}
		_ = json.Compact(&compact, text)
		return compact.String() + "\n"
	}
	return string(text)
}

// records are the known records: for the filled-in path of a collection, the id of
// a record, escaped for a path.
type records map[string]string

// elsewhere are collections whose records are created under another path or with
// the caller's ids.
var elsewhere = map[string]string{
	"/management/create-signed-link":                      "/management/signed-links",
	"/management/access-lists/{id}/grants/batch":          "/management/access-lists/{id}/grants/imports",
	"/management/keys/rotate":                             "/management/keys",
	"/management/grants/remove":                           "/management/grants/removals",
	"/api/accounts/profiles":                              "/api/profile",
	"/payments/vendor/{vendorId}/promos/code/{promoCode}": "/payments/vendor/{vendorId}/promos/code/{promoCode}/confirm",
}

// sameRecords are the collections whose records are those of another.
var sameRecords = map[string]string{"/management/links": "/management/signed-links", "/api/legal": "/api/agreements", "/payments/vendor/acme/promos/code": "/management/promos"}

// fill replaces the parameters of a path by the ids of known records.
func (r records) fill(path string) (string, bool) {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if !pathParameter.MatchString(segment) {
			continue
		}
		collection := strings.Join(segments[:i], "/")
		id, known := r[cmp.Or(sameRecords[collection], collection)]
		switch {
		case segment == "{role}" && !strings.HasSuffix(collection, "/describe"):
			id, known = map[bool]string{true: "contributor", false: "manager"}[strings.HasSuffix(collection, "/accessibles")], true
		case segment == "{profile}" && !known:
			id, known = r["/api/profile"]
		}
		if !known {
			return "", false
		}
		segments[i] = id
	}
	return strings.Join(segments, "/"), true
}

// unrecorded is the path of a record that only readers create.
func (r records) unrecorded(o *operation) string {
	collection, _ := r.fill(o.path[:strings.LastIndex(o.path, "/")])
	return cmp.Or(collection, "/x") + "/" + url.PathEscape(cmp.Or(o.last, "x"))
}

// note adds the record of a response.
func (r records) note(o *operation, path string, got answer) {
	if target, ok := elsewhere[o.path]; ok {
		path, _ = r.fill(target)
	}
	var made map[string]any
	_ = json.Unmarshal([]byte(got.body), &made)
	var sent map[string]any
	_ = json.Unmarshal([]byte(o.body), &sent)
	if key, ok := made["request_key"].(string); ok && len(key) > 1 {
		r["/api/profile/acme/subscribers/accept"] = key
	}
	base := path[strings.LastIndex(path, "/")+1:]
	if key, ok := made["request_key"].(string); ok {
		r[strings.ReplaceAll(path, "/subscriptions", "/subscribers/accept")] = key
	}
	if id, ok := strings.CutPrefix(strings.ReplaceAll(got.head.Get("Location"), "../", ""), base+"/"); ok {
		r[path] = id
		return
	}
	for _, name := range []string{"id", "tokenId", "kid", "removalId"} {
		if id, ok := made[name].(string); ok {
			r[path] = url.PathEscape(id)
			return
		}
	}
	if id, ok := sent["importId"].(string); ok {
		r[path] = url.PathEscape(id)
	}
}

// call calls an operation with its example.
func (p *public) example(token string, o *operation, path, query string) answer {
	p.Helper()
	header := http.Header{"Authorization": {"Bearer " + token}}
	if o.kind != "" {
		header.Set("Content-Type", o.kind)
	}
	address := path
	if all := strings.Trim(o.query+"&"+query, "&"); all != "" {
		address += "?" + all
	}
	return p.ask(o.method, address, o.body, header)
}

// vendorScopes are all scopes that a vendor's client can have.
func vendorScopes(operations []operation) []string {
	scopes := map[string]bool{}
	for _, o := range operations {
		if name, _, ok := strings.Cut(o.scope, ":"); ok && name != "vendors" {
			scopes[name+":*"] = true
		}
	}
	return slices.Sorted(maps.Keys(scopes))
}

// makeRecords calls every operation that creates a record with its documented
// example.
func (p *public) makeRecords(token string, operations []operation) records {
	p.Helper()
	made := records{"/api/profile": "acme", "/payments/vendor": "acme"} // the broker's, which is there from the start
	for _, o := range operations {
		put := named(&o, operations)
		if o.method != http.MethodPost && !put || o.scope == "" || strings.HasPrefix(o.scope, "vendors:") {
			continue
		}
		if put {
			collection, _ := made.fill(o.path[:strings.LastIndex(o.path, "/")])
			made[collection] = url.PathEscape(o.last)
		}
		path, known := made.fill(o.path)
		if !known {
			p.Errorf("%s: no operation of the document makes the record in its path, and `elsewhere` in this test names none", o.String())
			continue
		}
		got := p.example(token, &o, path, "")
		if strings.HasPrefix(path, "/api/auth/") { // of readers, of whose records it makes none
			got.refused(http.StatusForbidden, "forbidden", "")
			continue
		}
		if strings.Contains(got.body, `"managed_elsewhere"`) { // an operation of logins
			continue
		}
		if got.code >= 300 {
			p.Errorf("%s with the example of the document: %d %s\n%s", o.String(), got.code, got.body, o.body)
			continue
		}
		if !put {
			made.note(&o, path, got)
		}
	}
	return made
}

// signed is what differs in each answer.
var signed = regexp.MustCompile(`"token":"[^"]*"`)

// snapshot is a vendor's view of its records.
func (p *public) snapshot(token string, operations []operation, known records) map[string]string {
	p.Helper()
	seen := map[string]string{}
	for _, o := range operations {
		if o.method != http.MethodGet || o.scope == "" || strings.HasPrefix(o.scope, "vendors:") {
			continue
		}
		path, ok := known.fill(o.path)
		if !ok {
			path = known.unrecorded(&o)
		}
		got := p.example(token, &o, path, "")
		if ok && got.code != http.StatusOK {
			p.Errorf("%s: its owner gets %d %s", o.String(), got.code, got.body)
		}
		seen[o.String()] = signed.ReplaceAllString(got.body, "")
	}
	return seen
}

// A vendor calls every documented operation with the ids of another vendor's
// records and with all scopes. It can neither see nor change them, nor learn that
// they exist.
func TestVendorsAreIsolated(t *testing.T) {
	p := newPublic(t)
	operations := p.operations()
	scopes := vendorScopes(operations)
	owner, stranger := p.token(p.client("acme", scopes...)), p.token(p.client("other", scopes...))
	vendorless := p.token(p.client("", "vendors:*"))
	known := p.makeRecords(owner, operations)
	before := p.snapshot(owner, operations, known)
	if len(operations) < 40 || len(known) < 5 || len(before) < 10 {
		t.Fatalf("%d operations, %d records, %d readable: this test sees too little", len(operations), len(known), len(before))
	}
	var ids []string
	for _, id := range known {
		if regexp.MustCompile(`^[a-z]+_[0-9a-z]{26}$`).MatchString(id) {
			ids = append(ids, id)
		}
	}
	if len(ids) < 3 {
		t.Fatalf("the ids are %v", ids)
	}

	// Longest paths first, and creation last, so that records that a call
	// creates for the stranger are not taken for the owner's.
	slices.Reverse(operations)
	slices.SortStableFunc(operations, func(a, b operation) int {
		makes := func(o operation) int {
			if o.method == http.MethodPost || o.method == http.MethodPut {
				return 1
			}
			return 0
		}
		return makes(a) - makes(b)
	})
	try := func(o *operation, path, query string) answer {
		got := p.example(stranger, o, path, query)
		for _, id := range ids {
			if strings.Contains(got.body, id) && !strings.Contains(path, id) {
				t.Errorf("%s %s?%s: another vendor sees %s: %s", o.method, path, query, id, got.body)
			}
		}
		return got
	}
	for i, o := range operations {
		if o.scope == "" {
			continue
		}
		path, found := known.fill(o.path)
		if !found {
			path = known.unrecorded(&o)
		}
		if strings.HasPrefix(o.scope, "vendors:") {
			try(&o, path, "").refused(http.StatusForbidden, "forbidden", "")
			continue
		}
		if got := p.example(vendorless, &o, path, ""); got.code != http.StatusForbidden {
			t.Errorf("%s: a client of no vendor gets %d %s", o.String(), got.code, got.body)
		}
		for _, query := range []string{"vendor=acme", "vendor_id=acme"} {
			if got := try(&o, path, query); got.code < 400 {
				t.Errorf("%s?%s: %d %s", o.String(), query, got.code, got.body)
			}
		}
		got := try(&o, path, "")
		if !strings.Contains(o.path, "{") || got.code == http.StatusNotFound || got.code == http.StatusCreated || got.code == http.StatusPreconditionRequired || named(&o, operations) {
			continue
		}
		// Some calls succeed for missing records. Then another vendor's record
		// must be answered like a missing one.
		never := p.example(stranger, &o, pathParameter.ReplaceAllString(o.path, fmt.Sprintf("never-%d.example", i)), "")
		if got.code != never.code || got.body != never.body {
			t.Errorf("%s with the ids of another vendor's records: %d %s, with no records: %d %s", o.String(), got.code, got.body, never.code, never.body)
		}
	}
	after := p.snapshot(owner, operations, known)
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s: a stranger's calls changed it\nfrom %s\nto   %s", name, text, after[name])
		}
	}
}

// Every operation requires a token, except those listed here.
func TestUnauthenticatedOperations(t *testing.T) {
	p := newPublic(t)
	open := map[string]bool{
		"POST /oauth/token": true, "GET /.well-known/openid-configuration": true, "GET /.well-known/jwks.json": true,
		"GET /.well-known/gatefold/{vendor}/jwks.json": true,
		// The published component reads the paywall in the browsers of readers.
		"GET /paywalls/{vendor}/{id}": true, "GET /paywalls/{vendor}/{id}/preview": true,
		"POST /hooks/{provider}": true, // its signature takes the place of a token
	}
	for _, o := range p.operations() {
		if o.scope == "" {
			if !open[o.String()] {
				t.Errorf("%s requires no authentication", o.String())
			}
			continue
		}
		path := pathParameter.ReplaceAllString(o.path, "x")
		got := p.ask(o.method, path, o.body, http.Header{"Content-Type": {o.kind}})
		got.refused(http.StatusUnauthorized, "unauthorized", "")
	}
}
