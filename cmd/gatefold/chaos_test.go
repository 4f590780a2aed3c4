package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestChaos breaks one thing after the other that a site depends on, while clients keep a
// ledger of what was acknowledged to them. `make chaos` runs it for ten minutes.

var (
	chaosFor    = flag.Duration("chaos.for", 45*time.Second, "how long TestChaos breaks things with each form of store; each fault is provoked once at least")
	chaosSeed   = flag.Uint64("chaos.seed", 0, "seed of the schedule and of the clients' choices; 0: the time")
	chaosStore  = flag.String("chaos.form", "", "single, sentinel, cluster or bolt; empty: all of them at once")
	chaosFaults = flag.String("chaos.faults", "", "regular expression of the names of the faults; empty: all")
	chaosKills  = flag.Int("chaos.kills", 0, "instead of all faults, so many kills of the process that keeps the records")
)

// chaosForm is a form of store, and what starts gates over it.
type chaosForm struct {
	name  string
	start func(*chaosSite)
}

// chaosForms are the forms of store, in the order of the table.
var chaosForms = []chaosForm{{"single", newChaosSingle}, {"sentinel", newChaosSentinel}, {"cluster", newChaosCluster}, {"bolt", newChaosBolt}}

// chaosResult is what was seen of a fault.
type chaosResult struct {
	form, fault                                    string
	times, acknowledged, lost, pages, uses, raised int
	longest, back, accepted                        time.Duration
}

func (c *chaosSite) resultOf(fault *chaosFault) *chaosResult {
	result := c.results[fault.name]
	if result == nil {
		result = &chaosResult{form: c.form, fault: fault.name}
		c.results[fault.name] = result
	}
	return result
}

// Of every fault: no write that was acknowledged is lost unless store_went_back says so, and
// that says so only of a loss. No page is opened later after a removal than the gate may
// serve from memory. No counted link opens more pages than it has uses, and the history of
// each is linearizable. A reader who got 503 spent no use. All gates work again by
// themselves, except those that were killed, which are started again.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-chaos.seed %d", seed)
	var mu sync.Mutex
	var results []*chaosResult
	var leftOut []string
	t.Run("forms", func(t *testing.T) {
		for i, form := range chaosForms {
			if *chaosStore != "" && *chaosStore != form.name {
				continue
			}
			t.Run(form.name, func(t *testing.T) {
				t.Parallel()
				c := &chaosSite{T: t, form: form.name, seed: seed, random: rand.New(rand.NewPCG(seed, uint64(i))), results: map[string]*chaosResult{}}
				c.failovers, c.describe = func() int { return 0 }, func() string { return "" }
				form.start(c)
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					for _, name := range sortedKeys(c.results) {
						results = append(results, c.results[name])
					}
					leftOut = append(leftOut, c.leftOut...)
				}()
				c.run()
			})
		}
	})
	t.Logf("faults survived, -chaos.seed %d\n%s", seed, chaosTable(results, leftOut))
}

// run provokes the faults in an order that the seed gives, again and again.
func (c *chaosSite) run() {
	c.Helper()
	wanted := regexp.MustCompile(*chaosFaults)
	faults := slices.DeleteFunc(slices.Clone(c.faults), func(fault *chaosFault) bool {
		return !wanted.MatchString(fault.name) || *chaosKills > 0 && !fault.killsStore
	})
	began, kills := time.Now(), 0
	for len(faults) > 0 {
		c.random.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for i, fault := range faults {
			c.newRound(fault).run()
			kills++
			if c.Failed() || *chaosKills > 0 && kills >= *chaosKills {
				return
			}
			if *chaosKills == 0 && time.Since(began) > *chaosFor && (i == len(faults)-1 || len(c.results) == len(faults)) {
				return
			}
		}
	}
}

// The table of docs/operations.md has a row for each fault.
func TestTreeChaosFaults(t *testing.T) {
	t.Parallel()
	documented := readTree(t, "docs/operations.md")
	gates := new(chaosSite).gateFaults()
	for form, faults := range map[string][][]*chaosFault{
		"single":   {gates, redisFaults(nil), singleFaults(nil, nil), new(chaosKeeper).faults(), {fullRedisDisk(nil, nil), clockSteps(nil)}},
		"sentinel": {gates, new(chaosSentinel).faults()},
		"cluster":  {gates, new(chaosCluster).faults()},
		"bolt":     {gates, new(chaosBolt).faults(), {new(chaosBolt).fullDisk(), new(chaosBolt).fullDiskRemovals(), new(chaosBolt).readOnly()}},
	} {
		for _, fault := range slices.Concat(faults...) {
			if row := fmt.Sprintf("\n| %s | %s |", form, fault.name); !strings.Contains(documented, row) {
				t.Errorf("docs/operations.md has no row %q", row)
			}
		}
	}
}

// chaosTable is the table of faults survived.
func chaosTable(results []*chaosResult, leftOut []string) string {
	order := func(name string) int {
		return slices.IndexFunc(chaosForms, func(form chaosForm) bool { return form.name == name })
	}
	slices.SortStableFunc(results, func(a, b *chaosResult) int { return order(a.form) - order(b.form) })
	var text strings.Builder
	fmt.Fprintln(&text, "| store | fault | times | acknowledged writes | lost, and reported | pages | uses | `store_went_back` | longest wait for a 503 | works again after | after `accept-loss` |")
	fmt.Fprintln(&text, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range results {
		seconds := func(d time.Duration) string {
			if d == 0 {
				return "–"
			}
			return fmt.Sprintf("%.2f s", d.Seconds())
		}
		fmt.Fprintf(&text, "| %s | %s | %d | %d | %d | %d | %d | %d | %s | %s | %s |\n", r.form, r.fault, r.times, r.acknowledged, r.lost, r.pages, r.uses, r.raised,
			seconds(r.longest), seconds(r.back), seconds(r.accepted))
	}
	for _, reason := range leftOut {
		fmt.Fprintln(&text, "left out:", reason)
	}
	return text.String()
}
