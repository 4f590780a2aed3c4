package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// content identifies a piece of content: an article with its images, or an issue of a
// newspaper. Ids are unique within a space.
type content struct{ space, id string }

// The names of the rule options of links.
const (
	optionSpace   = "content_space"
	optionID      = "content_id"
	optionMethods = "link_methods"
)

// contentParam is the parameter of a rule that has the content id of the page.
const contentParam = "publisherContentId"

func init() {
	RegisterRuleOption(RuleOption{Name: optionSpace, Compile: compileSpace})
	RegisterRuleOption(RuleOption{Name: optionID, Compile: compileContentID})
	RegisterRuleOption(RuleOption{Name: optionMethods, Compile: compileLinkMethods})
}

var spacePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckContentSpace returns an error if a text is not the name of a content space.
func CheckContentSpace(name string) error {
	if !spacePattern.MatchString(name) {
		return fmt.Errorf("%q is not a name of a content space: lower-case letters, digits and hyphens, at most 63", name)
	}
	return nil
}

func compileSpace(value json.RawMessage) (any, error) {
	var name string
	if err := json.Unmarshal(value, &name); err != nil {
		return nil, errors.New("it must be a string")
	}
	return name, CheckContentSpace(name)
}

// ContentID is the rule option content_id: where the content id of a page is, if the path
// does not capture it as publisherContentId. Exactly one of Capture, Query and Value is set.
type ContentID struct {
	// Capture is the name of a captured segment.
	Capture string `json:"capture,omitempty"`
	// Without are suffixes of which the first that the segment has is removed.
	Without []string `json:"without,omitempty"`
	// Query is the name of a query parameter.
	Query string `json:"query,omitempty"`
	// Value is the id itself.
	Value string `json:"value,omitempty"`
}

// Limits of the rule option content_id: the number of its suffixes, and the bytes of
// each of its texts.
const (
	maxSuffixes    = 16
	maxContentText = 255
)

func compileContentID(value json.RawMessage) (any, error) {
	source := new(ContentID)
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(source); err != nil {
		return nil, errors.New(`it must be an object such as {"capture": "id"}, {"query": "id"} or {"value": "hello"}`)
	}
	set := 0
	for _, text := range append([]string{source.Capture, source.Query, source.Value}, source.Without...) {
		if text != "" {
			set++
		}
		if len(text) > maxContentText {
			return nil, fmt.Errorf("a text is longer than %d bytes", maxContentText)
		}
	}
	switch {
	case set-len(source.Without) != 1 || slices.Contains(source.Without, ""):
		return nil, errors.New("it needs exactly one of capture, query and value, and no suffix may be empty")
	case len(source.Without) > 0 && source.Capture == "":
		return nil, errors.New("only of a captured segment a suffix is removed")
	case len(source.Without) > maxSuffixes:
		return nil, fmt.Errorf("it has more than %d suffixes", maxSuffixes)
	}
	return source, nil
}

// ParseContentID parses the option as it is written in a Caddyfile: `{capture}`, which
// `without <suffix>…` may follow, `query <name>`, or the id itself.
func ParseContentID(words []string) (ContentID, error) {
	name, captured := "", false
	if len(words) > 0 {
		name, captured = captureName(words[0])
	}
	switch {
	case captured && len(words) == 1:
		return ContentID{Capture: name}, nil
	case captured && len(words) > 2 && words[1] == "without":
		return ContentID{Capture: name, Without: words[2:]}, nil
	case len(words) == 2 && words[0] == "query":
		return ContentID{Query: words[1]}, nil
	case len(words) == 1:
		return ContentID{Value: words[0]}, nil
	}
	return ContentID{}, errors.New("write `content_id {capture} [without <suffix>…]`, `content_id query <name>` or `content_id <id>`")
}

