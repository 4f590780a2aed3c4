package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/paywall"
)

const (
	paywallsPath = "/management/paywalls"
	paywallPath  = paywallsPath + "/{paywallId}"
)

// Paywall is a stored paywall.
type Paywall struct {
	ID         string    `json:"id" doc:"The paywall's id." example:"pw_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	VendorID   string    `json:"vendorId" doc:"The vendor's id." example:"acme"`
	Version    int       `json:"version" doc:"The number of the version: each change counts one further." example:"1"`
	Entity     string    `json:"entity" enum:"Paywall" doc:"The kind of record." example:"Paywall"`
	CreatedAt  time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	ModifiedAt time.Time `json:"modifiedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	// PreviewURL depends on the address of this API, so it is not part of the validator.
	PreviewURL string `json:"previewUrl" doc:"The page as a reader gets it: a URL if the configuration names the host of the API, otherwise its path. Empty on the operator's own mount. It does not count for the ETag." example:"https://api.news.example.com/paywalls/acme/pw_01kb2m3q4r5s6t7v8w9x0y1z2a/preview"`
	PaywallFields
	Subscriptions []PaywallSubscription `json:"subscriptions" doc:"The offers, in their order. The page shows three of them, the selected one included."`
}

// PaywallBody is what callers set of a paywall.
type PaywallBody struct {
	PaywallFields
	Subscriptions []PaywallOffer `json:"subscriptions,omitempty" maxItems:"12" nullable:"false" doc:"The offers, in their order. The page shows three of them, the selected one included."`
}

// PaywallChange is a paywall as a patch changes it.
type PaywallChange struct{ PaywallBody }

// PaywallFields are what both have.
type PaywallFields struct {
	Name            string          `json:"name,omitempty" maxLength:"255" doc:"A name for people." example:"Article paywall"`
	Status          string          `json:"status,omitempty" enum:"ACTIVE,CANCELED" default:"ACTIVE" doc:"A CANCELED paywall is kept, and shown to no reader." example:"ACTIVE"`
	Currency        string          `json:"currency,omitempty" pattern:"^[A-Z]{3}$" patternDescription:"a currency of three capital letters (ISO 4217)" doc:"The currency (ISO 4217). Without one, the page shows no prices." example:"SEK"`
	Headline        string          `json:"headline,omitempty" maxLength:"300" doc:"The headline: the title of the page for readers who are not logged in, that of the offers for others." example:"Read on with Acme Digital"`
	LogoURL         string          `json:"logoUrl,omitempty" maxLength:"2048" doc:"The URL of the logo." example:"https://news.example.com/logo.svg"`
	MainColor       string          `json:"mainColor,omitempty" pattern:"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$" patternDescription:"a colour such as #3377fe" doc:"The colour of buttons and links. The page corrects it where it could not be read (WCAG 2.2 AA)." example:"#3377fe"`
	Features        []string        `json:"features,omitempty" maxItems:"12" nullable:"false" doc:"What every subscription has." example:"[\"All articles\",\"The e-paper\"]"`
	ShowLoginButton bool            `json:"showLoginButton,omitempty" doc:"Whether there is something to buy. With false, the template LOGIN shows the login alone." example:"true"`
	Settings        PaywallSettings `json:"settings,omitzero" doc:"How the page looks."`
	SinglePurchase  *PaywallSingle  `json:"singlePurchase,omitempty" doc:"The purchase of one page."`
	PaymentMethods  []string        `json:"footerPaymentMethods,omitempty" maxItems:"12" nullable:"false" enum:"visa,mastercard,amex,apple-pay,google-pay,klarna,swish,vipps,mobilepay,paypal,invoice" doc:"The marks below the offers." example:"[\"visa\",\"mastercard\"]"`
}

// PaywallSettings are how the page looks.
type PaywallSettings struct {
	Template           string              `json:"template,omitempty" enum:"BOXES,ARTICLE,LOGIN" default:"BOXES" doc:"BOXES: offers in columns. ARTICLE: a list of which one is chosen. LOGIN: a form for the e-mail address first." example:"BOXES"`
	UseDefaultLogo     bool                `json:"useDefaultLogo,omitempty" doc:"Shows the vendor's logo if there is no logoUrl." example:"true"`
	UseDefaultCurrency bool                `json:"useDefaultCurrency,omitempty" doc:"Kept for other systems." example:"true"`
	UseDefaultColor    bool                `json:"useDefaultColor,omitempty" doc:"Kept for other systems." example:"true"`
	Styling            *PaywallStyling     `json:"styling,omitempty" doc:"The look of the boxes."`
	DisplayOptions     *PaywallOptions     `json:"displayOptions,omitempty" doc:"What else the page has."`
	LoginFields        *PaywallLoginFields `json:"loginFields,omitempty" doc:"What the form of LOGIN asks for besides the e-mail address."`
}

