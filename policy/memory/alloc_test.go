//go:build !race

package memory

import (
	"strings"
	"testing"
)

func TestAllocFingerprint(t *testing.T) {
	f := newTestFingerprinter(t)
	token := strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 30)
	var space [64]byte
	if n := testing.AllocsPerRun(100, func() { f.Append(space[:0], token) }); n > 0 {
		t.Errorf("a fingerprint takes %v allocations", n)
	}
}
