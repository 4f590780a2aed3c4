package admin

import (
	stdjson "encoding/json"

	"github.com/go-jose/go-jose/v4/json"
)

// mergePatchType is the media type of a JSON merge patch (RFC 7396). PATCH bodies of
// type application/json are merge patches too.
const mergePatchType = "application/merge-patch+json"

// mergePatch applies a JSON merge patch to the JSON of current. The patch must be an
// object with unique members.
func mergePatch(current any, patch []byte) ([]byte, error) {
	var changes map[string]any
	if err := json.Unmarshal(patch, &changes); err != nil || changes == nil {
		return nil, unreadable()
	}
	encoded, err := stdjson.Marshal(current)
	if err != nil {
		return nil, err
	}
	var target any
	if err := stdjson.Unmarshal(encoded, &target); err != nil {
		return nil, err
	}
	return stdjson.Marshal(merge(target, changes))
}

// merge implements MergePatch of RFC 7396, section 2.
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = make(map[string]any, len(changes))
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = merge(object[name], value)
	}
	return object
}
