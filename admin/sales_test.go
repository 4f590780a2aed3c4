package admin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// The request of an external sale and the contract that answers, word for word as published.
const (
	publishedParty = `{"extraData":{"additionalProp1":"string","additionalProp2":"string","additionalProp3":"string"},"gender":"string","birthday":"string",
		"address":{"country":"string","zip":"string","city":"string","street":"string","co":"string","lastName":"string","firstName":"string"},
		"businessDetails":{"vatNr":"string","companyName":"string"},"phone":"string","fullName":"string","invoiceEmail":"string","email":"string"}`
	publishedOrder = `{"externalOrderId":"string","paymentProvider":"KLARNA","paymentMethod":"BANKGIRO","quantity":1,"vendorData":{"additionalProp3":"string"},
		"providerData":{"additionalProp3":"string"},"userData":` + publishedParty + `,"ownerData":` + publishedParty + `}`
	publishedConfirm  = `{"providerPaymentData":{"additionalProp3":"string"}}`
	publishedContract = `{"id":"1d78271264b9c76d5842911dd70b4353","name":"string","userId":"string","createdAt":"string","confirmedAt":"string","updatedAt":"string","price":0,
		"nextBillAt":"string","nextPrice":0,"currency":"string","manageUrl":"string","contractDuration":"string","issuesRemaining":0,
		"items":[{"sku":"string","purchaseOptionId":"string","purchaseOptionName":"string","name":"string","cover":"string","purchaseType":"string","isMultiseat":true}],
		"status":"string","isActive":true,"recurringInterval":"string","recurringTime":0,"willCancelAt":"string","cancelRequestedAt":"string","cancelReason":"string",
		"expiresAt":"string","paymentData":{"method":"string","description":"string","brand":"string"},
		"appliedDiscounts":[{"code":"string","name":"string","description":"string","id":"string"}]}`
	publishedLicenses = `[{"userId":"auth0|123456","email":"user@example.com","fullName":"John Doe","sku":"premium-subscription","status":"ACTIVE","entitlementId":"ent_123456"}]`
)

const (
	salePath = "/payments/vendor/acme/promos/code/TELECOM"
	telecom  = `{"code":"TELECOM","name":"Telecom bundle","items":[{"sku":"premium","name":"Premium"}],"contractDuration":"RECURRING","recurringInterval":"MONTH","recurringTime":1,
		"price":9.90,"currency":"SEK","paymentMethods":["EXTERNAL","BANKGIRO"],"paymentProviders":["SESAMY","KLARNA"]}`
)

// soldFixture is an API whose vendor acme has the promo TELECOM, and a seller's token.
func soldFixture(t *testing.T) (p *public, token string) {
	t.Helper()
	p = newPublic(t)
	p.with(p.token(p.client("acme", "contracts:*")), http.MethodPost, "/management/promos", telecom).want(http.StatusCreated, nil)
	return p, p.token(p.client("acme", "sales:*"))
}

// order is an order of a reader; members are added or, with nil, left out.
func order(id string, members map[string]any) string {
	whole := map[string]any{
		"externalOrderId": id, "paymentProvider": "SESAMY", "paymentMethod": "EXTERNAL", "userData": map[string]any{"email": id + "@example.com"},
	}
	for name, value := range members {
		if whole[name] = value; value == nil {
			delete(whole, name)
		}
	}
	text, _ := json.Marshal(whole) //nolint:errchkjson // maps of texts
	return string(text)
}

// contract is what tests read of a contract.
type contract struct {
	ID, Status, UserID, PromoCode, ExternalOrderID, CancelReason string
	IsActive                                                     bool
	Price, NextPrice                                             json.RawMessage
	Seats, SeatsTaken, Quantity                                  int
	ConfirmedAt, WillCancelAt, ExpiresAt, AbandonAt              *time.Time
	OwnerData, UserData                                          struct {
		UserID, Email, Gender, Birthday string
		Address                         struct{ Country string }
		BusinessDetails                 struct{ VATNr string }
	}
}

