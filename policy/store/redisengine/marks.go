package redisengine

import (
	"context"
	_ "embed"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

//go:embed cursor.lua
var cursorLua string

//go:embed accept.lua
var acceptLua string

var (
	cursorScript = newWriteScript(cursorLua)
	acceptScript = newWriteScript(acceptLua)
)

// marks knows how far this process saw each partition written, and which partitions lost
// writes. It is safe for concurrent use.
type marks struct {
	mu      sync.Mutex
	guarded bool
	of      map[string]*mark
}

type mark struct {
	engine.Mark
	behind bool
	loss   string // as lose in common.lua writes it; empty for none
}

var _ engine.LossDetector = (*Engine)(nil)

// Guard implements engine.LossDetector.
func (e *Engine) Guard(known map[string]engine.Mark) {
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	e.marks.guarded, e.marks.of = true, make(map[string]*mark, len(known))
	for partition, one := range known {
		e.marks.of[partition] = &mark{Mark: one}
	}
}

// Marks implements engine.LossDetector.
func (e *Engine) Marks() map[string]engine.Mark {
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	known := make(map[string]engine.Mark, len(e.marks.of))
	for partition, m := range e.marks.of {
		known[partition] = m.Mark
	}
	return known
}

// Behind implements engine.LossDetector.
func (e *Engine) Behind(partition string) bool {
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	m := e.marks.of[partition]
	return m != nil && m.behind
}

// Adopt implements engine.LossDetector.
func (e *Engine) Adopt(partition string) {
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	if m := e.marks.of[partition]; m != nil && m.behind {
		m.Mark, m.behind = engine.Mark{}, false
	}
}

// Loss implements engine.LossDetector.
func (e *Engine) Loss(partition string) (engine.Loss, bool) {
	lost := e.lossOf(partition)
	if lost == "" {
		return engine.Loss{}, false
	}
	fields := strings.Fields(lost)
	if len(fields) != 4 {
		return engine.Loss{}, true
	}
	from, _ := strconv.ParseUint(fields[0], 10, 64)
	to, _ := strconv.ParseUint(fields[2], 10, 64)
	at, _ := strconv.ParseInt(fields[3], 10, 64)
	return engine.Loss{From: from, To: to, At: time.UnixMilli(at)}, true
}

// lossOf returns the loss of a partition as common.lua wrote it, empty for none.
func (e *Engine) lossOf(partition string) string {
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	if m := e.marks.of[partition]; m != nil {
		return m.loss
	}
	return ""
}

// AcceptLoss implements engine.LossDetector.
func (e *Engine) AcceptLoss(ctx context.Context, partition string) error {
	if err := e.calls.Enter(ctx); err != nil {
		return err
	}
	defer e.calls.Leave()
	args := append(e.writeArgs(newCommitID(), partition, 1), e.lossOf(partition))
	reply, err := e.write(context.WithoutCancel(ctx), acceptScript, e.keys.written(partition), args)
	switch {
	case err != nil:
		return e.fail(ctx, err)
	case reply == int64(0):
		return engine.ErrNoLoss
	case reply == int64(2):
		return engine.ErrOtherLoss
	}
	_, err = e.look(ctx, partition) // this process sees the new generation at once
	return err
}

// known returns the mark of a partition, the zero Mark for none.
func (e *Engine) known(partition string) engine.Mark {
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	if m := e.marks.of[partition]; m != nil {
		return m.Mark
	}
	return engine.Mark{}
}

// writeArgs returns the first arguments of all scripts that write, with room for more.
func (e *Engine) writeArgs(id, partition string, room int) []any {
	known := e.known(partition)
	return append(make([]any, 0, 8+room), id, "0", flag(e.options.AckReplicas > 0), strconv.FormatUint(known.Generation, 10),
		strconv.FormatUint(known.Revision, 10), known.ID, strconv.FormatUint(known.IDRevision, 10), "")
}

// saw notes how far a partition is written, by an answer of the server: its generation, its
// revision, and the id of the batch at that revision, which may be empty. An answer that is
// older than the mark is not noted: it was overtaken, or compare notices the loss.
func (e *Engine) saw(partition string, generation, revision, id any) error {
	seen, err := markOf(generation, revision)
	if err != nil {
		return err
	}
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	if !e.marks.guarded {
		return nil
	}
	m := e.marks.of[partition]
	if m == nil {
		m = new(mark)
		e.marks.of[partition] = m
	}
	if m.behind || seen.Before(m.Mark) {
		return nil
	}
	if m.Generation != seen.Generation {
		// A loss was accepted before this process saw it: what it knows of the removals in
		// the lost writes is not made again yet.
		if m.behind = m.Mark != (engine.Mark{}) && m.loss == ""; m.behind {
			return nil
		}
		m.Mark = seen
	}
	m.Revision = seen.Revision
	if id := text(id); id != "" {
		m.ID, m.IDRevision = id, seen.Revision
	}
	return nil
}

func markOf(generation, revision any) (engine.Mark, error) {
	g, err1 := strconv.ParseUint(text(generation), 10, 64)
	r, err2 := strconv.ParseUint(text(revision), 10, 64)
	if err1 != nil || err2 != nil {
		return engine.Mark{}, errReply
	}
	return engine.Mark{Generation: g, Revision: r}, nil
}

// look returns where a partition is, and notices when it is behind its mark.
func (e *Engine) look(ctx context.Context, partition string) (engine.Cursor, error) {
	began := time.Now()
	reply, err := cursorScript.Run(ctx, e.waiting, e.keys.written(partition), e.writeArgs(newCommitID(), partition, 0)...).Slice()
	if err != nil {
		return engine.Cursor{}, err
	}
	if len(reply) != 8 {
		return engine.Cursor{}, errReply
	}
	position, err := strconv.ParseUint(text(reply[0]), 10, 64)
	if err != nil {
		return engine.Cursor{}, errReply
	}
	if err := e.saw(partition, reply[2], reply[3], reply[4]); err != nil {
		return engine.Cursor{}, err
	}
	if err := e.clocks.set(partition, text(reply[7]), began); err != nil {
		return engine.Cursor{}, err
	}
	e.marks.mu.Lock()
	defer e.marks.mu.Unlock()
	if m := e.marks.of[partition]; m != nil {
		m.loss = text(reply[5])
		m.behind = m.behind || reply[6] == int64(1)
	}
	return engine.Cursor{Position: position, Token: text(reply[1])}, nil
}
