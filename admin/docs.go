package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	stdjson "encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The documentation is a single page, rendered from the description of the API at
// start. It embeds its style and script and loads nothing.
var (
	//go:embed docs/page.html
	docsHTML string
	//go:embed docs/style.css
	docsCSS string
	//go:embed docs/script.js
	docsScript string
)

// docsTemplate is parsed at start, so that an error in it is found at once.
var docsTemplate = template.Must(template.New("docs").Funcs(template.FuncMap{
	"prose": prose,
	"css":   func() template.CSS { return template.CSS(docsCSS) },  //nolint:gosec // our own file
	"js":    func() template.JS { return template.JS(docsScript) }, //nolint:gosec // our own file
	"lower": strings.ToLower,
}).Parse(docsHTML))

// docsPolicy returns the page's Content-Security-Policy, which admits nothing but
// the embedded style and script.
func docsPolicy() string {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; style-src " + hash(docsCSS) + "; script-src " + hash(docsScript) +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// docsPage is the data of docsTemplate.
type docsPage struct {
	Title, About string
	Own          bool // the token endpoint is enabled
	Scopes       []docsScope
	Groups       []docsGroup
	Errors       []docsError
}

type docsScope struct{ Name, Description string }

type docsError struct {
	Status            int
	Code, Description string
}

type docsGroup struct {
	Name, Description, ID string
	Operations            []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description, Scope string
	Parameters, Fields                            []docsField
	BodyNote, Example                             string
	Responses                                     []docsResponse
}

// docsField is a field or a parameter. Depth is its nesting level.
type docsField struct {
	Name, Type, In, Description string
	Limits                      []string
	Required                    bool
	Depth                       int
}

type docsResponse struct {
	Status, Description, Example string
	Headers, Fields              []docsField
	Failure                      bool
}

// serveDocs renders the page and serves it.
func (a *api) serveDocs() error {
	var page bytes.Buffer
	if err := docsTemplate.Execute(&page, a.docsPage()); err != nil {
		return fmt.Errorf("admin: writing the documentation: %w", err)
	}
	policy := docsPolicy()
	a.public.HandleFunc("GET "+docsPath, func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", policy)
		header.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(page.Bytes()) // fails only if the client is gone
	})
	return nil
}

func (a *api) docsPage() docsPage {
	document := a.huma.OpenAPI()
	page := docsPage{Title: document.Info.Title, About: document.Info.Description, Own: a.Authority.Own}
	if flows := document.Components.SecuritySchemes[securityScheme].Flows; flows != nil {
		scopes := flows.ClientCredentials.Scopes
		for _, name := range slices.Sorted(maps.Keys(scopes)) {
			page.Scopes = append(page.Scopes, docsScope{name, scopes[name]})
		}
	}
	for _, status := range slices.Sorted(maps.Keys(failures)) {
		page.Errors = append(page.Errors, docsError{status, codes[status], failures[status].description})
	}
	operations := operationsOf(document)
	for _, tag := range document.Tags {
		group := docsGroup{Name: tag.Name, Description: tag.Description, ID: strings.ReplaceAll(strings.ToLower(tag.Name), " ", "-")}
		for _, operation := range operations {
			if slices.Contains(operation.Tags, tag.Name) {
				group.Operations = append(group.Operations, a.docsOperation(operation))
			}
		}
		page.Groups = append(page.Groups, group)
	}
	return page
}

