package webhook

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	// pollEvery is how often a node looks for events of others, and for attempts that are
	// due.
	pollEvery = 5 * time.Second
	// leaseTime is how long a node has a lease: another one goes on that long after a
	// crash. It is longer than an attempt.
	leaseTime = 2 * attemptTimeout
	// maxEndpoints bounds the endpoints to which a node delivers at once.
	maxEndpoints = 256
	// roundSize is the number of events that are sent to an endpoint at once.
	roundSize = 8
	// maxFailing bounds the failing endpoints that a node knows of.
	maxFailing = 64
	// closeWait is how long Close waits for attempts that are under way.
	closeWait = 5 * time.Second
)

// Options are the options of a Dispatcher.
type Options struct {
	Store *store.Store
	// Now is the clock of signatures and attempts.
	Now func() time.Time
	// Poll is how often the store is asked. Default: five seconds.
	Poll time.Duration
	// Jitter returns a number from 0 to 1. Default: a random one.
	Jitter func() float64
	// Failed is called with errors of the store. Optional.
	Failed func(error)
}

// Dispatcher delivers events until it is closed. It is safe for concurrent use.
type Dispatcher struct {
	options Options
	node    string
	sender  atomic.Pointer[sender]

	ctx     context.Context // of attempts
	cancel  context.CancelFunc
	stop    chan struct{} // closed by Close
	once    sync.Once
	started sync.Once
	running sync.WaitGroup

	mu      sync.Mutex
	active  map[endpoint]bool // whether to look again
	failing map[endpoint]Failing

	delivered, failed, dead atomic.Uint64
}

// endpoint identifies a webhook.
type endpoint struct{ vendor, id string }

// Failing is an endpoint that gets nothing.
type Failing struct {
	Vendor, ID string
	// Host is the host of its URL.
	Host  string
	Since time.Time
	// Failures is the number of attempts since then; zero for a disabled endpoint.
	Failures int
	// Disabled is why it is disabled; empty for one that is tried again.
	Disabled string
	Error    string
}

// Stats are numbers of attempts since the start.
type Stats struct{ Delivered, Failed, Dead uint64 }

// New returns a Dispatcher, which delivers from its first Configure on.
func New(options Options) *Dispatcher {
	options.Poll = cmp.Or(options.Poll, pollEvery)
	if options.Jitter == nil {
		options.Jitter = mathrand.Float64
	}
	if options.Failed == nil {
		options.Failed = func(error) {}
	}
	d := &Dispatcher{options: options, node: rand.Text(), stop: make(chan struct{}), active: map[endpoint]bool{}, failing: map[endpoint]Failing{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Configure sets the settings of deliveries from now on. The first call starts them.
func (d *Dispatcher) Configure(settings Settings) {
	if old := d.sender.Swap(newSender(settings)); old != nil {
		old.client.CloseIdleConnections()
	}
	d.started.Do(func() { d.running.Go(d.loop) })
}

// Close ends deliveries. What is under way has five seconds; then it is broken off, and
// delivered again by another node or after the next start.
func (d *Dispatcher) Close() {
	d.once.Do(func() { close(d.stop) })
	timer := time.AfterFunc(closeWait, d.cancel)
	defer timer.Stop()
	d.started.Do(func() {}) // no loop starts any more
	d.running.Wait()
	d.cancel()
	if sender := d.sender.Load(); sender != nil {
		sender.client.CloseIdleConnections()
	}
}

// closing reports whether Close was called.
func (d *Dispatcher) closing() bool {
	select {
	case <-d.stop:
		return true
	default:
		return false
	}
}

func (d *Dispatcher) loop() {
	ticker := time.NewTicker(d.options.Poll)
	defer ticker.Stop()
	queued := d.options.Store.EventsQueued()
	for all := true; ; {
		if err := d.look(all); err != nil && d.ctx.Err() == nil {
			d.options.Failed(err)
		}
		select {
		case <-d.stop:
			return
		case <-ticker.C:
			all = true
		case <-queued:
			all = false
		}
	}
}

// look starts deliveries to the endpoints of all vendors, or of those for which this
// process queued events.
func (d *Dispatcher) look(all bool) error {
	vendors := d.options.Store.TakeQueued()
	if all {
		var err error
		if vendors, err = d.options.Store.WebhookVendors(d.ctx); err != nil {
			return err
		}
	}
	var problem error
	known := map[endpoint]bool{}
	for _, vendor := range vendors {
		hooks, err := d.options.Store.Webhooks(d.ctx, vendor)
		problem = errors.Join(problem, err)
		for i := range hooks {
			at := endpoint{vendor, hooks[i].ID}
			known[at] = true
			if hooks[i].Disabled == "" {
				d.start(at)
			} else {
				d.note(at, &hooks[i], store.WebhookState{})
			}
		}
	}
	if all && problem == nil {
		d.forget(known)
	}
	return problem
}

// start delivers to an endpoint in the background. A call while that is under way makes it
// look again at its end.
func (d *Dispatcher) start(at endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, active := d.active[at]; active || d.closing() || len(d.active) >= maxEndpoints {
		if active {
			d.active[at] = true
		}
		return
	}
	d.active[at] = false
	d.running.Go(func() {
		for more := true; more; more = d.lookAgain(at) {
			if err := d.deliver(at); err != nil && d.ctx.Err() == nil {
				d.options.Failed(err)
			}
		}
	})
}

// lookAgain reports whether there was a call of start meanwhile.
func (d *Dispatcher) lookAgain(at endpoint) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active[at] && !d.closing() {
		d.active[at] = false
		return true
	}
	delete(d.active, at)
	return false
}

// note records whether an endpoint is failing.
func (d *Dispatcher) note(at endpoint, hook *store.Webhook, state store.WebhookState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := Failing{Vendor: at.vendor, ID: at.id, Since: state.Failing, Failures: state.Failures, Error: state.Error}
	if hook.Disabled == store.DisabledGone || hook.Disabled == store.DisabledFailing {
		found.Since, found.Disabled = hook.DisabledAt, hook.Disabled
	}
	if found.Since.IsZero() {
		delete(d.failing, at)
		return
	}
	if address, err := url.Parse(hook.URL); err == nil {
		found.Host = address.Host
	}
	if _, known := d.failing[at]; known || len(d.failing) < maxFailing {
		d.failing[at] = found
	}
}

// forget drops failing endpoints that do not exist any more.
func (d *Dispatcher) forget(known map[endpoint]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at := range d.failing {
		if !known[at] {
			delete(d.failing, at)
		}
	}
}

// Failing returns the endpoints that get nothing, at most 64.
func (d *Dispatcher) Failing() []Failing {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Collect(maps.Values(d.failing))
	slices.SortFunc(all, func(a, b Failing) int { return cmp.Or(cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Stats returns the numbers of attempts since the start.
func (d *Dispatcher) Stats() Stats {
	return Stats{Delivered: d.delivered.Load(), Failed: d.failed.Load(), Dead: d.dead.Load()}
}
