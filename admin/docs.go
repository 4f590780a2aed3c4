package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the parts of a page
	"encoding/base64"
	stdjson "encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The documentation is an index and a page per tag, rendered from the description of the
// API at start. A page embeds its style and loads nothing.
var (
	//go:embed docs/page.html
	docsHTML string
	//go:embed docs/style.css
	docsCSS string
)

// omittedPath is the page of operations that are left out.
const omittedPath = docsPath + "/omitted"

// docsTemplate is parsed at start, so that an error in it is found at once.
var docsTemplate = template.Must(template.New("docs").Funcs(template.FuncMap{
	"prose": prose,
	"css":   func() template.CSS { return template.CSS(docsCSS) }, //nolint:gosec // our own file
	"lower": strings.ToLower,
	"first": func(text string) string { first, _, _ := strings.Cut(text, "\n\n"); return first },
	"rest":  func(text string) string { _, rest, _ := strings.Cut(text, "\n\n"); return rest },
	// A long path breaks where it has a slash, not within a word.
	"breaks": func(path string) template.HTML {
		return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(path), "/", "/<wbr>")) //nolint:gosec // it is escaped
	},
	"list": func(operations []docsOperation, below, page string) docsList {
		return docsList{operations, below + page}
	},
}).Parse(docsHTML))

// docsPolicy returns the pages' Content-Security-Policy, which admits nothing but the
// embedded style.
func docsPolicy() string {
	sum := sha256.Sum256([]byte(docsCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// docsPage is the data of docsTemplate. Group is the tag of the page, nil for the index and
// the page of omissions.
type docsPage struct {
	Title, About string
	Own          bool // the token endpoint is enabled
	Scopes       []docsScope
	Groups       []docsGroup
	Errors       []docsError
	Group        *docsGroup
	Omissions    []docsOmission
	// Here is the path of the index from the page, Below that of the other pages.
	Here, Below string
}

// docsList is a list of operations that are on a page.
type docsList struct {
	Operations []docsOperation
	Page       string
}

// docsOmission is what is left out for one reason.
type docsOmission struct {
	Reason     string
	Operations []docsCall
}

type docsCall struct{ Method, Path string }

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

// serveDocs renders the pages and serves them.
func (a *api) serveDocs() error {
	index := a.docsPage()
	index.Here, index.Below = "docs", "docs/"
	pages := map[string]docsPage{docsPath: index}
	below := index
	below.Here, below.Below = "../docs", ""
	for i := range below.Groups {
		page := below
		page.Group = &below.Groups[i]
		pages[docsPath+"/"+page.Group.ID] = page
	}
	below.Omissions = docsOmissions()
	pages[omittedPath] = below
	policy := docsPolicy()
	for path, page := range pages {
		var text bytes.Buffer
		if err := docsTemplate.Execute(&text, page); err != nil {
			return fmt.Errorf("admin: writing the documentation: %w", err)
		}
		a.public.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			header := w.Header()
			header.Set("Content-Type", "text/html; charset=utf-8")
			header.Set("Content-Security-Policy", policy)
			header.Set("Referrer-Policy", "no-referrer")
			_, _ = w.Write(text.Bytes()) // fails only if the client is gone
		})
	}
	return nil
}

func docsOmissions() []docsOmission {
	all := make([]docsOmission, 0, len(omissions))
	for i := range omissions {
		of := docsOmission{Reason: omissions[i].reason}
		for _, operation := range omissions[i].operations {
			method, path, _ := strings.Cut(operation, " ")
			of.Operations = append(of.Operations, docsCall{method, path})
		}
		all = append(all, of)
	}
	return all
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
		slices.SortStableFunc(group.Operations, smallerCall)
		page.Groups = append(page.Groups, group)
	}
	return page
}

// smallerCall sorts operations: first those that need no id of a record, and of these the
// ones that read, with the shortest call.
func smallerCall(a, b docsOperation) int {
	changes := func(o *docsOperation) int {
		if o.Method == http.MethodGet {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(strings.Count(a.Path, "{"), strings.Count(b.Path, "{")), cmp.Compare(changes(&a), changes(&b)), cmp.Compare(len(a.Example), len(b.Example)))
}

func (a *api) docsOperation(operation *huma.Operation) docsOperation {
	shown := docsOperation{
		ID: operation.OperationID, Method: operation.Method, Path: operation.Path,
		Summary: operation.Summary, Description: operation.Description,
	}
	if len(operation.Security) > 0 {
		shown.Scope = strings.Join(operation.Security[0][securityScheme], " ")
	}
	// The page shows the scope beside the path.
	shown.Description = strings.TrimSpace(strings.TrimSuffix(shown.Description, scopeSentence(operation)))
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
