package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	chaosPasses   = 8
	chaosStaleFor = 3 * time.Second // of the gates of the forms with Redis
)

// chaosRound is one fault, with clients before, during and after it.
type chaosRound struct {
	*chaosSite
	fault *chaosFault
	began time.Time
	// failoversBefore are those of the store before the fault.
	failoversBefore int
	links           []*chaosLink
	passes          []*chaosPass
	ledger          *chaosLedger

	stop    chan struct{}
	stopped sync.Once
	clients sync.WaitGroup
	answers sync.Map     // of nodes, by what did not work last
	denied  sync.Map     // what was acknowledged and opened no page: its path
	pages   atomic.Int64 // of passes
	longest atomic.Int64 // that a reader waited for a 503
	// named are the paths of what a restore named as lost or open again; nil without one.
	named  map[string]bool
	healed time.Time
}

func (c *chaosSite) newRound(fault *chaosFault) *chaosRound {
	c.Helper()
	r := &chaosRound{chaosSite: c, fault: fault, began: time.Now(), failoversBefore: c.failovers(), ledger: new(chaosLedger), stop: make(chan struct{})}
	for _, maxUses := range []int{25, 400} {
		address, id := c.anyNode().countedLink(maxUses)
		r.links = append(r.links, &chaosLink{recordedLink: recordedLink{id: id, address: address, maxUses: maxUses}, revocable: maxUses > 100})
	}
	for i := range chaosPasses {
		r.passes = append(r.passes, r.newPass(i))
	}
	return r
}

// newPass makes a pass, and waits until it opens the page at each node.
func (r *chaosRound) newPass(number int) *chaosPass {
	r.Helper()
	node, pass := r.anyNode(), &chaosPass{address: "/articles/hello"}
	user := r.newUser()
	var token string
	if pass.chaosRecord, token = r.ledger.create(node, number%2 == 0, user); pass.chaosRecord == nil {
		r.Fatalf("%s: before the fault nothing can be written", r.fault.name)
	}
	if number%2 == 0 {
		pass.headers = []string{"Authorization", "Bearer " + node.readerToken(user)}
	} else {
		pass.address += "?token=" + token
	}
	for _, node := range r.nodes {
		node.waitFor("a pass opens its page", func() bool { return pass.status(node) == http.StatusOK })
	}
	return pass
}

func (p *chaosPass) status(node *server) int {
	got, err := fetch(node.site+p.address, p.headers...)
	if err != nil {
		return 0
	}
	return got.StatusCode
}

func (s *server) readerToken(user string) string {
	s.t.Helper()
	var issued struct{ Token string }
	if status := s.api(http.MethodPost, "/management/reader-tokens", fmt.Sprintf(`{"userId":%q}`, user), &issued); status >= 300 {
		s.t.Fatalf("issuing a reader token: %d", status)
	}
	return issued.Token
}

func (r *chaosRound) ended() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// run runs the clients, breaks something, and waits until everything works again.
func (r *chaosRound) run() {
	r.Helper()
	defer r.end()
	start := func(do func(*rand.Rand)) {
		random := rand.New(rand.NewPCG(r.random.Uint64(), 0))
		r.clients.Go(func() {
			for !r.ended() {
				do(random)
				r.rest(random, 5, 30) // clients come one after the other
			}
		})
	}
	for i, link := range r.links {
		for client := range 2 {
			start(func(random *rand.Rand) { r.use(link, 10*i+client, random) })
		}
	}
	for range 2 {
		start(r.visit)
		start(r.write)
	}
	r.rest(r.random, 200, 600) // the moment is one of the random choices
	r.fault.provoke(r)
	r.healed = time.Now()
	r.finish()
}

// end ends the clients.
func (r *chaosRound) end() {
	r.stopped.Do(func() { close(r.stop) })
	r.clients.Wait()
}

func (r *chaosRound) rest(random *rand.Rand, from, to int) {
	time.Sleep(time.Duration(from+random.IntN(to-from)) * time.Millisecond)
}

// use makes an operation on a counted link.
func (r *chaosRound) use(link *chaosLink, client int, random *rand.Rand) {
	op := opRedeem
	switch n := random.IntN(200); {
	case n < 40:
		op = opRead
	case n == 40 && link.revocable:
		op = opRevoke
	}
	node := r.nodes[random.IntN(len(r.nodes))]
	call := time.Since(r.began)
	answer, sent := link.try(node, op)
	took := time.Since(r.began) - call
	if !sent || answer.unknown && op == opRead {
		return
	}
	if answer.code == "store_unavailable" && op == opRedeem {
		longest(&r.longest, took)
	}
	link.record(porcupine.Operation{
		ClientId: client, Input: linkInput{op: op}, Call: call.Nanoseconds(), Output: answer, Return: (call + took).Nanoseconds(),
	})
}

