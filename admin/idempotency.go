package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/dunglas/httpsfv"

	"github.com/gatefold/gatefold/policy/store"
)

// Idempotency-Key, after draft-ietf-httpapi-idempotency-key-header: a POST that
// carries one is carried out once. The note that it was is written in the step
// that does what it asks for (see store.Once), and kept for a day, with the
// answer. A call that changed nothing leaves no note, and may be made again with
// the same key.
//
// Answers are kept as they were, but for those that hold a secret: these are
// made anew from the record, see repetition.

const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Idempotency-Replayed"

	maxIdempotencyKey = 255
	// maxKeptAnswer bounds what is kept of an answer, in bytes.
	maxKeptAnswer = 64 << 10
	// defaultMaxBody and defaultReadTimeout are those of the library.
	defaultMaxBody     = 1 << 20
	defaultReadTimeout = 5 * time.Second
)

// repetition says how a call that comes again is answered.
type repetition int

const (
	// Where nothing is said the answer may hold a secret: it is not kept, the call
	// is refused, and the refusal names the record.
	_ repetition = iota
	// repeatAnswer: with the answer of the first time.
	repeatAnswer
	// repeatCall: by doing it again, which is the same as doing it once.
	repeatCall
	// repeatRebuild: with an answer that is made anew from the record, because
	// the first one holds a secret and is not kept.
	repeatRebuild
)

// repetitionKey is where an operation's Metadata say its repetition.
const repetitionKey = "repetition"

// rebuilt is an answer that was made from the record that a call made.
type rebuilt struct {
	status   int
	location string
	body     any
}

// rebuildKey is where an operation's Metadata have a rebuild, which makes its
// answer anew: for those that are not kept, and for those that were lost because
// the process ended before they were.
const rebuildKey = "rebuild"

type rebuild func(ctx context.Context, vendor string, record []string) (rebuilt, error)

// keptAnswer is what is kept of an answer.
type keptAnswer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
}

// keptHeaders are those that belong to an answer wherever it is given.
var keptHeaders = []string{"Content-Type", "Location", "ETag"}

// inFlight are the calls with a key that are being carried out by this process.
// After a crash there are none.
type inFlight struct {
	mu    sync.Mutex
	calls map[string]bool
}

func (f *inFlight) begin(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[id] {
		return false
	}
	if f.calls == nil {
		f.calls = make(map[string]bool)
	}
	f.calls[id] = true
	return true
}

func (f *inFlight) end(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, id)
}

// describeOnce tells of the header in the description of an operation.
func describeOnce(operation *huma.Operation) {
	operation.Parameters = append(operation.Parameters, &huma.Param{
		Name: idempotencyHeader, In: "header",
		Description: "Executes the call once: for 24 hours, a repetition with the same key has the same response. " +
			"A different call with the key is refused with 422, a repetition while the first is in progress with 409.",
		Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(maxIdempotencyKey)},
	})
}

// once carries a POST with an Idempotency-Key out once.
func (a *api) once(operation huma.Operation) func(huma.Context, func(huma.Context)) {
	maxBody := cmp.Or(operation.MaxBodyBytes, defaultMaxBody)
	timeout := cmp.Or(operation.BodyReadTimeout, defaultReadTimeout)
	return func(ctx huma.Context, next func(huma.Context)) {
		header := make(http.Header)
		ctx.EachHeader(header.Add)
		key, problem := idempotencyKey(header)
		if key == "" && problem == nil {
			next(ctx)
			return
		}
		call, _ := ctx.Context().Value(callKey{}).(call)
		var raw []byte
		if problem == nil {
			_ = ctx.SetReadDeadline(time.Now().Add(timeout))
			raw, problem = readAll(ctx.BodyReader(), maxBody)
		}
		if problem != nil {
			answerProblem(ctx, problem)
			return
		}
		once := &store.Once{ID: onceID(call.caller.Name, key), Fingerprint: fingerprint(operation.OperationID, ctx.URL().Path, &call, raw)}
		flight := call.caller.Vendor + "\x00" + once.ID
		if !a.inFlight.begin(flight) {
			answerProblem(ctx, inProgress())
			return
		}
		defer a.inFlight.end(flight)
		recorded := &recordedContext{humaContext: ctx, ctx: ctx.Context(), body: raw, header: make(http.Header)}
		done, err := a.doneOnce(ctx.Context(), call.caller.Vendor, once.ID)
		switch {
		case err != nil:
			answerProblem(ctx, a.problemOf(err))
		case done != nil:
			a.repeat(recorded, next, &operation, &call, done, once)
		default:
			recorded.ctx = store.WithOnce(ctx.Context(), once)
			next(recorded)
			a.keep(ctx.Context(), &operation, &call, once, recorded)
			recorded.send()
		}
	}
}

