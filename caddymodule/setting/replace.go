package setting

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Has reports whether a text has a placeholder, so that it can be checked only once
// Replace has put in the value.
func Has(text string) bool {
	return strings.Contains(text, "{env.") || strings.Contains(text, "{file.")
}

// Text returns a text with its placeholders replaced. A placeholder without a value is
// an error, which names the option and the placeholder and holds no value: that may be
// a secret.
func Text(option, text string) (string, error) { return replace(option, text, false) }

// Replace replaces the placeholders in the exported strings of a struct, at any depth:
// in lists, in both sides of maps, in JSON values and in Values. An error names the
// option by its names in JSON, and has its path, see In. These struct tags change that:
//
//	caddyfile:"name"         the option's name in the Caddyfile, where that differs
//	placeholders:"-"         the field keeps its text: a secret, a keyword, or another module
//	placeholders:"captures"  {name} is no placeholder in the field: a rule captures it
func Replace(config any) error {
	return walk("", reflect.ValueOf(config), false)
}

// replacer is implemented by Values.
type replacer interface {
	replace(option string) error
}

func walk(option string, v reflect.Value, captures bool) error {
	if v.CanAddr() {
		if value, ok := reflect.TypeAssert[replacer](v.Addr()); ok {
			return value.replace(option)
		}
	}
	switch v.Kind() { //nolint:exhaustive // other kinds hold no text
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return walk(option, v.Elem(), captures)
	case reflect.Struct:
		return walkFields(option, v, captures)
	case reflect.String:
		text, err := replace(option, v.String(), captures)
		if err == nil && text != v.String() {
			v.SetString(text)
		}
		return err
	case reflect.Slice:
		return walkSlice(option, v, captures)
	case reflect.Map:
		return walkMap(option, v, captures)
	default:
		return nil
	}
}

func walkFields(option string, v reflect.Value, captures bool) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		own, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		name, tag := own, field.Tag.Get("placeholders")
		if !field.IsExported() || name == "-" || tag == "-" {
			continue
		}
		if option != "" {
			name = option + ": " + name
		}
		if err := walk(name, v.Field(i), captures || tag == "captures"); err != nil {
			return In(cmp.Or(field.Tag.Get("caddyfile"), own), err)
		}
	}
	return nil
}

func walkSlice(option string, v reflect.Value, captures bool) error {
	if raw, ok := reflect.TypeAssert[json.RawMessage](v); ok {
		replaced, err := replaceJSON(option, raw, captures)
		if err == nil {
			v.SetBytes(replaced)
		}
		return err
	}
	for i := range v.Len() {
		if err := walk(option, v.Index(i), captures); err != nil {
			return In(Item("", i), err)
		}
	}
	return nil
}

// walkMap replaces the keys of a map and its values, which cannot be set in place.
func walkMap(option string, v reflect.Value, captures bool) error {
	for _, key := range v.MapKeys() {
		name, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		name.Set(key)
		value.Set(v.MapIndex(key))
		inside := option + ": " + key.String()
		if err := walk(option, name, captures); err != nil {
			return err
		}
		if err := walk(inside, value, captures); err != nil {
			return err
		}
		if name.String() != key.String() {
			if v.MapIndex(name).IsValid() {
				return fmt.Errorf("%s is given twice", inside)
			}
			v.SetMapIndex(key, reflect.Value{})
		}
		v.SetMapIndex(name, value)
	}
	return nil
}

// replaceJSON replaces the placeholders in the strings of a JSON value. A value
// without any keeps its bytes.
func replaceJSON(option string, raw json.RawMessage, captures bool) (json.RawMessage, error) {
	if !Has(string(raw)) {
		return raw, nil
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	replaced, err := replaceAny(option, value, captures)
	if err != nil {
		return nil, err
	}
	return json.Marshal(replaced)
}

func replaceAny(option string, value any, captures bool) (any, error) {
	var err error
	switch value := value.(type) {
	case string:
		return replace(option, value, captures)
	case []any:
		for i := range value {
			if value[i], err = replaceAny(option, value[i], captures); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range value {
			if value[name], err = replaceAny(option, value[name], captures); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// replace replaces the placeholders of a text. Other names in braces are left if they
// are captures, else they are an error.
func replace(option, text string, captures bool) (string, error) {
	if !strings.Contains(text, "{") || captures && !Has(text) {
		return text, nil
	}
	return caddy.NewReplacer().ReplaceFunc(text, func(name string, value any) (any, error) {
		placeholder := "{" + name + "}"
		switch replaced := caddy.ToString(value); {
		case !Has(placeholder) && captures:
			return placeholder, nil
		case !Has(placeholder):
			return nil, fmt.Errorf("%s: %s has no value when the configuration is loaded: only {env.NAME} and {file./path} have", option, placeholder)
		case replaced == "":
			return nil, fmt.Errorf("%s: %s is not set, or empty", option, placeholder)
		default:
			return strings.TrimRight(replaced, "\r\n"), nil
		}
	})
}
