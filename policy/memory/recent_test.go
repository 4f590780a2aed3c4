package memory

import (
	"strconv"
	"strings"
	"sync"
	"testing"
)

// What is remembered of a text is never said of another, also where all of them
// have the same place.
func TestRecentComparesWholeTexts(t *testing.T) {
	recent := NewRecent[string](1)
	for i := range 100 {
		text := strconv.Itoa(i)
		if known := recent.Get(text); known != nil {
			t.Fatalf("%s was never put, and is %s", text, *known)
		}
		recent.Put(text, "value "+text)
		if known := recent.Get(text); known == nil || *known != "value "+text {
			t.Fatalf("%s is %v", text, known)
		}
		if i > 0 && recent.Get(strconv.Itoa(i-1)) != nil {
			t.Fatal("one place holds two texts")
		}
	}
}

func TestRecentIsBounded(t *testing.T) {
	recent := NewRecent[int](0)
	long := strings.Repeat("x", MaxRecentText)
	recent.Put(long, 1)
	if recent.Get(long) == nil {
		t.Error("the longest text is not kept")
	}
	recent.Put(long+"x", 2)
	if recent.Get(long+"x") != nil {
		t.Error("a text that is too long is kept")
	}
	var none *Recent[int]
	none.Put("a", 1)
	if none.Get("a") != nil {
		t.Error("nothing keeps something")
	}
}

func TestRecentIsConcurrent(t *testing.T) {
	recent := NewRecent[int](4)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 2000 {
				text := strconv.Itoa(i % 16)
				if known := recent.Get(text); known != nil && *known != i%16 {
					t.Errorf("%s is %d", text, *known)
				}
				recent.Put(text, i%16)
			}
		})
	}
	all.Wait()
}
