package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// billed is the answer with a bill, in the fields of the published contract.
type billed struct {
	ID, ContractID, Currency, ReceiptURL, PaymentProvider, PaymentMethod, Status, UpdatedAt, CreatedAt string
	Items                                                                                              []struct{ SKU, Title, PurchaseOptionID string }
}

const sentBill = `{"contractId":"c1","userId":"ann","items":[{"sku":"premium","title":"Premium","purchaseOptionId":"monthly"}],"price":%s,"currency":"SEK",
	"receiptUrl":"https://billing.example.com/1","paymentProvider":"KLARNA","paymentMethod":"INVOICE","status":"PENDING","createdAt":"2027-01-05T10:00:00Z"}`

// A billing system sends a bill and its payment, corrects the bill, and a back office finds
// both by every published parameter.
func TestBillsAndTransactions(t *testing.T) {
	b := newFixture(t, false)
	bills, transactions := "/management/bills", "/management/transactions"
	var made billed
	got := b.call(http.MethodPut, bills+"/b1", fmt.Sprintf(sentBill, "99.90")).want(http.StatusOK, &made)
	if made.ID != "b1" || made.ContractID != "c1" || made.Currency != "SEK" || made.ReceiptURL == "" || made.PaymentProvider != "KLARNA" ||
		made.PaymentMethod != "INVOICE" || made.Status != "PENDING" || made.CreatedAt != "2027-01-05T10:00:00Z" || made.UpdatedAt == "" ||
		len(made.Items) != 1 || made.Items[0].PurchaseOptionID != "monthly" || !strings.Contains(got.body, `"price":99.90,`) {
		t.Errorf("the bill is %s", got.body)
	}
	// What was read can be sent back, and an amount may be text.
	if again := b.call(http.MethodPut, bills+"/b1", got.body).want(http.StatusOK, nil); again.body != got.body {
		t.Errorf("sent back, the bill is %s", again.body)
	}
	if again := b.call(http.MethodPut, bills+"/b1", fmt.Sprintf(sentBill, `"99.90"`)).want(http.StatusOK, nil); again.body != got.body {
		t.Errorf("with a text, the bill is %s", again.body)
	}
	changed := strings.Replace(fmt.Sprintf(sentBill, "99.90"), "PENDING", "PAID", 1)
	b.send("acme", http.MethodPut, bills+"/b1", changed, http.Header{"Content-Type": {"application/json"}, "If-Match": {`"old"`}}).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.call(http.MethodPut, bills+"/b1", changed).want(http.StatusOK, nil)

	paid := b.call(http.MethodPut, transactions+"/t1", `{"amount":99.90,"currency":"SEK","contractId":"c1","userId":"ann","billId":"b1","createdAt":"2027-01-06T10:00:00Z"}`).want(http.StatusOK, nil)
	for _, want := range []string{`"amount":99.90,`, `"isRefund":false`, `"userId":"ann"`, `"billId":"b1"`, `"contractId":"c1"`, `"updatedAt":`, `"createdAt":"2027-01-06T10:00:00Z"`} {
		if !strings.Contains(paid.body, want) {
			t.Errorf("the transaction lacks %s: %s", want, paid.body)
		}
	}
	for query, count := range map[string]int{
		"": 1, "?status=PAID": 1, "?status=PENDING": 0, "?contractId=c1": 1, "?contractId=c2": 0, "?userId=ann&q=prem": 1, "?q=B1": 1, "?q=x": 0, "?limit=1": 1, "?from=b1": 0,
		"?dateFrom=2027-01-05&dateTo=2027-01-05": 1, "?dateFrom=2027-01-06": 0, "?dateTo=2027-01-04": 0, "?dateTo=2027-01-05T10:00:00Z": 1, "?dateTo=2027-01-05T09:59:59Z": 0,
	} {
		var found []billed
		if b.call(http.MethodGet, bills+query, "").want(http.StatusOK, &found); len(found) != count {
			t.Errorf("%s finds %d bills", query, len(found))
		}
	}
	for query, count := range map[string]int{
		"?transactionId=t1": 1, "?transactionId=t1&billId=b2": 0, "?transactionId=t2": 0, "?billId=b1": 1, "?contractId=c1&userId=ann": 1, "?userId=bob": 0, "?q=t1": 1,
		"?dateFrom=2027-01-06&dateTo=2027-01-06&limit=10": 1, "?from=t1": 0,
	} {
		var found []struct{ ID string }
		if b.call(http.MethodGet, transactions+query, "").want(http.StatusOK, &found); len(found) != count {
			t.Errorf("%s finds %d transactions", query, len(found))
		}
	}
	for query, location := range map[string]string{
		"?status=LOST": "query.status", "?limit=0": "query.limit", "?from=none": "query.from", "?dateFrom=soon": "query.dateFrom",
		"?dateFrom=2027-02-01&dateTo=2027-01-01": "query.dateTo", "?sku=premium": "query.sku",
	} {
		b.call(http.MethodGet, bills+query, "").refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	for body, location := range map[string]string{
		fmt.Sprintf(sentBill, "-1"): "body.price", fmt.Sprintf(sentBill, "1e3"): "body.price", fmt.Sprintf(sentBill, `"x"`): "body.price",
		`{"price":1}`: "body.status", `{"price":1,"status":"PAID","id":"b2"}`: "body.id", `{"price":1,"status":"PAID","receiptUrl":"javascript:x"}`: "body.receiptUrl",
		`{"price":1,"status":"PAID","items":[{}]}`: "body.items[0].sku",
	} {
		b.call(http.MethodPut, bills+"/b1", body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.callAs("other", http.MethodGet, bills+"/b1", "").refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodGet, transactions+"/t1", "").refused(http.StatusNotFound, "not_found", "")
}

// A stream of bills, transactions and fulfilments is stored like single calls, can be sent
// again, and comes back by the export.
func TestStreamsOfBills(t *testing.T) {
	b := newFixture(t, false)
	for kind, rows := range map[string]string{
		"bills": `{"id":"b1","price":"0.10","status":"PAID","createdAt":"2027-01-05"}
{"id":"b2","price":1,"status":"LOST"}
{"price":1,"status":"PAID"}
{"id":"b3","price":20000000000.0001,"status":"DRAFT","items":[{"sku":"premium"}]}`,
		"transactions": `{"id":"t1","amount":0.1,"isRefund":true,"billId":"b1"}
{"id":"t2","amount":"free"}
{"id":"t3"}
{"id":"t4","amount":5}`,
		"fulfilments": `{"id":"f1","sku":"print","status":"SENT","title":"January","deliversAt":"2027-01-03","createdAt":"2027-01-01"}
{"id":"f2","status":"SENT"}
{"id":"f3","sku":"print"}
{"id":"f3","sku":"print","status":"PLANNED","createdAt":"2027-02-01"}`,
	} {
		first := b.importRecords("acme", kind, "", rows)
		if first.Created != 2 || first.Failed != 2 {
			t.Errorf("%s: %+v", kind, first)
		}
		export := b.exportRecords("acme", kind)
		again := b.importRecords("acme", kind, "", rows)
		if again.Created != 0 || again.Changed != 0 || b.exportRecords("acme", kind) != export || strings.Count(export, "\n") != 2 {
			t.Errorf("%s: sent again, %+v and %s", kind, again, export)
		}
		if back := b.importRecords("acme", kind, "", export); back.Unchanged != 2 {
			t.Errorf("%s: sent back, %+v", kind, back)
		}
	}
	if got := b.call(http.MethodGet, "/management/bills/b3", "").want(http.StatusOK, nil); !strings.Contains(got.body, `"price":20000000000.0001,`) {
		t.Errorf("the amount lost digits: %s", got.body)
	}
	var delivered []struct{ ID, Status, SKU, Title, DeliversAt, CreatedAt, UpdatedAt string }
	b.call(http.MethodGet, "/management/products/print/fulfillments", "").want(http.StatusOK, &delivered)
	if len(delivered) != 2 || delivered[0].ID != "f3" || delivered[1].Title != "January" || delivered[1].DeliversAt != "2027-01-03T00:00:00Z" || delivered[1].UpdatedAt == "" {
		t.Errorf("the deliveries are %+v", delivered)
	}
}

// A product gets two prices, of which one changes and one ends.
func TestPurchaseOptions(t *testing.T) {
	b := newFixture(t, false)
	options := productsPath + "/premium/purchase-options"
	b.call(http.MethodPost, options, `{"name":"Monthly","price":9.90}`).refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodPost, productsPath, `{"type":"pass","sku":"premium"}`).want(http.StatusCreated, nil)
	got := b.call(http.MethodPost, options, `{"id":"monthly","name":"Monthly","price":9.90,"currency":"EUR","type":"RECURRING","interval":"MONTH"}`).want(http.StatusCreated, nil)
	for _, want := range []string{`"price":9.90,`, `"time":1,`, `"active":true`, `"seats":0`, `"sku":"premium"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the option lacks %s: %s", want, got.body)
		}
	}
	b.call(http.MethodPost, options, `{"id":"monthly","name":"x","price":1}`).refused(http.StatusConflict, "conflict", "")
	var single struct{ ID string }
	b.call(http.MethodPost, options, `{"name":"One day","price":"1"}`).want(http.StatusCreated, &single)
	changed := b.call(http.MethodPatch, options+"/monthly", `{"price":12,"active":false}`).want(http.StatusOK, nil)
	if !strings.Contains(changed.body, `"price":12,`) || !strings.Contains(changed.body, `"active":false`) || !strings.Contains(changed.body, `"interval":"MONTH"`) {
		t.Errorf("changed to %s", changed.body)
	}
	for body, location := range map[string]string{
		`{"name":"x"}`: "body.price", `{"name":"x","price":-1}`: "body.price", `{"name":"x","price":1,"type":"RECURRING"}`: "body.interval",
		`{"name":"x","price":1,"interval":"DAY"}`: "body.interval", `{"name":"x","price":1,"id":"a b"}`: "body.id", `{"price":1}`: "body.name",
	} {
		b.call(http.MethodPost, options, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.call(http.MethodDelete, options+"/"+single.ID, "").want(http.StatusNoContent, nil)
	var left []struct{ ID string }
	if b.call(http.MethodGet, options, "").want(http.StatusOK, &left); len(left) != 1 || left[0].ID != "monthly" {
		t.Errorf("left are %+v", left)
	}
	b.call(http.MethodGet, productsPath+"/none/purchase-options", "").refused(http.StatusNotFound, "not_found", "")
}