func (a *api) docsOperation(operation *huma.Operation) docsOperation {
	shown := docsOperation{
		ID: operation.OperationID, Method: operation.Method, Path: operation.Path,
		Summary: operation.Summary, Description: operation.Description,
	}
	if len(operation.Security) > 0 {
		shown.Scope = strings.Join(operation.Security[0][securityScheme], " ")
	}
	for _, parameter := range operation.Parameters {
		field := a.docsField(parameter.Name, parameter.Schema, 0)
		field.In, field.Required = parameter.In, parameter.Required
		if parameter.Description != "" {
			field.Description = parameter.Description
		}
		shown.Parameters = append(shown.Parameters, field)
	}
	if body := operation.RequestBody; body != nil {
		kinds := slices.Sorted(maps.Keys(body.Content))
		shown.BodyNote = strings.Join(kinds, " or ")
		if media := bodyOf(body.Content); media != nil {
			shown.Fields = a.docsFields(media.Schema, 0, nil)
		}
	}
	shown.Example = curlExample(operation)
	for _, status := range slices.Sorted(maps.Keys(operation.Responses)) {
		shown.Responses = append(shown.Responses, a.docsResponse(status, operation.Responses[status]))
	}
	return shown
}

// bodyOf returns the content that the page shows, preferably JSON.
func bodyOf(content map[string]*huma.MediaType) *huma.MediaType {
	if media, ok := content["application/json"]; ok {
		return media
	}
	for _, kind := range slices.Sorted(maps.Keys(content)) {
		return content[kind]
	}
	return nil
}

func (a *api) docsResponse(status string, response *huma.Response) docsResponse {
	shown := docsResponse{Status: status, Failure: status == "default" || status >= "400"}
	if name, ok := strings.CutPrefix(response.Ref, "#/components/responses/"); ok {
		response = a.huma.OpenAPI().Components.Responses[name]
	}
	if shown.Description = response.Description; shown.Failure {
		return shown
	}
	for _, name := range slices.Sorted(maps.Keys(response.Headers)) {
		header := response.Headers[name]
		field := a.docsField(name, header.Schema, 0)
		if header.Description != "" {
			field.Description = header.Description
		}
		shown.Headers = append(shown.Headers, field)
	}
	if media := bodyOf(response.Content); media != nil && media.Schema != nil {
		shown.Fields = a.docsFields(media.Schema, 0, nil)
		shown.Example = jsonExample(media.Example)
	}
	return shown
}

// resolve follows a reference.
func (a *api) resolve(schema *huma.Schema) *huma.Schema {
	for schema != nil && schema.Ref != "" {
		schema = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
	}
	return schema
}

// docsFields lists the fields of a schema, each followed by the fields of its
// object. Seen are the enclosing schemas, so that a recursive schema ends.
func (a *api) docsFields(schema *huma.Schema, depth int, seen []*huma.Schema) []docsField {
	schema = a.resolve(schema)
	for schema != nil && schema.Type == huma.TypeArray {
		schema = a.resolve(schema.Items)
	}
	if schema == nil || slices.Contains(seen, schema) {
		return nil
	}
	seen = append(seen, schema)
	names := slices.SortedFunc(maps.Keys(schema.Properties), func(a, b string) int {
		required := func(name string) int {
			if slices.Contains(schema.Required, name) {
				return 0
			}
			return 1
		}
		if order := required(a) - required(b); order != 0 {
			return order
		}
		return strings.Compare(a, b)
	})
	var fields []docsField
	for _, name := range names {
		property := schema.Properties[name]
		field := a.docsField(name, property, depth)
		field.Required = slices.Contains(schema.Required, name)
		fields = append(fields, field)
		fields = append(fields, a.docsFields(property, depth+1, seen)...)
	}
	return fields
}

func (a *api) docsField(name string, schema *huma.Schema, depth int) docsField {
	field := docsField{Name: name, Depth: min(depth, 4)}
	if schema == nil {
		return field
	}
	resolved := a.resolve(schema)
	if field.Description = schema.Description; field.Description == "" {
		field.Description = resolved.Description
	}
	field.Type, field.Limits = a.typeName(resolved), limitsOf(schema)
	return field
}

// typeName describes the type of a value.
func (a *api) typeName(schema *huma.Schema) string {
	schema = a.resolve(schema)
	var name string
	switch {
	case schema == nil:
		return "any"
	case len(schema.OneOf) > 0:
		var names []string
		for _, one := range schema.OneOf {
			names = append(names, a.typeName(one))
		}
		return strings.Join(names, " or ")
	case schema.Type == huma.TypeArray:
		name = "array of " + a.typeName(schema.Items)
	case schema.Type == huma.TypeString && schema.Format == "date-time":
		name = "time (RFC 3339)"
	case schema.Type == "":
		name = "any"
	default:
		name = schema.Type
	}
	if schema.Nullable {
		name += " or null"
	}
	return name
}

