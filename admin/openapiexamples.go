package admin

import (
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// describeExamples adds examples to JSON bodies, built from those of their fields.
func (a *api) describeExamples(operation *huma.Operation) {
	if operation.RequestBody != nil {
		a.exampleFor(operation.RequestBody.Content, true)
	}
	for _, response := range operation.Responses {
		a.exampleFor(response.Content, false)
	}
}

func (a *api) exampleFor(content map[string]*huma.MediaType, request bool) {
	for _, media := range content {
		if media.Schema != nil && media.Example == nil && media.Examples == nil {
			media.Example, _ = exampleOf(a.huma.OpenAPI().Components.Schemas, media.Schema, request, 0)
		}
	}
}

// maxExampleDepth ends the example of a schema that contains itself.
const maxExampleDepth = 16

// exampleOf returns the example of a schema, or one built from those of its parts: it is
// valid by the schema. That of a request has no read-only members. It returns false when
// there is none.
func exampleOf(registry huma.Registry, schema *huma.Schema, request bool, depth int) (any, bool) {
	switch {
	case depth > maxExampleDepth:
		return nil, false
	case len(schema.Examples) > 0:
		return schema.Examples[0], true
	case schema.Ref != "":
		return exampleOf(registry, registry.SchemaFromRef(schema.Ref), request, depth+1)
	case len(schema.Enum) > 0:
		return schema.Enum[0], true
	case schema.Default != nil:
		return schema.Default, true
	}
	switch schema.Type {
	case huma.TypeArray:
		elements := []any{}
		if schema.Items != nil {
			if element, ok := exampleOf(registry, schema.Items, request, depth+1); ok {
				elements = append(elements, element)
			}
		}
		return elements, true
	case huma.TypeObject:
		object := make(map[string]any)
		for name, property := range schema.Properties {
			if request && property.ReadOnly {
				continue
			}
			value, ok := exampleOf(registry, property, request, depth+1)
			if !ok && slices.Contains(schema.Required, name) {
				value, ok = plainValue(property), true
			}
			if ok {
				object[name] = value
			}
		}
		return object, true
	case huma.TypeBoolean:
		return false, true
	}
	return nil, false
}

// plainValue returns a value of a required field that has no example.
func plainValue(schema *huma.Schema) any {
	switch {
	case schema.Nullable, schema.Type == "":
		return nil
	case schema.Format == "date-time":
		return "2027-01-31T12:00:00Z"
	case schema.Type == huma.TypeString:
		return ""
	case schema.Minimum != nil:
		return *schema.Minimum
	}
	return 0
}
