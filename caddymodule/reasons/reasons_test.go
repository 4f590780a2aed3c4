package reasons

import (
	"testing"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/policy"
)

// Every reason that denies has a status and texts for the reader, and each has a hint.
func TestEveryReasonHasTexts(t *testing.T) {
	t.Parallel()
	for _, reason := range policy.Reasons() {
		texts := Texts[reason]
		if texts.Hint == "" {
			t.Errorf("%s has no hint", reason)
		}
		complete := texts.Title != "" && texts.Detail != "" && texts.Status >= 400
		if complete == reason.Allows() || reason.Allows() && texts.Denial != (denial.Denial{}) {
			t.Errorf("%s: the denial is %+v", reason, texts.Denial)
		}
	}
}
