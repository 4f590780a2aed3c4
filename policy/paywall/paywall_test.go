package paywall_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/gatefold/gatefold/policy/paywall"
)

func english() *paywall.Language { return paywall.BuiltIn().For(nil) }

func in(tag string) *paywall.Language { return paywall.BuiltIn().For([]string{tag}) }

// full is a configuration with everything.
func full(template string) *paywall.Paywall {
	p := &paywall.Paywall{
		ID: "main", Version: 3, Currency: "SEK", Headline: "Read on with Acme", LogoURL: "https://assets.example/logo.svg", MainColor: "#ffcc00",
		Features: []string{"All articles", "The e-paper"}, ShowLoginButton: true,
		Settings: paywall.Settings{Template: template, DisplayOptions: &paywall.DisplayOptions{EnableGift: true, EnableCompany: true, EnableLoginButton: true}},
		Subscriptions: []paywall.Subscription{
			{ID: "a", SKU: "basic", Title: "Basic", Price: "99", PeriodText: "month"},
			{ID: "b", SKU: "plus", POID: "po", Title: "Plus", Price: "199.50", DiscountPrice: "75", DiscountCode: "SPRING", PeriodText: "month", Description: "<p>All <b>news</b></p>", Tag: "popular", Features: []string{"Games"}},
			{ID: "c", SKU: "c", Title: "Third", Price: "10000", PeriodText: "year", ButtonText: "BUY", ReadMoreLink: "https://news.example/more"},
			{ID: "d", SKU: "d", Title: "Fourth", Selected: true, URL: "https://news.example/own"},
		},
		SinglePurchase: &paywall.SinglePurchase{Enabled: true, Title: "Buy this article"},
		PaymentMethods: []string{"visa", "swish"},
	}
	if err := paywall.Check(p); err != nil {
		panic(err)
	}
	return p
}

func view() *paywall.View {
	return &paywall.View{
		Language: english(), Reason: "login_required", Site: "The Acme", Home: "https://news.example/", Login: "https://id.example/login?client=news&next=x",
		Checkout: func(item paywall.Item) string {
			return fmt.Sprintf("https://pay.example/%s/%s?po=%s&code=%s&wall=%s.%d", item.Kind, item.SKU, item.POID, item.Discount, item.Paywall, item.Version)
		},
		Code: "7KQ2M4XN",
	}
}

func render(t testing.TB, wall *paywall.Paywall, v *paywall.View) string {
	t.Helper()
	var b bytes.Buffer
	if err := paywall.Compile(wall, "").Render(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func wants(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not have %q:\n%s", text, page[strings.Index(page, "<body>"):])
		}
	}
}

// The page says who it is for, what is sold at which price and period, and what comes after
// a discount. Subscribers are asked to log in first.
func TestPage(t *testing.T) {
	page := render(t, full(paywall.TemplateBoxes), view())
	wants(t, page, `<html lang="en" dir="ltr">`, "<h1 dir=\"auto\">Read on with Acme</h1>", "Log in to read this page", "Already a subscriber?",
		"<b dir=\"ltr\">99\u00a0kr</b> <span dir=\"auto\">/ month</span>", "<b dir=\"ltr\">75\u00a0kr</b>", "Regular price 199.50\u00a0kr / month", "Subscribe for 75\u00a0kr / month",
		"All <b>news</b>", `<span class="tag">Popular</span>`, "https://pay.example/subscription/plus?po=po&amp;code=SPRING&amp;wall=main.3", `href="https://news.example/own"`,
		"https://pay.example/single/", "https://pay.example/gift/", "https://pay.example/company/", "VISA", "Swish", "7KQ2M4XN", `href="https://news.example/"`)
	// At most three offers, the selected one among them.
	if strings.Count(page, "<li class=\"card") != 3 || strings.Count(page, "card selected") != 1 || strings.Contains(page, "Third") || !strings.Contains(page, "Fourth") {
		t.Error("the offers are not the first two and the selected one")
	}
	// The first link of the page is the login.
	if first := regexp.MustCompile(`<a [^>]*href="([^"]*)"`).FindStringSubmatch(page); first[1] != "https://id.example/login?client=news&amp;next=x" {
		t.Errorf("the first link is %v", first)
	}
	if regexp.MustCompile(`(?i)<script|\son[a-z]+=|style=|javascript:|<iframe`).MatchString(page) {
		t.Error("the page has a script or a style attribute")
	}
	article := render(t, full(paywall.TemplateArticle), view())
	if strings.Count(article, `type="radio"`) != 3 || strings.Count(article, " checked") != 1 || strings.Count(article, `class="go g`) != 3 {
		t.Error("the list has not three choices with a button each, one of them checked")
	}
	wants(t, article, "<fieldset>", ">Choose an offer</span></legend>", `<label for="o1">`)
}

