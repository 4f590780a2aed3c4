package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// saleOrders is the number of orders of a run; the whole one has 50,000.
var saleOrders = flag.Int("sale-orders", 2000, "orders that the sellers send")

const (
	saleSellers = 200
	saleKills   = 3
)

// seller sends orders until each is acknowledged, and keeps a ledger. A seller retries an
// order without knowing whether it arrived, and sends some again that were acknowledged.
type seller struct {
	name   string
	token  string
	orders []string
	// ledger has the contracts that were acknowledged, by the order; an order with two would
	// be two contracts.
	ledger map[string]map[string]bool
	random *rand.Rand
	// made are the orders that were answered as new, twice those of them more than once.
	made  map[string]bool
	twice []string
}

// market is what sellers share: where they send, how much is done.
type market struct {
	nodes  []string // base URLs of the API
	client *http.Client
	sent   atomic.Int64
	done   atomic.Int64
	failed atomic.Int64 // requests without an answer
}

func (m *market) post(ctx context.Context, token, path, body string) (status int, answer string, err error) {
	m.sent.Add(1)
	base := m.nodes[rand.IntN(len(m.nodes))]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := m.client.Do(request)
	if err != nil {
		m.failed.Add(1)
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		m.failed.Add(1)
	}
	return response.StatusCode, string(data), err
}

// send sends an order until it is acknowledged. What became of an order whose answer is lost is not known.
func (s *seller) send(ctx context.Context, t *testing.T, m *market, order string) {
	body := fmt.Sprintf(`{"externalOrderId":%q,"paymentProvider":"SESAMY","paymentMethod":"EXTERNAL","quantity":1,"userData":{"email":"%s-%s@example.com"}}`, order, s.name, order)
	for ctx.Err() == nil {
		status, answer, err := m.post(ctx, s.token, "/payments/vendor/acme/promos/code/BUNDLE?confirm=1", body)
		switch {
		case err != nil || status == http.StatusServiceUnavailable || status == http.StatusBadGateway:
			time.Sleep(time.Duration(20+s.random.IntN(80)) * time.Millisecond) // a seller's pause before a retry
			continue
		case status != http.StatusCreated && status != http.StatusOK:
			t.Errorf("order %s of %s: %d %s", order, s.name, status, answer)
			return
		}
		var sold struct {
			ID              string
			ExternalOrderID string
			IsActive        bool
		}
		if err := json.Unmarshal([]byte(answer), &sold); err != nil || sold.ExternalOrderID != order || !sold.IsActive {
			t.Errorf("order %s of %s: %v %s", order, s.name, err, answer)
			return
		}
		if s.ledger[order] == nil {
			s.ledger[order] = map[string]bool{}
		}
		s.ledger[order][sold.ID] = true
		if status == http.StatusCreated {
			if s.made[order] {
				s.twice = append(s.twice, order)
			}
			s.made[order] = true
		}
		return
	}
}

func (s *seller) sell(ctx context.Context, t *testing.T, m *market) {
	for i, order := range s.orders {
		s.send(ctx, t, m, order)
		m.done.Add(1)
		if i > 0 && s.random.IntN(5) == 0 { // an order that was sent already
			s.send(ctx, t, m, s.orders[s.random.IntN(i)])
		}
	}
}

// sellers makes the vendor's promo, and sellers with orders, each of which is a client: the
// ids of their orders are the same.
func (s *server) sellers(t *testing.T, m *market) []*seller {
	t.Helper()
	s.must("promo", "add", "BUNDLE", "--sku", "premium", "--interval", "YEAR", "--price", "9.90", "--currency", "SEK", "--vendor", "acme")
	all := make([]*seller, saleSellers)
	for i := range all {
		var made struct{ ClientID, ClientSecret string }
		body := `{"name":"seller","scopes":["payments:contract:third-party-onboarding"]}`
		if status := s.api(http.MethodPost, "/management/clients?vendor=acme", body, &made); status != http.StatusCreated {
			t.Fatalf("creating a client: %d", status)
		}
		all[i] = &seller{
			name: fmt.Sprint("seller-", i), token: saleToken(t, m.nodes[0], made.ClientID, made.ClientSecret),
			ledger: map[string]map[string]bool{}, made: map[string]bool{}, random: rand.New(rand.NewPCG(uint64(i), 16)),
		}
		for n := range *saleOrders / saleSellers {
			all[i].orders = append(all[i].orders, fmt.Sprintf("order-%d", n))
		}
	}
	return all
}