// PaywallStyling is the look of the boxes.
type PaywallStyling struct {
	DropShadow      bool   `json:"dropShadow,omitempty" doc:"Whether boxes have a shadow." example:"true"`
	BackgroundColor string `json:"backgroundColor,omitempty" pattern:"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$" patternDescription:"a colour such as #3377fe" doc:"The colour behind the boxes." example:"#ffffff"`
	ShowBackground  bool   `json:"showBackground,omitempty" doc:"Whether that colour is shown." example:"false"`
}

// PaywallOptions are what else the page has.
type PaywallOptions struct {
	EnableGift        bool `json:"enableGift,omitempty" doc:"A link to give a subscription away; it needs a checkout (deny)." example:"true"`
	EnableCompany     bool `json:"enableCompany,omitempty" doc:"A link to subscriptions for companies; it needs a checkout (deny)." example:"true"`
	EnableLoginButton bool `json:"enableLoginButton,omitempty" doc:"Whether subscribers are asked to log in, at the top. Without displayOptions, they are." example:"true"`
}

// PaywallLoginFields are further fields of the form.
type PaywallLoginFields struct {
	Name  bool `json:"name,omitempty" doc:"The reader's name." example:"false"`
	Phone bool `json:"phone,omitempty" doc:"The reader's phone number." example:"false"`
}

// PaywallSingle is the purchase of one page.
type PaywallSingle struct {
	Enabled      bool   `json:"enabled,omitempty" doc:"Whether it is offered; it needs a checkout (deny)." example:"true"`
	Title        string `json:"title,omitempty" maxLength:"150" doc:"The text of the link." example:"Buy this article"`
	Description  string `json:"description,omitempty" maxLength:"8000" doc:"HTML of p, br, b, strong, i, em, ul, ol, li and a. All else is removed." example:"One article, yours to keep"`
	DiscountCode string `json:"discountCode,omitempty" maxLength:"100" doc:"The code for the checkout." example:""`
}

// PaywallOfferFields are what offers have besides prices.
type PaywallOfferFields struct {
	ID             string   `json:"id,omitempty" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"letters, digits, hyphens and underscores" doc:"The offer's id. Default: sub_1 for the first one, and so on." example:"sub_1"`
	SKU            string   `json:"sku" minLength:"1" maxLength:"255" doc:"The SKU that is sold." example:"premium"`
	POID           string   `json:"poId,omitempty" maxLength:"255" doc:"The id of the purchase option." example:"po-monthly"`
	Title          string   `json:"title" minLength:"1" maxLength:"150" doc:"The title." example:"Digital, monthly"`
	Description    string   `json:"description,omitempty" maxLength:"8000" doc:"HTML of p, br, b, strong, i, em, ul, ol, li and a. All else is removed when it is written." example:"<p>All articles</p>"`
	DiscountCode   string   `json:"discountCode,omitempty" maxLength:"100" doc:"The code for the checkout." example:"SPRING"`
	PeriodText     string   `json:"periodText,omitempty" maxLength:"100" doc:"The period of the price, in the readers' language." example:"month"`
	Tag            string   `json:"tag,omitempty" maxLength:"100" doc:"popular, best-value, or a text of your own." example:"popular"`
	Selected       bool     `json:"selected,omitempty" doc:"Whether the offer is selected. At most one is; the first one if none is." example:"true"`
	Features       []string `json:"features,omitempty" maxItems:"12" nullable:"false" doc:"What the offer has." example:"[\"All articles\"]"`
	ButtonText     string   `json:"buttonText,omitempty" maxLength:"100" doc:"The text of the button. Default: one that says the price and the period." example:"Subscribe"`
	ReadMoreText   string   `json:"readMoreText,omitempty" maxLength:"100" doc:"The text of a link to more." example:"Read more"`
	ReadMoreLink   string   `json:"readMoreLink,omitempty" maxLength:"2048" doc:"The URL of that link." example:"https://news.example.com/subscriptions"`
	PreferBusiness bool     `json:"preferBusiness,omitempty" doc:"Whether the checkout asks for a company first." example:"false"`
	URL            string   `json:"url,omitempty" maxLength:"2048" doc:"Where the button leads in place of the checkout." example:"https://news.example.com/business"`
}

