package paywall

import "time"

// Paywall is the configuration of what a refused reader is offered.
type Paywall struct {
	ID string `json:"id"`
	// Version counts the changes, from 1.
	Version int    `json:"version"`
	Name    string `json:"name,omitempty"`
	Status  string `json:"status"`
	// Currency is of ISO 4217. The page shows no prices without one.
	Currency  string   `json:"currency,omitempty"`
	Headline  string   `json:"headline,omitempty"`
	LogoURL   string   `json:"logoUrl,omitempty"`
	MainColor string   `json:"mainColor,omitempty"`
	Features  []string `json:"features,omitempty"`
	// ShowLoginButton is whether readers can buy; false with the template LOGIN leaves the
	// login alone.
	ShowLoginButton bool            `json:"showLoginButton,omitempty"`
	Settings        Settings        `json:"settings"`
	Subscriptions   []Subscription  `json:"subscriptions,omitempty"`
	SinglePurchase  *SinglePurchase `json:"singlePurchase,omitempty"`
	PaymentMethods  []string        `json:"footerPaymentMethods,omitempty"`
	CreatedAt       time.Time       `json:"createdAt"`
	ModifiedAt      time.Time       `json:"modifiedAt"`
}

// Statuses of a paywall. A canceled one is kept, and shown to no reader.
const (
	StatusActive   = "ACTIVE"
	StatusCanceled = "CANCELED"
)

// Templates of the page.
const (
	TemplateBoxes   = "BOXES"   // offers in columns
	TemplateArticle = "ARTICLE" // one offer of a list is chosen
	TemplateLogin   = "LOGIN"   // a form for the e-mail address first
)

// Settings are how a paywall looks.
type Settings struct {
	Template           string          `json:"template"`
	UseDefaultLogo     bool            `json:"useDefaultLogo,omitempty"`
	UseDefaultCurrency bool            `json:"useDefaultCurrency,omitempty"`
	UseDefaultColor    bool            `json:"useDefaultColor,omitempty"`
	Styling            *Styling        `json:"styling,omitempty"`
	DisplayOptions     *DisplayOptions `json:"displayOptions,omitempty"`
	LoginFields        *LoginFields    `json:"loginFields,omitempty"`
}

// Styling is the look of the boxes.
type Styling struct {
	DropShadow      bool   `json:"dropShadow,omitempty"`
	BackgroundColor string `json:"backgroundColor,omitempty"`
	ShowBackground  bool   `json:"showBackground,omitempty"`
}

// DisplayOptions are what else a page offers.
type DisplayOptions struct {
	EnableGift        bool `json:"enableGift,omitempty"`
	EnableCompany     bool `json:"enableCompany,omitempty"`
	EnableLoginButton bool `json:"enableLoginButton,omitempty"`
}

// LoginFields are what the form of the template LOGIN asks for besides the e-mail address.
type LoginFields struct {
	Name  bool `json:"name,omitempty"`
	Phone bool `json:"phone,omitempty"`
}

// Subscription is an offer.
type Subscription struct {
	ID    string `json:"id"`
	SKU   string `json:"sku"`
	POID  string `json:"poId,omitempty"`
	Title string `json:"title"`
	// Description is HTML of allowed elements, see Check.
	Description string `json:"description,omitempty"`
	// Price and DiscountPrice are decimal text.
	Price          string   `json:"price,omitempty"`
	DiscountPrice  string   `json:"discountPrice,omitempty"`
	DiscountCode   string   `json:"discountCode,omitempty"`
	PeriodText     string   `json:"periodText,omitempty"`
	Tag            string   `json:"tag,omitempty"`
	Selected       bool     `json:"selected,omitempty"`
	Features       []string `json:"features,omitempty"`
	ButtonText     string   `json:"buttonText,omitempty"`
	ReadMoreText   string   `json:"readMoreText,omitempty"`
	ReadMoreLink   string   `json:"readMoreLink,omitempty"`
	PreferBusiness bool     `json:"preferBusiness,omitempty"`
	// URL, unless empty, is where the button leads in place of the checkout.
	URL string `json:"url,omitempty"`
}

// SinglePurchase offers the one page. Its price comes from the checkout.
type SinglePurchase struct {
	Enabled      bool   `json:"enabled,omitempty"`
	Title        string `json:"title,omitempty"`
	Description  string `json:"description,omitempty"`
	DiscountCode string `json:"discountCode,omitempty"`
}

// Bounds of a configuration. Texts are bounded in bytes.
const (
	MaxIDSize        = 64
	MaxName          = 255
	MaxHeadline      = 300
	MaxTitle         = 150
	MaxDescription   = 2000
	MaxURL           = 2048
	maxMarkup        = 4 * MaxDescription // as it is sent, with markup that is removed
	MaxText          = 100
	MaxFeature       = 200
	MaxFeatures      = 12
	MaxSubscriptions = 12
	MaxMethods       = 12
	// MaxShownOffers is the number of offers that the page shows: the selected one is
	// among them.
	MaxShownOffers = 3
)

// Methods are the payment methods whose marks the page has.
var Methods = []string{"visa", "mastercard", "amex", "apple-pay", "google-pay", "klarna", "swish", "vipps", "mobilepay", "paypal", "invoice"}
