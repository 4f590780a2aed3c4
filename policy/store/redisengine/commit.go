package redisengine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Commit implements engine.Engine in one round trip, which concurrent commits share.
//
// It returns ctx.Err() only when the batch was not begun. When the answer is lost, it
// sends the batch again under the same id, by which the script recognizes it. When all
// attempts fail, the batch may or may not have been applied.
func (e *Engine) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return engine.Committed{}, err
	}
	defer e.calls.Leave()
	if err := batch.CheckLimits(partition); err != nil {
		return engine.Committed{}, err
	}
	if policy := e.evicts.Load(); policy != nil && batch.Bounded() {
		return engine.Committed{}, fmt.Errorf("%w: its maxmemory-policy is %s; set noeviction", ErrEviction, *policy)
	}
	// A batch that was begun is waited for.
	ctx = context.WithoutCancel(ctx)
	if !batch.Bounded() {
		return e.commit(ctx, ctx, partition, batch, "")
	}
	until := time.Now().Add(e.options.RedeemTimeout)
	bounded, stop := e.bounded(ctx, until)
	defer stop()
	deadline, err := e.deadline(bounded, partition, until)
	if err != nil {
		return engine.Committed{}, e.fail(ctx, err)
	}
	if !isUse(batch) {
		return e.commit(ctx, bounded, partition, batch, deadline)
	}
	if err := e.register(bounded, partition); err != nil {
		return engine.Committed{}, e.fail(ctx, err)
	}
	return e.count(partition, batch, until)
}

// commit commits a batch by commit.lua. The context bounded may end before the other one.
func (e *Engine) commit(ctx, bounded context.Context, partition string, batch *engine.Batch, deadline string) (engine.Committed, error) {
	if err := e.register(bounded, partition); err != nil {
		return engine.Committed{}, e.fail(ctx, err)
	}
	args := e.commitArgs(newCommitID(), partition, batch)
	args[argDeadline] = deadline
	reply, err := e.writeOnce(bounded, commitScript, partition, args)
	if err != nil {
		return engine.Committed{}, e.fail(ctx, err)
	}
	return e.readCommitted(partition, reply)
}

// writeOnce runs a script with arguments of writeArgs, and sends it again when the answer is
// lost. With ErrNotAcknowledged it also returns
// the answer.
func (e *Engine) writeOnce(ctx context.Context, script *writeScript, partition string, args []any) (any, error) {
	keys := e.keys.written(partition)
	for attempt := 1; ; attempt++ {
		reply, err := e.write(ctx, script, keys, args)
		if err == nil || attempt == writeAttempts || ctx.Err() != nil || !mayTryAgain(err) {
			return reply, err
		}
		args[argAgain] = "1"
		time.Sleep(time.Duration(attempt) * writePause)
	}
}

// Attempts of a write, and the pause between them: enough for a broken connection, too
// few for a failover, during which writes fail.
const (
	writeAttempts = 3
	writePause    = 20 * time.Millisecond
)

// newCommitID returns a random id of a batch.
func newCommitID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return hex.EncodeToString(id[:])
}

// argAgain and argDeadline are the indexes of the arguments that a script is sent again, and
// of its deadline.
const (
	argAgain    = 1
	argDeadline = 7
)

// commitArgs returns the arguments of commit.lua for a batch.
func (e *Engine) commitArgs(id, partition string, batch *engine.Batch) []any {
	args := e.writeArgs(id, partition, 7+3*len(batch.Checks)+6*len(batch.Counters)+len(batch.Deletes)+3*len(batch.Puts))
	args = append(args, flag(batch.Closes), flag(batch.Event != nil), bytesOf(batch.Event))
	args = append(args, len(batch.Checks))
	for _, check := range batch.Checks {
		kind := "value"
		switch {
		case check.Present:
			kind = "present"
		case check.Value == nil:
			kind = "absent"
		}
		args = append(args, check.Key, kind, bytesOf(check.Value))
	}
	args = append(args, len(batch.Counters))
	for _, counter := range batch.Counters {
		args = append(args, counter.Key, counter.Max, bytesOf(counter.IdempotencyKey), bytesOf(counter.IdempotencyValue), expiryOf(counter.Expires), flag(counter.Undo))
	}
	args = append(args, len(batch.Deletes))
	for _, key := range batch.Deletes {
		args = append(args, key)
	}
	args = append(args, len(batch.Puts))
	for _, put := range batch.Puts {
		args = append(args, put.Key, bytesOf(put.Value), expiryOf(put.Expires))
	}
	return args
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// bytesOf returns b, not nil, which go-redis cannot send.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// expiryOf returns a time in Unix milliseconds, rounded up, and "" for the zero time,
// which means never.
func expiryOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(max(ceilMilli(t), 1), 10)
}

func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	// Scores are floating point, and exact up to this.
	return min(ms, 1<<53)
}