// PaywallSubscription is an offer as it is stored.
type PaywallSubscription struct {
	PaywallOfferFields
	Price         *amount `json:"price,omitempty" doc:"The price of a period, with the digits that were sent." example:"99"`
	DiscountPrice *amount `json:"discountPrice,omitempty" doc:"The price that is asked first, in place of price." example:"75"`
}

// PaywallOffer is an offer as it is sent.
type PaywallOffer struct {
	PaywallOfferFields
	Price         *sentAmount `json:"price,omitempty" doc:"The price of a period." example:"99"`
	DiscountPrice *sentAmount `json:"discountPrice,omitempty" doc:"The price that is asked first, in place of price." example:"75"`
}

func (f *PaywallFields) apply(to *paywall.Paywall) {
	s := &f.Settings
	to.Name, to.Status, to.Currency, to.Headline, to.LogoURL, to.MainColor = f.Name, f.Status, f.Currency, f.Headline, f.LogoURL, f.MainColor
	to.Features, to.ShowLoginButton, to.PaymentMethods = f.Features, f.ShowLoginButton, f.PaymentMethods
	to.SinglePurchase = (*paywall.SinglePurchase)(f.SinglePurchase)
	to.Settings = paywall.Settings{
		Template: s.Template, UseDefaultLogo: s.UseDefaultLogo, UseDefaultCurrency: s.UseDefaultCurrency, UseDefaultColor: s.UseDefaultColor,
		Styling: (*paywall.Styling)(s.Styling), DisplayOptions: (*paywall.DisplayOptions)(s.DisplayOptions), LoginFields: (*paywall.LoginFields)(s.LoginFields),
	}
}

// apply replaces what callers set of a paywall.
func (b *PaywallBody) apply(to *paywall.Paywall) error {
	b.PaywallFields.apply(to)
	to.Subscriptions = make([]paywall.Subscription, len(b.Subscriptions))
	for i := range b.Subscriptions {
		o := &b.Subscriptions[i]
		at := fmt.Sprintf("subscriptions[%d].", i)
		if err := cmp.Or(o.Price.check(at+"price"), o.DiscountPrice.check(at+"discountPrice")); err != nil {
			return err
		}
		to.Subscriptions[i] = paywall.Subscription{
			ID: cmp.Or(o.ID, fmt.Sprintf("sub_%d", i+1)), SKU: o.SKU, POID: o.POID, Title: o.Title, Description: o.Description,
			Price: o.Price.text(), DiscountPrice: o.DiscountPrice.text(), DiscountCode: o.DiscountCode, PeriodText: o.PeriodText,
			Tag: o.Tag, Selected: o.Selected, Features: o.Features, ButtonText: o.ButtonText, ReadMoreText: o.ReadMoreText, ReadMoreLink: o.ReadMoreLink,
			PreferBusiness: o.PreferBusiness, URL: o.URL,
		}
	}
	return nil
}

func wirePaywallOffer(s paywall.Subscription) PaywallSubscription {
	return PaywallSubscription{
		Price: amountOf(s.Price), DiscountPrice: amountOf(s.DiscountPrice),
		PaywallOfferFields: PaywallOfferFields{
			ID: s.ID, SKU: s.SKU, POID: s.POID, Title: s.Title, Description: s.Description, DiscountCode: s.DiscountCode, PeriodText: s.PeriodText,
			Tag: s.Tag, Selected: s.Selected, Features: s.Features, ButtonText: s.ButtonText, ReadMoreText: s.ReadMoreText, ReadMoreLink: s.ReadMoreLink,
			PreferBusiness: s.PreferBusiness, URL: s.URL,
		},
	}
}

