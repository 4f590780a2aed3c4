package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/gatefold/gatefold/admin"
)

// A rule file is the body of `PUT /api/proxy/rules`: a JSON array of rules in the
// order in which they are tried, without ranks and defaults. It has one rule per
// line, so that a diff shows whole rules.

func exportRules(c *call) error {
	rules, _, err := c.rules(c.text("site"))
	if err != nil {
		return err
	}
	return writeRuleFile(c.out, rules)
}

func writeRuleFile(w io.Writer, rules []admin.RuleBody) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	separator := "[\n\t"
	for _, rule := range rules {
		rule.Rank = nil
		if forwards(&rule) {
			rule.Forward = nil
		}
		text.WriteString(separator)
		if err := encoder.Encode(rule); err != nil {
			return err
		}
		text.Truncate(text.Len() - 1) // the encoder's newline
		separator = ",\n\t"
	}
	if len(rules) == 0 {
		text.WriteByte('[')
	}
	text.WriteString("\n]\n")
	_, err := w.Write(text.Bytes())
	return err
}

// maxRuleFile bounds a file in bytes, as the API bounds the body.
const maxRuleFile = 8 << 20

// readRuleFile reads a rule file. An error has the number of the line.
func readRuleFile(name string, stdin io.Reader) ([]admin.RuleBody, error) {
	content, err := readFile(name, stdin, maxRuleFile)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	rules, err := decodeRules(decoder)
	if err != nil {
		line := 1 + bytes.Count(content[:decoder.InputOffset()], []byte("\n"))
		return nil, fmt.Errorf("%s, line %d or after: %w", name, line, err)
	}
	return rules, nil
}

// decodeRules decodes an array of rules, one by one, so that the decoder's offset
// tells where an error is.
func decodeRules(decoder *json.Decoder) ([]admin.RuleBody, error) {
	if open, err := decoder.Token(); err != nil || open != json.Delim('[') {
		return nil, errors.New("not a JSON array of rules")
	}
	rules := []admin.RuleBody{}
	for decoder.More() {
		var rule admin.RuleBody
		if err := decoder.Decode(&rule); err != nil {
			return nil, err
		}
		if rule.Path == "" || len(rule.Allow.RawMessage) == 0 {
			return nil, errors.New("the rule needs a path and allow")
		}
		rules = append(rules, rule)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("the array does not end")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is text after the array")
	}
	return rules, nil
}

// readFile reads a file, or standard input for the name -. It fails if the content
// is larger than the limit, in bytes.
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
	rules, err := readRuleFile(c.args[0], c.cmd.InOrStdin())
	if err != nil {
		return err
	}
	site := c.text("site")
	before, version, err := c.rules(site)
	if err != nil {
		return err
	}
	// The server validates all rules before the changes are printed.
	query := ruleQuery(site)
	query.Set("dry_run", "true")
	var answer admin.RulePage
	if err := c.request(http.MethodPut, rulesPath, query, rules, &answer); err != nil {
		return err
	}
	changes := diffRules(before, rules)
	changes.DryRun = c.on("dry-run")
	if !changes.DryRun && changes.any() {
		query = ruleQuery(site)
		query.Set("if_version", version)
		if err := c.request(http.MethodPut, rulesPath, query, rules, &answer); err != nil {
			return err
		}
	}
	c.warn(answer.Detail)
	return c.print(changes, changes.text())
}
