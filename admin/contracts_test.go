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
	"github.com/gatefold/gatefold/policy/store"
)

const licence = `{"items":[{"sku":"archive","name":"Archive","seats":2,"purchaseOptionId":"po-1","purchaseOptionName":"Yearly","cover":"https://news.example.com/a.jpg","purchaseType":"SUBSCRIPTION"}],
	"name":"Library licence","contractDuration":"RECURRING","recurringInterval":"YEAR","recurringTime":1,"price":1250.50,"nextPrice":1300.00,"nextBillAt":"2027-11-23T12:00:00Z",
	"currency":"SEK","manageUrl":"https://billing.example.com/1","issuesRemaining":12,"ownerSeat":true,
	"paymentData":{"method":"INVOICE","description":"by mail","brand":"none"},"appliedDiscounts":[{"code":"LIB","name":"Libraries","description":"a tenth","id":"d-1"}],
	"userData":{"userId":"librarian","email":"library@example.edu"}}`

// Every field of the published contract and licence is in the answers of the published reads,
// with its type.
func TestPublishedContractsWordForWord(t *testing.T) {
	b := newFixture(t, true)
	var made contract
	b.call(http.MethodPost, "/management/contracts?confirm=1", licence).want(http.StatusCreated, &made)
	path := "/management/contracts/" + made.ID
	b.call(http.MethodPost, path+"/licenses", `{"userId":"ada","email":"ada@example.edu","fullName":"Ada"}`).want(http.StatusCreated, nil)
	b.call(http.MethodPost, path+"/cancel", `{"reason":"moved"}`).want(http.StatusOK, nil)
	for reads, published := range map[string]string{
		"/management/contracts?q=library&limit=20&userId=librarian": "[" + publishedContract + "]",
		path:               publishedContract,
		path + "/licenses": publishedLicenses,
	} {
		var want, got any
		parse(t, published, &want)
		parse(t, b.call(http.MethodGet, reads, "").want(http.StatusOK, nil).body, &got)
		compare(t, reads, want, got, nil)
	}
	var shown map[string]json.RawMessage
	b.call(http.MethodGet, path, "").want(http.StatusOK, &shown)
	if string(shown["price"]) != "1250.50" || string(shown["nextPrice"]) != "1300.00" {
		t.Errorf("the amounts are %s and %s", shown["price"], shown["nextPrice"])
	}
}

// Access is exactly that of the state machine: confirmed, from the start to the end, and none
// after cancelling at once. Entitlements name the contract.
func TestContractGivesAndEndsAccess(t *testing.T) {
	for query, owner := range map[string]policy.Reader{"userId=owner": {UserID: "owner"}, "email=owner@example.com": {UserID: "other", Email: "owner@example.com"}} {
		t.Run(query, func(t *testing.T) { contractOfOwner(t, query, owner) })
	}
}