// wirePaywall returns a paywall on the wire, without its preview.
func wirePaywall(vendor string, p *paywall.Paywall) Paywall {
	s := &p.Settings
	return Paywall{
		ID: p.ID, VendorID: vendor, Version: p.Version, Entity: "Paywall", CreatedAt: p.CreatedAt, ModifiedAt: p.ModifiedAt,
		Subscriptions: wireAll(p.Subscriptions, wirePaywallOffer),
		PaywallFields: PaywallFields{
			Name: p.Name, Status: p.Status, Currency: p.Currency, Headline: p.Headline, LogoURL: p.LogoURL, MainColor: p.MainColor,
			Features: p.Features, ShowLoginButton: p.ShowLoginButton, PaymentMethods: p.PaymentMethods, SinglePurchase: (*PaywallSingle)(p.SinglePurchase),
			Settings: PaywallSettings{
				Template: s.Template, UseDefaultLogo: s.UseDefaultLogo, UseDefaultCurrency: s.UseDefaultCurrency, UseDefaultColor: s.UseDefaultColor,
				Styling: (*PaywallStyling)(s.Styling), DisplayOptions: (*PaywallOptions)(s.DisplayOptions), LoginFields: (*PaywallLoginFields)(s.LoginFields),
			},
		},
	}
}

// bodyOf returns what callers set of a paywall on the wire.
func (p *Paywall) bodyOf() *PaywallBody {
	return &PaywallBody{PaywallFields: p.PaywallFields, Subscriptions: wireAll(p.Subscriptions, func(s PaywallSubscription) PaywallOffer {
		return PaywallOffer{s.PaywallOfferFields, (*sentAmount)(s.Price), (*sentAmount)(s.DiscountPrice)}
	})}
}

// shown returns a paywall as the caller gets it.
func (c *call) shown(p *paywall.Paywall) Paywall {
	wire := wirePaywall(c.Vendor, p)
	if c.paywalls != "" {
		wire.PreviewURL = c.paywalls + c.Vendor + "/" + p.ID + previewSuffix
	}
	return wire
}

// paywallRecord returns the response with a paywall, or err.
func (c *call) paywallRecord(p *paywall.Paywall, err error) (*record[Paywall], error) {
	if err != nil {
		return nil, err
	}
	return &record[Paywall]{ETag: etagOf(wirePaywall(c.Vendor, p)), Body: c.shown(p)}, nil
}

// The documented caching headers of reading paywalls: a client may keep the response for an
// hour, and reads the record again with another Cache-Timestamp.
const paywallCaching, paywallVary = "private, max-age=3600", "Authorization, Cache-Timestamp"