// The template LOGIN asks for the e-mail address, which the login page gets as login_hint
// with its own parameters; alone, if there is nothing to buy.
func TestLoginTemplate(t *testing.T) {
	wall := full(paywall.TemplateLogin)
	wall.Settings.LoginFields = &paywall.LoginFields{Phone: true}
	page := render(t, wall, view())
	wants(t, page, `action="https://id.example/login"`, `name="client" value="news"`, `name="next" value="x"`, `name="login_hint" type="email" autocomplete="email" required`, `type="tel"`, `class="boxes`)
	if policy := paywall.Compile(wall, "").Policy(view()); !strings.Contains(policy, "form-action 'self' https:") {
		t.Errorf("the policy is %s", policy)
	}
	// The gate's own login passes the address on, and nothing else.
	alone := view()
	alone.HintOnly = true
	if page := render(t, wall, alone); strings.Contains(page, `type="tel"`) || !strings.Contains(page, `name="login_hint"`) {
		t.Errorf("the form asks for more than the login takes: %s", page)
	}
	wall.ShowLoginButton = false
	if page := render(t, wall, view()); strings.Contains(page, "card selected") {
		t.Error("the login alone has offers")
	}
	// A reader who is logged in sees the offers, and no login.
	known := view()
	known.Identified, known.Reason = true, "not_entitled"
	page = render(t, full(paywall.TemplateLogin), known)
	if strings.Contains(page, "<form") || strings.Contains(page, "Already a subscriber?") {
		t.Error("a reader who is logged in is asked to log in")
	}
	wants(t, page, "Your subscription does not include this page", `<h2 dir="auto">Read on with Acme</h2>`)
}

// A site without a paywall has a page too: the site's name, a way home, and the login where
// there is one.
func TestPageWithoutPaywall(t *testing.T) {
	v := view()
	page := render(t, nil, v)
	wants(t, page, "<h1 dir=\"auto\">Log in to read this page</h1>", "The Acme", `href="https://news.example/"`, "Go to the front page", "Log in</a>", "7KQ2M4XN")
	v.Login, v.Home, v.Code, v.RequestID = "", "", "", "req-1"
	page = render(t, nil, v)
	if strings.Contains(page, "<a ") {
		t.Error("there is a link to nowhere")
	}
	wants(t, page, "req-1")
}

func TestMeterText(t *testing.T) {
	v := view()
	v.Reason, v.Meter = "meter_used_up", &paywall.Meter{Used: 3, Limit: 3, Resets: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)}
	wants(t, render(t, nil, v), "You have read 3 of 3 free articles.", "2027-02-01")
}