func contractOfOwner(t *testing.T, query string, owner policy.Reader) {
	t.Helper()
	b := newFixture(t, true)
	payer, named := policy.Reader{UserID: "p", Email: "payer@example.com"}, `{"email":"Owner@Example.com"}`
	if owner.Email == "" {
		named = `{"userId":"owner"}`
	}
	body := fmt.Sprintf(`{"items":[{"sku":"premium"}],"contractDuration":"RENEWABLE","startsAt":%q,"expiresAt":%q,"userData":{"email":"payer@example.com"},"ownerData":`+named+`}`,
		b.clock.Add(time.Hour).Format(time.RFC3339), b.clock.Add(2*time.Hour).Format(time.RFC3339))
	var made contract
	b.call(http.MethodPost, "/management/contracts?confirm=1", body).want(http.StatusCreated, &made)
	path := "/management/contracts/" + made.ID
	began := b.clock
	agree := func(when string, want bool) {
		t.Helper()
		if got := b.reads("premium", owner); got != want {
			t.Errorf("%s: the owner reads: %v", when, got)
		}
		if b.reads("premium", payer) {
			t.Errorf("%s: the payer reads", when)
		}
		var list []struct {
			ID, SKU             string
			HasAccess           bool
			StartsAt, ExpiresAt time.Time
			Origin              struct{ Type, ID, ContractID, Name string }
		}
		b.call(http.MethodGet, "/management/entitlements?"+query, "").want(http.StatusOK, &list)
		listed := false
		for _, e := range list {
			listed = listed || e.HasAccess
			if e.SKU != "premium" || e.Origin.Type != "PAYMENTS" || e.Origin.ContractID != made.ID || e.Origin.ID == "" ||
				!e.StartsAt.Equal(began.Add(time.Hour)) || e.ExpiresAt.IsZero() {
				t.Errorf("%s: %+v", when, e)
			}
		}
		if listed != want {
			t.Errorf("%s: the entitlements of %s are %+v", when, query, list)
		}
		var shown contract
		b.call(http.MethodGet, path, "").want(http.StatusOK, &shown)
		if shown.IsActive != want {
			t.Errorf("%s: the contract says isActive %v", when, shown.IsActive)
		}
	}
	agree("before the start", false)
	b.clock = began.Add(time.Hour)
	agree("at the start", true)
	b.clock = began.Add(2*time.Hour - time.Millisecond)
	agree("before the end", true)
	b.clock = began.Add(2 * time.Hour)
	agree("at the end", false)
	b.call(http.MethodPost, path+"/renew", fmt.Sprintf(`{"expiresAt":%q}`, began.Add(5*time.Hour).Format(time.RFC3339))).want(http.StatusOK, nil)
	agree("renewed", true)
	b.call(http.MethodPost, path+"/cancel", fmt.Sprintf(`{"at":%q}`, began.Add(4*time.Hour).Format(time.RFC3339))).want(http.StatusOK, &made)
	if made.Status != "CANCEL_REQUESTED" {
		t.Errorf("the status is %s", made.Status)
	}
	agree("cancelled at a time", true)
	b.clock = began.Add(4 * time.Hour)
	agree("at that time", false)
	b.clock = began.Add(3 * time.Hour)
	b.call(http.MethodPost, path+"/cancel", `{"at":"NOW"}`).want(http.StatusOK, &made)
	agree("cancelled at once", false)
	if made.Status != "CANCELED" {
		t.Errorf("the status is %s", made.Status)
	}
	b.call(http.MethodPost, path+"/renew", `{}`).refused(http.StatusConflict, "contract_ended", "")
	b.call(http.MethodPatch, path, `{"name":"x"}`).refused(http.StatusConflict, "contract_ended", "")
}