func longest(of *atomic.Int64, took time.Duration) {
	for {
		was := of.Load()
		if int64(took) <= was || of.CompareAndSwap(was, int64(took)) {
			return
		}
	}
}

// write makes a change.
func (r *chaosRound) write(random *rand.Rand) {
	node := r.nodes[random.IntN(len(r.nodes))]
	switch n := random.IntN(40); {
	case n == 0:
		r.takeAway(node, r.passes[random.IntN(len(r.passes))])
	case n < 10:
		if record := r.ledger.any(random); record != nil && !r.isPass(record) {
			r.ledger.remove(node, record)
		}
	default:
		r.ledger.create(node, n%2 == 0, r.newUser())
	}
}

func (r *chaosRound) isPass(record *chaosRecord) bool {
	for _, pass := range r.passes {
		if pass.chaosRecord == record {
			return true
		}
	}
	return false
}

func (r *chaosRound) takeAway(node *server, pass *chaosPass) {
	if pass.tried.CompareAndSwap(false, true) && r.ledger.remove(node, pass.chaosRecord) {
		now := time.Now()
		pass.removed.Store(&now)
	}
}

// visit requests the page of a pass.
func (r *chaosRound) visit(random *rand.Rand) {
	pass, node := r.passes[random.IntN(len(r.passes))], r.nodes[random.IntN(len(r.nodes))]
	removed, began := pass.removed.Load(), time.Now()
	status := pass.status(node)
	switch {
	case status == http.StatusOK && removed != nil && began.Sub(*removed) > r.bound:
		r.violation("%s opened a page %v after its removal was acknowledged, and may for %v", pass.path, began.Sub(*removed), r.bound)
	case status == http.StatusOK:
		r.pages.Add(1)
	case (status == http.StatusForbidden || status == http.StatusUnauthorized) && !pass.tried.Load():
		r.denied.Store(pass.path, status)
	}
}

// waitForWrites waits until clients have so many acknowledgements more.
func (r *chaosRound) waitForWrites(n int) {
	r.Helper()
	was := r.ledger.acknowledged()
	r.waitFor("writes are acknowledged", func() bool { return r.ledger.acknowledged() >= was+n })
}

// waitFor polls until a condition holds.
func (r *chaosRound) waitFor(what string, holds func() bool) {
	r.Helper()
	for until := time.Now().Add(deadline); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			var last []string
			r.answers.Range(func(_, answer any) bool {
				last = append(last, answer.(string))
				return true
			})
			r.Fatalf("%s: %s: waiting until %s: nothing for %v (-chaos.seed %d)\n%s", r.form, r.fault.name, what, deadline, r.seed, strings.Join(last, "\n"))
		}
	}
}

// wentBack reports whether a node says that the store lost writes.
func (c *chaosSite) wentBack() bool {
	for _, node := range c.nodes {
		if node.hasCondition("store_went_back") {
			return true
		}
	}
	return false
}

// finish waits until each node works again, without a restart, and checks what was seen.
func (r *chaosRound) finish() {
	r.Helper()
	for _, node := range r.nodes {
		r.waitFor("a node decides and writes again", func() bool { return r.works(node, false) })
	}
	if r.fault.loses == losesAlways {
		for _, node := range r.nodes {
			r.waitFor("the loss is shown", func() bool { return node.hasCondition("store_went_back") })
		}
	}
	back := time.Since(r.healed)
	raised := r.wentBack()
	if !raised {
		for _, node := range r.nodes {
			r.waitFor("counted links open again", func() bool { return r.works(node, true) || r.wentBack() })
		}
		raised, back = r.wentBack(), time.Since(r.healed)
	}
	r.rest(r.random, 200, 400)
	r.end()
	result := r.check(raised, back)
	if raised {
		began := time.Now()
		r.acceptLoss()
		accepted := time.Now()
		for _, node := range r.nodes {
			r.waitFor("the loss is accepted, and counted links open again", func() bool {
				if !node.hasCondition("store_went_back") {
					return r.works(node, true)
				}
				if time.Since(accepted) < acceptAgain {
					return false
				}
				failovers := r.failovers()
				if failovers == r.judged {
					r.violation("%v after the acceptance a node notices a loss\n%s", time.Since(began), r.losses())
				}
				r.Logf("%s: %d failovers later a loss is accepted once more: %s", r.fault.name, failovers-r.judged, r.acceptLoss())
				r.judged, accepted = failovers, time.Now()
				return false
			})
		}
		result.accepted = max(result.accepted, time.Since(began))
	}
}

// acceptAgain is when the operator accepts what was lost after the acceptance.
const acceptAgain = 10 * time.Second

