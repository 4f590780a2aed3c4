package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// table collects the results, in Markdown.
type table struct {
	head, rows, contexts []string
}

func newTable(b *bench) *table {
	t := new(table)
	o := b.options
	t.head = append(t.head,
		fmt.Sprintf("%s; %s; %d cores; Linux %s.", time.Now().UTC().Format("2006-01-02 15:04 UTC"), processor(), runtime.NumCPU(), kernel()),
		fmt.Sprintf("%s, Caddy %s, %s, %s.", runtime.Version(), caddyVersion(), firstLine("nginx", "-v"), firstLine("wrk", "-v")),
		fmt.Sprintf("%d slices of %s for each comparison, taken in turns; %d connections; answers of 1 KiB.", 2*o.rounds(), o.slice, o.connections),
		fmt.Sprintf("The big site has %d rules, %d trusted domains, %d grants and %d readers who come by Zipf's law.", o.rules, trustedBeside(o.rules), o.grants, o.readers))
	return t
}

// ratio adds a row whose values are ratios.
func (t *table) ratio(name string, i interval, target float64, upper bool) {
	t.row(name, fmt.Sprintf("%.3f", i.median), fmt.Sprintf("%.3f–%.3f (%d pairs)", i.low, i.high, i.n), target, upper, i, "%.2f")
}

// value adds a row whose values have a unit.
func (t *table) value(name, unit string, i interval, target float64, upper bool) {
	t.row(name, fmt.Sprintf("%.1f %s", i.median, unit), fmt.Sprintf("%.1f–%.1f (%d)", i.low, i.high, i.n), target, upper, i, "%.0f "+unit)
}

// none adds a row whose value must be zero.
func (t *table) none(name string, got, of int) {
	verdict := "met"
	if got > 0 {
		verdict = "missed"
	}
	t.rows = append(t.rows, fmt.Sprintf("| %s | 0 | %d | of %d | %s |", name, got, of, verdict))
}

// row adds a row; a target of zero is none. A row is met when the median
// reaches the target.
func (t *table) row(name, median, between string, target float64, upper bool, i interval, format string) {
	bound, verdict := "", ""
	if target != 0 {
		sign, met := "≥ ", i.above(target)
		if upper {
			sign, met = "≤ ", i.below(target)
		}
		bound, verdict = sign+fmt.Sprintf(format, target), "missed"
		if met {
			verdict = "met"
		}
	}
	t.rows = append(t.rows, fmt.Sprintf("| %s | %s | %s | %s | %s |", name, bound, median, between, verdict))
}

// context adds a result that is no comparison.
func (t *table) context(name, text string) {
	t.contexts = append(t.contexts, fmt.Sprintf("| %s | %s |", name, text))
}

// String returns the table as Markdown.
func (t *table) String() string {
	var text strings.Builder
	text.WriteString(strings.Join(t.head, "\n") + "\n\n")
	text.WriteString("| what | target | median | 95 % interval | |\n|---|---|---|---|---|\n")
	text.WriteString(strings.Join(t.rows, "\n") + "\n\n")
	text.WriteString("| context | |\n|---|---|\n")
	text.WriteString(strings.Join(t.contexts, "\n") + "\n")
	return text.String()
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unknown processor"
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

func caddyVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/caddyserver/caddy/v2" {
				return module.Version
			}
		}
	}
	return "of an unknown version"
}

// firstLine returns the first line of a program's output, whatever its exit code.
func firstLine(program string, args ...string) string {
	output, _ := exec.Command(program, args...).CombinedOutput() //nolint:noctx // it ends by itself
	line, _, _ := strings.Cut(string(output), "\n")
	line, _, _ = strings.Cut(line, " [")
	return strings.TrimSpace(line)
}
