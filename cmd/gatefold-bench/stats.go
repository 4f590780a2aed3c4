package main

import (
	"math"
	"slices"
)

// interval is a median, or another quantile, with its 95 % confidence interval.
type interval struct {
	median, low, high float64
	n                 int
}

// medianOf returns the median of a sample and its 95 % confidence interval: the
// order statistics whose ranks follow from the binomial distribution, whatever the
// distribution of the values. For less than six values it is the whole range.
func medianOf(values []float64) interval {
	middle := quantileOf(values, 0.5)
	if n := len(values); n > 0 {
		sorted := slices.Sorted(slices.Values(values))
		middle.median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	}
	return middle
}

// quantileOf is medianOf for another quantile, such as 0.99. If no rank is high
// enough, the interval ends at the largest value.
func quantileOf(values []float64, part float64) interval {
	n := len(values)
	if n == 0 {
		return interval{median: math.NaN(), low: math.NaN(), high: math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := int(math.Ceil(part*float64(n))) - 1
	low, high := lowRank(n, part), n+1-lowRank(n, 1-part)
	return interval{median: sorted[max(at, 0)], low: sorted[low-1], high: sorted[high-1], n: n}
}

// lowRank returns the largest rank r, from 1, for which the chance that less than
// r of n values lie below the quantile is at most 2.5 %; at least 1.
func lowRank(n int, part float64) int {
	rank, below := 1, 0.0
	for k := range n {
		below += math.Exp(logChoose(n, k) + float64(k)*math.Log(part) + float64(n-k)*math.Log1p(-part))
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

// below reports whether the median reaches a target that is an upper bound, and above
// whether it reaches one that is a lower bound. That the interval does is not enough: it is
// the wider the less was measured.
func (i interval) below(target float64) bool { return i.median <= target }
func (i interval) above(target float64) bool { return i.median >= target }