// saleToken requests a token as the reference says, word for word.
func saleToken(t *testing.T, api, id, secret string) string {
	t.Helper()
	got := postBody(t, api+"/oauth/token", "application/json", fmt.Sprintf(`{
  "client_id": %q,
  "client_secret": %q,
  "grant_type":"client_credentials",
  "scope": "payments:contract:third-party-onboarding"
}`, id, secret))
	got.expect(t, http.StatusOK, "")
	var handed struct {
		Token string `json:"access_token"`
	}
	decode(t, got.body, &handed)
	return handed.Token
}

// sellUnderKills lets the sellers work while a node is killed and restarted.
func sellUnderKills(t *testing.T, m *market, victim *server, all []*seller) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Minute)
	defer stop()
	began := time.Now()
	var group sync.WaitGroup
	for _, s := range all {
		group.Go(func() { s.sell(ctx, t, m) })
	}
	finished := make(chan struct{})
	go func() { group.Wait(); close(finished) }()
	kills := 0
	for kills < saleKills {
		share := int64(len(all)) * int64(len(all[0].orders)) * int64(kills+1) / (saleKills + 1)
		for m.done.Load() < share && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // the moment is that of the sellers' progress
		}
		victim.kill()
		victim.start()
		kills++
	}
	<-finished
	t.Logf("%d orders in %v: %d requests, %d without an answer, %d kills", m.done.Load(), time.Since(began).Round(time.Millisecond), m.sent.Load(), m.failed.Load(), kills)
	if m.failed.Load() == 0 {
		t.Error("no request was lost: the kills came at the wrong moments for this to show anything")
	}
}

// checkLedgers compares the sellers' ledgers with the contracts that the API lists.
func checkLedgers(t *testing.T, s *server, all []*seller) {
	t.Helper()
	booked := map[string]string{} // contract by seller and order
	for _, one := range all {
		if len(one.twice) > 0 {
			t.Errorf("%s: made twice: %v", one.name, one.twice)
		}
		for order, contracts := range one.ledger {
			if len(contracts) != 1 {
				t.Errorf("%s has the contracts %v for the order %s", one.name, slices.Collect(maps.Keys(contracts)), order)
			}
			for id := range contracts {
				booked[id] = one.name + "-" + order + "@example.com"
			}
		}
	}
	var listed []struct {
		ID, Status string
		OwnerData  struct{ Email string }
	}
	decode(t, s.must("contract", "list", "--json", "--vendor", "acme"), &listed)
	owners := map[string]int{}
	for _, contract := range listed {
		owners[contract.OwnerData.Email]++
		if booked[contract.ID] != contract.OwnerData.Email || contract.Status != "ACTIVE" {
			t.Errorf("contract %s of %s is %s, the ledger has it for %q", contract.ID, contract.OwnerData.Email, contract.Status, booked[contract.ID])
		}
	}
	want := len(all) * len(all[0].orders)
	if len(listed) != want || len(owners) != want || len(booked) != want {
		t.Errorf("%d orders: %d contracts of %d owners, %d in the ledgers", want, len(listed), len(owners), len(booked))
	}
}

// saleSite is the API on a port of its own, besides the site.
const saleSite = "\nhttp://127.0.0.1:%s {\n\tbind 127.0.0.1\n\tgatefold_api\n}\n"

// Two hundred sellers send orders with retries and duplicates, while the only node over a
// database file is killed and restarted: each order is exactly one contract, by the sellers'
// own ledgers.
func TestOrdersUnderKillsAreOneContractEach(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	m := &market{nodes: []string{s.startSelling(t)}, client: saleClient()}
	all := s.sellers(t, m)
	sellUnderKills(t, m, s, all)
	checkLedgers(t, s, all)
}

// The same over Redis, with two nodes, one of which is killed: a retry goes to either.
func TestOrdersUnderKillsAreOneContractEachOnRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var nodes []*server
	m := &market{client: saleClient()}
	for range 2 {
		s := newNodeWith(t, redis.URL(), "", []byte("the same secret on all nodes\n"))
		nodes, m.nodes = append(nodes, s), append(m.nodes, s.startSelling(t))
	}
	all := nodes[1].sellers(t, m)
	sellUnderKills(t, m, nodes[0], all)
	checkLedgers(t, nodes[1], all)
}

// startSelling starts a server with the API on a port of its own, and returns its URL.
func (s *server) startSelling(t *testing.T) string {
	t.Helper()
	port := keystest.FreePort(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(string(config) + fmt.Sprintf(saleSite, port))
	s.start()
	return "http://127.0.0.1:" + port
}

func saleClient() *http.Client {
	return &http.Client{Timeout: deadline, Transport: &http.Transport{MaxIdleConnsPerHost: saleSellers}}
}