// limitsOf describes the constraints of a value.
func limitsOf(schema *huma.Schema) []string {
	var limits []string
	if len(schema.Enum) > 0 {
		values := make([]string, len(schema.Enum))
		for i, value := range schema.Enum {
			values[i] = fmt.Sprint(value)
		}
		limits = append(limits, "one of "+strings.Join(values, ", "))
	}
	bound := func(label string, value *int) {
		if value != nil {
			limits = append(limits, label+" "+strconv.Itoa(*value))
		}
	}
	number := func(label string, value *float64) {
		if value != nil {
			limits = append(limits, label+" "+strconv.FormatFloat(*value, 'f', -1, 64))
		}
	}
	number("at least", schema.Minimum)
	number("at most", schema.Maximum)
	if schema.MinLength != nil && *schema.MinLength > 1 {
		bound("min. length", schema.MinLength)
	}
	bound("max. length", schema.MaxLength)
	bound("max. elements", schema.MaxItems)
	bound("max. members", schema.MaxProperties)
	if schema.Default != nil {
		limits = append(limits, "default "+fmt.Sprint(schema.Default))
	}
	return limits
}

func jsonExample(example any) string {
	if example == nil {
		return ""
	}
	var text bytes.Buffer
	encoder := stdjson.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(example); err != nil {
		return ""
	}
	return strings.TrimSpace(text.String())
}

// curlExample returns a curl command for an operation.
func curlExample(operation *huma.Operation) string {
	address := operation.Path
	var query []string
	for _, parameter := range operation.Parameters {
		example := parameter.Example
		if example == nil && parameter.Schema != nil && len(parameter.Schema.Examples) > 0 {
			example = parameter.Schema.Examples[0]
		}
		switch {
		case parameter.In == "path" && example != nil:
			address = strings.ReplaceAll(address, "{"+parameter.Name+"}", pathExample(example))
		case parameter.In == "query" && parameter.Required:
			query = append(query, parameter.Name+"="+url.QueryEscape(fmt.Sprint(example)))
		}
	}
	if len(query) > 0 {
		address += "?" + strings.Join(query, "&")
	}
	call := "curl "
	if operation.Method != http.MethodGet {
		call += "-X " + operation.Method + " "
	}
	parts := []string{call + `"$API` + address + `"`}
	if len(operation.Security) > 0 {
		parts = append(parts, `-H "Authorization: Bearer $TOKEN"`)
	}
	if operation.RequestBody != nil {
		if media := operation.RequestBody.Content["application/json"]; media != nil && media.Example != nil {
			parts = append(parts, `-H "Content-Type: application/json"`, "-d '"+strings.ReplaceAll(jsonExample(media.Example), "'", `'\''`)+"'")
		}
	}
	return strings.Join(parts, " \\\n  ")
}

// pathExample escapes an example for a path. Slashes are kept.
func pathExample(example any) string {
	return strings.ReplaceAll(url.PathEscape(fmt.Sprint(example)), "%2F", "/")
}

var (
	proseCode = regexp.MustCompile("`([^`]+)`")
	proseBold = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

// prose renders the subset of CommonMark that descriptions use: paragraphs, code
// and strong emphasis.
func prose(text string) template.HTML {
	var page strings.Builder
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		escaped := template.HTMLEscapeString(paragraph)
		escaped = proseCode.ReplaceAllString(escaped, "<code>$1</code>")
		escaped = proseBold.ReplaceAllString(escaped, "<strong>$1</strong>")
		page.WriteString("<p>" + escaped + "</p>\n")
	}
	return template.HTML(page.String()) //nolint:gosec // escaped above
}