func compileLinkMethods(value json.RawMessage) (any, error) {
	var methods []string
	if err := json.Unmarshal(value, &methods); err != nil || len(methods) == 0 {
		return nil, errors.New("it must be a list of methods")
	}
	return methods, checkMethods(methods)
}

// newCompiledOptions returns the options of a rule by their values.
func newCompiledOptions(values map[string]any) *compiledOptions {
	o := &compiledOptions{values: values}
	o.space, _ = values[optionSpace].(string)
	o.contentID, _ = values[optionID].(*ContentID)
	o.methods, _ = values[optionMethods].([]string)
	o.loss, _ = values[OptionStoreLoss].(*StoreLoss)
	return o
}

// captures returns the parameters that the steps of a rule may name: what its path
// captures, and the content id unless it is in the query.
func (o *compiledOptions) captures(captures []string) ([]string, error) {
	if o == nil || o.contentID == nil || o.contentID.Query != "" {
		return captures, nil
	}
	if name := o.contentID.Capture; name != "" && !slices.Contains(captures, name) {
		return nil, fmt.Errorf("%s: {%s} is not captured by the path", optionID, name)
	}
	if slices.Contains(captures, contentParam) {
		return captures, nil
	}
	return append(slices.Clone(captures), contentParam), nil
}

// checkOptions refuses options that have no effect on a rule.
func (s *compiledSteps) checkOptions(rule *Rule) error {
	if s.options == nil {
		return nil
	}
	if err := s.checkStoreLoss(rule); err != nil {
		return err
	}
	if s.linkTest == nil {
		for _, name := range []string{optionSpace, optionID, optionMethods} {
			if s.options.values[name] != nil && (len(s.options.meters) == 0 || name == optionMethods) {
				return fmt.Errorf("%s: no step of the rule accepts links: only `entitled` does", name)
			}
		}
		return nil
	}
	taken := func(step Allow) bool { return step.Arguments[contentParam] != nil }
	if s.options.contentID != nil && slices.ContainsFunc(rule.Steps(), taken) {
		return fmt.Errorf("%s: a step has the argument %s as well: leave one of them out", optionID, contentParam)
	}
	return nil
}

// checkLinkMethods refuses methods that the rule does not match.
func (r *compiledRule) checkLinkMethods() error {
	if r.options == nil || len(r.Methods) == 0 {
		return nil
	}
	for _, method := range r.options.methods {
		if method != http.MethodHead && !slices.Contains(r.Methods, method) {
			return fmt.Errorf("%s: the rule does not match %s", optionMethods, method)
		}
	}
	return nil
}

// opensByLink reports whether links open pages of the rule to requests of a method. HEAD
// is judged as GET.
func (r *compiledRule) opensByLink(method string) bool {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if r.options == nil || r.options.methods == nil {
		return method == http.MethodGet
	}
	return slices.Contains(r.options.methods, method)
}

// space returns the content space of the rule: the one that it names, or else one of its
// own, which is its path.
func (r *compiledRule) space() string {
	if r.options != nil && r.options.space != "" {
		return r.options.space
	}
	rooted, _ := RootedPath(r.Path) // a compiled rule's path is valid
	for len(rooted) > 1 && rooted[len(rooted)-1] == '/' {
		rooted = rooted[:len(rooted)-1]
	}
	return rooted
}

// contentID returns the rule's option content_id, or nil.
func (r *compiledRule) contentID() *ContentID {
	if r.options == nil {
		return nil
	}
	return r.options.contentID
}

// ofPath returns the content id of a page that the rule matched, unless it is in the query.
func (c *ContentID) ofPath(rule *compiledRule, segments []string) (string, bool) {
	switch {
	case c.Query != "":
		return "", false
	case c.Value != "":
		return c.Value, true
	}
	id, found := rule.captured(c.Capture, segments)
	for _, suffix := range c.Without {
		if without, had := strings.CutSuffix(id, suffix); had && without != "" {
			return without, found
		}
	}
	return id, found
}

