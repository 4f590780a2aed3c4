package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const rowFlood = "known readers' throughput under forged tokens"

// flood measures what readers who are known get while somebody sends tokens that
// are well formed and forged, each of which costs a verification: a part of the
// connections of a slice is his.
func (b *bench) flood(ctx context.Context) error {
	if err := b.needBig(ctx); err != nil {
		return err
	}
	file, err := b.world.forged(b.dir, min(20_000, b.options.readers), b.options.rules)
	if err != nil {
		return err
	}
	known := browserLoad("known", "/section-1/a", http.Header{"Authorization": {"Bearer " + b.world.tokens[0]}})
	rubbish := browserLoad("malformed", "/section-1/a", http.Header{"Authorization": {"Bearer not.a.token"}})
	rubbish.refused = true
	forged := &load{name: "forged", list: file, refused: true}
	attackers := max(b.options.connections/8, 1)
	var ratios, rates []float64
	for range max(b.options.rounds()/6, 2) {
		// The same number of connections sends what costs nothing, and what costs a
		// verification.
		var throughput [2]float64
		for i, attack := range []*load{rubbish, forged} {
			attacked := make(chan slice, 1)
			go func() {
				s, err := b.drive(ctx, b.big, attack, attackers, b.options.slice)
				if err != nil {
					b.progress("%v", err)
				}
				attacked <- s
			}()
			s, err := b.drive(ctx, b.big, known, b.options.connections, b.options.slice)
			attack := <-attacked
			if err != nil {
				return err
			}
			throughput[i] = s.throughput
			if i == 1 {
				rates = append(rates, attack.throughput)
			}
		}
		ratios = append(ratios, throughput[1]/throughput[0])
	}
	b.table.ratio(rowFlood+", against the same number of malformed ones", medianOf(ratios), 0.75, false)
	b.table.context("forged tokens refused meanwhile", fmt.Sprintf("%.0f/s on %d connections, slices of %s", medianOf(rates).median, attackers, b.options.slice.Round(time.Second)))
	return nil
}