// A seller asks for a token, sends the order and confirms it, with the published bodies, each
// placeholder replaced by a value of its kind. The answer has each field of the published
// contract, and each field of the order is in it.
func TestPublishedSaleWordForWord(t *testing.T) {
	p, _ := soldFixture(t)
	id, secret := p.client("acme", "sales:*")
	var got handed
	p.ask(http.MethodPost, "/oauth/token", `{
  "client_id": "`+id+`",
  "client_secret": "`+secret+`",
  "grant_type":"client_credentials",
  "scope": "payments:contract:third-party-onboarding"
}`, isJSON).want(http.StatusOK, &got)
	valid := strings.NewReplacer(`"gender":"string"`, `"gender":"other"`, `"birthday":"string"`, `"birthday":"1985-12-10T00:00:00.000Z"`,
		`"country":"string"`, `"country":"se"`, `"invoiceEmail":"string"`, `"invoiceEmail":"bills@example.com"`, `"email":"string"`, `"email":"reader@example.com"`)
	body := valid.Replace(publishedOrder)
	var sold map[string]any
	first := p.with(got.AccessToken, http.MethodPost, salePath+"?confirm=false", body).want(http.StatusCreated, &sold)
	var sent map[string]any
	parse(t, body, &sent)
	for _, name := range []string{"externalOrderId", "quantity", "vendorData", "providerData", "paymentProvider"} {
		if fmt.Sprint(sold[name]) != fmt.Sprint(sent[name]) {
			t.Errorf("%s was sent as %v, and is %v", name, sent[name], sold[name])
		}
	}
	for _, party := range []string{"userData", "ownerData"} {
		is, was := node(sold[party]), node(sent[party])
		for _, name := range []string{"extraData", "phone", "fullName", "invoiceEmail", "email"} {
			if fmt.Sprint(is[name]) != fmt.Sprint(was[name]) {
				t.Errorf("%s.%s was sent as %v, and is %v", party, name, was[name], is[name])
			}
		}
		for name, value := range node(was["address"]) {
			if !strings.EqualFold(fmt.Sprint(node(is["address"])[name]), fmt.Sprint(value)) {
				t.Errorf("%s.address.%s is %v", party, name, node(is["address"])[name])
			}
		}
		if node(is["businessDetails"])["companyName"] != "string" {
			t.Errorf("%s.businessDetails is %v", party, is["businessDetails"])
		}
	}
	if sold["isActive"] != false || sold["status"] != "UNCONFIRMED" || node(sold["paymentData"])["method"] != "BANKGIRO" {
		t.Errorf("before the confirmation: %s", first.body)
	}
	var confirmed map[string]any
	path := salePath + "/confirm/" + sold["id"].(string)
	p.with(got.AccessToken, http.MethodPost, path, publishedConfirm).want(http.StatusOK, &confirmed)
	if confirmed["isActive"] != true || confirmed["status"] != "ACTIVE" || node(confirmed["providerPaymentData"])["additionalProp3"] != "string" {
		t.Errorf("after the confirmation: %v", confirmed)
	}
	// The fields that are always there, and those that an order of this kind has.
	var want map[string]any
	parse(t, publishedContract, &want)
	optional := []string{"manageUrl", "issuesRemaining", "cancelRequestedAt", "cancelReason", "expiresAt", "nextBillAt", "nextPrice", "willCancelAt", "appliedDiscounts"}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, has := confirmed[name]; !has && !slices.Contains(optional, name) {
			t.Errorf("the contract has no %s", name)
		}
	}
}

