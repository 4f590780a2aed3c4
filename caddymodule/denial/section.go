package denial

import (
	"html/template"
	"io"
)

// sectionTemplate has no style of its own: a page's Content-Security-Policy may forbid it.
// The page's own styles can address the class.
var sectionTemplate = template.Must(template.New("section").Parse(
	`<section class="gatefold-wall" data-reason="{{.Reason}}"><h2>{{.Title}}</h2><p>{{.Detail}}</p>` +
		`{{if .LoginURL}}<p><a href="{{.LoginURL}}" rel="nofollow">Log in</a></p>{{end}}` +
		`{{if and .NextURL (ne .NextURL .LoginURL)}}<p><a href="{{.NextURL}}" rel="nofollow">{{.NextLabel}}</a></p>{{end}}` +
		`{{with or .Code .RequestID}}<p><small>{{.}}</small></p>{{end}}</section>`))

// WriteSection writes a part of an HTML page that is put in the place of what a reader may
// not have.
func WriteSection(w io.Writer, f Fields) error { return sectionTemplate.Execute(w, f) }
