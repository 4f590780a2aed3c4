package policy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxMethod bounds the name of a method in a rule, in bytes.
const maxMethod = 32

// CommonMethods returns the methods that a rule without methods matches (RFC 9110,
// section 9, and RFC 5789), without CONNECT and TRACE, which are not served.
func CommonMethods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}
}

// judgedMethods are the common methods as they are judged: HEAD is judged as GET.
var judgedMethods = [...]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// isCommon reports whether a method is one of CommonMethods. Methods are case-sensitive
// (RFC 9110, section 9.1): `get` is another method, which some origins serve as GET.
func isCommon(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// errMethodName is the error of a method that no rule can name.
var errMethodName = errors.New("is not a method in upper case: letters, digits, hyphens and underscores, beginning with a letter, such as GET or M-SEARCH")

// checkMethod returns an error if a rule cannot name a method.
func checkMethod(method string) error {
	switch method {
	case http.MethodConnect, http.MethodTrace, "PRI":
		return fmt.Errorf("%s is never served: leave it out; a WebSocket over HTTP/2 or HTTP/3 is judged as GET", method)
	}
	if method == "" || len(method) > maxMethod || method[0] < 'A' || method[0] > 'Z' {
		return fmt.Errorf("%q %w", method, errMethodName)
	}
	for _, c := range []byte(method) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("%q %w", method, errMethodName)
		}
	}
	return nil
}

// checkMethods checks the methods of a rule.
func checkMethods(methods []string) error {
	for i, method := range methods {
		if err := checkMethod(method); err != nil {
			return err
		}
		switch {
		case method == http.MethodHead && !slices.Contains(methods, http.MethodGet):
			return errors.New("HEAD is judged as GET: name GET instead")
		case slices.Contains(methods[:i], method):
			return fmt.Errorf("the method %s is repeated", method)
		}
	}
	return nil
}

// forMethod returns the rules that can match a method: all for a common one, and
// otherwise those that name it. It returns nil if there are none.
func (s *Ruleset) forMethod(method string) *Ruleset {
	if s == nil || isCommon(method) {
		return s
	}
	return s.uncommon[method]
}

// nameUncommon prepares the set for uncommon methods.
func (s *Ruleset) nameUncommon() {
	var named map[string][]compiledRule
	for i := range s.rules {
		for _, method := range s.rules[i].Methods {
			if !isCommon(method) {
				if named == nil {
					named = make(map[string][]compiledRule)
				}
				named[method] = append(named[method], s.rules[i])
			}
		}
	}
	for method, rules := range named {
		if s.uncommon == nil {
			s.uncommon = make(map[string]*Ruleset, len(named))
		}
		s.uncommon[method] = newRuleset(rules)
	}
}

// AllowedMethods returns the value of the Allow header for a request that was refused for
// its method (RFC 9110, section 15.5.6): the common methods, and those that a rule names
// for its path. Call it after Policy.Decide.
func (r *Request) AllowedMethods() string {
	methods := CommonMethods()
	if r.rules != nil {
		for method, named := range r.rules.uncommon {
			if slices.ContainsFunc(r.matches, func(m match) bool { return named.match(method, m.segments) != nil }) {
				methods = append(methods, method)
			}
		}
		slices.Sort(methods[len(judgedMethods)+1:])
	}
	return strings.Join(methods, ", ")
}
