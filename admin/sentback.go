package admin

import (
	"bytes"
	"cmp"
	"context"
	stdjson "encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"
)

// computedKey is the metadata of a PUT or PATCH with the names of read-only members that
// are computed for each response. They are ignored in a body.
const computedKey = "computed"

// describeSentBack is added to the description of operations that sentBack serves.
const describeSentBack = "Members that only responses have may be sent back: unchanged ones are ignored, changed ones are refused."

// sentBack returns a middleware for PUT and PATCH that lets a client send back what it
// read. It compares the members that a GET of the record has and the body of the operation
// has not, and takes those that are unchanged out of the body. Changed ones are a 422
// problem that names them. Members that neither has are left to the validation.
func (a *api) sentBack(operation huma.Operation) func(huma.Context, func(huma.Context)) {
	var readOnly map[string]bool
	find := sync.OnceFunc(func() { readOnly = a.readOnlyMembers(operation.Method, operation.Path) })
	computed, _ := operation.Metadata[computedKey].([]string)
	timeout := cmp.Or(operation.BodyReadTimeout, defaultReadTimeout)
	return func(ctx huma.Context, next func(huma.Context)) {
		if find(); len(readOnly) == 0 {
			next(ctx)
			return
		}
		_ = ctx.SetReadDeadline(time.Now().Add(timeout))
		reader := ctx.BodyReader()
		raw, err := io.ReadAll(io.LimitReader(reader, defaultMaxBody+1))
		var members map[string]json.RawMessage
		if err == nil && len(raw) <= defaultMaxBody && json.Unmarshal(raw, &members) == nil {
			var problem *Problem
			if raw, problem = a.withoutUnchanged(ctx, raw, members, readOnly, computed); problem != nil {
				answerProblem(ctx, problem)
				return
			}
		}
		// What was not read is left to the operation, and so is the error of reading it.
		next(&bodyContext{ctx, io.MultiReader(bytes.NewReader(raw), reader)})
	}
}

// describeSentBacks adds to descriptions what sentBack does.
func (a *api) describeSentBacks() {
	for path, item := range a.huma.OpenAPI().Paths {
		for _, o := range []*huma.Operation{item.Put, item.Patch} {
			if o != nil && len(a.readOnlyMembers(o.Method, path)) > 0 {
				o.Description = strings.TrimSpace(o.Description + " " + describeSentBack)
			}
		}
	}
}

// bodyContext is a context with another body.
type bodyContext struct {
	humaContext
	body io.Reader
}

func (b *bodyContext) BodyReader() io.Reader { return b.body }

// readOnlyMembers returns the members of the response of GET at a path that the body of an
// operation there does not have.
func (a *api) readOnlyMembers(method, path string) map[string]bool {
	document := a.huma.OpenAPI()
	item := document.Paths[strings.ReplaceAll(path, "...}", "}")] // as huma describes it
	if item == nil {
		return nil
	}
	changes := map[string]*huma.Operation{http.MethodPut: item.Put, http.MethodPatch: item.Patch}[method]
	if item.Get == nil || changes == nil || changes.RequestBody == nil || item.Get.Responses["200"] == nil {
		return nil
	}
	members := func(content map[string]*huma.MediaType) map[string]*huma.Schema {
		found := content["application/json"]
		if found == nil || found.Schema == nil {
			return nil
		}
		schema := found.Schema
		for schema.Ref != "" {
			schema = document.Components.Schemas.SchemaFromRef(schema.Ref)
		}
		return schema.Properties
	}
	written := members(changes.RequestBody.Content)
	if written == nil {
		return nil
	}
	readOnly := map[string]bool{}
	for name := range members(item.Get.Responses["200"].Content) {
		if _, ok := written[name]; !ok {
			readOnly[name] = true
		}
	}
	return readOnly
}

// withoutUnchanged returns a body without its read-only members, or a problem that names
// those that differ from the record.
func (a *api) withoutUnchanged(
	ctx huma.Context, raw []byte, members map[string]json.RawMessage, readOnly map[string]bool, computed []string,
) ([]byte, *Problem) {
	var sent []string
	for name := range members {
		if readOnly[name] {
			sent = append(sent, name)
		}
	}
	if len(sent) == 0 {
		return raw, nil
	}
	current := a.currentRecord(ctx)
	if current == nil {
		return raw, nil
	}
	slices.Sort(sent)
	var changed []FieldError
	for _, name := range sent {
		if !slices.Contains(computed, name) && !sameValue(members[name], current[name]) {
			changed = append(changed, FieldError{Message: "is read-only: leave it out, or send it as the record has it", Location: "body." + name})
		}
		delete(members, name)
	}
	if len(changed) > 0 {
		p := newProblem(http.StatusUnprocessableEntity, "validation failed")
		p.Errors = changed
		return nil, p
	}
	plain := make(map[string]stdjson.RawMessage, len(members))
	for name, value := range members {
		plain[name] = stdjson.RawMessage(value)
	}
	stripped, err := stdjson.Marshal(plain)
	if err != nil {
		return raw, nil // the operation refuses it
	}
	return stripped, nil
}

// currentRecord returns the members of the record at the path of a call as GET returns it,
// or nil if there is none. A client needs no scope to read it for this: the response of
// its change is the record too.
func (a *api) currentRecord(ctx huma.Context) map[string]json.RawMessage {
	c := *callOf(ctx.Context())
	c.Unlimited = c.Unlimited || c.Reader == nil
	address := ctx.URL()
	c.query = address.Query()
	maps.DeleteFunc(c.query, func(name string, _ []string) bool { return name != "site" })
	address.RawQuery = c.query.Encode()
	read, err := http.NewRequestWithContext(context.WithValue(ctx.Context(), callKey{}, &c), http.MethodGet, address.RequestURI(), http.NoBody) //nolint:gosec // G704: it is served here, not sent
	if err != nil {
		return nil
	}
	answer := &bufferedResponse{statusRecorder: statusRecorder{header: make(http.Header)}}
	a.mux.ServeHTTP(answer, read)
	var members map[string]json.RawMessage
	if answer.status != http.StatusOK || json.Unmarshal(answer.body.Bytes(), &members) != nil {
		return nil
	}
	return members
}

// bufferedResponse keeps a response.
type bufferedResponse struct {
	statusRecorder
	body bytes.Buffer
}

func (b *bufferedResponse) Write(p []byte) (int, error) { return b.body.Write(p) }

// sameValue reports whether two JSON values are equal. An absent one is null, and times
// are equal when they are the same moment.
func sameValue(a, b json.RawMessage) bool {
	values := [2]any{}
	for i, raw := range []json.RawMessage{a, b} {
		if raw == nil {
			continue
		}
		decoder := stdjson.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if decoder.Decode(&values[i]) != nil {
			return false
		}
	}
	if reflect.DeepEqual(values[0], values[1]) {
		return true
	}
	first, ok1 := values[0].(string)
	second, ok2 := values[1].(string)
	if !ok1 || !ok2 {
		return false
	}
	at1, err1 := time.Parse(time.RFC3339, strings.TrimSpace(first))
	at2, err2 := time.Parse(time.RFC3339, second)
	return err1 == nil && err2 == nil && at1.Equal(at2)
}
