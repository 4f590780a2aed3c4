package admin

import (
	"bytes"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"
)

// patcher applies merge patches (RFC 7396) to what callers set of a record, and validates
// the result as a body. Numbers keep their digits.
type patcher[B any] struct {
	*bodyReader[B]
	// bounds are members that null does not remove, because that would widen what the
	// record gives.
	bounds []string
	// counters are read-only members that change without a change of the record.
	counters []string
}

// newPatcher returns the patcher of a body.
func newPatcher[B any](a *api, bounds ...string) *patcher[B] {
	reader := newBodyReader[B](a.huma.OpenAPI().Components.Schemas, "")
	ref := reader.schema.Ref
	reader.schema = reader.registry.SchemaFromRef(ref)
	delete(reader.registry.Map(), path.Base(ref)) // the document has it in the body of the patch
	return &patcher[B]{bodyReader: reader, bounds: bounds}
}

// requestBody describes the patch in the document.
func (p *patcher[B]) requestBody() *huma.RequestBody {
	schema := *p.schema
	schema.Required = nil
	schema.Description = "The changes. A member that is left out keeps its value. Null gives a member its default, except " +
		strings.Join(p.bounds, ", ") + ": what bounds a record is changed by naming another bound. Read-only members are accepted if they are unchanged."
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: &schema}, mergePatchType: {Schema: &schema},
	}}
}

// numbers decodes strict JSON whose numbers keep their digits.
func numbers(raw []byte, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.SetNumberType(json.UnmarshalJSONNumber)
	return decoder.Decode(to)
}

// membersOf returns the members of a value on the wire.
func membersOf(value any) (found map[string]any, err error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return found, numbers(encoded, &found)
}

// apply returns a changed body. Shown is the record on the wire, written what callers set
// of it.
func (p *patcher[B]) apply(shown any, written *B, raw []byte) (*B, error) {
	var changes map[string]any
	if err := numbers(raw, &changes); err != nil || changes == nil {
		return nil, unreadable()
	}
	is, err := membersOf(shown)
	if err != nil {
		return nil, err
	}
	target, err := membersOf(written)
	if err != nil {
		return nil, err
	}
	properties := p.schema.Properties
	for name, value := range changes {
		now, has := is[name]
		switch {
		case properties[name] != nil:
			if value == nil && target[name] != nil && slices.Contains(p.bounds, name) {
				return nil, invalid(name, "cannot be removed, which would widen what the record gives: name another value")
			}
		case has && (reflect.DeepEqual(now, value) || slices.Contains(p.counters, name)):
			delete(changes, name)
		case has:
			return nil, invalid(name, "is read-only: leave it out, or send it as it is")
		default:
			return nil, invalid(name, "unexpected property")
		}
	}
	patched, err := json.Marshal(merge(target, changes))
	if err != nil {
		return nil, err
	}
	body, err := p.read(patched)
	return &body, err
}