// Each language has every text, and a person's language is found as they ask for it.
func TestLanguages(t *testing.T) {
	for accept, want := range map[string]string{
		"": "en", "sv-SE,sv;q=0.9,en;q=0.8": "sv", "no": "nb", "nn-NO": "nb", "nb": "nb", "da": "da", "de-AT": "de", "fr-CA;q=0.5, es": "es", "fi": "en", "ja,fr;q=0.2": "fr",
		"*": "en", ";;;": "en", "x-" + strings.Repeat("a-", 5000): "en", strings.Repeat("zz,", 80) + "sv": "en", "en-GB": "en",
	} {
		if got := paywall.BuiltIn().For([]string{accept}).Tag.String(); got != want {
			t.Errorf("%.40q gets %s, want %s", accept, got, want)
		}
	}
	titles := map[string]bool{}
	for _, tag := range paywall.BuiltIn().Tags() {
		v := view()
		v.Language = in(tag)
		page := render(t, full(paywall.TemplateBoxes), v)
		if strings.Contains(page, "{") && regexp.MustCompile(`\{(price|used|limit|date)\}`).MatchString(page) || strings.Contains(page, "></h2>") {
			t.Errorf("%s: a text is missing or has a placeholder", tag)
		}
		title, detail, known := v.Language.Reason("link_used_up")
		if !known || detail == "" || titles[title] {
			t.Errorf("%s: the title is %q, as in another language", tag, title)
		}
		titles[title] = true
	}
}

