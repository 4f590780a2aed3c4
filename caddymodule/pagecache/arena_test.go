package pagecache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"time"
)

// Whatever is taken and given back, blocks in use do not overlap, and at the end all memory
// is in one piece again.
func TestArena(t *testing.T) {
	const size = 9<<20 + 3*unit
	a, err := newArena(size)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	random := rand.New(rand.NewPCG(1, 2))
	owner := make([]int, size/unit)
	taken := map[int][]piece{}
	for i := 1; i <= 20_000; i++ {
		if random.IntN(5) < 2 {
			for id, pieces := range taken {
				for _, p := range pieces {
					for u := range uint32(1) << p.order {
						owner[p.unit+u] = 0
					}
				}
				a.release(pieces)
				delete(taken, id)
				break
			}
			continue
		}
		want := 1 + random.IntN(1<<random.IntN(20))
		pieces, ok := a.allocate(want, 0, nil)
		if !ok {
			continue
		}
		got := 0
		for _, p := range pieces {
			got += int(p.size)
			for u := range uint32(1) << p.order {
				if owner[p.unit+u] != 0 {
					t.Fatalf("a unit of %d is given to %d", owner[p.unit+u], i)
				}
				owner[p.unit+u] = i
			}
		}
		if got != want {
			t.Fatalf("%d bytes for %d", got, want)
		}
		taken[i] = pieces
	}
	for _, pieces := range taken {
		a.release(pieces)
	}
	if a.inUse() != 0 {
		t.Errorf("%d bytes are in use at the end", a.inUse())
	}
	for _, want := range []int{4 << 20, 4 << 20, 1 << 20} {
		if pieces, ok := a.allocate(want, want, nil); !ok || len(pieces) != 1 {
			t.Errorf("no block of %d bytes is left", want)
		}
	}
}

// At most a quarter of the memory of a page is unused.
func TestArenaWastes(t *testing.T) {
	a, err := newArena(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for size := 600; size < 300_000; size += 311 {
		pieces, ok := a.allocate(size, 0, nil)
		if !ok {
			t.Fatal(size)
		}
		if used := a.inUse(); used > int64(size)*4/3+unit || len(pieces) > 12 {
			t.Errorf("%d bytes take %d in %d pieces", size, used, len(pieces))
		}
		a.release(pieces)
	}
}

func newTestEntries(t testing.TB, size int64) *entries {
	t.Helper()
	a, err := newArena(size)
	if err != nil {
		t.Fatal(err)
	}
	return &entries{arena: a}
}

// What was put is read back, whatever its size.
func TestEntries(t *testing.T) {
	e := newTestEntries(t, 32<<20)
	for _, size := range []int{0, 1, 255, 256, 2048, 5000, 50_000, 1 << 20, 4 << 20} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		p := &page{
			status: 200, header: http.Header{"Vary": {"a", "b"}, "Etag": {`"1"`}, "X-Empty": {""}}, body: [][]byte{body[:size/3], nil, body[size/3:]},
			life: lifetime{fresh: time.Minute, whileRevalid: time.Second, ifError: time.Hour, noCache: size == 1, explicit: true}, stored: time.UnixMilli(5000), age: 3 * time.Second,
			hard: 1 << 63, soft: 2, slots: []uint16{1, 65535}, key: []byte("key"),
		}
		h, taken, err := e.put(p)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := e.use(h)
		if !ok {
			t.Fatal("the page is not found")
		}
		header := http.Header{"Vary": {"old"}}
		got.setHeader(header, "")
		if !reflect.DeepEqual(header, p.header) || !bytes.Equal(bytes.Join(got.bodyParts(), nil), body) || got.life() != p.life || got.length() != size || string(got.key()) != "key" ||
			!reflect.DeepEqual(got.slots(nil), p.slots) || got.age(time.UnixMilli(7000)) != 5*time.Second || uint64(got.number(5)) != p.hard || got.status() != 200 {
			t.Errorf("%d bytes: %+v %v", size, got.life(), header)
		}
		if used := e.arena.inUse(); taken != used {
			t.Errorf("%d bytes take %d, and %d are counted", size, used, taken)
		}
		e.release(h) // evicted while it is read
		if !bytes.Equal(bytes.Join(got.bodyParts(), nil), body) || e.arena.inUse() == 0 {
			t.Error("the memory of a page in use was freed")
		}
		got.release()
		if _, ok := e.use(h); ok || e.arena.inUse() != 0 {
			t.Error("the page is still there")
		}
	}
	e.close()
}

// Readers of pages that are evicted and replaced meanwhile read whole pages of their key.
func TestEntriesConcurrently(t *testing.T) {
	x, err := newIndex(MinMemory)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 5000 {
				name := fmt.Appendf(nil, "key %d", random.IntN(2000))
				if found, ok := x.get(name); ok {
					body := bytes.Join(found.bodyParts(), nil)
					if want := bytes.Repeat(name, len(body)/len(name)); !bytes.Equal(body, want) {
						t.Errorf("%s has the body of another page", name)
					}
					found.release()
					continue
				}
				_ = x.put(&page{status: 200, body: [][]byte{bytes.Repeat(name, 1+random.IntN(5000))}, key: name})
			}
		})
	}
	wait.Wait()
}

// A page without memory is not stored, and the cache goes on.
func TestEntriesFull(t *testing.T) {
	e := newTestEntries(t, 1<<20)
	defer e.close()
	for i := range 3 {
		h, _, err := e.put(&page{body: [][]byte{make([]byte, 500<<10)}})
		if stored := err == nil; stored != (i < 2) {
			t.Fatalf("page %d: %v", i, err)
		}
		if err == nil {
			defer e.release(h)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, pages := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(pages), func(b *testing.B) {
			x, err := newIndex(512 << 20)
			if err != nil {
				b.Fatal(err)
			}
			defer x.close()
			body := make([]byte, 2<<10)
			for i := range pages {
				_ = x.put(&page{status: 200, header: http.Header{"Etag": {`"1"`}}, body: [][]byte{body}, key: fmt.Appendf(nil, "key %d", i)})
				if i%1000 == 0 {
					x.found.Wait()
				}
			}
			x.found.Wait()
			name, i := make([]byte, 0, 32), 0
			for b.Loop() {
				i++
				if found, ok := x.get(fmt.Appendf(name[:0], "key %d", i*7919%pages)); ok {
					found.release()
				}
			}
		})
	}
}
