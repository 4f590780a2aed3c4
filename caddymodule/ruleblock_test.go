package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/policy"
)

// The rule option `label` is registered as a capability does it: once in the policy and
// once in the Caddyfile.
func init() {
	policy.RegisterRuleOption(policy.RuleOption{Name: "label", Compile: func(value json.RawMessage) (any, error) {
		var label string
		err := json.Unmarshal(value, &label)
		return label, err
	}})
	ruleconfig.Options.Register(func(c *ruleconfig.Rule) []block.Option {
		return []block.Option{block.Value("label", func(value string) error {
			encoded, err := json.Marshal(value)
			c.Options = map[string]json.RawMessage{"label": encoded}
			return err
		})}
	})
}

func TestRuleBlock(t *testing.T) {
	const premium = `"operator":"entitled","arguments":{"sku":["premium"]}`
	for text, want := range map[string]string{
		"rule /x any":                                                         `{"path":"/x","operator":"any"}`,
		"rule /x entitled premium":                                            `{"path":"/x",` + premium + `}`,
		"rule /x {\n entitled premium\n}":                                     `{"path":"/x",` + premium + `}`,
		"rule /x GET,POST {\n entitled premium\n}":                            `{"path":"/x","methods":["GET","POST"],` + premium + `}`,
		"rule /x subscribed gold {\n entitled premium\n}":                     `{"path":"/x","operator":"subscribed","arguments":{"plan":"gold"},"then":[{` + premium + `}]}`,
		"rule /x {\n subscribed\n entitled premium\n entitled other\n any\n}": `{"path":"/x","operator":"subscribed","then":[{` + premium + `},{"operator":"entitled","arguments":{"sku":["other"]}},{"operator":"any"}]}`,
		"rule /x {\n engage a b\n local\n any\n}":                             `{"path":"/x","operator":"any","local":true,"engaged":["a","b"]}`,
		"rule /x any {\n label news\n}":                                       `{"path":"/x","operator":"any","options":{"label":"news"}}`,
		"rule /m/{id} entitled premium {\n content_space news\n content_id {id} without .pdf .epub\n link_methods GET,POST\n}": `{"path":"/m/{id}",` + premium + `,"options":{"content_id":{"capture":"id","without":[".pdf",".epub"]},"content_space":"news","link_methods":["GET","POST"]}}`,
		"rule /x entitled premium {\n content_id query id\n}":                                                                  `{"path":"/x",` + premium + `,"options":{"content_id":{"query":"id"}}}`,
		"rule /x entitled premium {\n content_id hello\n}":                                                                     `{"path":"/x",` + premium + `,"options":{"content_id":{"value":"hello"}}}`,
		"rule /users/{user} self": `{"path":"/users/{user}","operator":"self"}`,
		"rule /x 15":              `{"path":"/x","operator":"15"}`,
	} {
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("gatefold {\n" + text + "\n}")); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		h.Rules[0].Origin = ""
		if got, err := json.Marshal(h.Rules[0]); err != nil || string(got) != want {
			t.Errorf("%s\n is %s\n want %s (%v)", text, got, want, err)
		}
	}
}

func TestInvalidRuleBlock(t *testing.T) {
	for text, want := range map[string]string{
		"rule":                                        "write `rule <path>",
		"rule /x":                                     "the operator is missing",
		"rule /x GET":                                 "the operator is missing",
		"rule /x {\n local\n}":                        "the operator is missing",
		"rule /x {\n nothing\n}":                      `rule /x: unknown option "nothing"; known are address, all, any, authenticated, crawler, direct, direct_strong,`,
		"rule /x any {\n entitled\n}":                 "at least one sku",
		"rule /x any {\n any premium\n}":              "any takes no arguments",
		"rule /x entitled a {\n content_id\n}":        "write `content_id",
		"rule /x entitled a {\n content_id {x}\n}":    "{x} is not captured",
		"rule /x entitled a {\n content_space a b\n}": "wrong argument count",
		"rule /x entitled a {\n link_methods get\n}":  "write `link_methods",
		"rule /x any {\n content_space news\n}":       "no step of the rule accepts links",
		"rule /x any {\n label\n}":                    "wrong argument count",
		"rule /x any {\n engage a\n engage b\n}":      "engage is given twice",
		"rule /x any {\n engage a,b\n}":               "engage: a tag contains",
	} {
		err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser("gatefold {\n" + text + "\n}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		} else if !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: the error names no line: %v", text, err)
		}
	}
}

// The decision has the options of the rule's block.
func TestRuleBlockDecides(t *testing.T) {
	s := newTestSite(t, "rule /x any {\n label news\n}\nrule / any")
	g := s.app().gates.list()[0].clean(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x/y", nil))
	g.site = s.app().gates.list()[0].site()
	g.request.Site = g.site.site
	decision := g.site.policy.Decide(t.Context(), &g.request)
	if label, _ := decision.Option("label").(string); label != "news" || decision.Reason != policy.ReasonPublic {
		t.Errorf("decided %s with the label %q", decision.Reason, label)
	}
}
