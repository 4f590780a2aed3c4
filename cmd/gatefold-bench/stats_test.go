package main

import (
	"math"
	"testing"
)

// The ranks are those of the tables of the sign test.
func TestTheIntervalOfAMedian(t *testing.T) {
	for n, want := range map[int]int{1: 1, 5: 1, 6: 1, 9: 2, 10: 2, 20: 6, 30: 10, 50: 18, 100: 40} {
		if got := lowRank(n, 0.5); got != want {
			t.Errorf("of %d values the interval begins at rank %d, want %d", n, got, want)
		}
	}
	values := make([]float64, 30)
	for i := range values {
		values[i] = float64(30 - i) // 30 … 1
	}
	if got := medianOf(values); got.median != 15.5 || got.low != 10 || got.high != 21 || got.n != 30 {
		t.Errorf("the interval is %+v", got)
	}
	if got := medianOf(nil); !math.IsNaN(got.median) {
		t.Errorf("the median of nothing is %v", got.median)
	}
}

// The ranks are those at which the binomial distribution of 0.99 leaves 2.5 % on
// either side.
func TestTheIntervalOfAHighQuantile(t *testing.T) {
	values := make([]float64, 1000)
	for i := range values {
		values[i] = float64(1000 - i) // 1000 … 1
	}
	if got := quantileOf(values, 0.99); got.median != 990 || got.low != 983 || got.high != 997 || got.n != 1000 {
		t.Errorf("of a thousand: %+v", got)
	}
	// Of so few values none is known to lie above it: the largest is the end.
	if got := quantileOf(values[:100], 0.99); got.median != 999 || got.high != 1000 {
		t.Errorf("of a hundred: %+v", got)
	}
	if got := quantileOf(values[:1], 0.99); got.median != 1000 || got.low != 1000 || got.high != 1000 {
		t.Errorf("of one: %+v", got)
	}
	if got := quantileOf(nil, 0.99); !math.IsNaN(got.median) {
		t.Errorf("of nothing: %v", got.median)
	}
}

// A target is reached by the median, however wide the interval is.
func TestAMedianReachesATarget(t *testing.T) {
	i := interval{median: 1.05, low: 1.02, high: 1.08}
	if !i.below(1.05) || i.below(1.03) || !i.above(1.05) || i.above(1.07) {
		t.Error("a target in the interval is reached that the median does not reach")
	}
}
