package main

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The output of wrk is read; a slice with an unexpected response is no measurement.
func TestReadingWhatWrkPrints(t *testing.T) {
	p := &process{name: "gate"}
	page := &load{name: "page"}
	got, err := page.read(p, "Running 2s test\nRESULT 1000 2000000 0 0 2100 9000\n", 50*time.Millisecond)
	want := slice{requests: 1000, throughput: 500, p50: 2100 * time.Microsecond, p99: 9 * time.Millisecond, cpu: 50 * time.Microsecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, output := range []string{
		"", "unable to connect", "RESULT x", "RESULT 0 2000000 0 0 0 0", // nothing was measured
		"RESULT 1000 2000000 1 0 2100 9000", "RESULT 1000 2000000 0 1 2100 9000",
	} {
		if _, err := page.read(p, output, time.Second); err == nil {
			t.Errorf("%q is taken for a measurement", output)
		}
	}
	attack := &load{name: "attack", refused: true}
	if _, err := attack.read(p, "RESULT 1000 2000000 0 1000 2100 9000", time.Second); err != nil {
		t.Errorf("an attack that was refused: %v", err)
	}
	if _, err := attack.read(p, "RESULT 1000 2000000 0 999 2100 9000", time.Second); err == nil {
		t.Error("an attack that got through once is taken for a measurement")
	}
}

func TestTheScriptSendsTheHeader(t *testing.T) {
	script := browserLoad("reader", "/", http.Header{"Authorization": {`Bearer "x"`}}).script()
	for _, want := range []string{`wrk.headers["Authorization"] = "Bearer \"x\""`, `wrk.headers["User-Agent"]`, "function done("} {
		if !strings.Contains(script, want) {
			t.Errorf("the script lacks %s:\n%s", want, script)
		}
	}
}

// By Zipf's law the second comes half as often as the first.
func TestReadersComeByZipfsLaw(t *testing.T) {
	next := newZipf(rand.New(rand.NewPCG(1, 2)), 1000) //nolint:gosec // the same numbers in every run
	counts := make([]int, 1000)
	const draws = 200_000
	for range draws {
		counts[next()]++
	}
	// The sum of 1/i up to 1000 is 7.485.
	for rank, want := range map[int]float64{1: draws / 7.485, 2: draws / 7.485 / 2, 10: draws / 7.485 / 10} {
		if got := float64(counts[rank-1]); got < 0.9*want || got > 1.1*want {
			t.Errorf("rank %d came %v times, want about %v", rank, got, want)
		}
	}
}

func TestARowIsMetWhenItsMedianReachesTheTarget(t *testing.T) {
	table := new(table)
	table.ratio("a", interval{1.05, 1.02, 1.08, 30}, 1.03, true)
	table.ratio("e", interval{1.03, 1.02, 1.08, 30}, 1.03, true)
	table.ratio("b", interval{1.05, 1.04, 1.08, 30}, 1.03, true)
	table.value("c", "ms", interval{90, 80, 100, 7}, 100, true)
	table.ratio("d", interval{1.05, 1.04, 1.08, 30}, 0, true)
	want := `| a | ≤ 1.03 | 1.050 | 1.020–1.080 (30 pairs) | missed |
| e | ≤ 1.03 | 1.030 | 1.020–1.080 (30 pairs) | met |
| b | ≤ 1.03 | 1.050 | 1.040–1.080 (30 pairs) | missed |
| c | ≤ 100 ms | 90.0 ms | 80.0–100.0 (7) | met |
| d |  | 1.050 | 1.040–1.080 (30 pairs) |  |`
	if got := table.String(); !strings.Contains(got, want) {
		t.Errorf("the table is\n%s", got)
	}
}
