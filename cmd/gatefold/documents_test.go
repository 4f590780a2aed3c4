package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy"
)

// docs/operations.md explains every reason, every alert and every line of the log.
func TestOperationsExplainEverything(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // the first cell of every table row, and the rest
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) > 3 {
			for name := range strings.SplitSeq(cells[1], "`") {
				rows[strings.TrimSpace(name)] = strings.Join(cells[2:], "|")
			}
		}
	}
	for _, reason := range policy.Reasons() {
		if reason.Allows() {
			if !strings.Contains(string(text), "`"+reason.String()+"`") {
				t.Errorf("docs/operations.md does not name the reason %s", reason)
			}
			continue
		}
		if rows[reason.String()] == "" {
			t.Errorf("docs/operations.md has no table row for the reason `%s`", reason)
		}
	}
	alerts, err := os.ReadFile("../../docs/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(alerts)) {
		if _, alert, found := strings.Cut(line, "- alert: "); found && rows[strings.TrimSpace(alert)] == "" {
			t.Errorf("docs/operations.md has no table row for the alert `%s`", strings.TrimSpace(alert))
		}
	}
	messages := logMessages(t)
	if len(messages) < 5 {
		t.Fatalf("only these log lines were found: %v", messages)
	}
	for _, message := range messages {
		if rows[message] == "" {
			t.Errorf("docs/operations.md has no table row for the log line `%s`: add its meaning and the action", message)
		}
	}
}

// logMessages lists the messages that caddymodule and the packages below it log above DEBUG.
func logMessages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../caddymodule/*.go")
	below, _ := filepath.Glob("../../caddymodule/*/*.go")
	files = append(files, below...)
	// A logger is named logger, or is the result of a call: caddy.Log().Named("x").Warn(…).
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var messages []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			called, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := called.Fun.(*ast.SelectorExpr)
			if !ok || !isLogger(method.X) || !slices.Contains([]string{"Info", "Warn", "Error", "Check", "Log"}, method.Sel.Name) {
				return true
			}
			for _, argument := range called.Args {
				if literal, ok := argument.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					message, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					messages = append(messages, message)
					break
				}
			}
			return true
		})
	}
	slices.Sort(messages)
	return slices.Compact(messages)
}

// isLogger reports whether an expression is a logger, by its name.
func isLogger(expression ast.Expr) bool {
	switch x := expression.(type) {
	case *ast.SelectorExpr:
		return x.Sel.Name == "logger"
	case *ast.Ident:
		return x.Name == "logger"
	case *ast.CallExpr:
		function, ok := x.Fun.(*ast.SelectorExpr)
		return ok && (function.Sel.Name == "Named" || function.Sel.Name == "Log")
	default:
		return false
	}
}

// promtool compiles every expression of the dashboard, and no two panels overlap.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title      string
		Templating struct {
			List []struct{ Name, Type string }
		}
		Panels []struct {
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, LegendFormat string }
			FieldConfig struct {
				Defaults struct{ Unit string }
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	taken := map[[2]int]string{}
	expressions := 0
	for _, panel := range dashboard.Panels {
		if panel.Title == "" || len(panel.Targets) == 0 || panel.FieldConfig.Defaults.Unit == "" {
			t.Errorf("the panel %q lacks a title, a target or a unit", panel.Title)
		}
		for x := range panel.GridPos.W {
			for y := range panel.GridPos.H {
				place := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
				if other, lies := taken[place]; lies || place[0] >= 24 {
					t.Fatalf("the panel %q lies on %q", panel.Title, other)
				}
				taken[place] = panel.Title
			}
		}
		for _, target := range panel.Targets {
			expression := target.Expr
			for _, variable := range dashboard.Templating.List {
				expression = strings.ReplaceAll(expression, "$"+variable.Name, ".*")
			}
			if strings.Contains(expression, "$") {
				t.Errorf("%s: %s uses a variable that the dashboard does not have", panel.Title, target.Expr)
			}
			expressions++
			rules += fmt.Sprintf("      - record: panel:%d\n        expr: %q\n", expressions, expression)
		}
	}
	if expressions < 10 {
		t.Fatalf("the dashboard has only %d expressions", expressions)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, ".", "", "check", "rules", file)
}