// losses says what each node shows of losses, and what the store has of them.
func (r *chaosRound) losses() string {
	var text strings.Builder
	for i, node := range r.nodes {
		got, err := fetch("http://" + node.admin + "/gatefold/health")
		fmt.Fprintf(&text, "gate %d: %s %v\n", i+1, between(got.body, "The store came back with "), err)
	}
	return text.String() + r.describe()
}

// acceptLoss accepts the loss as an operator does, at one node, and returns the answer.
func (r *chaosRound) acceptLoss() string {
	r.Helper()
	status, text := r.anyNode().call(http.MethodPost, "/management/store/accept-loss", "")
	if status != http.StatusOK {
		r.Fatalf("%s: accepting the loss is answered %d %s", r.fault.name, status, text)
	}
	return text
}

// works reports whether a node writes and decides, or redeems a counted link.
func (r *chaosRound) works(node *server, counted bool) bool {
	user := r.newUser()
	path, body := "/management/reader-tokens", fmt.Sprintf(`{"userId":%q}`, user)
	if counted {
		path, body = "/management/create-signed-link", `{"sku":"premium","maxUses":1}`
	}
	status, text := node.call(http.MethodPost, path, body)
	token := between(text, `"token":"`)
	pass := chaosPass{address: "/articles/hello", headers: []string{"Authorization", "Bearer " + token}}
	if counted {
		pass = chaosPass{address: "/articles/hello?token=" + token}
	}
	if status == http.StatusOK && !counted {
		path = chaosGrants
		status, text = node.call(http.MethodPost, path, fmt.Sprintf(`{"userId":%q,"sku":"premium"}`, user))
	}
	if status >= 200 && status < 300 {
		path, text = pass.address, ""
		status = pass.status(node)
	}
	path, _, _ = strings.Cut(path, "?")
	r.answers.Store(node, fmt.Sprintf("%s is answered %d %s", path, status, text))
	return status == http.StatusOK && text == ""
}

// check checks what clients saw and what is in the store.
func (r *chaosRound) check(raised bool, back time.Duration) *chaosResult {
	r.Helper()
	result := r.resultOf(r.fault)
	var lost, reopened []string
	r.waitFor("each record can be read", func() bool {
		var err error
		lost, reopened, err = r.ledger.audit(r.anyNode())
		return err == nil
	})
	result.lost += len(lost)
	if r.named != nil {
		named := func(path string) bool { return r.named[path] }
		lost, reopened = slices.DeleteFunc(lost, named), slices.DeleteFunc(reopened, named)
	}
	if len(reopened) > 0 {
		r.violation("%d of what was removed is there again: %s", len(reopened), strings.Join(reopened, " "))
	}
	if len(lost) > 0 && !raised {
		r.violation("%d acknowledged records are lost in silence: %s", len(lost), strings.Join(lost, " "))
	}
	if !raised {
		r.denied.Range(func(path, status any) bool {
			r.violation("%s is acknowledged and opens no page: %d", path, status)
			return true
		})
	}
	failovers := r.failovers()
	if raised && r.fault.loses == losesNothing && failovers == r.judged {
		r.violation("a loss is reported, and there is none\n%s", r.losses())
	}
	r.judged = failovers
	for _, link := range r.links {
		r.checkLink(link, raised, result)
	}
	result.times++
	result.acknowledged += r.ledger.writes
	result.pages += int(r.pages.Load())
	result.back = max(result.back, back)
	result.longest = max(result.longest, time.Duration(r.longest.Load()))
	if raised {
		result.raised++
	}
	return result
}

// checkLink checks the history of a counted link, and the uses that are counted in the end.
func (r *chaosRound) checkLink(link *chaosLink, raised bool, result *chaosResult) {
	r.Helper()
	pages, unanswered, _ := link.counts()
	result.uses += pages
	if pages > link.maxUses {
		r.violation("%d pages of a link with %d uses", pages, link.maxUses)
	}
	if got := link.linearizable(raised, r.failovers() != r.failoversBefore); got != porcupine.Ok {
		r.violation("the history of a link with %d uses is %s\n%s", link.maxUses, got, describeHistory(link.history))
	}
	if raised || r.named != nil {
		return
	}
	var uses int
	r.waitFor(fmt.Sprintf("uses that were answered 503 are taken back: %d pages, %d without an answer", pages, unanswered), func() bool {
		answer, _ := link.try(r.anyNode(), opRead)
		uses = answer.uses
		return !answer.unknown && uses <= pages+unanswered
	})
	if uses < pages {
		r.violation("%d uses are counted of %d pages", uses, pages)
	}
}

// violation fails the test, and says how to repeat it.
func (r *chaosRound) violation(format string, values ...any) {
	r.Errorf("%s: %s: %s (-chaos.seed %d)", r.form, r.fault.name, fmt.Sprintf(format, values...), r.seed)
}
