package pagetest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/paywall"
)

// Arabic returns an operator's file of texts with a language that is written from the right.
func Arabic(t *testing.T) []byte {
	t.Helper()
	_, err := paywall.BuiltIn().With([]byte(`{"ar":{}}`))
	_, missing, _ := strings.Cut(err.Error(), "it lacks ")
	texts, reasons := map[string]string{}, map[string][2]string{}
	for name := range strings.SplitSeq(missing, ", ") {
		if key, ok := strings.CutPrefix(name, "texts."); ok {
			texts[key] = "اختر اشتراكك"
		} else if key, ok := strings.CutPrefix(name, "reasons."); ok {
			reasons[key] = [2]string{"سجّل الدخول لقراءة هذه الصفحة", "هذه الصفحة للقراء المسجلين."}
		}
	}
	file, err := json.Marshal(map[string]any{"ar": map[string]any{"texts": texts, "reasons": reasons}})
	if err != nil {
		t.Fatal(err)
	}
	return file
}
