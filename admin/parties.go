package admin

import (
	"cmp"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// Party is the payer or the owner of a contract on the wire.
type Party struct {
	UserID          string           `json:"userId,omitempty" maxLength:"255" doc:"The reader's user id, if the caller knows it. Absent, the verified e-mail address names the reader." example:"user-123"`
	Email           string           `json:"email,omitempty" maxLength:"254" doc:"The e-mail address. It counts for a reader whose login verified it." example:"reader@example.com"`
	FullName        string           `json:"fullName,omitempty" maxLength:"255" doc:"The full name." example:"Ada Lovelace"`
	Phone           string           `json:"phone,omitempty" maxLength:"64" doc:"The phone number." example:"+46 8 123 456"`
	Gender          string           `json:"gender,omitempty" enum:"male,female,other" doc:"The gender. Kept only if the promo names it in keeps." example:"other"`
	Birthday        string           `json:"birthday,omitempty" maxLength:"40" doc:"The birthday: an ISO 8601 date, or a time of that day. Kept only if the promo names it in keeps." example:"1985-12-10"`
	Address         *PartyAddress    `json:"address,omitempty" doc:"The postal address."`
	BusinessDetails *BusinessDetails `json:"businessDetails,omitempty" doc:"Details of a business."`
	InvoiceEmail    string           `json:"invoiceEmail,omitempty" maxLength:"254" doc:"Another e-mail address, for invoices. It gives no access." example:"invoices@example.com"`
	ExtraData       textMap          `json:"extraData,omitempty" doc:"The seller's own data: at most 64 texts and 8 KiB." example:"{\"customerNumber\": \"4711\"}"`
}

// PartyAddress is a postal address with the name of who lives there.
type PartyAddress struct {
	Country   string `json:"country,omitempty" maxLength:"2" doc:"The country: two letters (ISO 3166-1 alpha-2), in either case; kept in capitals." example:"SE"`
	Zip       string `json:"zip,omitempty" maxLength:"64" doc:"Postal code." example:"111 22"`
	City      string `json:"city,omitempty" maxLength:"255" doc:"City." example:"Stockholm"`
	Street    string `json:"street,omitempty" maxLength:"255" doc:"Street and number." example:"Main Street 1"`
	CO        string `json:"co,omitempty" maxLength:"255" doc:"Care of (c/o)." example:"Byron"`
	FirstName string `json:"firstName,omitempty" maxLength:"255" doc:"First name." example:"Ada"`
	LastName  string `json:"lastName,omitempty" maxLength:"255" doc:"Last name." example:"Lovelace"`
}

// BusinessDetails are those of a business.
type BusinessDetails struct {
	VATNumber   string `json:"vatNr,omitempty" maxLength:"32" pattern:"^[A-Za-z0-9][A-Za-z0-9 .-]*$" patternDescription:"letters, digits, spaces, dots and hyphens" doc:"The VAT number. Kept only if the promo names it in keeps." example:"SE556677889901"`
	CompanyName string `json:"companyName,omitempty" maxLength:"255" doc:"The company's name." example:"Example AB"`
}

// check returns the first problem of a party in a member of the body.
func (p *Party) check(field string, now time.Time) error {
	if p == nil {
		return nil
	}
	field += "."
	for name, email := range map[string]string{"email": p.Email, "invoiceEmail": p.InvoiceEmail} {
		if email != "" && !plausibleEmail(email) {
			return invalid(field+name, "is not an e-mail address: it has one @ with a name before and a domain after it")
		}
	}
	if p.Address != nil && p.Address.Country != "" && !isCountry(p.Address.Country) {
		return invalid(field+"address.country", "must be a country of two letters (ISO 3166-1 alpha-2), such as SE")
	}
	if p.Birthday != "" {
		if day, err := birthday(p.Birthday); err != nil || day.After(now) || day.Year() < 1850 {
			return invalid(field+"birthday", "must be a date such as 1985-12-10, which is past")
		}
	}
	return p.ExtraData.checkSize(field + "extraData")
}

// plausibleEmail reports whether a text has the form of an e-mail address.
func plausibleEmail(email string) bool {
	name, domain, _ := strings.Cut(strings.TrimSpace(email), "@")
	return name != "" && domain != "" && !strings.ContainsAny(domain, "@") && !strings.ContainsAny(name+domain, " \t\r\n,;<>")
}

// countries are the codes of ISO 3166-1 alpha-2.
const countries = " AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ" +
	" CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR" +
	" GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP" +
	" KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ" +
	" NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW" +
	" SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ" +
	" UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "

// isCountry reports whether a text is a country code, in either case.
func isCountry(code string) bool {
	return len(code) == 2 && strings.Contains(countries, " "+strings.ToUpper(code)+" ")
}

// birthday reads a date, or the date of a time at its own offset.
func birthday(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC), err
}

// party returns a party as the store has it.
func (p *Party) party() store.Party {
	if p == nil {
		return store.Party{}
	}
	made := store.Party{
		UserID: p.UserID, Email: strings.TrimSpace(p.Email), FullName: p.FullName, Phone: p.Phone, InvoiceEmail: strings.TrimSpace(p.InvoiceEmail),
		ExtraData: p.ExtraData, Gender: p.Gender,
	}
	if day, err := birthday(p.Birthday); err == nil {
		made.Birthday = day.Format(time.DateOnly)
	}
	if b := p.BusinessDetails; b != nil {
		made.CompanyName, made.VATNumber = b.CompanyName, b.VATNumber
	}
	if a := p.Address; a != nil {
		made.Address = &store.PartyAddress{
			Address:   store.Address{Street: a.Street, City: a.City, Zip: a.Zip, Country: strings.ToUpper(a.Country), CO: a.CO},
			FirstName: a.FirstName, LastName: a.LastName,
		}
	}
	return made
}

// wireParty returns a party on the wire.
func wireParty(p store.Party) Party {
	wire := Party{
		UserID: p.UserID, Email: p.Email, FullName: p.FullName, Phone: p.Phone, InvoiceEmail: p.InvoiceEmail,
		ExtraData: p.ExtraData, Gender: p.Gender, Birthday: p.Birthday,
	}
	if cmp.Or(p.CompanyName, p.VATNumber) != "" {
		wire.BusinessDetails = &BusinessDetails{VATNumber: p.VATNumber, CompanyName: p.CompanyName}
	}
	if a := p.Address; a != nil {
		wire.Address = &PartyAddress{
			Country: a.Country, Zip: a.Zip, City: a.City, Street: a.Street, CO: a.CO, FirstName: a.FirstName, LastName: a.LastName,
		}
	}
	return wire
}
