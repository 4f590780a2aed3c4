package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
	"github.com/gatefold/gatefold/policy/webhook"
)

// providerSecret is what a billing system shows for its endpoint.
const providerSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// billingTable is what the events of the tests do. The promo accepts one provider and one
// method only.
const billingTable = `{"name":"Billing","scheme":"standard","table":[
 {"event":"order.sold","do":"sell","order":"/data/order","promo":"DIGITAL","paymentProvider":"STRIPE","paymentMethod":"CARD","userId":"/data/reader"},
 {"event":"order.paid","do":"confirm","order":"/data/order","endsAt":"/data/end"},
 {"event":"order.renewed","do":"renew","order":"/data/order","endsAt":"/data/end"},
 {"event":"order.cancelled","do":"cancel_at_period_end","order":"/data/order"},
 {"event":"order.resumed","do":"resume","order":"/data/order"},
 {"event":"order.ended","do":"end","order":"/data/order"}]}`

// signedEvent is an event of a billing system.
type signedEvent struct {
	id, kind, order, reader string
	at                      time.Time
	end                     string
}

func (e *signedEvent) body() string {
	return fmt.Sprintf(`{"type":"order.%s","timestamp":%q,"data":{"order":%q,"reader":%q,"end":%q}}`, e.kind, e.at.Format(time.RFC3339Nano), e.order, e.reader, e.end)
}

