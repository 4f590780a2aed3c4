package policy

import (
	"reflect"
	"slices"
	"testing"
)

// An import of thousands of readers is one event. It names each of their stripes
// and no other, and stays small whatever was imported.
func TestChangeOfManyReaders(t *testing.T) {
	every := func(step int, times int) (all []uint16) {
		for range times {
			for stripe := 0; stripe < stripes; stripe += step {
				all = append(all, uint16(stripe))
			}
		}
		return all
	}
	for name, test := range map[string]struct {
		change Invalidation
		size   int
	}{
		"as many as are listed":  {Invalidation{Stripes: every(16, 1)}, 8194},
		"one more":               {Invalidation{Stripes: append(every(16, 1), 1)}, 8194},
		"the same, twice":        {Invalidation{Stripes: every(16, 2)}, 8194},
		"one stripe, many times": {Invalidation{Stripes: make([]uint16, 15_000)}, 4},
		"every third":            {Invalidation{Stripes: every(3, 1), Shared: true}, 8194},
		"all":                    {Invalidation{Stripes: every(1, 1)}, 8194},
	} {
		event := test.change.Encode()
		if len(event) != test.size {
			t.Errorf("%s: the event has %d bytes, want %d", name, len(event), test.size)
		}
		got, err := DecodeInvalidation(event)
		want := Invalidation{Shared: test.change.Shared, Stripes: slices.Compact(slices.Sorted(slices.Values(test.change.Stripes)))}
		slices.Sort(got.Stripes)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d stripes are read as %d, %v", name, len(want.Stripes), len(got.Stripes), err)
		}
	}
}

// Bits that could be a list, or that are cut off, were not written by us.
func TestBitsThatAreGarbage(t *testing.T) {
	whole := Invalidation{Stripes: make([]uint16, 0, stripes)}
	for stripe := range stripes {
		whole.Stripes = append(whole.Stripes, uint16(stripe))
	}
	event := whole.Encode()
	few := make([]byte, len(event))
	copy(few, event[:200])
	for name, garbage := range map[string][]byte{
		"cut off":          event[:len(event)-2],
		"too long":         append(slices.Clone(event), 0, 0),
		"few bits":         few,
		"a list that long": append([]byte{1, 0}, make([]byte, 8194)...),
	} {
		if change, err := DecodeInvalidation(garbage); err == nil || change.Stripes != nil {
			t.Errorf("%s: read as %d stripes, %v", name, len(change.Stripes), err)
		}
	}
}
