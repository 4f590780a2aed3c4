package paywall

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the template and its style
	"encoding/base64"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
)

// Page is a page for refused readers, compiled from a configuration. It is safe for
// concurrent use.
type Page struct {
	wall *Paywall // nil for the page of a site without a paywall
	css  template.CSS
	// sectionCSS is the style of the section; empty without a paywall.
	sectionCSS template.CSS
	logo       string
	// policy is the Content-Security-Policy of the page.
	policy string
	// about has the descriptions of the offers, and single that of the single purchase. They
	// are sanitised again, in case the record was written in another way.
	about  []template.HTML
	single template.HTML
}

// View is what a page says to one reader.
type View struct {
	Language *Language
	// Reason is the code of the reason.
	Reason string
	// Site is the name of the site, and Home the URL of its front page.
	Site, Home string
	// Login is the URL of the login page, which leads back to the page; empty if there is
	// none. Identified reports whether the reader is logged in.
	Login      string
	Identified bool
	// HintOnly reports whether the login takes the e-mail address alone: a form asks for
	// nothing else then.
	HintOnly bool
	// Action is what the reader can do about the reason, such as `pay`, and ActionURL the
	// page where they can. Both are empty if there is none.
	Action, ActionURL string
	// Checkout returns the URL where an item is bought; empty if there is none. Nil: there is
	// no checkout.
	Checkout func(Item) string
	// Meter is the state of the meter that refused, if one did.
	Meter *Meter
	// Code is the support code, and RequestID the id of the request in the log.
	Code, RequestID string
}

// Meter is the state of a meter.
type Meter struct {
	Used, Limit int
	// Resets is when the next page can be read.
	Resets time.Time
}

// Item is what a reader buys.
type Item struct {
	// Kind is subscription, single, gift or company.
	Kind                string
	SKU, POID, Discount string
	Paywall             string
	Version             int
}

// Kinds of items.
const (
	KindSubscription = "subscription"
	KindSingle       = "single"
	KindGift         = "gift"
	KindCompany      = "company"
)

// Compile returns the page of a configuration; nil is that of a site without one. The logo
// is that of the vendor, for a configuration that uses the default one.
func Compile(wall *Paywall, vendorLogo string) *Page {
	p := &Page{wall: wall}
	if wall != nil {
		p.logo = wall.LogoURL
		if p.logo == "" && wall.Settings.UseDefaultLogo {
			p.logo = vendorLogo
		}
		if !isWebURL(p.logo) {
			p.logo = ""
		}
		for i := range wall.Subscriptions {
			p.about = append(p.about, template.HTML(Sanitise(wall.Subscriptions[i].Description))) //nolint:gosec // G203: sanitised
		}
		if wall.SinglePurchase != nil {
			p.single = template.HTML(Sanitise(wall.SinglePurchase.Description)) //nolint:gosec // G203: sanitised
		}
	}
	p.css = template.CSS(theme(wall) + pageCSS) //nolint:gosec // G203: of the program and of parsed colours
	if wall != nil {
		p.sectionCSS = template.CSS(sectionTheme(wall) + sectionCSS) //nolint:gosec // G203: as above
	}
	p.policy = p.contentPolicy()
	return p
}

func isWebURL(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Host != "" && (parsed.Scheme == "https" || parsed.Scheme == "http")
}

// contentPolicy allows the page its own style, the logo and its form, and nothing else. A
// login page may redirect to another host, which form-action would refuse, so it admits
// https.
func (p *Page) contentPolicy() string {
	sum := sha256.Sum256([]byte(p.css))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'"
	form := "'none'"
	if p.wall != nil && p.wall.Settings.Template == TemplateLogin {
		form = "'self' https:"
	}
	policy += "; form-action " + form
	if p.logo != "" {
		if logo, err := url.Parse(p.logo); err == nil {
			policy += "; img-src " + logo.Scheme + "://" + logo.Host
		}
	}
	return policy
}

// Policy returns the Content-Security-Policy of the page for a view.
func (p *Page) Policy(v *View) string {
	if p.wall == nil || p.wall.Settings.Template != TemplateLogin {
		return p.policy
	}
	login, err := url.Parse(v.Login)
	if err != nil || login.Scheme != "http" || login.Host == "" || strings.ContainsAny(login.Host, " ;,'\"") {
		return p.policy
	}
	return strings.Replace(p.policy, "form-action 'self' https:", "form-action 'self' https: http://"+login.Host, 1)
}