// Seats are given, counted, withdrawn and bounded; each change applies to the next request.
func TestSeats(t *testing.T) {
	b := newFixture(t, true)
	var made contract
	b.call(http.MethodPost, "/management/contracts?confirm=1", licence).want(http.StatusCreated, &made)
	path := "/management/contracts/" + made.ID
	ada, bob := policy.Reader{UserID: "ada"}, policy.Reader{UserID: "b", Email: "bob@example.edu"}
	reads := func(when string, librarian, withAda, withBob bool) {
		t.Helper()
		for name, is := range map[string][2]bool{
			"librarian": {b.reads("archive", policy.Reader{UserID: "librarian"}), librarian}, "ada": {b.reads("archive", ada), withAda}, "bob": {b.reads("archive", bob), withBob},
		} {
			if is[0] != is[1] {
				t.Errorf("%s: %s reads: %v", when, name, is[0])
			}
		}
	}
	reads("without a seat", false, false, false)
	b.call(http.MethodPost, path+"/licenses", `{}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.email")
	b.call(http.MethodPost, path+"/licenses", `{"email":"a@b@c"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.email")
	var seats, again []struct{ EntitlementID, UserID, Email, SKU, Status string }
	b.call(http.MethodPost, path+"/licenses", `{"userId":"ada"}`).want(http.StatusCreated, &seats)
	b.call(http.MethodPost, path+"/licenses", `{"userId":"ada"}`).want(http.StatusOK, &again)
	if len(seats) != 1 || !slices.Equal(seats, again) || seats[0].SKU != "archive" || seats[0].Status != "ACTIVE" {
		t.Errorf("%+v, again %+v", seats, again)
	}
	b.call(http.MethodPost, path+"/licenses", `{"email":"Bob@Example.edu"}`).want(http.StatusCreated, nil)
	reads("with seats", false, true, true)
	b.call(http.MethodPost, path+"/licenses", `{"userId":"eve"}`).refused(http.StatusConflict, "seats_taken", "")
	b.call(http.MethodPut, path+"/seats", `{"seats":1}`).refused(http.StatusConflict, "seats_taken", "")
	b.call(http.MethodPut, path+"/seats", `{"seats":3}`).want(http.StatusOK, &made)
	if made.Seats != 3 || made.SeatsTaken != 2 {
		t.Errorf("%d of %d seats", made.SeatsTaken, made.Seats)
	}
	b.call(http.MethodGet, path+"/licenses?q=BOB", "").want(http.StatusOK, &again)
	if len(again) != 1 || !strings.EqualFold(again[0].Email, "bob@example.edu") {
		t.Errorf("searched: %+v", again)
	}
	var list []struct {
		ID     string
		Origin struct{ ContractID string }
	}
	b.call(http.MethodGet, "/management/entitlements?userId=ada", "").want(http.StatusOK, &list)
	if len(list) != 1 || list[0].ID != seats[0].EntitlementID || list[0].Origin.ContractID != made.ID {
		t.Errorf("ada has %+v, the seat is %s", list, seats[0].EntitlementID)
	}
	b.call(http.MethodDelete, path+"/licenses/"+seats[0].EntitlementID, "").want(http.StatusNoContent, nil)
	reads("withdrawn", false, false, true)
	b.call(http.MethodDelete, path+"/licenses/"+seats[0].EntitlementID, "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodPatch, path, `{"ownerSeat":false}`).want(http.StatusOK, nil)
	reads("without ownerSeat", true, false, true)
	b.call(http.MethodPost, path+"/transfer", `{"ownerData":{"userId":"ada"}}`).want(http.StatusOK, &made)
	reads("transferred", false, true, true)
	b.call(http.MethodPost, path+"/cancel", `{"at":"NOW"}`).want(http.StatusOK, nil)
	reads("cancelled", false, false, false)
	b.call(http.MethodGet, path+"/licenses", "").want(http.StatusOK, &again)
	if len(again) != 1 || again[0].Status != "INACTIVE" {
		t.Errorf("after the end: %+v", again)
	}
}

// What was read can be sent back, what is absent stays, null does not widen, and what cannot
// be set is refused if it is changed.
func TestContractAndPromoPatches(t *testing.T) {
	b := newFixture(t, true)
	var made contract
	b.call(http.MethodPost, "/management/contracts?confirm=1", strings.Replace(licence, `"currency"`, `"expiresAt":"2027-11-23T12:00:00Z","currency"`, 1)).want(http.StatusCreated, &made)
	b.call(http.MethodPost, "/management/promos", strings.Replace(telecom, `"currency"`, `"validUntil":"2027-01-01T00:00:00Z","maxContracts":5,"currency"`, 1)).want(http.StatusCreated, nil)
	for path, patches := range map[string]map[string]string{
		"/management/contracts/" + made.ID: {
			`{"expiresAt":null}`: "body.expiresAt", `{"startsAt":null}`: "body.startsAt", `{"ownerSeat":null}`: "body.ownerSeat",
			`{"status":"ACTIVE","isActive":false}`: "body.isActive", `{"status":"CANCELED"}`: "body.status", `{"seats":9}`: "body.seats", `{"id":"x"}`: "body.id",
			`{"ownerData":{"userId":"eve"}}`: "body.ownerData", `{"price":-1}`: "body.price", `{"price":"1e3"}`: "body.price", `{"x":1}`: "body.x",
			`{"items":[]}`: "body.items", `{"siteLicence":{"ranges":["everywhere"]}}`: "body.siteLicence.ranges",
		},
		"/management/promos/TELECOM": {
			`{"validUntil":null}`: "body.validUntil", `{"maxContracts":null}`: "body.maxContracts", `{"paymentMethods":null}`: "body.paymentMethods",
			`{"code":"OTHER"}`: "body.code", `{"createdAt":"2020-01-01T00:00:00Z"}`: "body.createdAt", `{"price":"free"}`: "body.price", `{"status":"GONE"}`: "body.status",
		},
	} {
		before := b.call(http.MethodGet, path, "").want(http.StatusOK, nil)
		var whole map[string]any
		parse(t, before.body, &whole)
		if got := b.call(http.MethodPatch, path, before.body).want(http.StatusOK, nil); got.body != before.body || got.head.Get("ETag") != before.head.Get("ETag") {
			t.Errorf("%s as it was read is\n%s, it was\n%s", path, got.body, before.body)
		}
		for patch, location := range patches {
			got := b.call(http.MethodPatch, path, patch)
			var said problem
			if got.want(http.StatusUnprocessableEntity, &said); len(said.Errors) != 1 || said.Errors[0].Location != location {
				t.Errorf("%s %s: %s", path, patch, got.body)
			}
		}
		if after := b.call(http.MethodGet, path, ""); after.body != before.body {
			t.Errorf("refused patches changed %s: %s", path, after.body)
		}
		stale := http.Header{"If-Match": {`"old"`}, "Content-Type": {"application/json"}}
		b.send("acme", http.MethodPatch, path, `{"name":"x"}`, stale).refused(http.StatusPreconditionFailed, "precondition_failed", "")
		stale.Set("If-Match", before.head.Get("ETag"))
		b.clock = b.clock.Add(time.Second)
		changed := b.send("acme", http.MethodPatch, path, `{"name":"New name","price":"10.10"}`, stale).want(http.StatusOK, nil)
		var is map[string]any
		parse(t, changed.body, &is)
		if is["name"] != "New name" || !strings.Contains(changed.body, `"price":10.10`) || changed.head.Get("ETag") == before.head.Get("ETag") {
			t.Errorf("changed: %s", changed.body)
		}
		for name, value := range whole {
			if !slices.Contains([]string{"name", "price", "updatedAt"}, name) && fmt.Sprint(is[name]) != fmt.Sprint(value) {
				t.Errorf("%s: %s was %v and is %v", path, name, value, is[name])
			}
		}
	}
}

// Pages are stable while contracts are made, and each filter selects.
func TestContractListing(t *testing.T) {
	b := newFixture(t, true)
	b.call(http.MethodPost, "/management/promos", telecom).want(http.StatusCreated, nil)
	ids := map[string]string{}
	for i := range 7 {
		b.clock = b.clock.Add(time.Millisecond * time.Duration(i%2)) // some at the same moment
		var made contract
		name := fmt.Sprintf("o-%d", i)
		b.call(http.MethodPost, salePath+fmt.Sprintf("?confirm=%d", i%2), order(name, nil)).want(http.StatusCreated, &made)
		ids[made.ID] = name
	}
	b.clock = b.clock.Add(time.Millisecond)
	var special contract
	b.call(http.MethodPost, "/management/contracts?confirm=1", licence).want(http.StatusCreated, &special)
	find := func(query string) (found []string, link string) {
		t.Helper()
		var page []contract
		got := b.call(http.MethodGet, "/management/contracts?"+query, "").want(http.StatusOK, &page)
		for _, c := range page {
			found = append(found, c.ID)
		}
		return found, got.head.Get("Link")
	}
	all, _ := find("limit=100")
	if len(all) != 8 || all[0] != special.ID {
		t.Fatalf("%d contracts, the first is %s", len(all), ids[all[0]])
	}
	var paged []string
	from := ""
	for range 10 {
		page, _ := find("limit=3" + from)
		paged = append(paged, page...)
		if len(page) < 3 {
			break
		}
		from = "&from=" + page[2]
		b.clock = b.clock.Add(time.Millisecond)
		b.call(http.MethodPost, salePath, order(fmt.Sprint("later", len(paged)), nil)).want(http.StatusCreated, nil)
	}
	if !slices.Equal(paged, all) {
		t.Errorf("paged while others are made: %v, at once: %v", paged, all)
	}
	for query, want := range map[string]int{
		"sku=archive": 1, "userId=librarian": 1, "email=LIBRARY@example.edu": 1, "email=o-1@example.com": 1, "externalOrderId=o-1": 1, "q=o-1": 1, "q=LIBRARY%20LIC": 1, "q=library@ex": 1,
		"q=libr": 1, "promo=TELECOM&status=ACTIVE&limit=100": 3, "status=CANCELED": 0, "sku=premium&email=o-1@example.com&status=ACTIVE": 1, "sku=archive&promo=TELECOM": 0,
		"userId=unknown": 0, "q=nothing": 0,
	} {
		if found, _ := find(query); len(found) != want {
			t.Errorf("%s finds %d contracts, want %d", query, len(found), want)
		}
	}
	b.call(http.MethodGet, "/management/contracts?from=1d78271264b9c76d5842911dd70b435x", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.from")
	b.call(http.MethodGet, "/management/contracts?status=GONE", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.status")
}

// Every transition of the state machine leaves an entry in the audit log.
func TestContractTransitionsAreAudited(t *testing.T) {
	b := newFixture(t, true)
	b.call(http.MethodPost, "/management/promos", telecom).want(http.StatusCreated, nil)
	var made contract
	b.call(http.MethodPost, salePath, order("o-1", nil)).want(http.StatusCreated, &made)
	path := "/management/contracts/" + made.ID
	b.call(http.MethodPost, salePath+"/confirm/"+made.ID, `{}`).want(http.StatusOK, nil)
	for _, step := range [][2]string{{"renew", `{"expiresAt":"2028-01-01T00:00:00Z"}`}, {"transfer", `{"ownerData":{"userId":"ada"}}`}, {"cancel", `{}`}, {"cancel", `{"at":"NOW"}`}} {
		b.clock = b.clock.Add(time.Second)
		b.call(http.MethodPost, path+"/"+step[0], step[1]).want(http.StatusOK, nil)
	}
	var entries []struct {
		Operation string
		Records   []struct{ Kind, ID string }
	}
	b.call(http.MethodGet, "/management/audit?kind=contract&limit=100", "").want(http.StatusOK, &entries)
	seen := map[string]int{}
	for _, e := range entries {
		for _, r := range e.Records {
			if r.Kind == "contract" && r.ID == made.ID {
				seen[e.Operation]++
			}
		}
	}
	want := map[string]int{"create-sale": 1, "confirm-sale": 1, "renew-contract": 1, "transfer-contract": 1, "cancel-contract": 2}
	if !maps.Equal(seen, want) {
		t.Errorf("the audit log has %v, want %v", seen, want)
	}
}

// A consortium's licence has as many domains and ranges as the store takes, and not one more.
func TestSiteLicenceTakesWhatTheStoreTakes(t *testing.T) {
	p := newPublic(t)
	office := p.token(p.client("acme", "contracts:*"))
	create := func(domains, ranges int) answer {
		site := map[string][]string{}
		for i := range domains {
			site["domains"] = append(site["domains"], fmt.Sprintf("u%d.example.edu", i))
		}
		for i := range ranges {
			site["ranges"] = append(site["ranges"], fmt.Sprintf("11.%d.%d.0/24", i>>8, i&255))
		}
		body, err := json.Marshal(map[string]any{
			"name": "Consortium", "items": []map[string]any{{"sku": "archive"}}, "contractDuration": "PERPETUAL",
			"userData": map[string]any{"email": "office@example.edu"}, "siteLicence": site,
		})
		if err != nil {
			t.Fatal(err)
		}
		return p.with(office, http.MethodPost, "/management/contracts", string(body))
	}
	create(store.MaxSiteDomains, store.MaxSiteRanges).want(http.StatusCreated, nil)
	for location, got := range map[string]answer{
		"body.siteLicence.domains": create(store.MaxSiteDomains+1, 0), "body.siteLicence.ranges": create(0, store.MaxSiteRanges+1),
	} {
		if got.code != http.StatusUnprocessableEntity || !strings.Contains(got.body, location) {
			t.Errorf("%s: %d %s", location, got.code, got.body)
		}
	}
}
