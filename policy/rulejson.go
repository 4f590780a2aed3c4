package policy

import (
	"encoding/json"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// RuleDecoder reads rules as json.Unmarshal does, many of them in less time. Of
// rules with equal arguments it reads these once: they share memory, which must
// not be changed. It is not safe for concurrent use.
type RuleDecoder struct {
	allows map[string]Allow // by how they are written
}

// maxAllowsKept bounds what is kept of rules that all say something else.
const maxAllowsKept = 1024

// Decode reads one rule.
func (d *RuleDecoder) Decode(text []byte) (Rule, error) {
	if rule, ok := d.plain(text); ok {
		return rule, nil
	}
	var rule Rule
	err := json.Unmarshal(text, &rule)
	return rule, err
}

// The members of a rule, as they are counted.
const (
	memberRank = iota
	memberPath
	memberAllow
	memberMethods
	memberForward
	memberEngaged
)

func (d *RuleDecoder) plain(text []byte) (rule Rule, ok bool) {
	p := PlainJSON{text: text}
	var seen uint32
	for p.Open('{'); p.More('}'); {
		switch string(p.Name()) {
		case "rank":
			p.Once(&seen, memberRank)
			rule.Rank = p.Number()
		case "path":
			p.Once(&seen, memberPath)
			rule.Path = string(p.Text())
		case "allow":
			p.Once(&seen, memberAllow)
			if rule.Allow, ok = d.Allow(p.Raw()); !ok {
				p.fail()
			}
		case "methods":
			p.Once(&seen, memberMethods)
			rule.Methods = p.Texts()
		case "is_forward":
			p.Once(&seen, memberForward)
			rule.Forward = p.Bool()
		case "engaged":
			p.Once(&seen, memberEngaged)
			rule.Engaged = p.Texts()
		default:
			p.fail()
		}
	}
	p.End()
	return rule, !p.failed
}

// Allow reads an operator with its arguments as Allow.UnmarshalJSON does; false
// where that returns an error.
func (d *RuleDecoder) Allow(text []byte) (Allow, bool) {
	if known, ok := d.allows[string(text)]; ok {
		return known, true
	}
	var allow Allow
	if allow.UnmarshalJSON(text) != nil {
		return Allow{}, false
	}
	if d.allows == nil {
		d.allows = make(map[string]Allow)
	}
	if len(d.allows) < maxAllowsKept {
		d.allows[string(text)] = allow
	}
	return allow, true
}

// RuleEncoder writes rules as json.Marshal does, byte for byte, many of them in
// less time. It is not safe for concurrent use, and the rules that it wrote must
// not be changed while it is used.
type RuleEncoder struct {
	allows map[allowIdentity][]byte
}

// allowIdentity tells an operator with its arguments from others by where the
// arguments are in memory: equal ones may be told apart, others are never taken
// for equal while both are there.
type allowIdentity struct {
	operator  string
	arguments uintptr
}

func (a *Allow) identity() allowIdentity {
	return allowIdentity{operator: a.Operator, arguments: reflect.ValueOf(a.Arguments).Pointer()}
}

// Append appends one rule.
func (e *RuleEncoder) Append(to []byte, rule *Rule) ([]byte, error) {
	to = strconv.AppendInt(append(to, `{"rank":`...), int64(rule.Rank), 10)
	to, err := appendJSON(append(to, `,"path":`...), rule.Path)
	if err != nil {
		return nil, err
	}
	allow, err := e.allow(&rule.Allow)
	if err != nil {
		return nil, err
	}
	to = append(append(to, `,"allow":`...), allow...)
	if to, err = appendTexts(to, `,"methods":[`, rule.Methods); err != nil {
		return nil, err
	}
	to = strconv.AppendBool(append(to, `,"is_forward":`...), rule.Forward)
	if to, err = appendTexts(to, `,"engaged":[`, rule.Engaged); err != nil {
		return nil, err
	}
	return append(to, '}'), nil
}

func (e *RuleEncoder) allow(allow *Allow) ([]byte, error) {
	identity := allow.identity()
	if known := e.allows[identity]; known != nil {
		return known, nil
	}
	text, err := json.Marshal(allow)
	if err != nil {
		return nil, err
	}
	if e.allows == nil {
		e.allows = make(map[allowIdentity][]byte)
	}
	if len(e.allows) < maxAllowsKept {
		e.allows[identity] = text
	}
	return text, nil
}

func appendTexts(to []byte, name string, texts []string) (_ []byte, err error) {
	if len(texts) == 0 {
		return to, nil
	}
	to = append(to, name...)
	for i, text := range texts {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendJSON(to, text); err != nil {
			return nil, err
		}
	}
	return append(to, ']'), nil
}

// appendJSON appends a string as json.Marshal writes it.
func appendJSON(to []byte, text string) ([]byte, error) {
	for i := range len(text) {
		switch c := text[i]; {
		case c < 0x20, c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&', c == 0x7f:
			encoded, err := json.Marshal(text)
			return append(to, encoded...), err
		}
	}
	return append(append(append(to, '"'), text...), '"'), nil
}
