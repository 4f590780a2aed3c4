package policy

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
)

// The event of an import with thousands of readers names exactly their stripes, and its
// size is bounded.
func TestInvalidationOfManyReaders(t *testing.T) {
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
		"the longest list":        {Invalidation{Stripes: every(16, 1)}, 8194},
		"one stripe more":         {Invalidation{Stripes: append(every(16, 1), 1)}, 8194},
		"the longest list, twice": {Invalidation{Stripes: every(16, 2)}, 8194},
		"one stripe, many times":  {Invalidation{Stripes: make([]uint16, 15_000)}, 4},
		"every third":             {Invalidation{Stripes: every(3, 1), Shared: true}, 8194},
		"all":                     {Invalidation{Stripes: every(1, 1)}, 8194},
	} {
		event := test.change.Encode()
		if len(event) != test.size {
			t.Errorf("%s: the event has %d bytes, want %d", name, len(event), test.size)
		}
		got, err := DecodeInvalidation(event)
		want := Invalidation{Shared: test.change.Shared, Stripes: slices.Compact(slices.Sorted(slices.Values(test.change.Stripes)))}
		slices.Sort(got.Stripes)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d stripes are decoded as %d, %v", name, len(want.Stripes), len(got.Stripes), err)
		}
	}
}

// Encode never returns a truncated bitmap, or one with few bits.
func TestDecodeInvalidationRefusesInvalidBitmaps(t *testing.T) {
	whole := Invalidation{Stripes: make([]uint16, 0, stripes)}
	for stripe := range stripes {
		whole.Stripes = append(whole.Stripes, uint16(stripe))
	}
	event := whole.Encode()
	few := make([]byte, len(event))
	copy(few, event[:200])
	for name, invalid := range map[string][]byte{
		"truncated":           event[:len(event)-2],
		"too long":            append(slices.Clone(event), 0, 0),
		"few bits":            few,
		"a list of that size": append([]byte{1, 0}, make([]byte, 8194)...),
	} {
		if change, err := DecodeInvalidation(invalid); err == nil || change.Stripes != nil {
			t.Errorf("%s: decoded as %d stripes, %v", name, len(change.Stripes), err)
		}
	}
}

func TestInvalidationRoundTrip(t *testing.T) {
	for _, change := range []Invalidation{
		{},
		{Shared: true},
		{Stripes: []uint16{0}},
		{Stripes: []uint16{65535, 1, 256, 1}},
		{Shared: true, Stripes: []uint16{258}},
		{Shared: true, SameDomains: true},
		{Shared: true, SameDomains: true, Stripes: []uint16{7}},
		{AllPages: true},
		{Pages: []uint16{1, 65535}},
		{SoftPages: []uint16{0}},
		{Pages: []uint16{3}, SoftPages: []uint16{2, 1}, Stripes: []uint16{9}, Shared: true, SameDomains: true},
		{AllPages: true, Stripes: []uint16{9}},
	} {
		got, err := DecodeInvalidation(change.Encode())
		if err != nil || !reflect.DeepEqual(got, change) {
			t.Errorf("%+v is decoded as %+v, %v", change, got, err)
		}
	}
}

func TestDecodeInvalidationRefusesInvalidEvents(t *testing.T) {
	for _, event := range [][]byte{
		nil,
		{},
		{1},
		{1, 0, 0},
		{1, 2},
		{1, 0xff},
		{0, 0},
		{2, 1},
		{1, 1, 2, 3},
		{3, 0xff},
		{3, 3},
		{4, 1},
		[]byte("{}"), []byte(`{"shared":true}`),
		{6, 0},
		{6, 0, 0, 0, 0, 0},
		{6, 0, 0, 1, 0, 0},
		{6, 0, 0, 0, 0, 1},
		{6, 3, 0, 1, 0, 0, 0, 1},
		{6, 0, 0xff, 0xfe, 0, 0},
		{6, 0, 0xff, 0xff, 0, 1, 0, 1},
	} {
		if change, err := DecodeInvalidation(event); err == nil || change.Shared || change.Stripes != nil {
			t.Errorf("%q is decoded as %+v, %v", event, change, err)
		}
	}
}

func FuzzDecodeInvalidation(f *testing.F) {
	f.Add([]byte{3, 1, 2, 3})
	f.Add([]byte{3, 2})
	f.Add([]byte{6, 0, 0, 1, 0, 1, 0, 7, 0, 8, 0, 9})
	f.Add([]byte{6, 1, 0xff, 0xff, 0, 0})
	f.Fuzz(func(t *testing.T, event []byte) {
		change, err := DecodeInvalidation(event)
		if err == nil && !bytes.Equal(change.Encode(), event) {
			t.Errorf("%x is decoded as %+v", event, change)
		}
	})
}
