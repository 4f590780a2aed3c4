package nodestate

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin/condition"
)

// Each kind of condition is explained in docs/operations.md with its severity, and each
// that is no notice has an alert of that severity, which docs/alerts_test.yml fires, and
// a panel. An alert names no condition that does not exist.
func TestConditionsAreDocumented(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	operations, alerts, tests := read("operations.md"), read("alerts.yml"), read("alerts_test.yml")
	names := map[string]bool{}
	for _, kind := range condition.Kinds() {
		names[kind.Name] = true
		if !regexp.MustCompile("(?m)^\\| `" + kind.Name + "`[^|]*\\| " + string(kind.Severity) + " \\|").MatchString(operations) {
			t.Errorf("docs/operations.md has no row of the condition %s with the severity %s", kind.Name, kind.Severity)
		}
		if kind.Severity == condition.Notice {
			continue
		}
		_, rule, found := strings.Cut(alerts, `gatefold_condition{name="`+kind.Name+`"}`)
		if rule, _, _ = strings.Cut(rule, "- alert:"); !found || !strings.Contains(rule, "severity: "+string(kind.Severity)) {
			t.Errorf("docs/alerts.yml has no alert for the condition %s with the severity %s", kind.Name, kind.Severity)
		}
		if !strings.Contains(tests, `gatefold_condition{name="`+kind.Name+`"`) {
			t.Errorf("docs/alerts_test.yml does not fire the alert for the condition %s", kind.Name)
		}
	}
	for _, match := range regexp.MustCompile(`gatefold_condition\{name="([a-z_]+)"`).FindAllStringSubmatch(alerts, -1) {
		if !names[match[1]] {
			t.Errorf("docs/alerts.yml has an alert for the condition %s, which does not exist", match[1])
		}
	}
	if len(names) < 10 || !strings.Contains(read("grafana.json"), "gatefold_condition{severity!=") {
		t.Errorf("%d kinds; docs/grafana.json must show the conditions", len(names))
	}
}
