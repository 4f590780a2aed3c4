package webhook

import "time"

// repeats are the pauses after the attempts of an event. After the last one it is a dead
// letter.
var repeats = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// MaxAttempts is the number of attempts until an event is a dead letter.
var MaxAttempts = len(repeats) + 1

// pauses are the pauses of an endpoint after rounds of attempts that all failed. The last
// one repeats.
var pauses = []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute}

// maxRetryAfter bounds the pause that an endpoint asks for.
const maxRetryAfter = time.Hour

// again returns when the next attempt is made after a number of attempts, and whether
// there is one.
func again(attempts int, now time.Time, jitter float64) (time.Time, bool) {
	if attempts > len(repeats) {
		return time.Time{}, false
	}
	return now.Add(spread(repeats[attempts-1], jitter)), true
}

// pausedUntil returns when an endpoint is tried again after a number of failures.
func pausedUntil(failures int, retryAfter time.Duration, now time.Time, jitter float64) time.Time {
	pause := pauses[min(max(failures, 1), len(pauses))-1]
	return now.Add(max(spread(pause, jitter), min(retryAfter, maxRetryAfter)))
}

// spread lengthens a pause by up to a fifth, so that what failed at once is not repeated at
// once. Jitter is from 0 to 1.
func spread(pause time.Duration, jitter float64) time.Duration {
	return pause + time.Duration(float64(pause)/5*jitter)
}