// An order is one contract, whatever is sent again: its confirmation may come later, another
// content is refused, and another seller's order with the same id is another contract.
func TestOrderIsOneContract(t *testing.T) {
	p, token := soldFixture(t)
	var first, again, confirmed, other contract
	got := p.with(token, http.MethodPost, salePath, order("o-1", nil)).want(http.StatusCreated, &first)
	if first.Status != "UNCONFIRMED" || first.IsActive || len(first.ID) != 32 || string(first.Price) != "9.90" || got.head.Get("Location") == "" || got.head.Get("ETag") == "" {
		t.Fatalf("%v %s", got.head, got.body)
	}
	p.with(token, http.MethodPost, salePath+"?confirm=0", order("o-1", nil)).want(http.StatusOK, &again)
	p.with(token, http.MethodPost, salePath+"?confirm=1", order("o-1", nil)).want(http.StatusOK, &confirmed)
	if again.ID != first.ID || again.IsActive || confirmed.ID != first.ID || !confirmed.IsActive || confirmed.ConfirmedAt == nil {
		t.Errorf("first %+v, again %+v, confirmed %+v", first, again, confirmed)
	}
	p.clock = p.clock.Add(time.Minute)
	p.with(token, http.MethodPost, salePath+"?confirm=true", order("o-1", nil)).want(http.StatusOK, &again)
	if !again.ConfirmedAt.Equal(*confirmed.ConfirmedAt) {
		t.Error("confirming twice is two confirmations")
	}
	conflict := p.with(token, http.MethodPost, salePath, order("o-1", map[string]any{"quantity": 1, "vendorData": map[string]any{"x": "y"}})).refused(http.StatusConflict, "order_conflict", "body.externalOrderId")
	if !strings.Contains(conflict.Detail, first.ID) {
		t.Errorf("the conflict does not name the contract: %s", conflict.Detail)
	}
	seller := p.token(p.client("acme", "sales:*"))
	p.with(seller, http.MethodPost, salePath, order("o-1", map[string]any{"vendorData": map[string]any{"x": "y"}})).want(http.StatusCreated, &other)
	if other.ID == first.ID {
		t.Error("two sellers share a contract")
	}
	// Without an id every call is an order.
	p.with(token, http.MethodPost, salePath, order("", map[string]any{"externalOrderId": nil, "userData": map[string]any{"email": "x@example.com"}})).want(http.StatusCreated, &other)
	p.with(token, http.MethodPost, salePath, order("", map[string]any{"externalOrderId": nil, "userData": map[string]any{"email": "x@example.com"}})).want(http.StatusCreated, &again)
	if other.ID == again.ID {
		t.Error("orders without an id are one contract")
	}
}