// An operator changes a text of a language, or adds a language with all texts.
func TestOwnTexts(t *testing.T) {
	changed, err := paywall.BuiltIn().With([]byte(`{"sv":{"texts":{"login":"In med dig"},"reasons":{"not_entitled":["Nej","Inte din sida"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	swedish := changed.For([]string{"sv"})
	if title, _, _ := swedish.Reason("not_entitled"); title != "Nej" || swedish.Text("login") != "In med dig" || swedish.Text("buy") != "Prenumerera" {
		t.Errorf("the texts are %s, %s, %s", title, swedish.Text("login"), swedish.Text("buy"))
	}
	if in("sv").Text("login") != "Logga in" {
		t.Error("the built-in texts changed")
	}
	raw, err := json.Marshal(map[string]any{"ar": allTexts(t)})
	if err != nil {
		t.Fatal(err)
	}
	added, err := paywall.BuiltIn().With(raw)
	if err != nil {
		t.Fatal(err)
	}
	if arabic := added.For([]string{"ar-EG"}); arabic.Direction != "rtl" || arabic.Tag.String() != "ar" {
		t.Errorf("arabic is %+v", arabic)
	}
	for file, want := range map[string]string{
		`{"sv":{"texts":{"logn":"x"}}}`: `"logn" is unknown; known are`, `{"fi":{"texts":{"login":"x"}}}`: "it lacks texts.", `{"sv":{"reasons":{"x":["a","b"]}}}`: "unknown",
		`{"not a tag":{}}`: "language tag", `[]`: "object of languages", `{"sv":{"text":{}}}`: "unknown field", `{"sv":{"texts":{"login":""}}}`: "empty",
	} {
		if _, err := paywall.BuiltIn().With([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// allTexts returns a language with every text, from the error that names the missing ones.
func allTexts(t *testing.T) map[string]any {
	t.Helper()
	_, err := paywall.BuiltIn().With([]byte(`{"fi":{}}`))
	texts, reasons := map[string]string{}, map[string][2]string{}
	_, list, _ := strings.Cut(err.Error(), "it lacks ")
	for name := range strings.SplitSeq(list, ", ") {
		if key, ok := strings.CutPrefix(name, "texts."); ok {
			texts[key] = "نص"
		} else if key, ok := strings.CutPrefix(name, "reasons."); ok {
			reasons[key] = [2]string{"عنوان", "نص"}
		}
	}
	return map[string]any{"texts": texts, "reasons": reasons}
}

// Whatever the configuration and the request are, the page has no script, no element that
// only a text brought, and its style is the one that its policy admits.
func TestPageProperty(t *testing.T) {
	attack := rapid.SampledFrom([]string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "</style><script>1</script>", "javascript:alert(1)", "{{.CSS}}", "<!--", "]]>", "'", "\u2028", "<b>bold", "<a href=javascript:x>y</a>",
		"<svg onload=1>", "&lt;script&gt;", "<p>" + strings.Repeat("<b>", 50), "plain",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return attack.Draw(t, name) + rapid.StringN(0, 20, 40).Draw(t, name+" more") }
		wall := full(rapid.SampledFrom([]string{"BOXES", "ARTICLE", "LOGIN"}).Draw(t, "template"))
		// Fields are set behind the checks, as in a record that was written in another way.
		wall.Headline, wall.MainColor, wall.Currency, wall.Features[0] = text("headline"), text("colour"), text("currency"), text("feature")
		s := &wall.Subscriptions[1]
		s.Title, s.Description, s.PeriodText, s.Tag, s.ButtonText, s.URL, s.ReadMoreLink = text("title"), text("description"), text("period"), text("tag"), text("button"), text("url"), text("more")
		wall.LogoURL = text("logo")
		v := view()
		v.Site, v.Home, v.Login, v.Code, v.Reason = text("site"), text("home"), text("login"), text("code"), text("reason")
		v.ActionURL, v.Action = text("action"), "pay"
		var b bytes.Buffer
		page := paywall.Compile(wall, text("vendor logo"))
		if err := page.Render(&b, v); err != nil {
			t.Fatal(err)
		}
		allowed := map[string]bool{}
		for name := range strings.FieldsSeq("html head meta title style body header main footer section div p h1 h2 h3 ul ol li a b strong i em br span fieldset legend input label form button img") {
			allowed[name] = true
		}
		z := html.NewTokenizer(&b)
		for z.Next() != html.ErrorToken {
			token := z.Token()
			if token.Type == html.CommentToken || token.Type == html.StartTagToken && !allowed[token.Data] {
				t.Fatalf("the page has %s", token)
			}
			for _, attribute := range token.Attr {
				value := strings.ToLower(strings.TrimSpace(attribute.Val))
				if strings.HasPrefix(attribute.Key, "on") || attribute.Key == "style" || attribute.Key != "value" && attribute.Key != "content" && strings.HasPrefix(value, "javascript:") {
					t.Fatalf("the page has %s", token)
				}
			}
		}
		if policy := page.Policy(v); strings.ContainsAny(policy, "\r\n\"<>") || strings.Contains(policy, "unsafe") {
			t.Fatalf("the policy is %q", policy)
		}
	})
}

// Checking a checked configuration changes nothing, so that a change of one field can never
// fail for another one.
func TestCheckIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wall := full("BOXES")
		wall.Subscriptions[0].Description = strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"<b>", "</b>", "<p>", "a & b", "<", ">", `"`, "<a href='https://x.example/?a=1&b=2'>", "</a>", "\u00e5", "<br/>", "<li>", "&amp;"})).Draw(t, "parts"), "")
		if paywall.Check(wall) != nil {
			return
		}
		first := fmt.Sprint(*wall)
		if err := paywall.Check(wall); err != nil || fmt.Sprint(*wall) != first {
			t.Fatalf("%v\n%s\n%+v", err, first, *wall)
		}
	})
}

// The page of every template and language is small.
func TestPageSize(t *testing.T) {
	for _, template := range []string{"BOXES", "ARTICLE", "LOGIN"} {
		for _, tag := range paywall.BuiltIn().Tags() {
			v := view()
			v.Language = in(tag)
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			fmt.Fprint(z, render(t, full(template), v))
			if _ = z.Close(); packed.Len() > 30<<10 {
				t.Errorf("%s in %s has %d bytes compressed", template, tag, packed.Len())
			}
		}
	}
}

func BenchmarkRender(b *testing.B) {
	page, v := paywall.Compile(full("BOXES"), ""), view()
	var buffer bytes.Buffer
	for b.Loop() {
		buffer.Reset()
		if err := page.Render(&buffer, v); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(buffer.Len()), "page-bytes")
}