// cachedPaywall is the response of reading one.
type cachedPaywall struct {
	CacheControl string   `header:"Cache-Control" doc:"A client may keep the response for an hour."`
	Vary         []string `header:"Vary" doc:"Another Cache-Timestamp in a request reads the record again."`
	ETag         string   `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body         Paywall
}

// cachedPaywalls is the response of listing them.
type cachedPaywalls struct {
	CacheControl string   `header:"Cache-Control" doc:"A client may keep the response for an hour."`
	Vary         []string `header:"Vary" doc:"Another Cache-Timestamp in a request reads the records again."`
	Body         []Paywall
}

// putPaywall is the response of creating or replacing one.
type putPaywall struct {
	Status int
	ETag   string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body   Paywall
}

// PaywallPath identifies a paywall in a path.
type PaywallPath struct {
	ID string `path:"paywallId" maxLength:"64" doc:"The paywall's id." example:"pw_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

func (a *api) registerPaywalls() {
	tags := []string{"Paywalls"}
	register(a, huma.Operation{
		OperationID: "list-paywalls", Method: http.MethodGet, Path: paywallsPath, Tags: tags, Security: needs("paywalls:read"),
		Summary: "Lists the vendor's paywalls",
	}, func(ctx context.Context, c *call, _ *struct{}) (*cachedPaywalls, error) {
		found, err := c.store.Paywalls(ctx, c.Vendor)
		return &cachedPaywalls{paywallCaching, []string{paywallVary}, wireAll(found, func(p paywall.Paywall) Paywall { return c.shown(&p) })}, err
	})
	register(a, huma.Operation{
		OperationID: "get-paywall", Method: http.MethodGet, Path: paywallPath, Tags: tags, Security: needs("paywalls:read"),
		Summary: "Returns a paywall",
	}, func(ctx context.Context, c *call, in *PaywallPath) (*cachedPaywall, error) {
		found, err := c.store.Paywall(ctx, c.Vendor, in.ID)
		answer, err := c.paywallRecord(&found, err)
		if err != nil {
			return nil, err
		}
		return &cachedPaywall{paywallCaching, []string{paywallVary}, answer.ETag, answer.Body}, nil
	})
	register(a, huma.Operation{
		OperationID: "list-paywall-versions", Method: http.MethodGet, Path: paywallPath + "/versions", Tags: tags, Security: needs("paywalls:read"),
		Summary: "Returns the current version of a paywall and up to 20 earlier ones, the newest first", Description: "Sending the body of one with PUT makes it current again, as a new version.",
	}, func(ctx context.Context, c *call, in *PaywallPath) (*body[[]Paywall], error) {
		found, err := c.store.PaywallVersions(ctx, c.Vendor, in.ID)
		return &body[[]Paywall]{wireAll(found, func(p paywall.Paywall) Paywall { return c.shown(&p) })}, err
	})
	a.registerPaywallChanges(tags)
}

// registerPaywallChanges adds the operations that change paywalls.
func (a *api) registerPaywallChanges(tags []string) {
	register(a, huma.Operation{
		OperationID: "create-paywall", Method: http.MethodPost, Path: paywallsPath, Tags: tags, Security: needs("paywalls:write"),
		Summary: "Creates a paywall under a new id", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *body[PaywallBody]) (*created[Paywall], error) {
		var wanted paywall.Paywall
		if err := in.Body.apply(&wanted); err != nil {
			return nil, err
		}
		made, err := c.store.CreatePaywall(ctx, c.Vendor, wanted)
		answer, err := newCreated(paywallsPath, made.ID, c.shown(&made), err)
		if err == nil {
			answer.ETag = etagOf(wirePaywall(c.Vendor, &made))
		}
		return answer, err
	})
	computed := map[string]any{computedKey: []string{"previewUrl"}}
	register(a, huma.Operation{
		OperationID: "put-paywall", Method: http.MethodPut, Path: paywallPath, Tags: tags, Security: needs("paywalls:write"),
		Summary: "Creates a paywall under an id of the caller's, or replaces it as a new version", Metadata: computed,
		Responses: map[string]*huma.Response{"200": {Description: "OK"}, "201": {Description: "There was none."}},
	}, func(ctx context.Context, c *call, in *struct {
		PaywallPath
		IfMatch
		Body PaywallBody
	},
	) (*putPaywall, error) {
		wanted := paywall.Paywall{ID: in.ID}
		if err := in.Body.apply(&wanted); err != nil {
			return nil, err
		}
		stored, created, err := c.store.PutPaywall(ctx, c.Vendor, wanted, func(old *paywall.Paywall) error {
			if old == nil {
				return in.absent()
			}
			return in.check(wirePaywall(c.Vendor, old))
		})
		answer, err := c.paywallRecord(&stored, in.changed(err))
		if err != nil {
			return nil, err
		}
		status := http.StatusOK
		if created {
			status = http.StatusCreated
		}
		return &putPaywall{status, answer.ETag, answer.Body}, nil
	})
	patch := newPatcher[PaywallChange](a)
	patch.counters = []string{"previewUrl"}
	register(a, huma.Operation{
		OperationID: "change-paywall", Method: http.MethodPatch, Path: paywallPath, Tags: tags, Security: needs("paywalls:write"),
		Summary: "Changes the named fields of a paywall, as a new version", Description: "The body is a JSON merge patch (RFC 7396); an array is replaced as a whole.",
		RequestBody: patch.requestBody(), SkipValidateBody: true,
	}, func(ctx context.Context, c *call, in *struct {
		PaywallPath
		IfMatch
		RawBody []byte `contentType:"application/json"`
	},
	) (*record[Paywall], error) {
		changed, err := c.store.UpdatePaywall(ctx, c.Vendor, in.ID, func(p *paywall.Paywall) error {
			shown := wirePaywall(c.Vendor, p)
			if err := in.check(shown); err != nil {
				return err
			}
			wanted, err := patch.apply(shown, &PaywallChange{*shown.bodyOf()}, in.RawBody)
			if err != nil {
				return err
			}
			return wanted.apply(p)
		})
		return c.paywallRecord(&changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-paywall", Method: http.MethodDelete, Path: paywallPath, Tags: tags, Security: needs("paywalls:write"),
		Summary: "Removes a paywall with its versions; readers get the built-in page in its place", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		PaywallPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeletePaywall(ctx, c.Vendor, in.ID, func(p paywall.Paywall) error { return in.check(wirePaywall(c.Vendor, &p)) })
		return &empty{}, in.changed(err)
	})
}
