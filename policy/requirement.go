package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/gatefold/gatefold/policy/memory"
)

// Requirement is what an origin requires of the readers of a page, for a rule with the
// operator origin. It is immutable.
type Requirement struct {
	test     Test
	noTeaser bool
	// Text is the value of the header; empty for NoRequirement.
	Text string
}

// Teases reports whether a teaser of the page may be sent. A nil Requirement says nothing
// about it.
func (r *Requirement) Teases() bool { return r == nil || !r.noTeaser }

// maxRequirement bounds the value of the header, in bytes.
const maxRequirement = 1024

// requirements holds the last parsed values: a site has few.
var requirements = memory.NewRecent[*Requirement](1024)

// NoRequirement is that of an answer that is no page: an error, or a redirect.
var NoRequirement = &Requirement{test: anyTest{}}

// ParseRequirement parses the values of the header Gatefold-Require: a dictionary (RFC 9651,
// section 3.2) in one line, or in equal ones. It has one of
//
//	any
//	authenticated
//	entitled=("premium" "art-42")
//	subscribed=("digital"), profile="acme"
//
// and may have teaser=?0. What it does not know it refuses, because that may restrict.
func ParseRequirement(values []string) (*Requirement, error) {
	if len(values) == 0 {
		return nil, errors.New("the response does not have it")
	}
	text := values[0]
	for _, other := range values[1:] {
		if other != text {
			return nil, errors.New("the response has it twice, and they differ")
		}
	}
	if len(text) > maxRequirement {
		return nil, fmt.Errorf("it is longer than %d bytes", maxRequirement)
	}
	if known := requirements.Get(text); known != nil {
		return *known, nil
	}
	parsed, err := parseRequirement(text)
	if err != nil {
		return nil, err
	}
	parsed.Text = strings.Clone(text)
	requirements.Put(parsed.Text, parsed)
	return parsed, nil
}

func parseRequirement(text string) (*Requirement, error) {
	said, err := httpsfv.UnmarshalDictionary([]string{text})
	if err != nil {
		return nil, fmt.Errorf("it is no dictionary of RFC 9651: %w", err)
	}
	r, arguments, name := new(Requirement), Arguments{}, ""
	for _, key := range said.Names() {
		member, _ := said.Get(key)
		switch key {
		case "any", "authenticated", "entitled", "subscribed":
			if name != "" {
				return nil, fmt.Errorf("it has both %s and %s", name, key)
			}
			name = key
			err = setRequired(arguments, key, member)
		case "profile":
			arguments[key], err = requiredText(key, member)
		case "teaser":
			teases, ok := bareItem(member).(bool)
			if r.noTeaser = !teases; !ok {
				err = errors.New("teaser is neither ?0 nor ?1")
			}
		default:
			err = fmt.Errorf("%.40q is unknown", key)
		}
		if err != nil {
			return nil, err
		}
	}
	if name == "" {
		return nil, errors.New("it has none of any, authenticated, entitled and subscribed")
	}
	operator, err := StandardOperators().Find(name)
	if err != nil {
		return nil, err
	}
	r.test, err = operator.Compile(arguments, nil)
	return r, err
}

// setRequired sets the skus or the plans that a member of the header names.
func setRequired(arguments Arguments, key string, member httpsfv.Member) error {
	list, ok := member.(httpsfv.InnerList)
	if key == "any" || key == "authenticated" {
		if bareItem(member) != true {
			return fmt.Errorf("%s has a value", key)
		}
		return nil
	}
	if !ok || len(list.Items) == 0 || len(list.Params.Names()) > 0 {
		return fmt.Errorf(`%s is no list of strings, such as ("premium")`, key)
	}
	texts := make([]json.RawMessage, len(list.Items))
	for i, item := range list.Items {
		var err error
		if texts[i], err = requiredText(key, item); err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(texts)
	arguments[map[string]string{"entitled": "sku", "subscribed": "plan"}[key]] = encoded
	return err
}

// requiredText returns a string of the header as an argument of an operator, where a brace
// would be a capture of the path.
func requiredText(key string, member httpsfv.Member) (json.RawMessage, error) {
	text, ok := bareItem(member).(string)
	if !ok || text == "" || strings.ContainsAny(text, "{}") {
		return nil, fmt.Errorf("%s has what is no string, is empty or has a brace", key)
	}
	return json.Marshal(text)
}

// bareItem returns the value of an item without parameters, or nil.
func bareItem(member httpsfv.Member) any {
	item, ok := member.(httpsfv.Item)
	if !ok || len(item.Params.Names()) > 0 {
		return nil
	}
	return item.Value
}
