package admin

import (
	"context"
	stdjson "encoding/json"
	"maps"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/policy/store"
)

// A change must not open by what it leaves out. These are the rules of PUT and PATCH about
// absent members and null, see docs/management.md:
//
//   - PATCH is a merge patch: an absent member keeps its value, null resets it to its default.
//   - PUT replaces: an absent member takes its default.
//   - A state that denies is left only by naming it. If the default of such a member would
//     give more access, PUT keeps what is stored for an absent one, and null is refused. Null
//     removes a time if the body names the status too.

// named are the members of a body with their values.
type named map[string]stdjson.RawMessage

// namedIn returns the members of a body that was validated.
func namedIn(raw []byte) named {
	var members named
	_ = stdjson.Unmarshal(raw, &members) // else the operation refuses it
	return members
}

// null reports whether a body has a member with the value null.
func (n named) null(name string) bool { return string(n[name]) == "null" }

// value reports whether a body has a member with another value than null.
func (n named) value(name string) bool {
	_, given := n[name]
	return given && !n.null(name)
}

// stateMember is a member on which access depends, in a change of its record.
type stateMember struct {
	name string
	// widens is whether the change replaces a value by the default and gives more access
	// by that.
	widens bool
	// keep gives the changed record the stored value.
	keep func()
	// by is the member that a body with null must name too; empty if null is refused.
	by string
}

// keepClosed applies the rule about states to a change that sent a body.
func keepClosed(sent named, states ...stateMember) error {
	for _, state := range states {
		switch {
		case !state.widens, sent.value(state.name):
		case !sent.null(state.name):
			state.keep()
		case state.by == "":
			return &store.FieldError{Field: state.name, Problem: "must not be null, because the default would give access that is denied: name the value"}
		case !sent.value(state.by):
			return &store.FieldError{Field: state.name, Problem: "must not be null unless " + state.by + " is named too, because that would give access that is denied"}
		}
	}
	return nil
}

// refuseNull returns an error if a body has null for one of the members.
func refuseNull(sent named, names ...string) error {
	for _, name := range names {
		if sent.null(name) {
			return &store.FieldError{Field: name, Problem: "must not be null: leave it out, or name the value"}
		}
	}
	return nil
}

// bodyReader reads JSON as the body of an operation.
type bodyReader[T any] struct {
	registry huma.Registry
	schema   *huma.Schema
}

func newBodyReader[T any](registry huma.Registry, name string) *bodyReader[T] {
	return &bodyReader[T]{registry, registry.Schema(reflect.TypeFor[T](), true, name)}
}

// read returns the validated body, or a problem.
func (b *bodyReader[T]) read(raw []byte) (T, error) {
	var body T
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return body, unreadable()
	}
	found := new(huma.ValidateResult)
	path := huma.NewPathBuffer(nil, 0)
	path.Push("body")
	huma.Validate(b.registry, b.schema, path, huma.ModeWriteToServer, value, found)
	if len(found.Errors) > 0 {
		p := invalid("", "")
		p.Errors = fieldErrorsOf(found.Errors)
		return body, p
	}
	if json.Unmarshal(raw, &body) != nil {
		return body, unreadable()
	}
	return body, nil
}

// patch returns the body that a merge patch makes of the current one.
func (b *bodyReader[T]) patch(current T, patch []byte) (T, error) {
	raw, err := mergePatch(current, patch)
	if err != nil {
		var none T
		return none, err
	}
	return b.read(raw)
}

// registerMergePatch adds an operation whose body is a JSON merge patch (RFC 7396), under
// either media type, of a body of type T. The patched body is validated, not the patch.
func registerMergePatch[T, I, O any](
	a *api, operation huma.Operation, name string, handle func(ctx context.Context, c *call, bodies *bodyReader[T], in *I) (*O, error),
) {
	bodies := newBodyReader[T](a.huma.OpenAPI().Components.Schemas, name)
	content := map[string]*huma.MediaType{}
	operation.Method, operation.SkipValidateBody = http.MethodPatch, true
	operation.RequestBody = &huma.RequestBody{Required: true, Content: content}
	operation.Description = strings.TrimSpace("The body is a JSON merge patch (RFC 7396), under either media type. The patched record is validated as when it is replaced. " + operation.Description)
	register(a, operation, func(ctx context.Context, c *call, in *I) (*O, error) { return handle(ctx, c, bodies, in) })
	// Huma describes RawBody as arbitrary bytes.
	clear(content)
	maps.Copy(content, bodies.patchContent())
}

// patchContent describes the body of a merge patch as one of a type, without required
// members.
func (b *bodyReader[T]) patchContent() map[string]*huma.MediaType {
	schema := *b.registry.SchemaFromRef(b.schema.Ref)
	schema.Required = nil
	schema.Description = "The changes. Null resets a member to its default; an object changes only its named members. " +
		"Null is refused for a state that denies access."
	return map[string]*huma.MediaType{"application/json": {Schema: &schema}, mergePatchType: {Schema: &schema}}
}