// partitions are where a call of a vendor's may write.
func partitions(vendor string) []string {
	if vendor == "" {
		return []string{store.SystemPartition}
	}
	return []string{vendor, store.SystemPartition}
}

func (a *api) doneOnce(ctx context.Context, vendor, id string) (*store.Done, error) {
	for _, partition := range partitions(vendor) {
		if done, err := a.Store.DoneOnce(ctx, partition, id); err != nil || done != nil {
			return done, err
		}
	}
	return nil, nil
}

// repeat answers a call that was carried out before.
func (a *api) repeat(
	recorded *recordedContext, next func(huma.Context), operation *huma.Operation, call *call, done *store.Done, once *store.Once,
) {
	ctx := recorded.humaContext
	how, _ := operation.Metadata[repetitionKey].(repetition)
	build, _ := operation.Metadata[rebuildKey].(rebuild)
	var kept keptAnswer
	switch {
	case !bytes.Equal(done.Fingerprint, once.Fingerprint):
		answerProblem(ctx, reusedKey())
	case how == repeatCall:
		next(recorded)
		recorded.header.Set(replayedHeader, "true")
		recorded.send()
	case done.Answer != nil && json.Unmarshal(done.Answer, &kept) == nil:
		for name, value := range kept.Header {
			recorded.header.Set(name, value)
		}
		recorded.header.Set(replayedHeader, "true")
		recorded.status = kept.Status
		recorded.answer.Write(kept.Body)
		recorded.send()
	case build != nil && len(done.Record) > 0:
		answer, err := build(ctx.Context(), call.caller.Vendor, done.Record)
		if err != nil {
			answerProblem(ctx, a.problemOf(err))
			return
		}
		encoded, err := json.Marshal(answer.body)
		if err != nil {
			answerProblem(ctx, a.problemOf(err))
			return
		}
		recorded.header.Set("Content-Type", "application/json")
		if answer.location != "" {
			recorded.header.Set("Location", answer.location)
			recorded.header.Set("ETag", etagOf(answer.body))
		}
		recorded.header.Set(replayedHeader, "true")
		recorded.status = answer.status
		recorded.answer.Write(append(encoded, '\n'))
		recorded.send()
	default:
		p := newProblem(http.StatusConflict, "The call was completed before and its response was not stored. It created the record "+strings.Join(done.Record, "/")+".")
		p.Code = "idempotency_answer_lost"
		answerProblem(ctx, p)
	}
}

// keep notes that a call was carried out, with its answer.
func (a *api) keep(ctx context.Context, operation *huma.Operation, call *call, once *store.Once, recorded *recordedContext) {
	if recorded.status >= 300 {
		return
	}
	// Who asked may be gone: what was done was done.
	ctx = context.WithoutCancel(ctx)
	err := a.Store.Note(ctx, partitions(call.caller.Vendor)[0], once)
	how, _ := operation.Metadata[repetitionKey].(repetition)
	if err == nil && how == repeatAnswer && recorded.answer.Len() <= maxKeptAnswer {
		kept := keptAnswer{Status: recorded.status, Header: make(map[string]string), Body: recorded.answer.Bytes()}
		for _, name := range keptHeaders {
			if value := recorded.header.Get(name); value != "" {
				kept.Header[name] = value
			}
		}
		var encoded []byte
		if encoded, err = json.Marshal(kept); err == nil {
			err = a.Store.KeepAnswer(ctx, once, encoded)
		}
	}
	if err != nil {
		a.Failed(err)
	}
}

