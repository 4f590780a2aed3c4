package policy

import "errors"

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: "entitled", Words: wordList("sku"), Entitlements: true, Compile: compileEntitled})
}

// entitledTest allows a reader who has a grant of one of its skus, and a signed link to
// the page.
type entitledTest struct {
	skus []template
	// content is the page's content id, which links may name.
	content template
}

func compileEntitled(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only("sku", "publisherContentId"); err != nil {
		return nil, err
	}
	skus, err := arguments.templates("sku", "sku", captures)
	if err != nil {
		return nil, err
	}
	if len(skus) == 0 {
		return nil, errors.New("it needs at least one sku")
	}
	test := &entitledTest{skus: skus, content: template{text: "publisherContentId", param: true}}
	if content, err := arguments.template("publisherContentId", captures); err != nil {
		return nil, err
	} else if content != (template{}) {
		test.content = content
	}
	return test, nil
}

func (t *entitledTest) Test(q *Question) Reason { return q.grantedAny(t.skus) }

// misfit implements linkTest.
func (t *entitledTest) misfit(target *target, r *Request, rule *compiledRule, segments []string) string {
	switch {
	case target.content != "" && target.content != t.content.resolve(rule, segments):
		return "publisherContentId"
	case target.sku != "" && !t.acceptsSKU(target.sku, rule, segments):
		return "sku"
	case target.hasURL && r.Link.HostUnknown:
		return "host"
	case target.hasURL && !target.opensURL(r):
		return "url"
	default:
		return ""
	}
}

// needs implements linkTest.
func (t *entitledTest) needs(rule *compiledRule, segments []string) (skus []string, contentID string) {
	for _, sku := range t.skus {
		skus = append(skus, sku.resolve(rule, segments))
	}
	return skus, t.content.resolve(rule, segments)
}

func (t *entitledTest) acceptsSKU(sku string, rule *compiledRule, segments []string) bool {
	for _, template := range t.skus {
		if template.resolve(rule, segments) == sku {
			return true
		}
	}
	return false
}
