package admin

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// resolve follows a reference.
func (a *api) resolve(schema *huma.Schema) *huma.Schema {
	for schema != nil && schema.Ref != "" {
		schema = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
	}
	return schema
}

// docsFields lists the fields of a schema, each followed by the fields of its
// object. Seen are the enclosing schemas, so that a recursive schema ends.
func (a *api) docsFields(schema *huma.Schema, depth int, seen []*huma.Schema) []docsField {
	schema = a.resolve(schema)
	for schema != nil && schema.Type == huma.TypeArray {
		schema = a.resolve(schema.Items)
	}
	if schema == nil || slices.Contains(seen, schema) {
		return nil
	}
	seen = append(seen, schema)
	names := slices.SortedFunc(maps.Keys(schema.Properties), func(a, b string) int {
		required := func(name string) int {
			if slices.Contains(schema.Required, name) {
				return 0
			}
			return 1
		}
		if order := required(a) - required(b); order != 0 {
			return order
		}
		return strings.Compare(a, b)
	})
	var fields []docsField
	for _, name := range names {
		property := schema.Properties[name]
		field := a.docsField(name, property, depth)
		field.Required = slices.Contains(schema.Required, name)
		fields = append(fields, field)
		fields = append(fields, a.docsFields(property, depth+1, seen)...)
	}
	return fields
}

func (a *api) docsField(name string, schema *huma.Schema, depth int) docsField {
	field := docsField{Name: name, Depth: min(depth, 4)}
	if schema == nil {
		return field
	}
	resolved := a.resolve(schema)
	if field.Description = schema.Description; field.Description == "" {
		field.Description = resolved.Description
	}
	field.Type, field.Limits = a.typeName(resolved), limitsOf(schema)
	return field
}

// typeName describes the type of a value.
func (a *api) typeName(schema *huma.Schema) string {
	schema = a.resolve(schema)
	var name string
	switch {
	case schema == nil:
		return "any"
	case len(schema.OneOf) > 0:
		var names []string
		for _, one := range schema.OneOf {
			names = append(names, a.typeName(one))
		}
		return strings.Join(names, " or ")
	case schema.Type == huma.TypeArray:
		name = "array of " + a.typeName(schema.Items)
	case schema.Type == huma.TypeString && schema.Format == "date-time":
		name = "time (RFC 3339)"
	case schema.Type == "":
		name = "any"
	default:
		name = schema.Type
	}
	if schema.Nullable {
		name += " or null"
	}
	return name
}

// limitsOf describes the constraints of a value.
func limitsOf(schema *huma.Schema) []string {
	var limits []string
	if len(schema.Enum) > 0 {
		values := make([]string, len(schema.Enum))
		for i, value := range schema.Enum {
			values[i] = fmt.Sprint(value)
		}
		limits = append(limits, "one of "+strings.Join(values, ", "))
	}
	bound := func(label string, value *int) {
		if value != nil {
			limits = append(limits, label+" "+strconv.Itoa(*value))
		}
	}
	number := func(label string, value *float64) {
		if value != nil {
			limits = append(limits, label+" "+strconv.FormatFloat(*value, 'f', -1, 64))
		}
	}
	number("at least", schema.Minimum)
	number("at most", schema.Maximum)
	if schema.MinLength != nil && *schema.MinLength > 1 {
		bound("min. length", schema.MinLength)
	}
	bound("max. length", schema.MaxLength)
	bound("max. elements", schema.MaxItems)
	bound("max. members", schema.MaxProperties)
	if schema.Default != nil {
		limits = append(limits, "default "+fmt.Sprint(schema.Default))
	}
	return limits
}
