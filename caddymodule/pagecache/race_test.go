//go:build race

package pagecache

// raceDetector reports whether the test runs with the race detector.
const raceDetector = true
