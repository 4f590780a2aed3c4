package admin_test

import (
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// example is an operation of the published management API with its published
// examples.
type example struct {
	method, path string
	query        string // as published
	request      string
	status       int
	response     string
	// valid replaces placeholders of request and query, by path, with values of
	// the same type.
	valid map[string]any
	// without are fields to omit, because the published text excludes them with
	// another field.
	without []string
}

const (
	publishedProduct = `{"cover":"string","language":"string","createdAt":"string","updatedAt":"string","sku":"string","title":"string","productType":"string","publisherContentId":"string"}`
	publishedList    = `{"name":"My Partner API","description":"Purchases from partner system","type":"MANUAL","status":"ACTIVE","excludeFromStats":false}`
	publishedListIs  = `{"id":"src_123abc","name":"My Partner API","description":"Purchases from partner system","type":"MANUAL","status":"ACTIVE","excludeFromStats":false}`
	publishedGrant   = `"email":"user@example.com","userId":"pub_user_123","publisherUserId":"pub_user_123","sku":"premium-article-123","poId":"po_123abc","status":"ACTIVE",
		"startsAt":"2024-01-01T00:00:00Z","endsAt":"2024-12-31T23:59:59Z","firstName":"John","lastName":"Doe","phone":"+1234567890",
		"deliveryAddress":{"street":"string","city":"string","zip":"string","country":"string","co":"string"},
		"billingAddress":{"street":"string","city":"string","zip":"string","country":"string","co":"string"},
		"publisherPurchaseId":"pub_purchase_123","notes":"Bulk purchase","extraFields":{"additionalProperties":"string"},"excludeFromStats":false`
	publishedGrantIs = `{"id":"grant_123abc","source":"src_123abc",` + publishedGrant + `}`
	publishedLink    = `{"url":"https://example.com/article/123","sku":"premium-subscription","purchaseOption":"monthly","publisherContentId":"article-2024-01-15-news",
		"userId":"user-456","maxUses":1000,"expiresIn":"7d","meta":{"additionalProperties":"string"}}`
)

const (
	publishedDomain   = `{"signingKeyPem":"string","jwksUri":"string","allowedResourceIds":["string"]}`
	publishedDomainIs = `{"domain":"string","signingKeyPem":"string","jwksUri":"string","allowedResourceIds":["string"],"createdAt":"string","updatedAt":"string","updatedBy":"string"}`
	publishedProbe    = `{"domain":"string","signingKeyPem":"string","jwksUri":"string","allowedResourceIds":["string"],"createdAt":"string","updatedAt":"string","updatedBy":"string",
		"probe":{"ok":true,"activeKeys":0,"error":"string"}}`
	publishedPath = "/management/domains/example.wordpress.com"
)

// examples are the operations, in an order that creates what later ones need. {…}
// in a path is the id that an earlier one created.
var examples = []example{
	{
		method: "POST", path: "/management/vendors", request: `{"name":"string","id":"string","website":"string","country":"string"}`, status: 201,
		valid: map[string]any{"name": "Acme News", "id": "acme", "website": "https://acme.example", "country": "SE"},
	},
	{method: "GET", path: "/management/vendors", status: 200, response: `[{"name":"string","id":"string","logo":"string"}]`},
	{
		method: "POST", path: "/management/products", request: `{"type":"string","url":"string","spotifyId":"string"}`, status: 201, response: publishedProduct,
		valid: map[string]any{"type": "podcast", "url": "https://news.example/pod/daily", "spotifyId": "4rOoJ6Egrf8K2IrywzwOMk"},
	},
	{method: "GET", path: "/management/products", query: "q=string", status: 200, response: `[` + publishedProduct + `]`, valid: map[string]any{"q": "daily"}},
	{method: "GET", path: "/management/products/{sku}", status: 200, response: publishedProduct},
	{
		method: "PATCH", path: "/management/products/{sku}", request: `{"externalIds":{"spotifyId":"string"},"language":"string"}`, status: 200, response: publishedProduct,
		valid: map[string]any{"externalIds.spotifyId": "0ofXAdFIQQRsCYj9754UFx", "language": "sv"},
	},
	{method: "POST", path: "/management/access-lists", request: publishedList, status: 201, response: publishedListIs},
	{method: "GET", path: "/management/access-lists", status: 200, response: `[` + publishedListIs + `]`},
	{method: "GET", path: "/management/access-lists/{id}", status: 200, response: publishedListIs},
	{method: "PUT", path: "/management/access-lists/{id}", request: publishedList, status: 200, response: publishedListIs},
	{method: "PATCH", path: "/management/access-lists/{id}", request: publishedList, status: 200, response: publishedListIs},
	{
		method: "POST", path: "/management/access-lists/{id}/grants", request: `{` + publishedGrant + `,"source":"src_123abc"}`, status: 201, response: publishedGrantIs,
		valid: map[string]any{"source": "{id}"},
	},
	{method: "GET", path: "/management/access-lists/{id}/grants", status: 200, response: `[` + publishedGrantIs + `]`},
	{method: "GET", path: "/management/access-lists/{id}/grants/{grantId}", status: 200, response: publishedGrantIs},
	{method: "PUT", path: "/management/access-lists/{id}/grants/{grantId}", request: `{` + publishedGrant + `}`, status: 200, response: publishedGrantIs},
	{
		method: "GET", path: "/management/entitlements", query: "q=premium+article&limit=20&from=cursor123&userId=user123&type=article&sku=premium-article-123", status: 200,
		valid: map[string]any{"from": "{cursor}"},
		response: `[{"id":"1d78271264b9c76d5842911dd70b4353","sku":"string","purchaseOption":"string","cover":"string","title":"string","url":"string","presentationUrl":"string",
			"publisherContentId":"string","type":"string","origin":{"type":"string","id":"string","listId":"string","name":"string"},"hasAccess":true,
			"createdAt":"string","updatedAt":"string","token":"string","expiresAt":"string"}]`,
	},
	{
		method: "POST", path: "/management/create-signed-link", request: publishedLink, status: 200,
		response: `{"signedUrl":"string","token":"string","tokenId":"string","expiresAt":"string","sku":"string","publisherContentId":"string"}`,
	},
	{method: "DELETE", path: "/management/access-lists/{id}/grants/{grantId}", status: 204},
	// Exactly one of signingKeyPem and jwksUri is allowed, so the example is
	// two.
	{
		method: "PUT", path: publishedPath, request: publishedDomain, status: 200, response: publishedProbe,
		valid: map[string]any{"jwksUri": "https://example.wordpress.com/.well-known/jwks.json"}, without: []string{"signingKeyPem"},
	},
	{method: "GET", path: "/management/domains", status: 200, response: `{"domains":[` + publishedDomainIs + `]}`},
	{
		method: "PUT", path: publishedPath, request: publishedDomain, status: 200, response: publishedProbe,
		valid: map[string]any{"signingKeyPem": "{pem}"}, without: []string{"jwksUri"},
	},
	{method: "GET", path: publishedPath, status: 200, response: publishedDomainIs},
	{method: "DELETE", path: publishedPath, status: 204},
}

// Each example request is sent with valid values for its placeholders, and each
// field of the example response comes back with its type and the value that was
// sent.
func TestPublishedExamples(t *testing.T) {
	b := newFixture(t, true)
	_, block := publisherKey(t, elliptic.P256())
	made := map[string]string{"{cursor}": b.entitled(), "{pem}": block}
	for _, e := range examples {
		t.Run(e.method+" "+e.path, func(t *testing.T) {
			b.clock = b.clock.Add(time.Second)
			used := map[string]bool{}
			path := fillPath(t, e.path, made)
			if e.query != "" {
				path += "?" + e.fillQuery(t, made, used)
			}
			var sent any
			body := ""
			if e.request != "" {
				parse(t, e.request, &sent)
				e.leaveOut(sent)
				sent = e.fill(t, "", sent, made, used)
				encoded, err := json.Marshal(sent)
				if err != nil {
					t.Fatal(err)
				}
				body = string(encoded)
			}
			for place := range e.valid {
				if !used[place] {
					t.Errorf("the example has no %s", place)
				}
			}
			got := b.call(e.method, path, body)
			got.t = t
			got.want(e.status, nil)
			if e.response == "" {
				return
			}
			var want, answer any
			parse(t, e.response, &want)
			parse(t, got.body, &answer)
			compare(t, "", want, answer, sent)
			remember(e.path, answer, made)
		})
	}
	if len(examples) != 23 {
		t.Errorf("there are %d examples", len(examples))
	}
}

// entitled creates the grants that the example of entitlements expects: the reader
// user123 has premium-article-123, before and after the cursor.
func (b *fixture) entitled() (cursor string) {
	b.Helper()
	b.call(http.MethodPost, productsPath, `{"type":"article","sku":"premium-article-123","title":"A premium article","url":"https://example.com/article/123",
		"presentationUrl":"https://example.com/buy/123","cover":"https://example.com/123.png","language":"en","publisherContentId":"123"}`).want(http.StatusCreated, nil)
	for range 2 {
		var grant struct{ ID string }
		b.call(http.MethodPost, defaultPath, `{"userId":"user123","sku":"premium-article-123","poId":"monthly","endsAt":"2030-01-01T00:00:00Z"}`).want(http.StatusCreated, &grant)
		if cursor == "" {
			cursor = grant.ID
		}
		b.clock = b.clock.Add(time.Second)
	}
	return cursor
}

func parse(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

func fillPath(t *testing.T, path string, made map[string]string) string {
	t.Helper()
	for name, value := range made {
		path = strings.ReplaceAll(path, name, value)
	}
	if strings.Contains(path, "{") {
		t.Fatalf("nothing was made for %s", path)
	}
	return path
}

// replacement returns the substitute for an example's value.
func (e *example) replacement(t *testing.T, place string, was any, made map[string]string, used map[string]bool) any {
	t.Helper()
	value, ok := e.valid[place]
	if !ok {
		return was
	}
	used[place] = true
	if text, ok := value.(string); ok && strings.HasPrefix(text, "{") {
		value = made[text]
	}
	if kindOf(value) != kindOf(was) || value == "" {
		t.Fatalf("%s: %v takes the place of %v", place, value, was)
	}
	return value
}

func (e *example) fill(t *testing.T, place string, value any, made map[string]string, used map[string]bool) any {
	t.Helper()
	object, ok := value.(map[string]any)
	if !ok {
		return e.replacement(t, place, value, made, used)
	}
	for name, member := range object {
		object[name] = e.fill(t, strings.TrimPrefix(place+"."+name, "."), member, made, used)
	}
	return object
}

func (e *example) fillQuery(t *testing.T, made map[string]string, used map[string]bool) string {
	t.Helper()
	var pairs []string
	for pair := range strings.SplitSeq(e.query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, fmt.Sprint(name, "=", e.replacement(t, name, value, made, used)))
	}
	return strings.Join(pairs, "&")
}

func kindOf(value any) string { return fmt.Sprintf("%T", value) }

// leaveOut removes fields from a request that another field excludes.
func (e *example) leaveOut(request any) {
	fields, _ := request.(map[string]any)
	for _, place := range e.without {
		delete(fields, place)
	}
}

// compare checks that an answer has every field of an example, with its type and
// the value that was sent.
func compare(t *testing.T, place string, want, got, sent any) {
	t.Helper()
	if kindOf(want) != kindOf(got) {
		t.Errorf("%s: %v is no %T", place, got, want)
		return
	}
	switch want := want.(type) {
	case map[string]any:
		fields, _ := sent.(map[string]any)
		for name, member := range want {
			value, ok := got.(map[string]any)[name]
			if !ok {
				t.Errorf("%s.%s is missing", place, name)
				continue
			}
			compare(t, place+"."+name, member, value, fields[name])
		}
	case []any:
		list := got.([]any)
		if len(list) == 0 {
			t.Errorf("%s is empty", place)
			return
		}
		if len(want) == len(list) {
			for i := range want {
				compare(t, fmt.Sprintf("%s[%d]", place, i), want[i], list[i], nil)
			}
			return
		}
		// The last element has all fields of the example.
		compare(t, place+"[]", want[0], list[len(list)-1], nil)
	default:
		if sent != nil && kindOf(sent) == kindOf(got) && sent != got {
			t.Errorf("%s: sent was %v, and answered is %v", place, sent, got)
		}
	}
}

// remember stores created ids for the paths of later examples.
func remember(path string, answer any, made map[string]string) {
	object, ok := answer.(map[string]any)
	if !ok {
		return
	}
	for name, in := range map[string]string{"{sku}": "/management/products", "{id}": "/management/access-lists", "{grantId}": "/management/access-lists/{id}/grants"} {
		id, _ := object[map[bool]string{true: "sku", false: "id"}[name == "{sku}"]].(string)
		if path == in && id != "" {
			made[name] = id
		}
	}
}
