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

// Idempotency-Key follows draft-ietf-httpapi-idempotency-key-header: a POST with a
// key is executed once, and so is a PUT whose operation has a repetition. The change and the store.IdempotencyRecord are written
// atomically; the record and the response are kept for a day. A call that changes
// nothing leaves no record and may be repeated.
//
// Responses are stored unless they contain a secret, see repetition.

const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Idempotency-Replayed"

	maxIdempotencyKey = 255
	// maxKeptAnswer bounds the stored body of a response, in bytes.
	maxKeptAnswer = 64 << 10
	// defaultMaxBody and defaultReadTimeout are huma's.
	defaultMaxBody     = 1 << 20
	defaultReadTimeout = 5 * time.Second
)

// repetition is the way in which an operation answers a repeated call.
type repetition int

const (
	// By default the response may contain a secret and is not stored. A repetition
	// is refused with the id of the record.
	_ repetition = iota
	// repeatAnswer sends the stored response.
	repeatAnswer
	// repeatCall executes the call again, which has no further effect.
	repeatCall
	// repeatRebuild builds the response from the record, because the first one
	// contained a secret and was not stored.
	repeatRebuild
)

// The keys of an operation's Metadata.
const (
	repetitionKey = "repetition"
	// rebuildKey has a rebuild, for responses that are not stored, or were lost
	// because the process ended before it stored them.
	rebuildKey = "rebuild"
)

// rebuilt is a response that was built from a record.
type rebuilt struct {
	status   int
	location string
	body     any
}

type rebuild func(ctx context.Context, vendor string, record []string) (rebuilt, error)

// keptAnswer is a stored response.
type keptAnswer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
}

// keptHeaders are the stored headers of a response.
var keptHeaders = []string{"Content-Type", "Location", "ETag"}

// inFlight is the set of calls with a key that this process is executing.
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

// describeOnce adds the header to the description of an operation.
func describeOnce(operation *huma.Operation) {
	operation.Parameters = append(operation.Parameters, &huma.Param{
		Name: idempotencyHeader, In: "header",
		Description: "Executes the call once: for 24 hours, a repetition with the same key has the same response. " +
			"A different call with the key is refused with 422, a repetition while the first is in progress with 409.",
		Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(maxIdempotencyKey)},
	})
}

// once returns the middleware that executes a call with an Idempotency-Key once.
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
		c := callOf(ctx.Context())
		var raw []byte
		if problem == nil {
			_ = ctx.SetReadDeadline(time.Now().Add(timeout))
			raw, problem = readAll(ctx.BodyReader(), maxBody)
		}
		if problem != nil {
			answerProblem(ctx, problem)
			return
		}
		pending := &store.IdempotencyRecord{ID: onceID(c.Name, key), Fingerprint: fingerprint(operation.OperationID, ctx.URL().Path, c, raw)}
		flight := c.Vendor + "\x00" + pending.ID
		if !a.inFlight.begin(flight) {
			answerProblem(ctx, inProgress())
			return
		}
		defer a.inFlight.end(flight)
		recorded := &recordedContext{humaContext: ctx, body: raw, header: make(http.Header)}
		done, err := a.completedCall(ctx.Context(), c.Vendor, pending.ID)
		switch {
		case err != nil:
			answerProblem(ctx, a.problemOf(err))
		case done == nil:
			c.idempotency = pending
			next(recorded)
			a.keep(ctx.Context(), &operation, c, recorded)
			recorded.send()
		case !bytes.Equal(done.Fingerprint, pending.Fingerprint):
			answerProblem(ctx, reusedKey())
		case operation.Metadata[repetitionKey] == repeatCall:
			next(recorded)
			recorded.header.Set(replayedHeader, "true")
			recorded.send()
		default:
			a.replay(recorded, &operation, c.Vendor, done)
		}
	}
}

// partitions are the partitions that a call of a vendor may write.
func partitions(vendor string) []string {
	if vendor == "" {
		return []string{store.SystemPartition}
	}
	return []string{vendor, store.SystemPartition}
}

func (a *api) completedCall(ctx context.Context, vendor, id string) (*store.CompletedCall, error) {
	for _, partition := range partitions(vendor) {
		if done, err := a.Store.CompletedCall(ctx, partition, id); err != nil || done != nil {
			return done, err
		}
	}
	return nil, nil
}

