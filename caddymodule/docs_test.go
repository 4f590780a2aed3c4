package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
)

// Every Caddyfile of the documents can be adapted, its rules give no warning, and no page
// of it passes a gate by. A fragment is completed: rules get a gate and a last rule.
func TestCaddyfilesOfTheDocuments(t *testing.T) {
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	gates, fence := 0, regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")
	examples := map[string][]string{}
	for _, document := range append(documents, "../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range fence.FindAllStringSubmatch(string(text), -1) {
			examples[document] = append(examples[document], file[1])
		}
	}
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	examples["../Caddyfile.example"] = []string{string(example)}
	for document, files := range examples {
		for _, file := range files {
			if strings.HasPrefix(file, "rule ") {
				file = "http://localhost:1 {\n\tgatefold {\n\t\t" + file + "\n\t\trule / any\n\t}\n\trespond page\n}\n"
			}
			gates += checkExample(t, document, file)
		}
	}
	if gates < 10 {
		t.Errorf("the documents have %d gates", gates)
	}
}

// checkExample checks a Caddyfile of a document, and returns how many gates it has.
func checkExample(t *testing.T, document, file string) int {
	t.Helper()
	config, err := adapt(file)
	if err != nil {
		t.Errorf("%s: %v in\n%s", document, err, file)
		return 0
	}
	gates, err := gatesOf(config)
	if err != nil {
		t.Errorf("%s: %v in\n%s", document, err, file)
	}
	for _, gate := range gates {
		core, warnings := observer.New(zap.WarnLevel)
		gate.logger = zap.New(core)
		if _, err := ruleconfig.Compile(gate.Rules, gate.Paths.options(), gate.logger, gate.Vendor, gate.Site); err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v, %v in\n%s", document, err, warnings.All(), file)
		}
	}
	report, err := auditConfig(config)
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("%s: %v, %v in\n%s", document, err, report.Findings, file)
	}
	return len(gates)
}
