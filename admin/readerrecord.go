package admin

import (
	"cmp"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// ReaderAddress is a reader's address for bills or deliveries.
type ReaderAddress struct {
	Country   string `json:"country,omitempty" maxLength:"64" doc:"Country." example:"SE"`
	Zip       string `json:"zip,omitempty" maxLength:"64" doc:"Postal code." example:"11122"`
	City      string `json:"city,omitempty" maxLength:"255" doc:"City." example:"Stockholm"`
	Street    string `json:"street,omitempty" maxLength:"255" doc:"Street and number." example:"Storgatan 1"`
	CO        string `json:"co,omitempty" maxLength:"255" doc:"Care of." example:"Lee"`
	LastName  string `json:"lastName,omitempty" maxLength:"255" doc:"The last name at the address." example:"User"`
	FirstName string `json:"firstName,omitempty" maxLength:"255" doc:"The first name at the address." example:"New"`
}

// CompanyInfo is the company of a reader.
type CompanyInfo struct {
	CompanyName  string `json:"companyName,omitempty" maxLength:"255" doc:"The name of the company." example:"Example AB"`
	VATNumber    string `json:"vatNr,omitempty" maxLength:"64" doc:"The company's VAT number." example:"SE556677889901"`
	InvoiceEmail string `json:"invoiceEmail,omitempty" maxLength:"254" doc:"Where invoices are sent." example:"invoices@example.com"`
}

// ReaderFields are the fields of a reader that callers set, besides those that have two names.
type ReaderFields struct {
	FirstName       string            `json:"firstName,omitempty" maxLength:"255" doc:"The first name." example:"New"`
	LastName        string            `json:"lastName,omitempty" maxLength:"255" doc:"The last name." example:"User"`
	Nickname        string            `json:"nickname,omitempty" maxLength:"255" doc:"A short name." example:"Newbie"`
	MobilePhone     string            `json:"mobilePhone,omitempty" maxLength:"64" doc:"The mobile phone number." example:"+1234567890"`
	WorkPhone       string            `json:"workPhone,omitempty" maxLength:"64" doc:"The phone number at work." example:"+1234567891"`
	HomePhone       string            `json:"homePhone,omitempty" maxLength:"64" doc:"The phone number at home." example:"+1234567892"`
	Locale          string            `json:"locale,omitempty" maxLength:"64" doc:"The preferred language." example:"sv-SE"`
	Picture         string            `json:"picture,omitempty" maxLength:"2048" doc:"The URL of a picture." example:"https://example.com/new.png"`
	Tags            []string          `json:"tags,omitempty" maxItems:"64" doc:"Words that the vendor gave the reader." example:"[\"vip\"]"`
	UserMetadata    map[string]string `json:"user_metadata,omitempty" doc:"The vendor's own texts about the reader, at most 64 and 32 KiB."`
	BillingAddress  *ReaderAddress    `json:"billingAddress,omitempty" doc:"The address for bills."`
	DeliveryAddress *ReaderAddress    `json:"deliveryAddress,omitempty" doc:"The address for deliveries."`
	CompanyInfo     *CompanyInfo      `json:"companyInfo,omitempty" doc:"The reader's company."`
	PhoneNumber     string            `json:"phone_number,omitempty" maxLength:"64" doc:"The phone number: that of the user in /api/users." example:"+1234567890"`
}

// ReaderRecord is a person whom the vendor knows: the user of /api/users, with more fields.
type ReaderRecord struct {
	UserID        string `json:"userId" doc:"The reader's id: sub of their issuer." example:"user123"`
	Email         string `json:"email,omitempty" doc:"The e-mail address." example:"new.user@example.com"`
	EmailVerified bool   `json:"emailVerified" doc:"Whether the vendor says that the address was verified. Access by address needs a login that says so." example:"false"`
	Name          string `json:"name" doc:"The full name or, without one, the nickname or the id." example:"New User"`
	ReaderFields
	CreatedAt  time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt  time.Time `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	Company    string    `json:"company,omitempty" doc:"The same as companyInfo.companyName." example:"Example AB"`
	Sub        string    `json:"sub" doc:"The same as userId." example:"user123"`
	GivenName  string    `json:"given_name,omitempty" doc:"The same as firstName." example:"New"`
	FamilyName string    `json:"family_name,omitempty" doc:"The same as lastName." example:"User"`
}

func wireReaderAddress(a *store.PartyAddress) *ReaderAddress {
	if a == nil {
		return nil
	}
	return &ReaderAddress{Country: a.Country, Zip: a.Zip, City: a.City, Street: a.Street, CO: a.CO, LastName: a.LastName, FirstName: a.FirstName}
}

func (a *ReaderAddress) stored() *store.PartyAddress {
	if a == nil || *a == (ReaderAddress{}) {
		return nil
	}
	return &store.PartyAddress{
		Address:   store.Address{Country: a.Country, Zip: a.Zip, City: a.City, Street: a.Street, CO: a.CO},
		FirstName: a.FirstName, LastName: a.LastName,
	}
}

// namesOf returns the first and last names of a reader. The full name of the user counts, as
// the other API may have changed it.
func namesOf(r *store.Reader) (first, last string) {
	d := &r.ReaderDetails
	if fullNameOf(d.FirstName, d.LastName) == r.FullName || r.FullName == "" {
		return d.FirstName, d.LastName
	}
	if i := strings.LastIndexByte(r.FullName, ' '); i > 0 {
		return r.FullName[:i], r.FullName[i+1:]
	}
	return r.FullName, ""
}

func fullNameOf(first, last string) string { return strings.TrimSpace(first + " " + last) }

func wireReaderFields(r *store.Reader) ReaderFields {
	d := &r.ReaderDetails
	first, last := namesOf(r)
	names := ReaderFields{
		FirstName: first, LastName: last, Nickname: r.NickName, MobilePhone: d.MobilePhone, WorkPhone: d.WorkPhone, HomePhone: d.HomePhone,
		Locale: r.Language, Picture: d.Picture, Tags: d.Tags, UserMetadata: d.Metadata, PhoneNumber: r.Phone,
		BillingAddress: wireReaderAddress(d.Billing), DeliveryAddress: wireReaderAddress(d.Delivery),
	}
	if company := (CompanyInfo{d.CompanyName, d.VATNumber, d.InvoiceEmail}); company != (CompanyInfo{}) {
		names.CompanyInfo = &company
	}
	return names
}

func wireReader(r store.Reader) ReaderRecord {
	names := wireReaderFields(&r)
	updated := r.UpdatedAt
	if r.ReaderDetails.UpdatedAt.After(updated) {
		updated = r.ReaderDetails.UpdatedAt
	}
	return ReaderRecord{
		UserID: r.Slug, Email: r.Email, EmailVerified: r.ReaderDetails.EmailVerified, ReaderFields: names,
		Name:      cmp.Or(fullNameOf(names.FirstName, names.LastName), r.NickName, r.Slug),
		CreatedAt: r.CreatedAt, UpdatedAt: updated, Company: r.ReaderDetails.CompanyName, Sub: r.Slug,
		GivenName: names.FirstName, FamilyName: names.LastName,
	}
}

// apply sets the fields of a reader.
func (n *ReaderFields) apply(r *store.Reader) {
	d := &r.ReaderDetails
	if first, last := namesOf(r); first != n.FirstName || last != n.LastName {
		d.FirstName, d.LastName, r.FullName = n.FirstName, n.LastName, fullNameOf(n.FirstName, n.LastName)
	}
	r.NickName, r.Language, r.Phone = n.Nickname, n.Locale, n.PhoneNumber
	d.MobilePhone, d.WorkPhone, d.HomePhone, d.Picture = n.MobilePhone, n.WorkPhone, n.HomePhone, n.Picture
	d.Tags, d.Metadata, d.Billing, d.Delivery = n.Tags, n.UserMetadata, n.BillingAddress.stored(), n.DeliveryAddress.stored()
	company := CompanyInfo{}
	if n.CompanyInfo != nil {
		company = *n.CompanyInfo
	}
	d.CompanyName, d.VATNumber, d.InvoiceEmail = company.CompanyName, company.VATNumber, company.InvoiceEmail
}
