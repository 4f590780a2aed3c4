package policy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spelledRules are rules as they may be stored, and what is nearly one.
var spelledRules = []string{
	`{"rank":1,"path":"/a/{publisherContentId}","allow":"entitled/{\"sku\":[\"premium\",\"{publisherContentId}\"]}","is_forward":true}`,
	`{"rank":1,"path":"/","allow":0,"methods":["GET","POST"],"is_forward":false,"engaged":["App","Öl"]}`,
	`{"rank":999999999,"path":"/ü\u00fc","allow":"any","methods":[],"is_forward":true}`,
	` { "is_forward" : true , "allow" : 15 , "path" : "" , "rank" : 0 } `,
	`{"rank":1,"rank":2,"path":"/a","path":"/b","allow":"any","allow":1}`,
	`{"RANK":1,"Path":"/a","ALLOW":"any","Is_Forward":true,"other":{"path":[1,{}]}}`,
	`{"rank":1,"path":"a\"b\\c\/d\n","allow":"self/{\"user\":\"<&>\u2028\"}"}`,
	`{"rank":null,"path":null,"allow":"any","methods":null,"is_forward":null,"engaged":null}`,
	`{"path":"/a","allow":"any\u002f{}"}`, `{"path":"/a","allow":"entitled/{\"sku\":1.5}"}`,
	"{\"path\":\"/\xff\",\"allow\":\"any\"}", "{\"path\":\"/\x01\",\"allow\":\"any\"}", "{\"path\":\"/\x7f\",\"allow\":\"any\"}",
	`{"rank":01}`, `{"rank":-1}`, `{"rank":1e3}`, `{"rank":1.0}`, `{"rank":9999999999}`, `{"rank":1 2}`, `{"rank":"1"}`, `{"rank":}`,
	`{"allow":null}`, `{"allow":"any/[]"}`, `{"allow":"any/{}x"}`, `{"allow":-1}`, `{"allow":""}`, `{"allow":"a\q"}`, `{"allow":"\u12"}`, `{"allow":"\`,
	`{"methods":["GET",]}`, `{"methods":["GET" "POST"]}`, `{"methods":["GET"}`, `{"methods":{"a":1}}`, `{"methods":[1]}`,
	`{"is_forward":truex}`, `{"is_forward":tru}`, `{"is_forward":1}`,
	`{}`, `{,}`, `{"rank":1,}`, `{"rank" 1}`, `{rank:1}`, `[]`, `null`, ``, ` `, `{`, `}`, `{}{}`, `{} x`, "{}\x00",
}

// FuzzRuleDecoder: whatever is read fast is read as the library reads it, and
// whatever is written fast is written as the library writes it.
func FuzzRuleDecoder(f *testing.F) {
	for _, text := range spelledRules {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want Rule
		wrong := json.Unmarshal([]byte(text), &want)
		var decoder RuleDecoder
		for range 2 { // the second time from memory
			got, err := decoder.Decode([]byte(text))
			if (err == nil) != (wrong == nil) || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q is read as %#v (%v), and by the library as %#v (%v)", text, got, err, want, wrong)
			}
		}
		written, wrong := json.Marshal(want)
		var encoder RuleEncoder
		for range 2 {
			got, err := encoder.Append([]byte("before"), &want)
			if (err == nil) != (wrong == nil) || err == nil && string(got) != "before"+string(written) {
				t.Fatalf("%#v is written as %s (%v), and by the library as %s (%v)", want, got, err, written, wrong)
			}
		}
	})
}

// What programs write is read without the library: else nothing is gained.
func TestPlainRulesAreReadFast(t *testing.T) {
	for _, text := range spelledRules[:4] {
		text = strings.ReplaceAll(text, `\u00fc`, "ü")
		if _, ok := new(RuleDecoder).plain([]byte(text)); !ok {
			t.Errorf("%s is read by the library", text)
		}
	}
}

// Rules that share the memory of their arguments are told apart by all else that
// decides what they are compiled to.
func TestSharedArgumentsCompileByCaptures(t *testing.T) {
	shared := Arguments{"sku": json.RawMessage(`["{a}"]`)}
	allow := Allow{Operator: "entitled", Arguments: shared}
	operators := StandardOperators()
	_, err := CompileRules([]Rule{{Rank: 1, Path: "/x/{a}", Allow: allow}, {Rank: 2, Path: "/y/{b}", Allow: allow}}, operators)
	var failed *RuleError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Rule.Rank)
	_, err = CompileRules([]Rule{{Rank: 1, Path: "/x/{a}/{b}", Allow: allow}, {Rank: 2, Path: "/y/{b}/{c}", Allow: allow}}, operators)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Rule.Rank)
	_, err = CompileRules([]Rule{{Rank: 1, Path: "/x/{a}", Allow: allow}, {Rank: 2, Path: "/y/{a}", Allow: Allow{Operator: "any", Arguments: shared}}}, operators)
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 2, failed.Rule.Rank)
	set, err := CompileRules([]Rule{{Rank: 1, Path: "/x/{a}/{b}", Allow: allow}, {Rank: 2, Path: "/y/{b}/{a}", Allow: allow}}, operators)
	require.NoError(t, err)
	for i, want := range []string{"1", "2"} {
		rule := &set.rules[i]
		if got, _ := rule.param("a", []string{"x", "1", "2"}); got != want {
			t.Errorf("rule %d gives the parameter a as %q", i+1, got)
		}
	}
}
