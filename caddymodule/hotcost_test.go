//go:build !race

package caddymodule

import (
	"slices"
	"testing"
	"time"
)

// A request with a session costs at most 1.15 times what one with a reader's token does, and
// allocates no more. Short turns of both alternate, and the median of their quotients counts, so
// that what else the machine does meets both.
func TestSessionCostAndAllocations(t *testing.T) {
	const most, turns, requests = 1.15, 1001, 50
	served := map[string]func(){}
	for _, visit := range hotRequests(t) {
		served[visit.name] = visit.serve
	}
	turn := func(name string) time.Duration {
		serve, began := served[name], time.Now()
		for range requests {
			serve()
		}
		return time.Since(began)
	}
	var quotients []float64
	var token, session []time.Duration
	for i := range turns {
		first, second := "reader", "session"
		if i%2 == 1 {
			first, second = second, first
		}
		took := map[string]time.Duration{}
		took[first] = turn(first)
		took[second] = turn(second)
		token, session = append(token, took["reader"]/requests), append(session, took["session"]/requests)
		quotients = append(quotients, float64(took["session"])/float64(took["reader"]))
	}
	slices.Sort(quotients)
	slices.Sort(token)
	slices.Sort(session)
	quotient := quotients[turns/2]
	t.Logf("a session costs %.3f times what a token does: medians %v and %v", quotient, session[turns/2], token[turns/2])
	if quotient > most {
		t.Errorf("a session costs %.3f times what a token does, of %.2f at most: medians %v and %v", quotient, most, session[turns/2], token[turns/2])
	}
	if more := testing.AllocsPerRun(1000, served["session"]) - testing.AllocsPerRun(1000, served["reader"]); more > 0 {
		t.Errorf("a session makes %v allocations more", more)
	}
}
