package redisengine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// A redemption is a batch that only counts one counter with an idempotency key. Those of
// a partition that arrive while others are being sent are queued, and then share one
// script, which costs the server much less than one script for each.
const (
	// maxUses bounds the uses that share a script, and so how long it blocks the
	// server.
	maxUses = 256
	// maxUseBytes bounds the size of a batch that shares a script.
	maxUseBytes = 4 << 10
	// maxUseChecks bounds its checks; uses.lua returns the index of the one that fails
	// as a digit.
	maxUseChecks = 4
	// maxSending bounds the scripts of a partition in flight: while the server runs
	// one, the next is encoded and the answers to the previous one are decoded.
	maxSending = 2
)

// isUse reports whether a batch only counts one counter with an idempotency key.
func isUse(batch *engine.Batch) bool {
	if len(batch.Counters) != 1 || batch.Counters[0].Undo || len(batch.Counters[0].IdempotencyKey) == 0 || bytes.Equal(batch.Counters[0].Key, batch.Counters[0].IdempotencyKey) || len(batch.Checks) > maxUseChecks ||
		len(batch.Deletes)+len(batch.Puts) > 0 || batch.Event != nil {
		return false
	}
	counter := &batch.Counters[0]
	size := len(counter.Key) + len(counter.IdempotencyKey) + len(counter.IdempotencyValue)
	for i := range batch.Checks {
		if check := &batch.Checks[i]; check.Value != nil && !check.Present {
			return false
		}
		size += len(batch.Checks[i].Key)
	}
	return size <= maxUseBytes
}

// use is a batch that is being committed.
type use struct {
	batch     *engine.Batch
	committed engine.Committed
	err       error
	// turn receives false when the use is done, and true when the goroutine that waits
	// for it must send it with the other queued ones.
	turn chan bool
	// until is when the caller gives up.
	until time.Time
}

// gathering is the queue of uses of one partition.
type gathering struct {
	mu      sync.Mutex
	sending int
	waiting []*use // empty unless maxSending scripts are in flight
}

// count commits a use. It is sent immediately when fewer than maxSending scripts are in
// flight; otherwise it joins the next one, which is sent by the goroutine of its first use
// when an answer arrives.
//
// A use that was not sent by the time until fails.
func (e *Engine) count(partition string, batch *engine.Batch, until time.Time) (engine.Committed, error) {
	found, ok := e.gatherings.Load(partition)
	if !ok {
		found, _ = e.gatherings.LoadOrStore(partition, new(gathering))
	}
	g := found.(*gathering)
	u := &use{batch: batch, err: errReply, until: until}
	leads := g.join(u)
	if !leads {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		select {
		case leads = <-u.turn:
		case <-timer.C:
			if g.leave(u) {
				return engine.Committed{}, e.late()
			}
			leads = <-u.turn
		}
	}
	if leads {
		e.lead(g, partition, u)
	}
	return u.committed, u.err
}

// leave takes a use out of the queue. It returns false if the use is being sent.
func (g *gathering) leave(u *use) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, u)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return i >= 0
}

// join reports whether a use is to be sent immediately. Otherwise it is queued.
func (g *gathering) join(u *use) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sending < maxSending {
		g.sending++
		return true
	}
	u.turn = make(chan bool, 1)
	g.waiting = append(g.waiting, u)
	return false
}

// lead sends a use together with the queued ones.
func (e *Engine) lead(g *gathering, partition string, first *use) {
	// Callers whose answers just arrived often have another use: let them join, as in
	// boltengine.
	runtime.Gosched()
	group := g.take(first)
	defer func() {
		g.handOn()
		for _, u := range group[1:] {
			u.turn <- false
		}
	}()
	e.send(partition, group)
}

func (g *gathering) take(first *use) []*use {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxUses-1)
	group := make([]*use, 1, 1+n)
	group[0] = first
	group = append(group, g.waiting[:n]...)
	g.waiting = slices.Delete(g.waiting, 0, n)
	return group
}

// handOn lets the first queued use be sent.
func (g *gathering) handOn() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.sending--
		return
	}
	g.waiting[0].turn <- true
	g.waiting = slices.Delete(g.waiting, 0, 1)
}

// send sends a group, and sets the result of each use.
func (e *Engine) send(partition string, group []*use) {
	group, until := e.inTime(group)
	if len(group) == 0 {
		return
	}
	ctx := context.Background()
	bounded, stop := e.bounded(ctx, until)
	defer stop()
	subjects := subjectsOf(group)
	args := e.usesArgs(newCommitID(), partition, subjects)
	deadline, err := e.deadline(bounded, partition, until)
	var reply any
	if err == nil {
		args[argDeadline] = deadline
		reply, err = e.writeOnce(bounded, usesScript, partition, args)
	}
	err = e.fail(ctx, err)
	if reply != nil {
		// Also without acknowledgement: a refused use needs none.
		broken := e.readUses(partition, reply, subjects, err)
		if broken == nil {
			return
		}
		err = errors.Join(err, broken)
	}
	for _, u := range group {
		u.committed, u.err = engine.Committed{}, err
	}
}