// Bad input is a problem that names the field, and stores nothing.
func TestBadOrdersStoreNothing(t *testing.T) {
	p, token := soldFixture(t)
	office := p.token(p.client("acme", "contracts:*"))
	p.with(office, http.MethodPost, "/management/promos", strings.NewReplacer("TELECOM", "OVER", `"currency"`, `"validUntil":"2026-11-01T00:00:00Z","currency"`).Replace(telecom)).want(http.StatusCreated, nil)
	p.with(office, http.MethodPost, "/management/promos", strings.NewReplacer("TELECOM", "ENDED").Replace(telecom)).want(http.StatusCreated, nil)
	p.with(office, http.MethodPost, "/management/promos/ENDED/end", "").want(http.StatusOK, nil)
	p.with(office, http.MethodPost, "/management/promos", strings.NewReplacer("TELECOM", "ONE", `"currency"`, `"maxContracts":1,"currency"`).Replace(telecom)).want(http.StatusCreated, nil)
	p.with(office, http.MethodPost, "/management/promos", strings.NewReplacer("TELECOM", "OTHERS", `"currency"`, `"sellers":["client_x"],"currency"`).Replace(telecom)).want(http.StatusCreated, nil)
	const one = "/payments/vendor/acme/promos/code/ONE"
	p.with(token, http.MethodPost, one, order("only", nil)).want(http.StatusCreated, nil)
	count := func() int {
		var all []contract
		p.with(office, http.MethodGet, "/management/contracts?limit=1000", "").want(http.StatusOK, &all)
		return len(all)
	}
	before := count()
	user := func(members ...any) map[string]any {
		made := map[string]any{"email": "reader@example.com"}
		for i := 0; i < len(members); i += 2 {
			made[members[i].(string)] = members[i+1]
		}
		return map[string]any{"userData": made}
	}
	large := map[string]any{"x": strings.Repeat("y", 100<<10)}
	many := map[string]any{}
	for i := range 6 {
		many[fmt.Sprint(i)] = strings.Repeat("y", 2000)
	}
	for name, test := range map[string]struct {
		path, body string
		code       int
		location   string
	}{
		"unknown promo":            {"/payments/vendor/acme/promos/code/NEVER", order("n", nil), 404, "path.promoCode"},
		"ended promo":              {"/payments/vendor/acme/promos/code/ENDED", order("n", nil), 409, "path.promoCode"},
		"promo that is over":       {"/payments/vendor/acme/promos/code/OVER", order("n", nil), 409, "path.promoCode"},
		"used-up promo":            {one, order("n", nil), 409, "path.promoCode"},
		"promo of other sellers":   {"/payments/vendor/acme/promos/code/OTHERS", order("n", nil), 404, "path.promoCode"},
		"wrong provider":           {salePath, order("n", map[string]any{"paymentProvider": "STRIPE"}), 422, "body.paymentProvider"},
		"unknown provider":         {salePath, order("n", map[string]any{"paymentProvider": "PAYPAL"}), 422, "body.paymentProvider"},
		"wrong method":             {salePath, order("n", map[string]any{"paymentMethod": "CARD"}), 422, "body.paymentMethod"},
		"unknown method":           {salePath, order("n", map[string]any{"paymentMethod": "GOLD"}), 422, "body.paymentMethod"},
		"quantity 0":               {salePath, order("n", map[string]any{"quantity": 0}), 422, "body.quantity"},
		"quantity with a fraction": {salePath, order("n", map[string]any{"quantity": json.RawMessage("1.0")}), 422, "body.quantity"},
		"quantity -1":              {salePath, order("n", map[string]any{"quantity": -1}), 422, "body.quantity"},
		"quantity above the promo": {salePath, order("n", map[string]any{"quantity": 2}), 422, "body.quantity"},
		"bad country":              {salePath, order("n", user("address", map[string]any{"country": "XX"})), 422, "body.userData.address.country"},
		"country of three letters": {salePath, order("n", user("address", map[string]any{"country": "SWE"})), 422, "body.userData.address.country"},
		"bad birthday":             {salePath, order("n", user("birthday", "10/12/1985")), 422, "body.userData.birthday"},
		"birthday that never was":  {salePath, order("n", user("birthday", "1985-02-30")), 422, "body.userData.birthday"},
		"birthday to come":         {salePath, order("n", user("birthday", "2985-02-03")), 422, "body.userData.birthday"},
		"unknown gender":           {salePath, order("n", user("gender", "string")), 422, "body.userData.gender"},
		"unknown member":           {salePath, order("n", map[string]any{"promo": "x"}), 422, "body.promo"},
		"unknown member of a user": {salePath, order("n", user("mail", "x")), 422, "body.userData.mail"},
		"unknown in an address":    {salePath, order("n", user("address", map[string]any{"state": "x"})), 422, "body.userData.address.state"},
		"100 KiB of vendorData":    {salePath, order("n", map[string]any{"vendorData": large}), 422, "body.vendorData.x"},
		"too much vendorData":      {salePath, order("n", map[string]any{"vendorData": many}), 422, "body.vendorData"},
		"too much providerData":    {salePath, order("n", map[string]any{"providerData": many}), 422, "body.providerData"},
		"too much extraData":       {salePath, order("n", user("extraData", many)), 422, "body.userData.extraData"},
		"number in vendorData":     {salePath, order("n", map[string]any{"vendorData": map[string]any{"x": 1}}), 422, "body.vendorData.x"},
		"no user":                  {salePath, order("n", map[string]any{"userData": nil}), 422, "body.userData"},
		"user without identifier":  {salePath, order("n", map[string]any{"userData": map[string]any{"fullName": "X"}}), 422, "body.userData.email"},
		"owner without identifier": {salePath, order("n", map[string]any{"ownerData": map[string]any{"fullName": "X"}}), 422, "body.ownerData.email"},
		"two @":                    {salePath, order("n", user("email", "a@b@example.com")), 422, "body.userData.email"},
		"two @ of the owner":       {salePath, order("n", map[string]any{"ownerData": map[string]any{"email": "a@@example.com"}}), 422, "body.ownerData.email"},
		"bad invoice address":      {salePath, order("n", user("invoiceEmail", "bills")), 422, "body.userData.invoiceEmail"},
		"confirm":                  {salePath + "?confirm=yes", order("n", nil), 422, "query.confirm"},
		"not JSON":                 {salePath, `{"userData":`, 400, ""},
		"name twice":               {salePath, `{"quantity":1,"quantity":1}`, 400, ""},
	} {
		got := p.with(token, http.MethodPost, test.path, test.body)
		if test.code == 400 {
			got.refused(400, "bad_request", "")
			continue
		}
		var said problem
		if got.want(test.code, &said); !slices.ContainsFunc(said.Errors, func(e struct{ Message, Location string }) bool { return e.Location == test.location && e.Message != "" }) {
			t.Errorf("%s: the problem does not name %s: %s", name, test.location, got.body)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d contracts before, %d after", before, after)
	}
	if len(p.failed) > 0 {
		t.Errorf("%v", p.failed)
	}
}

// A client whose language writes 1.0 for 1 is told how to write it.
func TestWholeNumberWithAFraction(t *testing.T) {
	p, token := soldFixture(t)
	got := p.with(token, http.MethodPost, salePath, order("n", map[string]any{"quantity": json.RawMessage("1.0")}))
	if got.refused(http.StatusUnprocessableEntity, "validation_failed", "body.quantity"); !strings.Contains(got.body, "write it in digits, such as 1") {
		t.Error(got.body)
	}
}

// A token of another vendor is refused without a look at what is there, and a promo of another
// vendor is unknown. The local operator sells for any vendor.
func TestSaleIsTheVendorsOwn(t *testing.T) {
	p, token := soldFixture(t)
	var sold contract
	p.with(token, http.MethodPost, salePath, order("o-1", nil)).want(http.StatusCreated, &sold)
	stranger := p.token(p.client("other", "sales:*", "contracts:*"))
	refused := map[string]bool{}
	for _, path := range []string{salePath, salePath + "/confirm/" + sold.ID, "/payments/vendor/acme/promos/code/NEVER", "/payments/vendor/nowhere/promos/code/TELECOM", salePath + "/confirm/never"} {
		for _, body := range []string{order("o-1", nil), `{}`, `{`} {
			got := p.with(stranger, http.MethodPost, path, body)
			got.refused(http.StatusForbidden, "forbidden", "")
			refused[got.body] = true
		}
	}
	if len(refused) != 1 {
		t.Errorf("the refusals differ: %v", refused)
	}
	own := strings.Replace(salePath, "acme", "other", 1)
	p.with(stranger, http.MethodPost, own, order("o-1", nil)).want(http.StatusNotFound, nil)
	p.with(stranger, http.MethodPost, own+"/confirm/"+sold.ID, `{}`).refused(http.StatusNotFound, "not_found", "")
	p.with(stranger, http.MethodGet, "/management/contracts/"+sold.ID, "").refused(http.StatusNotFound, "not_found", "")
	// grants:* and contracts:* sell nothing.
	for _, scope := range []string{"grants:*", "contracts:*", "sales:read"} {
		id, secret := p.client("acme", scope)
		p.with(p.token(id, secret), http.MethodPost, salePath, order("o-2", nil)).refused(http.StatusForbidden, "forbidden", "")
	}
	local := newFixture(t, true)
	local.callAs("paper", http.MethodPost, "/management/promos", telecom).want(http.StatusCreated, nil)
	local.call(http.MethodPost, strings.Replace(salePath, "acme", "paper", 1), order("o-1", nil)).want(http.StatusCreated, nil)
	var all []contract
	local.callAs("paper", http.MethodGet, "/management/contracts", "").want(http.StatusOK, &all)
	if len(all) != 1 {
		t.Errorf("the operator made %d contracts of the vendor paper", len(all))
	}
	local.call(http.MethodPost, strings.Replace(salePath, "acme", "_system", 1), order("o-1", nil)).refused(http.StatusForbidden, "forbidden", "")
}

// reads reports whether a rule for entitled readers admits a reader, who may have a verified
// e-mail address.
func (b *fixture) reads(sku string, reader policy.Reader) bool {
	b.Helper()
	allow := policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`"` + sku + `"`)}}
	rules, err := policy.CompileRules([]policy.Rule{{Rank: 1, Path: "/", Allow: allow}}, b.options.Policy.Operators())
	if err != nil {
		b.Fatal(err)
	}
	decision := b.options.Policy.Decide(b.Context(), &policy.Request{
		Site: &policy.Site{Vendor: "acme", Rules: rules}, Method: http.MethodGet, EscapedPath: "/", Now: b.clock, Reader: reader,
	})
	return decision.Reason == policy.ReasonEntitled
}
