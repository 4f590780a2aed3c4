package admin

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// Of thousands of key sets, health lists those with errors first and omits the
// rest.
func TestKeySetsWithErrorsAreListedFirst(t *testing.T) {
	statuses := make([]keys.SetStatus, maxKeySets+7)
	for i := range statuses {
		statuses[i] = keys.SetStatus{Location: keys.KeySetLocation{URL: fmt.Sprintf("https://p%05d.example/jwks?secret", i)}, OK: true}
	}
	last := len(statuses) - 1
	statuses[last].OK, statuses[last-1].Stale, statuses[last-2].Err = false, true, errors.New("refused")
	list, more := wireKeySets(statuses)
	if len(list) != maxKeySets || more != 7 {
		t.Fatalf("%d are listed and %d omitted", len(list), more)
	}
	for i, want := range []int{last, last - 2, last - 1, 0, 1} {
		if list[i].URL != fmt.Sprintf("https://p%05d.example/jwks", want) {
			t.Errorf("set %d is %s", i, list[i].URL)
		}
	}
	if statuses[last].OK || !statuses[0].OK {
		t.Error("the list itself was changed")
	}
	if list, more := wireKeySets(statuses[:3]); len(list) != 3 || more != 0 {
		t.Errorf("of three, %d are listed and %d omitted", len(list), more)
	}
}