// data is what the template reads.
type data struct {
	Lang, Dir string
	CSS       template.CSS
	T         map[string]string
	Title     string
	Reason    string

	Site, Home, Logo string
	Login            string // of the link for subscribers
	Form             *form

	Kicker, Heading, Lead string
	Action, ActionURL     string
	Meter, MeterResets    string
	OffersHeading         string
	Features              []string
	Template              string
	Offers                []offer
	Single                *extra
	Gift, Company         string
	Methods               []method
	Code, RequestID       string
}

// form is that of the template LOGIN.
type form struct {
	Action      string
	Hidden      [][2]string
	Name, Phone bool
}

// Render writes the page for a reader.
func (p *Page) Render(to *bytes.Buffer, v *View) error {
	return pageTemplate.Execute(to, p.dataOf(v))
}

// dataOf returns what a template reads.
func (p *Page) dataOf(v *View) *data {
	l := v.Language
	d := &data{
		Lang: l.Tag.String(), Dir: l.Direction, CSS: p.css, T: l.texts, Site: v.Site, Home: v.Home, Logo: p.logo,
		Code: v.Code, RequestID: v.RequestID, Reason: v.Reason,
	}
	if d.Code != "" {
		d.RequestID = ""
	}
	title, detail, _ := l.Reason(v.Reason)
	d.Title, d.Heading, d.Lead = title, title, detail
	if v.Login != "" && !v.Identified {
		d.Login = v.Login
	}
	if v.ActionURL != "" && v.ActionURL != d.Login {
		text := "action." + v.Action
		if v.Action == "login" { // of a reader who is logged in, and must do it in another way
			text = v.Action
		}
		if d.Action = l.Text(text); d.Action != "" {
			d.ActionURL = v.ActionURL
		}
	}
	if v.Meter != nil {
		d.Meter = l.Text("meter", "used", strconv.Itoa(v.Meter.Used), "limit", strconv.Itoa(v.Meter.Limit))
		if !v.Meter.Resets.IsZero() {
			d.MeterResets = l.Text("meter_resets", "date", v.Meter.Resets.Format(time.DateOnly))
		}
	}
	if p.wall != nil {
		p.addWall(d, v)
	}
	return d
}

// addWall adds what the configuration says.
func (p *Page) addWall(d *data, v *View) {
	wall, l := p.wall, v.Language
	d.Template = wall.Settings.Template
	if wall.Headline != "" {
		if v.Reason == "login_required" {
			// Who is not known yet is met by the publisher's own words.
			d.Kicker, d.Heading, d.Lead, d.Title = d.Heading, wall.Headline, "", wall.Headline
		} else {
			d.OffersHeading = wall.Headline
		}
	}
	if d.OffersHeading == "" {
		d.OffersHeading = l.Text("offers")
	}
	options := wall.Settings.DisplayOptions
	if options != nil && !options.EnableLoginButton {
		d.Login = ""
	}
	if d.Template == TemplateLogin && v.Login != "" && !v.Identified {
		fields := wall.Settings.LoginFields
		if v.HintOnly {
			fields = nil
		}
		d.Form, d.Login = newForm(v.Login, fields), ""
		if !wall.ShowLoginButton {
			return // the login alone
		}
	}
	d.Features = wall.Features
	p.addOffers(d, v)
	if v.Checkout != nil && options != nil {
		if options.EnableGift {
			d.Gift = v.Checkout(p.item(KindGift))
		}
		if options.EnableCompany {
			d.Company = v.Checkout(p.item(KindCompany))
		}
	}
	if len(d.Offers) > 0 || d.Single != nil {
		for _, name := range wall.PaymentMethods {
			d.Methods = append(d.Methods, methods[name])
		}
	}
}

// newForm returns a form that sends the e-mail address to the login page as login_hint
// (OpenID Connect Core 1.0, section 3.1.2.1). A form replaces the query of its action, so
// the parameters of the login page are fields.
func newForm(login string, fields *LoginFields) *form {
	address, query, _ := strings.Cut(login, "?")
	query, _, _ = strings.Cut(query, "#")
	f := &form{Action: address}
	values, err := url.ParseQuery(query)
	if err != nil {
		values = nil
	}
	for name, all := range values {
		for _, value := range all {
			f.Hidden = append(f.Hidden, [2]string{name, value})
		}
	}
	slices.SortFunc(f.Hidden, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	if fields != nil {
		f.Name, f.Phone = fields.Name, fields.Phone
	}
	return f
}
