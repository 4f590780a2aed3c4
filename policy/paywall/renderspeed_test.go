//go:build !race

package paywall_test

import (
	"bytes"
	"hash/fnv"
	"slices"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/paywall"
)

// yardstickBytes are the bytes whose FNV-1a hash, a multiplication for each, is computed beside
// each rendering. It takes a core of 3 GHz about 200 µs, which is what a page may take: the
// comparison holds on a slow machine, too.
const yardstickBytes = 200 << 10

// The page with three offers is rendered in 200 µs. Both times are taken in turns, and the
// lower quartiles are compared.
func TestRenderIsFast(t *testing.T) {
	page, v := paywall.Compile(full("BOXES"), ""), view()
	yardstick := make([]byte, yardstickBytes)
	var buffer bytes.Buffer
	var rendered, hashed []time.Duration
	for range 300 {
		began := time.Now()
		buffer.Reset()
		if err := page.Render(&buffer, v); err != nil {
			t.Fatal(err)
		}
		middle := time.Now()
		h := fnv.New64a()
		_, _ = h.Write(yardstick)
		if h.Sum64() == 0 {
			t.Fatal("no hash")
		}
		rendered, hashed = append(rendered, middle.Sub(began)), append(hashed, time.Since(middle))
	}
	slices.Sort(rendered)
	slices.Sort(hashed)
	took, may := rendered[len(rendered)/4], hashed[len(hashed)/4]
	t.Logf("a page takes %v; the yardstick %v", took, may)
	if took > may {
		t.Errorf("a page takes %v, and may take %v on this machine", took, may)
	}
}