// inTime returns the uses that have time left, and when the first of them ends. The others
// fail.
func (e *Engine) inTime(group []*use) (timely []*use, until time.Time) {
	soon := time.Now().Add(leastTime)
	for _, u := range group {
		if u.until.Before(soon) {
			u.err = e.late()
			continue
		}
		if timely = append(timely, u); until.IsZero() || u.until.Before(until) {
			until = u.until
		}
	}
	return timely, until
}

// subject is the common part of uses, which the script evaluates once.
type subject struct {
	of   *engine.Batch // of its first use
	uses []*use
}

// subjectsOf groups uses that differ only in their idempotency keys.
func subjectsOf(group []*use) []subject {
	if len(group) == 1 {
		return []subject{{of: group[0].batch, uses: group}}
	}
	var subjects []subject
	known := make(map[string]int)
	var name []byte
	for _, u := range group {
		name = appendSubject(name[:0], u.batch)
		i, ok := known[string(name)]
		if !ok {
			i = len(subjects)
			known[string(name)] = i
			subjects = append(subjects, subject{of: u.batch})
		}
		subjects[i].uses = append(subjects[i].uses, u)
	}
	return subjects
}

// appendSubject appends an injective encoding of the common part of batches.
func appendSubject(name []byte, batch *engine.Batch) []byte {
	text := func(b []byte) {
		name = binary.AppendUvarint(name, uint64(len(b)))
		name = append(name, b...)
	}
	counter := &batch.Counters[0]
	text(counter.Key)
	name = binary.AppendVarint(name, counter.Max)
	text([]byte(expiryOf(counter.Expires)))
	for i := range batch.Checks {
		text(batch.Checks[i].Key)
		text([]byte(flag(batch.Checks[i].Present)))
	}
	return name
}

// usesArgs returns the arguments of uses.lua for a group.
func (e *Engine) usesArgs(id, partition string, subjects []subject) []any {
	size := 0
	for i := range subjects {
		size += 5 + 2*len(subjects[i].of.Checks) + 2*len(subjects[i].uses)
	}
	args := e.writeArgs(id, partition, size)
	for i := range subjects {
		s := &subjects[i]
		counter := &s.of.Counters[0]
		args = append(args, counter.Key, counter.Max, expiryOf(counter.Expires), len(s.of.Checks))
		for j := range s.of.Checks {
			args = append(args, s.of.Checks[j].Key, flag(s.of.Checks[j].Present))
		}
		args = append(args, len(s.uses))
		for _, u := range s.uses {
			args = append(args, u.batch.Counters[0].IdempotencyKey, bytesOf(u.batch.Counters[0].IdempotencyValue))
		}
	}
	return args
}

// readUses decodes the answer of uses.lua, and sets the results. Uses that were counted
// get the error unacknowledged, unless that is nil.
func (e *Engine) readUses(partition string, reply any, subjects []subject, unacknowledged error) error {
	answer, ok := reply.([]any)
	if !ok || len(answer) != 7 {
		return errReply
	}
	if err := e.saw(partition, answer[4], answer[5], answer[6]); err != nil {
		return err
	}
	position, err := strconv.ParseUint(text(answer[0]), 10, 64)
	outcomes, counts := text(answer[1]), strings.Split(text(answer[2]), ",")
	if err != nil || len(counts) != len(subjects) {
		return errReply
	}
	for i := range subjects {
		count, err := strconv.ParseInt(counts[i], 10, 64)
		uses := subjects[i].uses
		if err != nil || len(outcomes) < len(uses) {
			return errReply
		}
		counted, replayed := make([]int64, len(uses)), make([]bool, len(uses))
		for j, u := range uses {
			switch outcome := outcomes[j]; {
			case outcome == '+' || outcome == '=':
				if u.err = unacknowledged; u.err != nil {
					continue
				}
				replayed[j] = outcome == '='
				if !replayed[j] {
					count++
				}
				counted[j] = count
				u.committed = engine.Committed{Position: position, Counts: counted[j : j+1 : j+1], Replayed: replayed[j : j+1 : j+1]}
			case outcome == 'b':
				u.err = &engine.BoundError{Index: 0}
			case outcome == 'd':
				u.err = e.late()
			case outcome == 'l':
				u.err = engine.ErrWentBack
			case outcome == 't':
				u.err = errType
			case outcome == 'm':
				u.err = explain(errors.New(text(answer[3])))
			case '0' <= outcome && int(outcome-'0') < len(subjects[i].of.Checks):
				u.err = &engine.CheckError{Index: int(outcome - '0')}
			default:
				return errReply
			}
		}
		outcomes = outcomes[len(uses):]
	}
	if outcomes != "" {
		return errReply
	}
	return nil
}
