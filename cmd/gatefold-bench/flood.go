package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

const rowFlood = "known readers' throughput under forged tokens"

// flood measures the throughput of known readers during a flood of well-formed,
// forged tokens, each of which costs a verification: from few connections, and
// from as many as the readers have.
func (b *bench) flood(ctx context.Context) error {
	if err := b.needBig(ctx); err != nil {
		return err
	}
	file, err := b.world.forged(b.dir, min(20_000, b.options.readers), b.options.rules)
	if err != nil {
		return err
	}
	known := browserLoad("known", "/section-1/a", http.Header{"Authorization": {"Bearer " + b.world.tokens[0]}})
	malformed := browserLoad("malformed", "/section-1/a", http.Header{"Authorization": {"Bearer not.a.token"}})
	malformed.refused = true
	forged := &load{name: "forged", list: file, refused: true}
	for _, attackers := range []int{max(b.options.connections/8, 1), b.options.connections} {
		var ratios, ofQuiet, rates, waits []float64
		for range max(b.options.rounds()/6, 2) {
			quiet, err := b.drive(ctx, b.big, known, b.options.connections, b.options.slice)
			if err != nil {
				return err
			}
			// The same number of connections sends tokens that fail before a verification,
			// and tokens that need one.
			cheap, _, err := b.attacked(ctx, known, malformed, attackers)
			if err != nil {
				return err
			}
			dear, attack, err := b.attacked(ctx, known, forged, attackers)
			if err != nil {
				return err
			}
			ratios = append(ratios, dear.throughput/cheap.throughput)
			ofQuiet = append(ofQuiet, dear.throughput/quiet.throughput)
			rates, waits = append(rates, attack.throughput), append(waits, attack.p99.Seconds()*1e3)
		}
		b.table.ratio(fmt.Sprintf("%s on %d connections, against malformed ones on as many", rowFlood, attackers), medianOf(ratios), 0.85, false)
		b.table.context(fmt.Sprintf("forged tokens on %d connections", attackers),
			fmt.Sprintf("%.0f/s refused, p99 %.1f ms, so long a new token waits; known readers keep %.2f of what they have without any attack",
				medianOf(rates).median, medianOf(waits).median, medianOf(ofQuiet).median))
	}
	return nil
}

// attacked measures a slice of the big site under attack.
func (b *bench) attacked(ctx context.Context, known, attack *load, attackers int) (of, by slice, err error) {
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		by, failed = b.drive(ctx, b.big, attack, attackers, b.options.slice)
	}()
	of, err = b.drive(ctx, b.big, known, b.options.connections, b.options.slice)
	<-done
	return of, by, errors.Join(err, failed)
}