// readCommitted decodes the answer of commit.lua.
func (e *Engine) readCommitted(partition string, reply any) (engine.Committed, error) {
	answer, ok := reply.([]any)
	if !ok || len(answer) < 2 {
		return engine.Committed{}, errReply
	}
	if answer[0] != "ok" {
		index, ok := answer[1].(int64)
		if !ok {
			return engine.Committed{}, errReply
		}
		switch answer[0] {
		case "check":
			return engine.Committed{}, &engine.CheckError{Index: int(index)}
		case "bound":
			return engine.Committed{}, &engine.BoundError{Index: int(index)}
		case "late":
			return engine.Committed{}, e.late()
		case "lost":
			return engine.Committed{}, engine.ErrWentBack
		default:
			return engine.Committed{}, errType
		}
	}
	if len(answer) != 7 {
		return engine.Committed{}, errReply
	}
	if err := e.saw(partition, answer[4], answer[5], answer[6]); err != nil {
		return engine.Committed{}, err
	}
	position, err := strconv.ParseUint(text(answer[1]), 10, 64)
	if err != nil {
		return engine.Committed{}, errReply
	}
	committed := engine.Committed{Position: position}
	replayed := text(answer[3])
	if replayed == "" {
		return committed, nil
	}
	for i, count := range strings.Split(text(answer[2]), ",") {
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || i >= len(replayed) {
			return engine.Committed{}, errReply
		}
		committed.Counts = append(committed.Counts, n)
		committed.Replayed = append(committed.Replayed, replayed[i] == '1')
	}
	return committed, nil
}

func text(reply any) string {
	s, _ := reply.(string)
	return s
}

var (
	errReply = errors.New("unexpected answer of the Redis server")
	errType  = errors.New("the key holds a value that is not a counter")
)

// noRetry is a command that the client does not retry.
type noRetry struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (noRetry) NoRetry() bool { return true }

// write runs a script that writes. It sends the source when the server does not have the
// script.
func (e *Engine) write(ctx context.Context, script *writeScript, keys []string, args []any) (any, error) {
	send := e.sendPipelined
	switch {
	case e.options.AckReplicas > 0:
		send = e.sendAcknowledged
	case args[argDeadline] != "": // a shared round trip has no time of its own
		send = e.sendAlone
	}
	reply, err := send(ctx, script, keys[0], scriptArgs("evalsha", script.Hash(), keys, args))
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		return send(ctx, script, keys[0], scriptArgs("eval", script.source, keys, args))
	}
	return reply, err
}

func (e *Engine) sendAlone(ctx context.Context, _ *writeScript, _ string, words []any) (any, error) {
	command := noRetry{redis.NewCmd(ctx, words...)}
	err := e.client.Process(ctx, command)
	return command.Val(), err
}

func (e *Engine) sendPipelined(ctx context.Context, script *writeScript, key string, words []any) (any, error) {
	// Large commands would delay the others.
	if len(words) > maxPipelined {
		return e.sendAlone(ctx, script, key, words)
	}
	command := noRetry{redis.NewCmd(ctx, words...)}
	err := e.pipe.Process(ctx, command)
	return command.Val(), err
}

// maxPipelined is the maximum number of arguments of a command that shares a round trip.
const maxPipelined = 200

// sendAcknowledged sends a command with WAIT on the same connection: WAIT counts the
// writes of its connection.
func (e *Engine) sendAcknowledged(ctx context.Context, script *writeScript, key string, words []any) (any, error) {
	var redirected *redis.Client
	for range 1 + maxRedirects {
		node := redirected
		if node == nil {
			var err error
			if node, err = e.nodeFor(ctx, key); err != nil {
				return nil, err
			}
		}
		reply, err := e.sendAndWait(ctx, script, node, redirected != nil, words)
		cluster, ok := e.client.(*redis.ClusterClient)
		switch {
		case !ok:
			return reply, err
		case isMoved(err):
			cluster.ReloadState(ctx)
			redirected = nil
		case isAsk(err):
			if redirected, err = e.askedNode(ctx, cluster, err); err != nil {
				return nil, err
			}
		default:
			return reply, err
		}
	}
	return nil, errors.New("the cluster redirected the write too often")
}

const maxRedirects = 5

func isMoved(err error) bool { _, ok := redis.IsMovedError(err); return ok }
func isAsk(err error) bool   { _, ok := redis.IsAskError(err); return ok }

// nodeFor returns the client of the server that has a key.
func (e *Engine) nodeFor(ctx context.Context, key string) (*redis.Client, error) {
	switch client := e.client.(type) {
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, key)
	case *redis.Client:
		return client, nil
	}
	return nil, errors.New("not a client of a server")
}

// askedNode returns the client of the node that a redirection names. It reloads the state
// of the cluster when the node is unknown.
func (e *Engine) askedNode(ctx context.Context, cluster *redis.ClusterClient, redirection error) (*redis.Client, error) {
	address, _ := redis.IsAskError(redirection)
	for range 2 {
		var found *redis.Client
		err := cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			if node.Options().Addr == address {
				found = node
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if found != nil {
			return found, nil
		}
		cluster.ReloadState(ctx)
	}
	return nil, fmt.Errorf("the cluster redirects to %s, which is not one of its nodes", address)
}

func (e *Engine) sendAndWait(ctx context.Context, script *writeScript, node *redis.Client, ask bool, words []any) (any, error) {
	pipe := node.Pipeline()
	if ask {
		pipe.Do(ctx, "asking")
	}
	command := noRetry{redis.NewCmd(ctx, words...)}
	_ = pipe.Process(ctx, command)
	wait := redis.NewIntCmd(ctx, "wait", e.options.AckReplicas, e.options.AckTimeout.Milliseconds())
	_ = pipe.Process(ctx, wait)
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := command.Err(); err != nil {
		return nil, err
	}
	if answer, ok := command.Val().([]any); ok && script != usesScript && len(answer) > 0 && answer[0] != "ok" {
		return answer, nil // refused: nothing was written
	}
	if err := wait.Err(); err != nil {
		return nil, err
	}
	if got := wait.Val(); got < int64(e.options.AckReplicas) {
		return command.Val(), fmt.Errorf("%w: %d of %d replicas have it after %s", ErrNotAcknowledged, got, e.options.AckReplicas, e.options.AckTimeout)
	}
	return command.Val(), nil
}