// idempotencyKey reads the key of a call; none is empty. The draft asks for a
// string in quotes (RFC 9651); clients that leave them out are understood.
func idempotencyKey(header http.Header) (string, *Problem) {
	values := header.Values(idempotencyHeader)
	if len(values) == 0 {
		return "", nil
	}
	bad := newProblem(http.StatusBadRequest, "Idempotency-Key must be a single string of 1 to 255 printable ASCII characters.")
	key := values[0]
	if len(values) > 1 {
		return "", bad
	}
	if strings.HasPrefix(key, `"`) {
		item, err := httpsfv.UnmarshalItem(values)
		if err != nil {
			return "", bad
		}
		key, _ = item.Value.(string)
	} else if strings.ContainsAny(key, "\", \t") {
		return "", bad
	}
	if key == "" || len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", bad
	}
	return key, nil
}

// onceID names a call by who makes it, and the key. Callers' keys are apart, and
// what is stored has one size.
func onceID(caller, key string) string {
	digest := sha256.Sum256([]byte(caller + "\x00" + key))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// fingerprint tells one call from another.
func fingerprint(operation, path string, call *call, raw []byte) []byte {
	hash := sha256.New()
	for _, part := range []string{operation, path, call.query.Encode(), string(raw)} {
		digest := sha256.Sum256([]byte(part))
		hash.Write(digest[:])
	}
	return hash.Sum(nil)
}

func inProgress() *Problem {
	p := newProblem(http.StatusConflict, "A call with this Idempotency-Key is in progress: try again in a moment.")
	p.Code = "idempotency_in_progress"
	return p
}

func reusedKey() *Problem {
	p := newProblem(http.StatusUnprocessableEntity, "This Idempotency-Key was used for another call: choose a new key for a new call.")
	p.Code = "idempotency_key_reused"
	return p
}

func readAll(body io.Reader, limit int64) ([]byte, *Problem) {
	if body == nil {
		return nil, nil
	}
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, unreadable()
	case int64(len(raw)) > limit:
		return nil, newProblem(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	return raw, nil
}

// humaContext is huma.Context under a name that it can be embedded with: it has a
// method Context.
type humaContext = huma.Context

// recordedContext is a call whose body was read, and whose answer is kept back
// until it is sent.
type recordedContext struct {
	humaContext
	ctx    context.Context
	body   []byte
	status int
	header http.Header
	answer bytes.Buffer
}

func (r *recordedContext) Context() context.Context        { return r.ctx }
func (r *recordedContext) BodyReader() io.Reader           { return bytes.NewReader(r.body) }
func (r *recordedContext) SetStatus(status int)            { r.status = status }
func (r *recordedContext) Status() int                     { return r.status }
func (r *recordedContext) SetHeader(name, value string)    { r.header.Set(name, value) }
func (r *recordedContext) AppendHeader(name, value string) { r.header.Add(name, value) }
func (r *recordedContext) BodyWriter() io.Writer           { return &r.answer }

// send gives the answer.
func (r *recordedContext) send() {
	for name, values := range r.header {
		for _, value := range values {
			r.humaContext.AppendHeader(name, value)
		}
	}
	r.humaContext.SetStatus(r.status)
	if r.answer.Len() > 0 {
		_, _ = r.humaContext.BodyWriter().Write(r.answer.Bytes()) // fails only if the client is gone
	}
}
