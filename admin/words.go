package admin

import (
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// word is what a field means, and an example of its value.
type word struct {
	meaning string
	example any
}

// words are the API's vocabulary: a field means the same wherever it stands. It
// is found by `<schema>.<field>`, or else by its name; a parameter of a path by
// what stands before it, `access-lists/{id}`. What a field's own `doc` and
// `example` tags say comes first.
var words = map[string]word{
	// Names and places of records.
	"id":                   {"The record's id.", nil},
	"AccessList.id":        {"The list's id.", "src_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"Grant.id":             {"The grant's id.", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"Entitlement.id":       {"The entitlement's id, which is the grant's.", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"AuditEntry.id":        {"The entry's id.", "000fz3k8q1r5s6t7v8w9x0y1z2"},
	"Vendor.id":            {"The vendor's id: lower-case letters, digits and hyphens.", "acme"},
	"VendorBody.id":        {"The vendor's id: lower-case letters, digits and hyphens.", "acme"},
	"access-lists/{id}":    {"The access list's id; src_default is there from the start.", "src_default"},
	"grants/{grantId}":     {"The grant's id.", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"imports/{importId}":   {"The import's name, as its batches have it.", "subscribers-2027-01"},
	"signed-links/{id}":    {"The link's tokenId.", "link_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"products/{sku}":       {"The product's sku.", "premium"},
	"source":               {"The access list in which the grant stands.", nil},
	"ImportBatch.importId": {"", "subscribers-2027-01"},
	"Location":             {"Where the new record is, relative to the address of the call.", "src_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"ETag":                 {"Names this state of the record, for If-Match.", nil},
	"Link":                 {"", `<?from=grant_01kb2m3q4r5s6t7v8w9x0y1z2a&limit=100>; rel="next"`},
	"name":                 {"What it is called.", "Subscribers"},
	"Vendor.name":          {"What the vendor is called.", "Acme Publishing"},
	"VendorBody.name":      {"What the vendor is called.", "Acme Publishing"},
	"Origin.name":          {"", "Subscribers"},
	"description":          {"What it is for.", "Everybody who subscribed on paper"},
	"type":                 {"What kind of record it is.", nil},
	"AccessList.type":      {"How grants come into the list: MANUAL, by calls of this API.", "MANUAL"},
	"ListBody.type":        {"How grants come into the list: MANUAL, by calls of this API.", "MANUAL"},
	"ListPatch.type":       {"How grants come into the list: MANUAL, by calls of this API.", "MANUAL"},
	"Origin.type":          {"What kind of source it comes from.", "access_list"},
	"Entitlement.type":     {"The product's type.", "article"},
	"ProductBody.type":     {"What kind of product it is.", "article"},
	"ProductPatch.type":    {"What kind of product it is.", "article"},
	"status":               {"ACTIVE, or INACTIVE: then it gives nothing.", "ACTIVE"},
	"SignedLink.status":    {"Whether the link opens its page, or why not.", "active"},
	"excludeFromStats":     {"Whether statistics leave it out.", false},
	"createdAt":            {"When the record was made.", "2027-01-01T09:30:00Z"},
	"updatedAt":            {"When the record was changed last.", "2027-01-02T10:00:00Z"},
	"Product.title":        {"What the product is called.", "Hello, reader"},
	"title":                {"What it is called.", "Hello, reader"},

	// Who may have what.
	"sku":                 {"What is sold or granted.", "premium"},
	"userId":              {"The reader's user id.", "user-123"},
	"publisherUserId":     {"The publisher's own id of the reader.", "customer-4711"},
	"email":               {"", "reader@example.com"},
	"poId":                {"The purchase option that was bought.", "po-yearly"},
	"purchaseOption":      {"The purchase option.", "po-yearly"},
	"publisherPurchaseId": {"The publisher's own id of the purchase.", "order-2027-0815"},
	"startsAt":            {"The first moment at which it counts.", "2027-01-01T00:00:00Z"},
	"endsAt":              {"", "2037-01-01T00:00:00Z"},
	"expiresAt":           {"The first moment at which it no longer counts.", "2037-01-08T09:30:00Z"},
	"firstName":           {"The reader's first name.", "Ada"},
	"lastName":            {"The reader's last name.", "Lovelace"},
	"phone":               {"The reader's telephone number.", "+46 8 123 456"},
	"deliveryAddress":     {"Where what is printed goes.", nil},
	"billingAddress":      {"Where bills go.", nil},
	"notes":               {"Notes of the publisher's own.", "Moved from the old system"},
	"extraFields":         {"Texts of the publisher's own, by names of his own.", map[string]any{"campaign": "autumn"}},
	"street":              {"Street and number.", "Main Street 1"},
	"city":                {"City.", "Stockholm"},
	"zip":                 {"Postal code.", "111 22"},
	"country":             {"Country.", "SE"},
	"co":                  {"In whose care (c/o).", "Byron"},
	"origin":              {"Where the entitlement comes from.", nil},
	"hasAccess":           {"", true},
	"Origin.id":           {"", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"Origin.listId":       {"", "src_default"},

	// Products and vendors.
	"publisherContentId": {"The publisher's own id of the content, as the rule of its page captures it.", "hello"},
	"presentationUrl":    {"Where the content is shown.", "https://news.example.com/articles/hello"},
	"cover":              {"The address of a picture.", "https://news.example.com/covers/hello.jpg"},
	"language":           {"The content's language (BCP 47).", "en"},
	"externalIds":        {"Ids in other systems, by the systems' names.", nil},
	"productType":        {"What kind of product it is.", "ARTICLE"},
	"logo":               {"The address of the vendor's logo.", "https://news.example.com/logo.svg"},
	"website":            {"The vendor's web site.", "https://news.example.com"},

	// Links.
	"url":               {"The address of the page.", "https://news.example.com/articles/hello"},
	"tokenId":           {"The link's id, by which it is shown and revoked.", "link_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"token":             {"The link's token, which is not kept.", "eyJhbGciOiJFUzI1NiIsInR5cCI6ImdhdGVmb2xkLWxpbmsrand0Iiwia2lkIjoi…"},
	"signedUrl":         {"", "https://news.example.com/articles/hello?token=eyJhbGciOiJFUzI1NiIs…"},
	"maxUses":           {"How often the link may be redeemed; not counted when absent.", 5},
	"uses":              {"How often the link was redeemed.", 2},
	"meta":              {"What was kept with the link.", map[string]any{"campaign": "autumn"}},
	"at":                {"When it happened.", "2027-01-01T09:30:00Z"},
	"revokedAt":         {"When it was revoked.", nil},
	"SignedLink.url":    {"The page that the link opens.", "https://news.example.com/articles/hello"},
	"SignedLink.userId": {"For whom the link was made.", "user-123"},
	"SignedLink.sku":    {"The sku that the link opens.", "premium"},
	// A link that names all three opens only a page that all three fit.
	"LinkBody.sku":                {"", nil},
	"LinkBody.publisherContentId": {"", nil},
	"LinkBody.purchaseOption":     {"The purchase option.", nil},
	"CreatedLink.sku":             {"The sku that the link opens.", "premium"},

	// Publisher domains and keys.
	"domain":           {"The host, in lower case.", "news.example.com"},
	"domains":          {"The domains.", nil},
	"domains/{domain}": {"The domain: a host in lower case, without scheme.", "publisher.example.com"},
	"links/{id}":       {"", "promo-2027-1"},
	"signingKeyPem":    {"The P-256 public keys that the domain signs with, in PEM.", examplePEM},
	"jwksUri":          {"The https URL of the domain's JWK Set.", nil},
	"updatedBy":        {"Who changed the record last.", "client_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"probe":            {"What came out of looking at the domain's keys.", nil},
	"ok":               {"Whether there are keys that can verify.", true},
	"checkedAt":        {"When that was looked at.", "2027-01-01T09:30:00Z"},
	"kid":              {"The key's id.", "Zk3-9yKc0bq7Lw1m5x8v"},
	"keys/{kid}":       {"The key's id, as the list of keys has it.", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
	"note":             {"Why.", "Leaked on 1 January"},
	"deniedAt":         {"When it was denied.", "2027-01-01T09:30:00Z"},
	"deniedBy":         {"Who denied it.", "client_01kb2m3q4r5s6t7v8w9x0y1z2a"},
	"retiredAt":        {"When its signatures ceased to count.", nil},

	// Sites.
	"created_at":      {"When it was made.", "2027-01-01T09:30:00Z"},
	"state":           {"What becomes of it now.", nil},
	"username":        {"The reader's user id.", "user-123"},
	"sessions/{user}": {"The reader's user id.", "user-123"},

	// Rules.
	"rank":       {"Rules are tried by rank, lowest first.", 1},
	"methods":    {"The HTTP methods for which the rule counts.", []any{"GET", "HEAD"}},
	"is_forward": {"Whether allowed requests go to the origin.", true},
	"engaged":    {"Tags that a visit records, separated by commas.", "news"},
	"results":    {"The records of the page.", nil},
	"count":      {"How many there are.", 1},
	"updates":    {"The moves, in the order in which they are made.", nil},
	"q":          {"Only those that hold this text.", "hello"},

	// Imports.
	"position":         {"How many rows came before.", 0},
	"created":          {"How many grants were made.", 5000},
	"failed":           {"Of how many rows no grant was made.", 0},
	"rows":             {"How many rows there were.", 5000},
	"errors":           {"What is wrong, one by one.", nil},
	"LastBatch.errors": {"The rows of which no grant was made.", nil},
	"field":            {"The field that is wrong; absent when it is the row.", "endsAt"},
	"grants":           {"The grants, one after another.", nil},

	// Problems.
	"message":        {"What is wrong with it.", "expected length >= 1"},
	"location":       {"Which part of the request is meant.", "body.name"},
	"Problem.type":   {"Always about:blank: `code` tells what it is.", "about:blank"},
	"Problem.title":  {"The status in words.", "Not Found"},
	"Problem.status": {"The status of the answer.", 404},
	"Problem.detail": {"What is wrong and what to do, for people.", "There is no such record."},
	"Problem.code":   {"What is wrong, in one word that does not change.", "not_found"},

	// The audit log.
	"kind": {"What kind of record it is.", "grant"},
}

// examplePEM is a public key of nobody's.
const examplePEM = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0B8acoitoEYyIt85mEBOARtYR1VM
duIBWqonYoMMxsEY688kUqbjiMG553leOUdoS71jYQBEkTrvHCSzTnOhVg==
-----END PUBLIC KEY-----
`

// speak gives fields and parameters that say nothing of themselves the meaning
// that their name has in this API.
func (a *api) speak() {
	document := a.huma.OpenAPI()
	for name, schema := range document.Components.Schemas.Map() {
		speakOf(name, schema)
	}
	for _, operation := range operationsOf(document) {
		for _, parameter := range operation.Parameters {
			found := wordOf("", parameter.Name)
			if parameter.In == "path" {
				found = pathWord(operation.Path, parameter.Name)
			}
			if parameter.Description == "" {
				parameter.Description = found.meaning
			}
			if parameter.In == "path" && found.example != nil {
				parameter.Example = found.example
			}
			if parameter.In == "query" && parameter.Example == nil && parameter.Schema != nil && found.example != nil && fits(parameter.Schema, found.example) {
				parameter.Example = found.example
			}
		}
		for _, response := range operation.Responses {
			for name, header := range response.Headers {
				if found := wordOf("", name); header.Description == "" && (header.Schema == nil || header.Schema.Description == "") {
					header.Description = found.meaning
				}
			}
		}
		if operation.RequestBody == nil {
			continue
		}
		for _, media := range operation.RequestBody.Content {
			if media.Schema != nil {
				speakOf("", media.Schema)
			}
		}
	}
}

func wordOf(schema, field string) word {
	if found, ok := words[schema+"."+field]; ok {
		return found
	}
	return words[field]
}

// pathWord finds a parameter of a path by the segment before it.
func pathWord(path, name string) word {
	segments := strings.Split(path, "/")
	i := slices.Index(segments, "{"+name+"}")
	if i < 1 {
		return words[name]
	}
	if found, ok := words[segments[i-1]+"/"+segments[i]]; ok {
		return found
	}
	return words[name]
}

func speakOf(name string, schema *huma.Schema) {
	for field, property := range schema.Properties {
		found := wordOf(name, field)
		if property.Description == "" {
			property.Description = found.meaning
		}
		if len(property.Examples) == 0 && property.Ref == "" && found.example != nil && fits(property, found.example) {
			property.Examples = []any{found.example}
		}
		if property.Items != nil && property.Items.Ref == "" {
			speakOf(name, property.Items)
		}
	}
}

// fits says whether an example is of a schema's type, and one of its values.
func fits(schema *huma.Schema, example any) bool {
	if len(schema.Enum) > 0 && !slices.Contains(schema.Enum, example) {
		return false
	}
	switch example.(type) {
	case string:
		return schema.Type == huma.TypeString
	case int:
		return schema.Type == huma.TypeInteger
	case bool:
		return schema.Type == huma.TypeBoolean
	case []any:
		return schema.Type == huma.TypeArray
	default:
		return schema.Type == huma.TypeObject
	}
}
