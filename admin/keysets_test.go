package admin

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// Thousands of key sets are watched, and three of them are in trouble: whoever asks
// how the node is sees these, and not thousands of lines.
func TestKeySetsInTroubleAreToldFirst(t *testing.T) {
	statuses := make([]keys.SetStatus, maxKeySetsTold+7)
	for i := range statuses {
		statuses[i] = keys.SetStatus{Source: keys.KeySetLocation{URL: fmt.Sprintf("https://p%05d.example/jwks?secret", i)}, OK: true}
	}
	last := len(statuses) - 1
	statuses[last].OK, statuses[last-1].Stale, statuses[last-2].Err = false, true, errors.New("refused")
	told, more := tellKeySets(statuses)
	if len(told) != maxKeySetsTold || more != 7 {
		t.Fatalf("%d are told, and that there are %d more", len(told), more)
	}
	for i, want := range []int{last, last - 2, last - 1, 0, 1} {
		if told[i].URL != fmt.Sprintf("https://p%05d.example/jwks", want) {
			t.Errorf("set %d is %s", i, told[i].URL)
		}
	}
	if statuses[last].OK || !statuses[0].OK {
		t.Error("the list itself was changed")
	}
	if told, more := tellKeySets(statuses[:3]); len(told) != 3 || more != 0 {
		t.Errorf("of three %d are told, and %d more", len(told), more)
	}
}
