package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
)

// A rule file is the body of `PUT /api/proxy/rules`: a JSON array of rules in the
// order in which they are tried, without ranks, one rule a line. So a change of
// one rule is a change of one line.

// exportedRule returns a rule as it stands in a file.
func exportedRule(r Rule) ([]byte, error) {
	r.Rank = 0
	if r.Forward != nil && *r.Forward {
		r.Forward = nil
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), nil
}

func exportRules(c *call) error {
	rules, _, err := c.rules(c.text("site"))
	if err != nil {
		return err
	}
	return writeRuleFile(c.out, rules)
}

func writeRuleFile(w io.Writer, rules []Rule) error {
	text := bytes.NewBufferString("[")
	for i, rule := range rules {
		line, err := exportedRule(rule)
		if err != nil {
			return err
		}
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString("\n\t")
		text.Write(line)
	}
	text.WriteString("\n]\n")
	_, err := w.Write(text.Bytes())
	return err
}

// maxRuleFile bounds a file, as the API bounds the body.
const maxRuleFile = 8 << 20

// readRuleFile reads a file of rules. What is wrong with it is told with its
// line.
func readRuleFile(name string, stdin io.Reader) ([]Rule, error) {
	content, err := readFile(name, stdin, maxRuleFile)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	fail := func(err error) ([]Rule, error) {
		line := 1 + bytes.Count(content[:decoder.InputOffset()], []byte("\n"))
		return nil, fmt.Errorf("%s, line %d or after: %w", name, line, err)
	}
	if open, err := decoder.Token(); err != nil || open != json.Delim('[') {
		return fail(errors.New("is not a JSON array of rules"))
	}
	rules := []Rule{}
	for decoder.More() {
		var rule Rule
		if err := decoder.Decode(&rule); err != nil {
			return fail(err)
		}
		if rule.Path == "" || len(rule.Allow) == 0 {
			return fail(errors.New("the rule has no path, or no allow"))
		}
		rules = append(rules, rule)
	}
	if _, err := decoder.Token(); err != nil {
		return fail(errors.New("the array does not end"))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("something follows the array"))
	}
	return rules, nil
}

