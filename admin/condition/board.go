package condition

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Finding is what a source finds wrong.
type Finding struct {
	Kind *Kind
	// Subject tells conditions of one kind apart, such as the URL of a key set; empty if
	// there is only one. Of findings with the same kind and subject the first counts.
	Subject string
	// What says what is wrong, as a sentence. It holds no secret.
	What string
	// Since is when it began. Default: when it was found first.
	Since time.Time
}

// Condition is something that is wrong with the node at the moment.
type Condition struct {
	Name     string    `json:"name" doc:"The stable name of the kind of condition."`
	Severity Severity  `json:"severity" enum:"critical,warning,notice" doc:"critical: readers or writes are affected. warning: they will be, or a failure would lose records. notice: a risk that the configuration accepts."`
	Subject  string    `json:"subject,omitempty" doc:"What the condition is about, if there can be several of its kind."`
	Since    time.Time `json:"since"`
	What     string    `json:"what"`
	Remedy   string    `json:"remedy"`
}

const (
	// maxConditions bounds the conditions of a node, maxText each of their texts in
	// bytes: key sets and error texts come from other parties.
	maxConditions = 256
	maxText       = 512
)

// Board holds the conditions of a node. It is safe for concurrent use.
type Board struct {
	now     func() time.Time
	changed func(c Condition, began bool)

	mu      sync.Mutex
	sources []func() []Finding
	active  map[identity]Condition
}

type identity struct{ name, subject string }

// NewBoard returns a board without conditions. It calls changed, unless nil, with each
// condition that begins or ends.
func NewBoard(now func() time.Time, changed func(c Condition, began bool)) *Board {
	if changed == nil {
		changed = func(Condition, bool) {}
	}
	return &Board{now: now, changed: changed, active: map[identity]Condition{}}
}

// Add adds a source, which Look calls. It must not block.
func (b *Board) Add(source func() []Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sources = append(b.sources, source)
}

// Look asks all sources and returns the conditions, the worst first, at most 256.
func (b *Board) Look() []Condition {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[identity]Condition{}
	for _, source := range b.sources {
		for _, finding := range source() {
			b.find(found, finding)
		}
	}
	list := make([]Condition, 0, len(found))
	for id, c := range found {
		list = append(list, c)
		if _, known := b.active[id]; !known {
			b.changed(c, true)
		}
	}
	for id, c := range b.active {
		if _, still := found[id]; !still {
			b.changed(c, false)
		}
	}
	b.active = found
	slices.SortFunc(list, compare)
	return list
}

// find adds a finding to those of one look.
func (b *Board) find(found map[identity]Condition, f Finding) {
	c := Condition{
		Name: f.Kind.Name, Severity: f.Kind.Severity, Remedy: f.Kind.Remedy,
		Subject: shorten(f.Subject), Since: f.Since.UTC(), What: shorten(f.What),
	}
	id := identity{c.Name, c.Subject}
	if _, twice := found[id]; twice || len(found) >= maxConditions {
		return
	}
	if before, known := b.active[id]; f.Since.IsZero() {
		c.Since = b.now().UTC()
		if known {
			c.Since = before.Since
		}
	}
	found[id] = c
}

func compare(a, b Condition) int {
	return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Subject, b.Subject))
}

// shorten bounds a text that other parties may have written.
func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
