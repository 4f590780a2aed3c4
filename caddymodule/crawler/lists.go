package crawler

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Lists are the lists that the configurations of a process use. A list outlives a reload that
// keeps it. It is safe for concurrent use.
type Lists struct {
	now func() time.Time

	mu   sync.Mutex
	open map[string]*used
}

type used struct {
	list  *List
	users int
	stop  context.CancelFunc
}

// NewLists returns no lists yet.
func NewLists(now func() time.Time) *Lists { return &Lists{now: now, open: map[string]*used{}} }

// Use returns the list at an https URL, and keeps it fresh until every user has released it.
// It does not wait for a fetch.
func (l *Lists) Use(address string, source Source) *List {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.open[address]
	if entry == nil {
		ctx, stop := context.WithCancel(context.Background())
		entry = &used{list: &List{address: address, now: l.now, source: source}, stop: stop}
		l.open[address] = entry
		go entry.list.run(ctx)
	}
	entry.users++
	entry.list.use(source)
	return entry.list
}

// Release ends a use of a list.
func (l *Lists) Release(list *List) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.open[list.address]
	if entry == nil || entry.list != list {
		return
	}
	if entry.users--; entry.users == 0 {
		entry.stop()
		delete(l.open, list.address)
	}
}

// Statuses returns the states of all lists, by address.
func (l *Lists) Statuses() []Status {
	l.mu.Lock()
	open := make([]*List, 0, len(l.open))
	for _, entry := range l.open {
		open = append(open, entry.list)
	}
	l.mu.Unlock()
	statuses := make([]Status, len(open))
	for i, list := range open {
		statuses[i] = list.Status()
	}
	slices.SortFunc(statuses, func(a, b Status) int { return strings.Compare(a.Address, b.Address) })
	return statuses
}
