package hook

import (
	"errors"
	"strconv"
	"strings"
)

const (
	// maxPointer bounds the length of a JSON Pointer, in bytes.
	maxPointer = 255
	// maxPointerDepth bounds its reference tokens.
	maxPointerDepth = 16
)

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// CheckPointer returns an error for a text that is no JSON Pointer (RFC 6901) to a part of
// a document.
func CheckPointer(pointer string) error {
	switch {
	case len(pointer) > maxPointer:
		return errors.New("is longer than 255 bytes")
	case !strings.HasPrefix(pointer, "/"):
		return errors.New("must be a JSON Pointer into the event's body, such as /data/object/id")
	case strings.Count(pointer, "/") > maxPointerDepth:
		return errors.New("has more than 16 parts")
	case strings.ContainsFunc(pointer, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }):
		return errors.New("has a control character or invalid UTF-8")
	}
	for rest := pointer; ; {
		i := strings.IndexByte(rest, '~')
		if i < 0 {
			return nil
		}
		if rest = rest[i+1:]; rest == "" || rest[0] != '0' && rest[0] != '1' {
			return errors.New("has a ~ that is neither ~0 (for ~) nor ~1 (for /): see RFC 6901")
		}
	}
}

// find returns the value at a pointer of a document that encoding/json decoded, nil if
// there is none (RFC 6901, section 4).
func find(document any, pointer string) any {
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch parent := document.(type) {
		case map[string]any:
			document = parent[unescape.Replace(token)]
		case []any:
			i, err := strconv.ParseUint(token, 10, 31)
			if err != nil || i >= uint64(len(parent)) || len(token) > 1 && token[0] == '0' {
				return nil
			}
			document = parent[i]
		default:
			return nil
		}
	}
	return document
}