// ofQuery returns the content id in a query. It is empty unless exactly one parameter can
// be the one that has it, under that name.
func (c *ContentID) ofQuery(query string) (id string) {
	pairs, err := queryPairs(query)
	if err != nil {
		return ""
	}
	want, found := readQueryName(c.Query), 0
	for _, have := range pairs {
		if read := readQueryName(have.name); !want.conflicts(&read) {
			continue
		}
		if found++; found > 1 || have.name != c.Query {
			return ""
		}
		id = have.value
	}
	return id
}

// contentOf returns the content of a page that the rule matched, by a step's content id.
// Its id is empty if the page has none.
func (r *compiledRule) contentOf(id template, segments []string, query string) content {
	found := content{space: r.space()}
	if source := r.contentID(); source != nil && source.Query != "" {
		found.id = source.ofQuery(query)
	} else {
		found.id = id.resolve(r, segments)
	}
	return found
}

// landing returns the content of the page of the link's url, by the rules of the site. Its
// id is empty if the page has none, or if it depends on how the path is read.
func (t *target) landing(r *Request) content {
	rules := r.rules.forMethod(http.MethodGet)
	exact := rules.match(http.MethodGet, t.path)
	found := t.contentUnder(exact)
	if r.Site.Paths.CaseSensitive {
		return found
	}
	folded := rules.matchFolded(http.MethodGet, t.path, exact)
	switch other := t.contentUnder(folded); {
	case folded == exact || other.id == "" || other == found:
		return found
	case found.id == "":
		return other
	}
	return content{}
}

func (t *target) contentUnder(rule *compiledRule) content {
	if rule == nil || rule.linkTest == nil {
		return content{}
	}
	return rule.linkTest.content(rule, t.path, t.rawQuery)
}

// opened returns the content that the link opens. Its id is empty if the link opens its
// url alone, or whatever has its sku.
func (t *target) opened(r *Request) content {
	opens := content{space: t.space, id: t.content}
	if t.hasURL && (opens.id == "" || opens.space == "") {
		landing := t.landing(r)
		if opens.id == "" {
			return landing
		}
		if landing.id != "" {
			opens.space = landing.space
		}
	}
	if opens.space == "" {
		opens.space = r.defaultSpace
	}
	return opens
}

// defaultSpaces caches the content spaces that vendors declared as default.
type defaultSpaces struct{ byVendor sync.Map } // vendor -> stampedSpace

type stampedSpace struct {
	name  string
	stamp uint64
}

// loadDefaultSpace sets the space of links that name a content id without a space: the
// one that the vendor declared, or else that of the site's first rule with content ids.
// The error is ErrUnavailable.
func (p *Policy) loadDefaultSpace(ctx context.Context, r *Request) error {
	if r.defaultSpace != "" {
		return nil
	}
	name, err := p.declaredSpace(ctx, r.Site.Vendor)
	if err != nil {
		return unavailable(err)
	}
	if name == "" {
		name = r.rules.firstSpace()
	}
	r.defaultSpace = name
	return nil
}

func (p *Policy) declaredSpace(ctx context.Context, vendor string) (string, error) {
	stamp := p.versions.Shared()
	if p.spaces != nil {
		if found, ok := p.spaces.byVendor.Load(vendor); ok {
			if cached, _ := found.(stampedSpace); cached.stamp == stamp {
				return cached.name, nil
			}
		}
	}
	name, err := p.records.DefaultSpace(ctx, vendor)
	if err == nil && p.spaces != nil {
		p.spaces.byVendor.Store(vendor, stampedSpace{name, stamp})
	}
	return name, err
}

// firstSpace returns the space of the first rule whose pages have content ids.
func (s *Ruleset) firstSpace() string {
	if s == nil {
		return ""
	}
	for i := range s.rules {
		if rule := &s.rules[i]; rule.linkTest != nil && rule.linkTest.hasContent(rule) {
			return rule.space()
		}
	}
	return ""
}