// deliver sends an event once, with a signature of now.
func (e *signedEvent) deliver(ctx context.Context, client *http.Client, address string) (status int, answer string, err error) {
	body, now := e.body(), time.Now()
	signature, err := webhook.Sign([]string{providerSecret}, e.id, now, []byte(body))
	if err != nil {
		return 0, "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(webhook.HeaderID, e.id)
	request.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(webhook.HeaderSignature, signature)
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// hook makes the promo and the hook by commands, and returns the path for the provider.
func (s *server) hook() (id, path string) {
	s.t.Helper()
	s.must("promo", "add", "DIGITAL", "--sku", "premium", "--interval", "MONTH", "--provider", "STRIPE", "--method", "CARD")
	secret, table := filepath.Join(s.dir, "secret.txt"), filepath.Join(s.dir, "billing.json")
	for name, text := range map[string]string{secret: providerSecret + "\n", table: billingTable} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	made := s.must("hook", "add", table, "--secret-file", secret)
	return assigned(made, "HOOK_ID"), assigned(made, "HOOK_PATH")
}

// A billing system sells, renews and ends a subscription by signed events alone. The page
// opens at the next request after the payment and is closed at the next one after the end;
// a replay, an event that is late and a forged one change nothing. The metric counts each,
// and the log has a line without the reader or the secret. Support finds what became of each.
func TestSignedEventsOpenAndCloseThePage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	base := s.startSelling(t)
	id, path := s.hook()
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	end := at.AddDate(0, 1, 0).Format(time.RFC3339)
	send := func(event, kind string, minute, status int, reason string) {
		t.Helper()
		e := signedEvent{id: event, kind: kind, order: "o-1", reader: "reader-7", at: at.Add(time.Duration(minute) * time.Minute), end: end}
		got, answer, err := e.deliver(t.Context(), httpClient, base+path)
		if err != nil || got != status || !strings.Contains(answer, reason) {
			t.Errorf("%s (%s): %d %s %v, want %d %s", event, kind, got, answer, err, status, reason)
		}
	}
	send("e-2", "paid", 2, http.StatusConflict, "contract_not_found") // it overtook the sale
	send("e-1", "sold", 1, http.StatusOK, `"applied":true`)
	s.page("reader-7").expect(t, http.StatusForbidden, "not_entitled")
	send("e-2", "paid", 2, http.StatusOK, `"applied":true`)
	s.page("reader-7").expect(t, http.StatusOK, "")
	send("e-2", "paid", 2, http.StatusOK, "duplicate")
	send("e-5", "cancelled", 5, http.StatusOK, `"applied":true`)
	send("e-4", "resumed", 4, http.StatusOK, "older") // it happened before
	var contracts []struct{ Status, WillCancelAt string }
	decode(t, s.must("contract", "list", "--order", "o-1", "--json"), &contracts)
	if len(contracts) != 1 || contracts[0].Status != "CANCEL_REQUESTED" || contracts[0].WillCancelAt != end {
		t.Errorf("after a late event, the contracts are %+v", contracts)
	}
	s.page("reader-7").expect(t, http.StatusOK, "")
	forged := postBody(t, base+path, "application/json", (&signedEvent{kind: "ended", order: "o-1", at: at}).body(), webhook.HeaderID, "e-6", webhook.HeaderTimestamp, "1", webhook.HeaderSignature, "v1,AAAA")
	forged.expect(t, http.StatusUnauthorized, "")
	s.page("reader-7").expect(t, http.StatusOK, "")

	send("e-6", "ended", 6, http.StatusOK, `"applied":true`)
	s.page("reader-7").expect(t, http.StatusForbidden, "not_entitled")
	send("e-7", "resumed", 7, http.StatusOK, "contract_ended")
	send("e-2", "paid", 2, http.StatusOK, "duplicate")
	s.page("reader-7").expect(t, http.StatusForbidden, "not_entitled")

	metrics := s.get("http://" + s.admin + "/metrics").body
	for result, count := range map[string]int{"applied": 4, "duplicate": 2, "older": 1, "contract_not_found": 1, "contract_ended": 1, "refused": 1} {
		want := fmt.Sprintf(`gatefold_hook_events_total{hook=%q,result=%q,vendor="default"} %d`, id, result, count)
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	logged := 0
	for line := range strings.Lines(s.log.String()) {
		if !strings.Contains(line, "event of a billing system") {
			continue
		}
		if logged++; strings.Contains(line, "reader-7") || strings.Contains(line, "MfKQ9r8") {
			t.Errorf("the log has %s", line)
		}
		if strings.Contains(line, `"e-6"`) && (!strings.Contains(line, `"result":"applied"`) || !strings.Contains(line, `"action":"end"`) || !strings.Contains(line, id)) {
			t.Errorf("the line of an event is %s", line)
		}
	}
	if logged != 10 {
		t.Errorf("the log has %d lines of events, want 10", logged)
	}
	var events []admin.HookEvent
	decode(t, s.must("hook", "events", id, "--json"), &events)
	results := map[string]string{}
	for _, e := range events {
		results[e.ID] = e.Result
	}
	if fmt.Sprint(results) != "map[e-1:applied e-2:applied e-4:older e-5:applied e-6:applied e-7:contract_ended]" {
		t.Errorf("the events are %v", results)
	}
	s.hookCommands(id, at, end)
}

// hookCommands runs the commands of an engineer on call.
func (s *server) hookCommands(id string, at time.Time, end string) {
	s.t.Helper()
	event := s.write("event.json", (&signedEvent{kind: "renewed", order: "o-2", at: at, end: end}).body())
	if got := s.must("hook", "test", id, event); !strings.Contains(got, "renew") || !strings.Contains(got, "o-2") || !strings.Contains(got, end) {
		s.t.Errorf("hook test: %s", got)
	}
	s.refuses("/data/order: is not in the event", "hook", "test", id, s.write("broken.json", `{"type":"order.renewed","timestamp":"2027-01-01T00:00:00Z","data":{}}`))
	if got := s.must("hook", "list"); !strings.Contains(got, id) || !strings.Contains(got, "active") || strings.Contains(got, "whsec") {
		s.t.Errorf("hook list: %s", got)
	}
	s.must("hook", "disable", id)
	if got := s.must("hook", "show", id); !strings.Contains(got, "disabled") || !strings.Contains(got, "STRIPE") {
		s.t.Errorf("hook show: %s", got)
	}
	without := strings.Replace(billingTable, `"paymentMethod":"CARD",`, "", 1)
	s.refuses("must be one that the promo accepts: CARD", "hook", "table", id, s.write("without.json", without))
	s.must("hook", "enable", id)
	s.must("hook", "rotate-secret", id, "--secret-file", s.write("next.txt", "whsec_bm90IHRoZSBzYW1lIHNlY3JldCE="), "--overlap", "1h")
	s.must("hook", "remove", id)
	if got := s.must("hook", "list"); strings.Contains(got, id) {
		s.t.Errorf("a removed hook is listed: %s", got)
	}
}

// refuses runs a command that fails with an error.
func (s *server) refuses(problem string, args ...string) {
	s.t.Helper()
	if got := s.command(args...); got.code != 1 || !strings.Contains(got.stderr, problem) {
		s.t.Errorf("%q: exit code %d, %s, want %s", args, got.code, got.stderr, problem)
	}
}

// hookOrders is the number of orders in a run under kills, of four kinds each.
const (
	hookSenders = 20
	hookOrders  = 200
	hookKills   = 3
)

// lifeOf returns the events of an order, in the order in which they happened, and what the
// billing system's own ledger has for it then.
func lifeOf(n int, began time.Time) (events []signedEvent, ledger string) {
	order := fmt.Sprint("order-", n)
	first, second := began.AddDate(0, 1, 0).Format(time.RFC3339), began.AddDate(0, 2, 0).Format(time.RFC3339)
	lives := []struct {
		kinds  string
		ledger string
	}{
		{"sold paid renewed", "ACTIVE " + second + " -"},
		{"sold paid cancelled", "CANCEL_REQUESTED " + first + " " + first},
		{"sold paid cancelled resumed renewed", "ACTIVE " + second + " -"},
		{"sold paid renewed ended", "CANCELED"},
	}
	life := lives[n%len(lives)]
	for i, kind := range strings.Fields(life.kinds) {
		end := first
		if kind == "renewed" {
			end = second
		}
		events = append(events, signedEvent{
			id: fmt.Sprintf("evt-%d-%d", n, i), kind: kind, order: order, reader: "reader-" + order, at: began.Add(time.Duration(i) * time.Second), end: end,
		})
	}
	return events, life.ledger
}

// deliverAll sends events in any order, some of them twice, each until it is acknowledged.
func deliverAll(ctx context.Context, t *testing.T, events []signedEvent, nodes []string, random *rand.Rand, done, lost *atomic.Int64) {
	client := saleClient()
	for len(events) > 0 && ctx.Err() == nil {
		i := random.IntN(len(events))
		e := events[i]
		status, answer, err := e.deliver(ctx, client, nodes[random.IntN(len(nodes))])
		switch {
		case err != nil:
			lost.Add(1)
			time.Sleep(time.Duration(5+random.IntN(40)) * time.Millisecond) // a sender's pause before a retry
		case status == http.StatusOK:
			if random.IntN(5) == 0 { // sent again, as if the answer had been lost
				continue
			}
			events[i] = events[len(events)-1]
			events = events[:len(events)-1]
			done.Add(1)
		case status != http.StatusConflict && status != http.StatusServiceUnavailable && status != http.StatusBadGateway:
			t.Errorf("event %s: %d %s", e.id, status, answer)
			return
		}
	}
}

// eventsUnderKills delivers the events of many orders in any order while a node is killed, and
// compares the contracts with the billing system's ledger.
func eventsUnderKills(t *testing.T, nodes []string, victim, asked *server) {
	t.Helper()
	_, path := asked.hook()
	for i := range nodes {
		nodes[i] += path
	}
	began := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	ledger, queues, total := map[string]string{}, make([][]signedEvent, hookSenders), 0
	for n := range hookOrders {
		events, state := lifeOf(n, began)
		ledger[fmt.Sprint("order-", n)] = state
		queues[n%hookSenders] = append(queues[n%hookSenders], events...)
		total += len(events)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	var done, lost atomic.Int64
	var group sync.WaitGroup
	for i, queue := range queues {
		group.Go(func() { deliverAll(ctx, t, queue, nodes, rand.New(rand.NewPCG(uint64(i), 16)), &done, &lost) })
	}
	for kill := range hookKills {
		for done.Load() < int64(total*(kill+1)/(hookKills+1)) && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // the moment is that of the senders' progress
		}
		victim.kill()
		victim.start()
	}
	group.Wait()
	t.Logf("%d events of %d orders, %d requests without an answer, %d kills", done.Load(), hookOrders, lost.Load(), hookKills)
	if lost.Load() == 0 || done.Load() != int64(total) {
		t.Errorf("%d of %d events were acknowledged, %d requests were lost: the kills came at the wrong moments for this to show anything", done.Load(), total, lost.Load())
	}
	var listed []struct {
		ExternalOrderID, Status, UserID string
		ExpiresAt, WillCancelAt         *string
	}
	if err := json.Unmarshal([]byte(asked.must("contract", "list", "--json")), &listed); err != nil {
		t.Fatal(err)
	}
	text := func(at *string) string {
		if at == nil {
			return "-"
		}
		return *at
	}
	for _, c := range listed {
		state := c.Status
		if state != "CANCELED" {
			state += " " + text(c.ExpiresAt) + " " + text(c.WillCancelAt)
		}
		if want, known := ledger[c.ExternalOrderID]; !known || state != want || c.UserID != "reader-"+c.ExternalOrderID {
			t.Errorf("the contract of %s for %s is %s, the ledger has %s", c.ExternalOrderID, c.UserID, state, want)
		}
		delete(ledger, c.ExternalOrderID)
	}
	if len(listed) != hookOrders || len(ledger) != 0 {
		t.Errorf("%d orders have %d contracts; none: %v", hookOrders, len(listed), ledger)
	}
}

// A billing system delivers events in any order and several times, while the only node over a
// database file is killed and restarted: the contracts end in exactly the state that the
// billing system's ledger has.
func TestEventsUnderKillsEndAsTheLedgerSays(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	eventsUnderKills(t, []string{s.startSelling(t)}, s, s)
}

// The same over Redis, with two nodes, one of which is killed: a retry goes to either.
func TestEventsUnderKillsEndAsTheLedgerSaysOnRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var nodes []*server
	var addresses []string
	for range 2 {
		s := newNodeWith(t, redis.URL(), "", []byte("the same secret on all nodes\n"))
		nodes, addresses = append(nodes, s), append(addresses, s.startSelling(t))
	}
	eventsUnderKills(t, addresses, nodes[0], nodes[1])
}
