package admin_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/admin"
)

// documented returns a JSON block of docs/contracts.md by its name.
func documented(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/contracts.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?ms)^```json " + name + "\n(.*?)^```$").FindStringSubmatch(string(text))
	require.NotNil(t, found, name)
	return found[1]
}

// stripeEvent sends an event as Stripe does, with the documented secret.
func (p *provider) stripeEvent(id, eventType string, minute int, object string) answer {
	p.Helper()
	body := fmt.Sprintf(`{"id":%q,"object":"event","api_version":"2025-03-31.basil","created":%d,"type":%q,"livemode":true,"data":{"object":%s}}`, id, p.at(minute).Unix(), eventType, object)
	at := fmt.Sprint(p.clock.Unix())
	mac := hmac.New(sha256.New, []byte("whsec_the_signing_secret_of_the_endpoint"))
	_, _ = fmt.Fprintf(mac, "%s.%s", at, body)
	return p.post(p.path, body, http.Header{"Stripe-Signature": {"t=" + at + ",v1=" + hex.EncodeToString(mac.Sum(nil))}})
}

// contract returns the contract of an order.
func (p *provider) contract(order string) admin.Contract {
	p.Helper()
	found, err := p.store.OrderContract(p.Context(), "acme", "hook:"+p.id(), order)
	require.NoError(p, err)
	var shown admin.Contract
	p.call("GET", "/management/contracts/"+found.ID, "").want(200, &shown)
	return shown
}

// The worked table of docs/contracts.md for Stripe, with events of a subscription that
// arrive out of order, as Stripe sends them.
func TestDocumentedStripeTable(t *testing.T) {
	t.Parallel()
	p := newProviders(t)
	p.call("POST", "/management/promos", documented(t, "promo")).want(201, nil)
	p.hook(documented(t, "stripe"))
	end := p.at(35 * 24 * 60)
	invoice := fmt.Sprintf(`{"id":"in_1","object":"invoice","billing_reason":"subscription_create","parent":{"type":"subscription_details","subscription_details":{"subscription":"sub_1"}},
	 "lines":{"object":"list","data":[{"period":{"start":%d,"end":%d}}]}}`, p.at(0).Unix(), end.Unix())
	subscription := func(cancels bool, feedback string) string {
		return fmt.Sprintf(`{"id":"sub_1","object":"subscription","status":"active","cancel_at_period_end":%t,"cancel_at":null,"cancellation_details":{"comment":null,"feedback":%s,"reason":null}}`, cancels, feedback)
	}
	checkout := `{"id":"cs_1","object":"checkout.session","mode":"subscription","payment_status":"paid","subscription":"sub_1","client_reference_id":null,"customer_details":{"email":"Ann@example.com","name":"Ann"}}`
	p.stripeEvent("evt_2", "invoice.paid", 1, invoice).refused(409, "contract_not_found", "")
	p.stripeEvent("evt_0", "checkout.session.completed", 0, strings.Replace(checkout, `"paid"`, `"unpaid"`, 1)).says(false, "no_entry")
	p.stripeEvent("evt_1", "checkout.session.completed", 1, checkout).says(true, "applied")
	sold := p.contract("sub_1")
	require.Equal(t, "ACTIVE", sold.Status)
	p.stripeEvent("evt_2", "invoice.paid", 1, invoice).says(true, "applied")
	require.Equal(t, end, p.contract("sub_1").ExpiresAt.UTC())
	p.stripeEvent("evt_5", "customer.subscription.updated", 5, subscription(true, `"too_expensive"`)).says(true, "applied")
	p.stripeEvent("evt_4", "customer.subscription.updated", 4, subscription(false, "null")).says(false, "older")
	cancelled := p.contract("sub_1")
	require.Equal(t, "CANCEL_REQUESTED", cancelled.Status)
	require.Equal(t, end, cancelled.WillCancelAt.UTC())
	p.stripeEvent("evt_6", "customer.subscription.updated", 6, subscription(false, "null")).says(true, "applied")
	require.Equal(t, "ACTIVE", p.contract("sub_1").Status)
	p.stripeEvent("evt_3", "invoice.paid", 3, `{"id":"in_2","object":"invoice","parent":null,"lines":{"data":[]}}`).says(false, "no_entry")
	p.stripeEvent("evt_7", "customer.subscription.deleted", 7, subscription(false, "null")).says(true, "applied")
	require.Equal(t, "CANCELED", p.contract("sub_1").Status)
	p.stripeEvent("evt_8", "invoice.paid", 3, invoice).says(false, "contract_ended")
	p.stripeEvent("evt_7", "customer.subscription.deleted", 7, subscription(false, "null")).says(false, "duplicate")
	require.Equal(t, "CANCELED", p.contract("sub_1").Status)
}

// The worked table for Standard Webhooks: an order is paid until a day, prolonged, and
// cancelled at a day.
func TestDocumentedStandardTable(t *testing.T) {
	t.Parallel()
	p := newProviders(t)
	p.call("POST", "/management/promos", documented(t, "promo")).want(201, nil)
	p.hook(documented(t, "standard"))
	data := func(more string) string {
		return `{"number":4711,"reader":{"email":"ann@example.com"}` + more + `}`
	}
	day := func(days int) string { return p.at(days * 24 * 60).Format("2006-01-02T15:04:05Z") }
	p.event("m1", "order.created", 0, data("")).says(true, "applied")
	require.Equal(t, "UNCONFIRMED", p.contract("4711").Status)
	p.event("m3", "order.prolonged", 2, data(`,"paidUntil":"`+day(60)+`"`)).refused(409, "contract_unconfirmed", "")
	p.event("m2", "order.paid", 1, data(`,"paidUntil":"`+day(30)+`"`)).says(true, "applied")
	p.event("m3", "order.prolonged", 2, data(`,"paidUntil":"`+day(60)+`"`)).says(true, "applied")
	require.Equal(t, day(60), p.contract("4711").ExpiresAt.UTC().Format("2006-01-02T15:04:05Z"))
	p.event("m4", "order.shipped", 3, data("")).says(false, "ignored")
	p.event("m5", "order.cancelled", 4, data(`,"lastDay":"`+day(20)+`","reason":"moved"`)).says(true, "applied")
	cancelled := p.contract("4711")
	require.Equal(t, day(20), cancelled.WillCancelAt.UTC().Format("2006-01-02T15:04:05Z"))
	require.Equal(t, "CANCEL_REQUESTED", cancelled.Status)
	// The table of the document is what the API shows of it.
	var wanted, shown struct {
		Table []admin.HookEntry `json:"table"`
	}
	require.NoError(t, json.Unmarshal([]byte(documented(t, "standard")), &wanted))
	p.call("GET", "/management/hooks/"+p.id(), "").want(200, &shown)
	require.Equal(t, wanted, shown)
}
