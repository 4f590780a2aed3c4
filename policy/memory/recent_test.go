package memory

import (
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The result of one text is never returned for another, even if all have the same
// place.
func TestRecentComparesWholeTexts(t *testing.T) {
	recent := NewRecent[string](1)
	for i := range 100 {
		text := strconv.Itoa(i)
		if found := recent.Get(text); found != nil {
			t.Fatalf("%s was not put, but has the value %s", text, *found)
		}
		recent.Put(text, "value "+text)
		if found := recent.Get(text); found == nil || *found != "value "+text {
			t.Fatalf("%s has the value %v", text, found)
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
		t.Error("a nil Recent returned a value")
	}
}

func TestRecentIsConcurrent(t *testing.T) {
	recent := NewRecent[int](4)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 2000 {
				text := strconv.Itoa(i % 16)
				if found := recent.Get(text); found != nil && *found != i%16 {
					t.Errorf("%s has the value %d", text, *found)
				}
				recent.Put(text, i%16)
			}
		})
	}
	group.Wait()
}
