package paywall

import (
	"html/template"
	"slices"
)

// offer is an offer as the page shows it.
type offer struct {
	N        int // from 1
	Title    string
	HTML     template.HTML
	Price    string // with its currency
	Period   string
	Was      string // the sentence with the regular price
	Tag      string
	Selected bool
	Features []string
	URL      string
	Button   string
	// Names reports whether the button's text leaves open what is bought at which price.
	Names              bool
	MoreText, MoreLink string
}

// extra is the purchase of the page alone.
type extra struct {
	Title string
	HTML  template.HTML
	URL   string
}

// method is a payment method: a mark in letters.
type method struct{ Name, Class string }

var methods = map[string]method{
	"visa": {"VISA", "visa"}, "mastercard": {"Mastercard", "mc"}, "amex": {"American Express", "amex"}, "apple-pay": {"Apple Pay", "apple"},
	"google-pay": {"Google Pay", "google"}, "klarna": {"Klarna", "klarna"}, "swish": {"Swish", "swish"}, "vipps": {"Vipps", "vipps"},
	"mobilepay": {"MobilePay", "mobilepay"}, "paypal": {"PayPal", "paypal"}, "invoice": {"Invoice", "invoice"},
}

func (p *Page) item(kind string) Item {
	return Item{Kind: kind, Paywall: p.wall.ID, Version: p.wall.Version}
}

// shown returns the offers that the page shows: the first MaxShownOffers, and the selected
// one in place of the last if it is not among them. One is always selected.
// They are indexes of Subscriptions.
func (wall *Paywall) shown() (offers []int, selected int) {
	selected = max(0, slices.IndexFunc(wall.Subscriptions, func(s Subscription) bool { return s.Selected }))
	for i := range min(len(wall.Subscriptions), MaxShownOffers) {
		offers = append(offers, i)
	}
	if selected >= MaxShownOffers {
		offers[MaxShownOffers-1] = selected
	}
	return offers, selected
}

// addOffers adds the offers and the single purchase.
func (p *Page) addOffers(d *data, v *View) {
	wall, l := p.wall, v.Language
	shown, selected := wall.shown()
	for i, at := range shown {
		s := &wall.Subscriptions[at]
		o := offer{
			N: i + 1, Title: s.Title, HTML: p.about[at], Period: s.PeriodText, Selected: at == selected,
			Features: s.Features, MoreText: s.ReadMoreText, MoreLink: s.ReadMoreLink, Tag: l.tag(s.Tag), URL: s.URL, Button: s.ButtonText, Names: s.ButtonText != "",
		}
		price := s.Price
		if s.DiscountPrice != "" {
			price = s.DiscountPrice
			if regular := money(s.Price, wall.Currency, l.Tag); regular != "" {
				o.Was = l.Text("was", "price", withPeriod(regular, s.PeriodText))
			}
		}
		o.Price = money(price, wall.Currency, l.Tag)
		if o.MoreLink != "" && o.MoreText == "" {
			o.MoreText = l.Text("more")
		}
		if o.Button == "" {
			o.Button = l.Text("buy")
			if o.Price != "" {
				o.Button = l.Text("buy_for", "price", withPeriod(o.Price, o.Period))
			}
		}
		if o.URL == "" && v.Checkout != nil {
			item := p.item(KindSubscription)
			if s.PreferBusiness {
				item.Kind = KindCompany
			}
			item.SKU, item.POID, item.Discount = s.SKU, s.POID, s.DiscountCode
			o.URL = v.Checkout(item)
		}
		d.Offers = append(d.Offers, o)
	}
	if single := wall.SinglePurchase; single != nil && single.Enabled && v.Checkout != nil {
		item := p.item(KindSingle)
		item.Discount = single.DiscountCode
		if address := v.Checkout(item); address != "" {
			title := single.Title
			if title == "" {
				title = l.Text("single")
			}
			d.Single = &extra{title, p.single, address}
		}
	}
}

func withPeriod(price, period string) string {
	if period == "" {
		return price
	}
	return price + " / " + period
}

// tag returns the text of a tag.
func (l *Language) tag(name string) string {
	if text := l.texts[name]; text != "" && (name == "popular" || name == "best-value") {
		return text
	}
	return name
}
