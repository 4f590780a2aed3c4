package main

import (
	"math"
	"slices"
)

// interval is a median with its 95 % confidence interval.
type interval struct {
	median, low, high float64
	n                 int
}

// medianOf returns the median of a sample and the interval that holds the median
// of what it was drawn from in at least 95 of 100 samples: the order statistics
// whose ranks the binomial distribution gives. It assumes nothing of how the
// values are distributed. Of less than six values it is the whole range.
func medianOf(values []float64) interval {
	n := len(values)
	if n == 0 {
		return interval{median: math.NaN(), low: math.NaN(), high: math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := (sorted[(n-1)/2] + sorted[n/2]) / 2
	rank := lowRank(n)
	return interval{median: middle, low: sorted[rank-1], high: sorted[n-rank], n: n}
}

// lowRank returns the largest rank r, from 1, for which the chance that less
// than r of n values lie below the median is at most 2.5 %; at least 1.
func lowRank(n int) int {
	rank, below := 1, 0.0
	for k := range n {
		below += math.Exp(logChoose(n, k) - float64(n)*math.Ln2)
		if below > 0.025 {
			break
		}
		rank = k + 1
	}
	return rank
}

func logChoose(n, k int) float64 {
	gamma := func(x int) float64 {
		value, _ := math.Lgamma(float64(x) + 1)
		return value
	}
	return gamma(n) - gamma(k) - gamma(n-k)
}

// below says whether the interval reaches a target that is an upper bound, and
// above whether it reaches one that is a lower bound.
func (i interval) below(target float64) bool { return i.low <= target }
func (i interval) above(target float64) bool { return i.high >= target }
