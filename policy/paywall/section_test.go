package paywall_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/gatefold/gatefold/policy/paywall"
)

func section(t testing.TB, wall *paywall.Paywall, v *paywall.View) string {
	t.Helper()
	var b bytes.Buffer
	if err := paywall.Compile(wall, "").RenderSection(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The section has the login first and then what is sold, for each template, and nothing that
// a page of the origin could refuse or that could run in it: no script, form, image or frame.
func TestSection(t *testing.T) {
	for _, template := range []string{paywall.TemplateBoxes, paywall.TemplateArticle, paywall.TemplateLogin} {
		page := section(t, full(template), view())
		wants(t, "<body>"+page, "Read on with Acme", "https://id.example/login?client=news&amp;next=x", "https://pay.example/subscription/plus?po=po&amp;code=SPRING&amp;wall=main.3", "75&#160;kr", "7KQ2M4XN",
			`class="gatefold-wall"`, `data-reason="login_required"`, "Buy this article", "VISA")
		if login, offer := strings.Index(page, "https://id.example/login"), strings.Index(page, "https://pay.example/"); login > offer {
			t.Errorf("%s: the login is behind the offers", template)
		}
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		for node := range root.Descendants() {
			switch node.Data {
			case "script", "form", "img", "iframe", "link", "input", "object":
				t.Errorf("%s has <%s>", template, node.Data)
			}
			for _, attribute := range node.Attr {
				if strings.HasPrefix(attribute.Key, "on") || attribute.Key == "style" {
					t.Errorf("%s has the attribute %s", template, attribute.Key)
				}
			}
		}
	}
	plain := section(t, nil, view())
	wants(t, "<body>"+plain, "Log in to read this page", "https://id.example/login")
	if strings.Contains(plain, "<style") || paywall.Compile(nil, "").SectionStyle() != "" {
		t.Error("a section without a paywall has a style")
	}
}

// The bytes of a section are ASCII in each language, so that they mean the same in a page of
// any charset, and its style is the one that a policy is told to admit.
func TestSectionIsASCII(t *testing.T) {
	wall := full(paywall.TemplateBoxes)
	wall.Headline, wall.Subscriptions[1].Description = "Läs vidare 読む", "<p>Тепер</p>"
	compiled := paywall.Compile(wall, "")
	for _, language := range paywall.BuiltIn().Tags() {
		v := view()
		v.Language = in(language)
		var b bytes.Buffer
		if err := compiled.RenderSection(&b, v); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Bytes() {
			if c >= utf8.RuneSelf {
				t.Fatalf("%s: %s", language, b.String())
			}
		}
		if !strings.Contains(html.UnescapeString(b.String()), "Läs vidare 読む") || !strings.Contains(b.String(), "<style>"+compiled.SectionStyle()+"</style>") {
			t.Errorf("%s: %s", language, b.String())
		}
	}
}

// A section has at most 64 KiB: what an address or a record holds can make it no longer.
func TestSectionIsBounded(t *testing.T) {
	v := view()
	v.Login = "https://id.example/login?next=" + strings.Repeat("x", 70<<10)
	v.Checkout = func(paywall.Item) string { return v.Login }
	page := section(t, full(paywall.TemplateBoxes), v)
	if len(page) > 64<<10 || !strings.Contains(page, "Log in to read this page") || !strings.HasSuffix(page, "</section>\n") {
		t.Errorf("%d bytes: %.400s", len(page), page)
	}
	v.Login = "https://id.example/login"
	page = section(t, full(paywall.TemplateBoxes), v)
	if len(page) > 64<<10 || !strings.Contains(page, v.Login) {
		t.Errorf("%d bytes: %.400s", len(page), page)
	}
	if usual := section(t, full(paywall.TemplateBoxes), view()); len(usual) > 12<<10 {
		t.Errorf("a section has %d bytes", len(usual))
	}
}