// readFile reads a file of limited size; `-` is standard input.
func readFile(name string, stdin io.Reader, limit int64) ([]byte, error) {
	source := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		source = file
	}
	content, err := io.ReadAll(io.LimitReader(source, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return content, nil
}

func importRules(c *call) error {
	wanted, err := readRuleFile(c.args[0], c.cmd.InOrStdin())
	if err != nil {
		return err
	}
	site := c.text("site")
	have, version, err := c.rules(site)
	if err != nil {
		return err
	}
	// The server checks everything before anything is told.
	query := c.ruleQuery(site)
	query.Set("dry_run", "true")
	var answer struct {
		Detail string `json:"detail"`
	}
	if err := c.request(http.MethodPut, rulesPath, query, wanted, &answer); err != nil {
		return err
	}
	dry, _ := c.cmd.Flags().GetBool("dry-run")
	changes := diffRules(have, wanted)
	changes.DryRun = dry
	if !dry && changes.any() {
		query = c.ruleQuery(site)
		query.Set("if_version", version)
		if err := c.request(http.MethodPut, rulesPath, query, wanted, &answer); err != nil {
			return err
		}
	}
	if answer.Detail != "" {
		fmt.Fprintln(c.cmd.ErrOrStderr(), printable(answer.Detail))
	}
	if c.json {
		return c.printJSON(changes)
	}
	return changes.print(c.out)
}

// ruleChanges is how two states of a site's rules differ.
type ruleChanges struct {
	DryRun  bool         `json:"dryRun"`
	Rules   int          `json:"rules"`
	Added   []placedRule `json:"added"`
	Removed []placedRule `json:"removed"`
	Changed []ruleChange `json:"changed"`
	Moved   []ruleMoved  `json:"moved"`
}

// placedRule is a rule at its place, counted from one.
type placedRule struct {
	Place int  `json:"place"`
	Rule  Rule `json:"rule"`
}

type ruleChange struct {
	From placedRule `json:"from"`
	To   placedRule `json:"to"`
}

type ruleMoved struct {
	Path string `json:"path"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

func (d *ruleChanges) any() bool {
	return len(d.Added)+len(d.Removed)+len(d.Changed)+len(d.Moved) > 0
}

// diffRules compares two states of a site's rules, by the rules' paths. Ranks
// count as the order that they make. A rule is said to have moved only if the
// others could not have made room for it: as few as possible are.
func diffRules(from, to []Rule) ruleChanges {
	byRank := func(rules []Rule) []Rule {
		rules = slices.Clone(rules)
		slices.SortStableFunc(rules, func(a, b Rule) int { return cmp.Compare(a.Rank, b.Rank) })
		return rules
	}
	from, to = byRank(from), byRank(to)
	d := ruleChanges{Rules: len(to), Added: []placedRule{}, Removed: []placedRule{}, Changed: []ruleChange{}, Moved: []ruleMoved{}}
	places := make(map[string]int, len(from))
	for i := range from {
		places[from[i].Path] = i
	}
	var common []int // places in from, in the order of to
	kept := make(map[string]bool, len(to))
	for i := range to {
		if !strings.HasPrefix(to[i].Path, "/") {
			to[i].Path = "/" + to[i].Path
		}
		path := to[i].Path
		kept[path] = true
		was, known := places[path]
		if !known {
			d.Added = append(d.Added, placedRule{i + 1, to[i]})
			continue
		}
		common = append(common, was)
		if from[was].text() != to[i].text() {
			d.Changed = append(d.Changed, ruleChange{placedRule{was + 1, from[was]}, placedRule{i + 1, to[i]}})
		}
	}
	for i := range from {
		if !kept[from[i].Path] {
			d.Removed = append(d.Removed, placedRule{i + 1, from[i]})
		}
	}
	stay := longestRise(common)
	for i := range to {
		if was, known := places[to[i].Path]; known && !stay[was] {
			d.Moved = append(d.Moved, ruleMoved{to[i].Path, was + 1, i + 1})
		}
	}
	return d
}

// longestRise returns the members of a longest rising subsequence of distinct
// numbers.
func longestRise(numbers []int) map[int]bool {
	var ends []int                            // indexes: the least last member of a rise of each length
	before := make(map[int]int, len(numbers)) // the index before, in the rise that ends here
	for i, number := range numbers {
		at, _ := slices.BinarySearchFunc(ends, number, func(end, n int) int { return cmp.Compare(numbers[end], n) })
		before[i] = -1
		if at > 0 {
			before[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, i)
		} else {
			ends[at] = i
		}
	}
	members := make(map[int]bool, len(ends))
	if len(ends) == 0 {
		return members
	}
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		members[numbers[i]] = true
	}
	return members
}

// print tells the differences, one a line: removed, added, moved.
func (d *ruleChanges) print(w io.Writer) error {
	var text strings.Builder
	line := func(mark string, r placedRule) {
		fmt.Fprintf(&text, "%s %d %s\n", mark, r.Place, printable(r.Rule.text()))
	}
	for _, r := range d.Removed {
		line("-", r)
	}
	for _, change := range d.Changed {
		line("-", change.From)
		line("+", change.To)
	}
	for _, r := range d.Added {
		line("+", r)
	}
	for _, move := range d.Moved {
		fmt.Fprintf(&text, "> %s from %d to %d\n", printable(move.Path), move.From, move.To)
	}
	verb := "imported"
	if d.DryRun {
		verb = "would import"
	}
	if !d.any() {
		fmt.Fprintf(&text, "nothing changes: the site has these %d rules\n", d.Rules)
	} else {
		fmt.Fprintf(&text, "%s %d rules: %d added, %d removed, %d changed, %d moved\n",
			verb, d.Rules, len(d.Added), len(d.Removed), len(d.Changed), len(d.Moved))
	}
	_, err := io.WriteString(w, text.String())
	return err
}