// replay answers a call that was completed before, with the stored response or with
// one that is built from the record.
func (a *api) replay(recorded *recordedContext, operation *huma.Operation, vendor string, done *store.CompletedCall) {
	ctx := recorded.humaContext
	build, _ := operation.Metadata[rebuildKey].(rebuild)
	var kept keptAnswer
	switch {
	case done.Answer != nil && json.Unmarshal(done.Answer, &kept) == nil:
	case build != nil && len(done.Record) > 0:
		answer, err := build(ctx.Context(), vendor, done.Record)
		if err == nil {
			kept, err = answer.keep()
		}
		if err != nil {
			answerProblem(ctx, a.problemOf(err))
			return
		}
	default:
		p := newProblem(http.StatusConflict, "The call was completed before and its response was not stored. It created the record "+strings.Join(done.Record, "/")+".")
		p.Code = "idempotency_answer_lost"
		answerProblem(ctx, p)
		return
	}
	for name, value := range kept.Header {
		recorded.header.Set(name, value)
	}
	recorded.header.Set(replayedHeader, "true")
	recorded.status = kept.Status
	recorded.answer.Write(kept.Body)
	recorded.send()
}

func (r *rebuilt) keep() (keptAnswer, error) {
	encoded, err := json.Marshal(r.body)
	kept := keptAnswer{Status: r.status, Header: map[string]string{"Content-Type": "application/json"}, Body: append(encoded, '\n')}
	if r.location != "" {
		kept.Header["Location"], kept.Header["ETag"] = r.location, etagOf(r.body)
	}
	return kept, err
}

// keep stores the idempotency record of a call, unless its change did, and the
// response.
func (a *api) keep(ctx context.Context, operation *huma.Operation, c *call, recorded *recordedContext) {
	if recorded.status >= 300 {
		return
	}
	ctx = context.WithoutCancel(ctx) // the call is complete even if the client is gone
	err := a.Store.Complete(ctx, partitions(c.Vendor)[0], c.idempotency)
	if err == nil && operation.Metadata[repetitionKey] == repeatAnswer && !c.secret && recorded.answer.Len() <= maxKeptAnswer {
		kept := keptAnswer{Status: recorded.status, Header: make(map[string]string), Body: recorded.answer.Bytes()}
		for _, name := range keptHeaders {
			if value := recorded.header.Get(name); value != "" {
				kept.Header[name] = value
			}
		}
		var encoded []byte
		if encoded, err = json.Marshal(kept); err == nil {
			err = a.Store.SaveAnswer(ctx, c.idempotency, encoded)
		}
	}
	if err != nil {
		a.Failed(err)
	}
}

// idempotencyKey returns the key of a call, or "" if there is none. The draft
// requires a quoted string (RFC 9651); unquoted keys are accepted too.
func idempotencyKey(header http.Header) (string, *Problem) {
	values := header.Values(idempotencyHeader)
	if len(values) == 0 {
		return "", nil
	}
	bad := invalidAt("header."+idempotencyHeader, "must be a single string of 1 to 255 printable ASCII characters")
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

// onceID returns the id of a call by caller and key. It has a fixed size.
func onceID(caller, key string) string {
	digest := sha256.Sum256([]byte(caller + "\x00" + key))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// fingerprint returns a digest that distinguishes calls with the same key.
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

// humaContext names the embedded huma.Context, which has a method Context.
type humaContext = huma.Context

// recordedContext is a call whose body was read and whose response is buffered.
type recordedContext struct {
	humaContext
	body   []byte
	status int
	header http.Header
	answer bytes.Buffer
}

func (r *recordedContext) BodyReader() io.Reader           { return bytes.NewReader(r.body) }
func (r *recordedContext) SetStatus(status int)            { r.status = status }
func (r *recordedContext) Status() int                     { return r.status }
func (r *recordedContext) SetHeader(name, value string)    { r.header.Set(name, value) }
func (r *recordedContext) AppendHeader(name, value string) { r.header.Add(name, value) }
func (r *recordedContext) BodyWriter() io.Writer           { return &r.answer }

// send sends the buffered response.
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
