package siteaudit

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Text returns the report for a terminal: first the mistakes, then the ways to content
// that pass no gate, and how many do.
func (r *Report) Text() string {
	var out strings.Builder
	for _, finding := range r.Findings {
		fmt.Fprintf(&out, "WARNING  %s\n", finding)
	}
	if len(r.Findings) > 0 {
		out.WriteByte('\n')
	}
	gated, rows := 0, [][]string{{"SITE", "PATH", "GATE", "LEADS TO", "ONLY IF"}}
	for _, site := range r.Sites {
		for _, way := range site.Ways {
			switch {
			case way.Kind == Fixed:
			case len(way.Gates) > 0:
				gated++
			default:
				rows = append(rows, []string{site.Name, way.Path(), way.gateText(site), way.Handler, way.onlyIf()})
			}
		}
	}
	if len(rows) > 1 {
		out.WriteString("Ways to content that pass no gate:\n")
		w := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
		for _, row := range rows {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		_ = w.Flush() // a strings.Builder does not fail
		out.WriteByte('\n')
	}
	fmt.Fprintf(&out, "Ways to content on %d sites: %d pass a gate, %d pass none.\n", len(r.Sites), gated, len(rows)-1)
	if r.Truncated {
		out.WriteString("The configuration has more ways than this report.\n")
	}
	return out.String()
}

func (w *Way) gateText(site *Site) string {
	switch {
	case w.ErrorRoute:
		return "none (error route)"
	case w.Kind == Unknown:
		return "none (unknown handler)"
	case site.Gated:
		return "NONE, on a gated site"
	default:
		return "none, as on the whole site"
	}
}

func (w *Way) onlyIf() string {
	parts := w.Conditions
	if len(w.Except) > 0 {
		parts = append(slices.Clip(parts), "not "+strings.Join(w.Except, ", not "))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, "; ")
}
