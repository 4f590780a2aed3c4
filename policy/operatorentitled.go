package policy

import (
	"errors"
	"slices"
)

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: "entitled", Words: wordList("sku"), Records: true, Compile: compileEntitled})
}

// entitledTest allows a reader who has a grant of one of its skus, and a signed link to
// the page.
type entitledTest struct {
	skus []template
	// content is the page's content id, which links may name.
	contentID template
}

func compileEntitled(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only("sku", contentParam); err != nil {
		return nil, err
	}
	skus, err := arguments.templates("sku", "sku", captures)
	if err != nil {
		return nil, err
	}
	if len(skus) == 0 {
		return nil, errors.New("it needs at least one sku")
	}
	test := &entitledTest{skus: skus, contentID: template{text: contentParam, param: true}}
	if content, err := arguments.template(contentParam, captures); err != nil {
		return nil, err
	} else if content != (template{}) {
		test.contentID = content
	}
	return test, nil
}

func (t *entitledTest) Test(q *Question) Reason { return q.grantedAny(t.skus) }

// misfit implements linkTest.
func (t *entitledTest) misfit(target *target, r *Request, rule *compiledRule, segments []string) string {
	page := t.content(rule, segments, r.Query)
	if source := rule.contentID(); source != nil && source.Query != "" && r.rebinds() {
		page.id = ""
	}
	switch {
	case target.content != "" && target.content != page.id:
		return contentParam
	case target.sku != "" && !t.acceptsSKU(target.sku, rule, segments):
		return "sku"
	case target.hasURL && r.Link.HostUnknown:
		return "host"
	case target.hasURL && !target.onHost(r):
		return "url"
	case target.hasURL && target.content == "" && target.opensURL(r):
		return ""
	}
	opened := target.opened(r)
	switch {
	case opened.id == "" && !target.hasURL:
		return ""
	case opened.id == "" || opened.id != page.id:
		return "url"
	case opened.space != page.space:
		return "contentSpace"
	default:
		return ""
	}
}

// needs implements linkTest.
func (t *entitledTest) needs(rule *compiledRule, segments []string) (skus []string) {
	for _, sku := range t.skus {
		skus = append(skus, sku.resolve(rule, segments))
	}
	return skus
}

// content implements linkTest.
func (t *entitledTest) content(rule *compiledRule, segments []string, query string) content {
	return rule.contentOf(t.contentID, segments, query)
}

// hasContent implements linkTest.
func (t *entitledTest) hasContent(rule *compiledRule) bool {
	return rule.contentID() != nil || !t.contentID.param || rule.fixed[t.contentID.text] != "" ||
		slices.ContainsFunc(rule.segments, func(s segment) bool { return s.capture == t.contentID.text })
}

func (t *entitledTest) acceptsSKU(sku string, rule *compiledRule, segments []string) bool {
	for _, template := range t.skus {
		if template.resolve(rule, segments) == sku {
			return true
		}
	}
	return false
}
