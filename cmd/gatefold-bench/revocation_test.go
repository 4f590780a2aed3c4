package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A node is asked until it answers otherwise; what is broken ends the measurement.
func TestWaitingForADenial(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer one" || r.URL.Path != revokedPage {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if asked.Add(1) > 5 {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	b := &bench{world: &world{one: "one"}}
	node := &process{name: "node", url: server.URL}
	if _, err := b.untilStatus(context.Background(), server.Client(), node, http.StatusForbidden); err != nil || asked.Load() != 6 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
	server.Close()
	if _, err := b.untilStatus(context.Background(), http.DefaultClient, node, http.StatusForbidden); err == nil {
		t.Error("a node that is gone is taken for one that denies")
	}
}

func TestCallingTheAPI(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.Error(w, "the reason", http.StatusConflict)
			return
		}
		_, _ = w.Write([]byte(`{"id":"grant_1"}`))
	}))
	defer server.Close()
	node := &process{name: "node", admin: strings.TrimPrefix(server.URL, "http://")}
	if grant, err := node.subscribe(context.Background(), server.Client()); err != nil || grant != "grant_1" {
		t.Errorf("got %q, %v", grant, err)
	}
	if err := node.call(context.Background(), server.Client(), http.MethodDelete, grantsPath, nil, nil); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("a refusal: %v", err)
	}
}

func TestARowForWhatMustNotHappen(t *testing.T) {
	table := new(table)
	table.none("a", 0, 300)
	table.none("b", 1, 300)
	want := "| a | 0 | 0 | of 300 | met |\n| b | 0 | 1 | of 300 | missed |"
	if got := table.String(); !strings.Contains(got, want) {
		t.Errorf("the table is\n%s", got)
	}
}
