package condition

import (
	"cmp"
	"slices"
	"sync"
)

// Severity says how soon an operator must act.
type Severity string

const (
	// Critical means that readers or writes are affected now.
	Critical Severity = "critical"
	// Warning means that they will be, or a failure would lose records.
	Warning Severity = "warning"
	// Notice is a risk that the configuration accepts. It needs no action and no alert.
	Notice Severity = "notice"
)

// rank orders severities, the worst first.
func (s Severity) rank() int { return slices.Index([]Severity{Critical, Warning, Notice}, s) }

// Kind is a kind of condition.
type Kind struct {
	// Name is the stable name, in lower case with underscores.
	Name     string
	Severity Severity
	// Remedy is what an operator does, as a sentence.
	Remedy string
}

var registered struct {
	sync.Mutex
	kinds []*Kind
}

// Register adds a kind, at the start of the program. It panics when the name is taken or
// the severity is unknown.
func Register(name string, severity Severity, remedy string) *Kind {
	registered.Lock()
	defer registered.Unlock()
	if severity.rank() < 0 {
		panic("condition " + name + " has the unknown severity " + string(severity))
	}
	if slices.ContainsFunc(registered.kinds, func(kind *Kind) bool { return kind.Name == name }) {
		panic("condition " + name + " is registered twice")
	}
	kind := &Kind{Name: name, Severity: severity, Remedy: remedy}
	registered.kinds = append(registered.kinds, kind)
	return kind
}

// Kinds returns all kinds, the worst first.
func Kinds() []*Kind {
	registered.Lock()
	defer registered.Unlock()
	return slices.SortedFunc(slices.Values(registered.kinds), func(a, b *Kind) int {
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(a.Name, b.Name))
	})
}
