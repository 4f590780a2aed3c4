package paywall

import (
	"bytes"
	_ "embed" // the template and its style
	"html/template"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	//go:embed section.html
	sectionHTML string
	//go:embed section.css
	sectionCSS string

	sectionTemplate = template.Must(template.Must(pageTemplate.Clone()).New("section").Parse(sectionHTML))
)

// maxSection bounds the size of a section, in bytes.
const maxSection = 64 << 10

// SectionStyle returns the content of the style element of the section, in ASCII, for a
// Content-Security-Policy that must admit it. It is empty for a site without a paywall, whose
// section has the style of the page around it.
func (p *Page) SectionStyle() string { return string(p.sectionCSS) }

// RenderSection writes what the page says as an element that is put into a page of the
// origin, in the place of what a reader may not have. It has no script, no form and no
// image. Its bytes are ASCII: the page around it may have any charset that contains ASCII.
//
// A section of more than 64 KiB, such as one for an address that is as long, is written
// without the offers, and then without links.
func (p *Page) RenderSection(to *bytes.Buffer, v *View) error {
	plain := &Page{}
	unlinked := *v
	unlinked.Login, unlinked.ActionURL, unlinked.Checkout = "", "", nil
	for _, form := range []struct {
		page *Page
		view *View
	}{{p, v}, {plain, v}, {plain, &unlinked}} {
		var section bytes.Buffer
		d := form.page.dataOf(form.view)
		d.CSS = form.page.sectionCSS
		if d.Form != nil {
			// The page's form-action may refuse a form, and its reader would not learn why.
			d.Form, d.Login = nil, form.view.Login
		}
		if err := sectionTemplate.Execute(&section, d); err != nil {
			return err
		}
		size := to.Len()
		if appendASCII(to, section.Bytes()) {
			return nil
		}
		to.Truncate(size)
	}
	return nil
}

// appendASCII writes HTML with character references in the place of what is not ASCII. It
// reports false if that is more than maxSection.
func appendASCII(to *bytes.Buffer, section []byte) bool {
	start := to.Len()
	for len(section) > 0 && to.Len()-start <= maxSection {
		plain := bytes.IndexFunc(section, func(r rune) bool { return r >= utf8.RuneSelf })
		if plain < 0 {
			plain = len(section)
		}
		to.Write(section[:plain])
		if section = section[plain:]; len(section) > 0 {
			r, size := utf8.DecodeRune(section)
			to.WriteString("&#" + strconv.Itoa(int(r)) + ";")
			section = section[size:]
		}
	}
	return to.Len()-start <= maxSection
}

// sectionTheme returns the colours of a section. It is dark only in a page that says by
// color-scheme that it can be.
func sectionTheme(wall *Paywall) string {
	both := schemes(wall)
	day, night := both[0].named(), both[1].named()
	var light, adaptive strings.Builder
	for i := range day {
		light.WriteString(day[i][0] + ":" + day[i][1] + ";")
		adaptive.WriteString(day[i][0] + ":light-dark(" + day[i][1] + "," + night[i][1] + ");")
	}
	if wall.Settings.Styling != nil && wall.Settings.Styling.DropShadow {
		light.WriteString("--shadow:0 .5rem 2rem #0003;")
	}
	return "#gatefold-wall{" + light.String() + "--line:color-mix(in srgb,var(--ink) 20%,transparent)}" +
		"@supports(color:light-dark(#000,#fff)){#gatefold-wall{" + adaptive.String() + "}}\n"
}
