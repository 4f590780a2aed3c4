package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// registered are the operators and rule options of the program.
var registered struct {
	operators []Operator
	options   []RuleOption
}

// RegisterOperator adds an operator to StandardOperators. The file that implements the
// operator calls it in an init function.
func RegisterOperator(operator Operator) {
	registered.operators = append(registered.operators, operator)
}

// RegisterRuleOption adds a rule option to StandardOperators, like RegisterOperator.
func RegisterRuleOption(option RuleOption) {
	registered.options = append(registered.options, option)
}

// StandardOperators returns the registered operators and rule options. The registry is
// shared and must not be changed.
var StandardOperators = sync.OnceValue(func() *Operators {
	return NewOperators(registered.operators...).With(registered.options...)
})

// RuleOption is a setting of a rule that does not decide. Its user reads it from a
// decision, see Decision.Option.
type RuleOption struct {
	Name string
	// Compile checks the stored value, and returns the value for Decision.Option.
	Compile func(value json.RawMessage) (any, error)
}

// Operators is a registry of operators and rule options. It is safe for concurrent use
// once it is complete.
type Operators struct {
	byName  map[string]*Operator
	options map[string]*RuleOption
}

// NewOperators returns a registry of operators. It panics if two share a name or a
// code.
func NewOperators(operators ...Operator) *Operators {
	registry := &Operators{byName: make(map[string]*Operator), options: make(map[string]*RuleOption)}
	add := func(name string, operator *Operator) {
		if registry.byName[name] != nil {
			panic("policy: operator " + name + " is registered twice")
		}
		registry.byName[name] = operator
	}
	for _, operator := range operators {
		add(operator.Name, &operator)
		if operator.Code != NoCode {
			add(strconv.Itoa(operator.Code), &operator)
		}
	}
	return registry
}

// With adds rule options to the registry, and returns it. It panics if an option has
// the name of an operator or of another option, because both occur in a rule's block.
func (o *Operators) With(options ...RuleOption) *Operators {
	for _, option := range options {
		if o.options[option.Name] != nil || o.byName[option.Name] != nil {
			panic("policy: rule option " + option.Name + " is registered twice")
		}
		o.options[option.Name] = &option
	}
	return o
}

// Words returns the step of an operator whose arguments are written as words, as in a
// Caddyfile. The error is ErrUnknownOperator or that of the operator.
func (o *Operators) Words(operator string, words []string) (Allow, error) {
	found, err := o.Find(operator)
	switch {
	case err != nil:
		return Allow{}, err
	case len(words) == 0:
		return Allow{Operator: operator}, nil
	case found.Words == nil:
		return Allow{}, fmt.Errorf("%s takes no arguments, such as a sku", found.Name)
	}
	arguments, err := found.Words(words)
	return Allow{Operator: operator, Arguments: arguments}, err
}

// ErrUnknownOperator is wrapped by the error for a step whose operator is not in the
// registry.
var ErrUnknownOperator = errors.New("unknown operator")

// Find returns an operator by its name or its decimal code. The error is
// ErrUnknownOperator; its text names the known operators.
func (o *Operators) Find(operator string) (*Operator, error) {
	if found := o.byName[operator]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("%w %q; known are %s", ErrUnknownOperator, operator, strings.Join(o.Names(), ", "))
}

// Names returns the operators' names in order.
func (o *Operators) Names() []string {
	var names []string
	for name, operator := range o.byName {
		if name == operator.Name {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// compileOptions compiles the options of a rule.
func (o *Operators) compileOptions(stored map[string]json.RawMessage) (*compiledOptions, error) {
	if len(stored) == 0 {
		return nil, nil
	}
	compiled := make(map[string]any, len(stored))
	for name, value := range stored {
		option := o.options[name]
		if option == nil {
			return nil, fmt.Errorf("unknown option %q", name)
		}
		var err error
		if compiled[name], err = option.Compile(value); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return newCompiledOptions(compiled), nil
}
