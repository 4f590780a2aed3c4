package meter_test

import (
	"slices"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/meter"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

func newSealer(t *testing.T, secret, vendor, site string) *meter.Sealer {
	t.Helper()
	root, err := keys.NewSealer([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := meter.NewSealer(root, vendor, site)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

const secret = "0123456789abcdef0123456789abcdef"

// Readers change their cookie: a byte of it, its spelling or its length; and they take that of
// another meter, site or vendor, or of another newspaper. None of them counts as a cookie.
func TestCookieThatWasAltered(t *testing.T) {
	s := newSealer(t, secret, "acme", "news")
	var views []policy.MeterView
	for i := range policy.MaxMeterViews {
		views = append(views, policy.MeterView{Content: uint64(i) << 40, At: 1_750_000_000 + int64(i)})
	}
	for n := range []int{0, 1, policy.MaxMeterViews} {
		value := s.Seal("free", views[:n])
		if opened, err := s.Open("free", value); err != nil || !slices.Equal(opened, views[:n]) {
			t.Errorf("%d views: %v, %v", n, opened, err)
		}
	}
	value := s.Seal("free", views)
	if len(value) > 2048 {
		t.Errorf("the cookie has %d bytes", len(value))
	}
	if opened, err := s.Open("free", value); err != nil || !slices.Equal(opened, views) {
		t.Errorf("%v, %v", opened, err)
	}
	value = s.Seal("free", views[:2])
	for i := range value {
		altered := []byte(value)
		altered[i] ^= 1
		if _, err := s.Open("free", string(altered)); err == nil {
			t.Errorf("byte %d was altered", i)
		}
		if _, err := s.Open("free", value[:i]); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
	for name, other := range map[string]*meter.Sealer{
		"another secret": newSealer(t, secret+"!", "acme", "news"), "another vendor": newSealer(t, secret, "acmf", "news"),
		"another site": newSealer(t, secret, "acme", "shop"),
	} {
		if _, err := other.Open("free", value); err == nil {
			t.Error(name)
		}
	}
	if _, err := s.Open("other", value); err == nil {
		t.Error("another meter")
	}
	if s.Seal("free", views[:2]) == value {
		t.Error("two cookies are equal, so that a reader could be found by them")
	}
}
