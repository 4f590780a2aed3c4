package admin

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
)

const rulesPath = "/api/proxy/rules"

const (
	// maxRulesBody bounds the rules of a site as JSON, in bytes: 20,000 rules of
	// 400.
	maxRulesBody = 8 << 20
	// rulesReadTimeout bounds the time to receive them.
	rulesReadTimeout = time.Minute
)

// RuleBody creates a rule.
type RuleBody struct {
	Rank    *int        `json:"rank,omitempty" minimum:"0" maximum:"1000000" doc:"Rules are tried by rank, lowest first. If the rank is taken, the rule there and all later rules move by one. Default: after all others." example:"1"`
	Path    string      `json:"path" minLength:"1" maxLength:"1024" doc:"A template. It matches every path that begins with its segments; {name} and :name match and capture any segment. Signs of regular expressions, wildcards, spaces and the like are refused; a backslash before one means the character itself." example:"/articles/{publisherContentId}"`
	Methods []string    `json:"methods,omitempty" maxItems:"32" doc:"The HTTP methods that the rule matches, in upper case. Default: GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS; all others are refused unless a rule names them." example:"[\"GET\", \"HEAD\"]"`
	Allow   RuleAllow   `json:"allow"`
	Then    []RuleAllow `json:"then,omitempty" maxItems:"15" doc:"Further steps, tried in order where no earlier step lets the reader in." example:"[\"subscribed\"]"`
	Forward *bool       `json:"is_forward,omitempty" doc:"Whether allowed requests are forwarded to the origin. Default: true." example:"true"`
	Engaged string      `json:"engaged,omitempty" maxLength:"255" doc:"Engagement tags that a visit records, separated by commas." example:"news"`
	Options RuleOptions `json:"options,omitempty"`
}

// RuleReplacement replaces a rule, which the path of the call names.
type RuleReplacement struct {
	Rank    *int        `json:"rank,omitempty" minimum:"0" maximum:"1000000" doc:"The new rank, which must not be taken. Default: unchanged." example:"1"`
	Path    string      `json:"path,omitempty" maxLength:"1024" doc:"If present, must equal the rule's path."`
	Methods []string    `json:"methods,omitempty" maxItems:"32" doc:"The HTTP methods that the rule matches." example:"[\"GET\", \"HEAD\"]"`
	Allow   RuleAllow   `json:"allow"`
	Then    []RuleAllow `json:"then,omitempty" maxItems:"15" doc:"Further steps, tried in order where no earlier step lets the reader in." example:"[\"subscribed\"]"`
	Forward *bool       `json:"is_forward,omitempty" doc:"Whether allowed requests are forwarded to the origin." example:"true"`
	Engaged string      `json:"engaged,omitempty" maxLength:"255" doc:"Engagement tags that a visit records, separated by commas." example:"news"`
	Options RuleOptions `json:"options,omitempty"`
}

// RulePatch changes the named fields of a rule.
type RulePatch struct {
	Rank    *int         `json:"rank,omitempty" minimum:"0" maximum:"1000000" doc:"The rank. Rules are tried by rank, lowest first." example:"1"`
	Path    string       `json:"path,omitempty" maxLength:"1024" doc:"If present, must equal the rule's path."`
	Methods *[]string    `json:"methods,omitempty" maxItems:"32" doc:"An empty list means all methods." example:"[\"GET\", \"HEAD\"]"`
	Allow   *RuleAllow   `json:"allow,omitempty"`
	Then    *[]RuleAllow `json:"then,omitempty" maxItems:"15" doc:"Further steps, tried in order where no earlier step lets the reader in." example:"[\"subscribed\"]"`
	Forward *bool        `json:"is_forward,omitempty" doc:"Whether allowed requests are forwarded to the origin." example:"true"`
	Engaged *string      `json:"engaged,omitempty" maxLength:"255" doc:"Engagement tags that a visit records, separated by commas." example:"news"`
	Options *RuleOptions `json:"options,omitempty"`
}

// RuleMove moves one rule.
type RuleMove struct {
	Old  int    `json:"oldpos" minimum:"0" doc:"The current rank of the rule."`
	New  int    `json:"newpos" minimum:"0" doc:"The new rank; rules in between move by one. A rank beyond the last means the end."`
	Path string `json:"path,omitempty" maxLength:"1024" doc:"The rule's path. If another rule has this rank by now, nothing is moved."`
}

// Rule is a stored rule.
type Rule struct {
	Rank    int         `json:"rank" doc:"The rank. Rules are tried by rank, lowest first." example:"1"`
	Path    string      `json:"path" doc:"The template against which request paths are matched."`
	Methods []string    `json:"methods,omitempty" doc:"The HTTP methods that the rule matches; absent for all." example:"[\"GET\", \"HEAD\"]"`
	Allow   RuleAllow   `json:"allow"`
	Then    []RuleAllow `json:"then,omitempty" maxItems:"15" doc:"Further steps, tried in order where no earlier step lets the reader in." example:"[\"subscribed\"]"`
	Forward bool        `json:"is_forward" doc:"Whether allowed requests are forwarded to the origin." example:"true"`
	Engaged string      `json:"engaged" doc:"Engagement tags that a visit records, separated by commas." example:"news"`
	Options RuleOptions `json:"options,omitempty"`
	Detail  string      `json:"detail,omitempty" doc:"Warnings: rules that never decide, and pages that a rule with methods leaves open to others."`
}

// RuleAllow is the JSON of a rule's operator and arguments. It is not parsed when
// a body is read, so that an error can name the rule.
type RuleAllow struct{ json.RawMessage }

// RuleOptions holds the values of a rule's options by name.
type RuleOptions map[string]json.RawMessage

// Schema implements huma.SchemaProvider.
func (RuleOptions) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "Options of the rule, by name, that capabilities of the gate define. Default: none.",
		Examples:    []any{map[string]any{}},
	}
}

// NewRuleAllow returns the wire form of an operator with its arguments.
func NewRuleAllow(allow policy.Allow) RuleAllow {
	text, err := allow.MarshalJSON()
	if err != nil {
		text = []byte("null") // no stored rule has such arguments
	}
	return RuleAllow{text}
}

// Parse returns the operator with its arguments.
func (a RuleAllow) Parse() (allow policy.Allow, err error) {
	err = allow.UnmarshalJSON(a.RawMessage)
	return allow, err
}

// Schema implements huma.SchemaProvider.
func (RuleAllow) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "The operator by name or by DjaoApp code: `<operator>` or `<operator>/<JSON arguments>`. A code without arguments may be a number.",
		OneOf: []*huma.Schema{
			{Type: huma.TypeInteger},
			{Type: huma.TypeString},
		},
		Examples: []any{`entitled/{"sku":["premium","{publisherContentId}"]}`},
	}
}

// SiteParam selects a site of the vendor.
type SiteParam struct {
	Site string `query:"site" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site. Default: the site with the vendor's name."`
}

func (p SiteParam) site(vendor string) string {
	if p.Site == "" {
		return vendor
	}
	return p.Site
}

// RulePath identifies a rule by its path without the leading slash, empty for /.
type RulePath struct {
	Path string `path:"path" required:"false" maxLength:"1024" doc:"The rule's path without its leading slash; empty for /." example:"articles/{publisherContentId}"`
}

func (p RulePath) rule() string { return "/" + p.Path }

func (a *api) registerRules() {
	a.registerRuleCollection()
	// The mux would redirect this to the rule for /.
	a.mux.HandleFunc(http.MethodDelete+" "+rulesPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, PATCH, POST, PUT")
		newProblem(http.StatusMethodNotAllowed, "To remove all rules, PUT an empty array; the rule for / is "+rulesPath+"/.").write(w)
	})
	tags := []string{"Rules"}
	one := rulesPath + "/{path...}"
	register(a, huma.Operation{
		OperationID: "get-rule", Method: http.MethodGet, Path: one, Tags: tags, Security: needs("rules:read"), Summary: "Returns a rule",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		RulePath
	},
	) (*record[Rule], error) {
		rules, err := a.rules(ctx, c.Vendor, in.site(c.Vendor))
		if err != nil {
			return nil, err
		}
		i, err := findRule(rules, in.rule())
		if err != nil {
			return nil, err
		}
		return newRecord(wireRule(rules[i]), nil)
	})
	register(a, huma.Operation{
		OperationID: "replace-rule", Method: http.MethodPut, Path: one, Tags: tags, Security: needs("rules:write"), Summary: "Replaces a rule",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		RulePath
		IfMatch
		Body RuleReplacement
	},
	) (*record[Rule], error) {
		return a.changeRule(ctx, c, in.site(c.Vendor), in.rule(), in.Body.patch(), in.IfMatch)
	})
	register(a, huma.Operation{
		OperationID: "change-rule", Method: http.MethodPatch, Path: one, Tags: tags, Security: needs("rules:write"), Summary: "Changes the named fields of a rule",
		Description: "Null is refused: a rule has no default that could not give more access.",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		RulePath
		IfMatch
		RawBody []byte
		Body    RulePatch
	},
	) (*record[Rule], error) {
		sent := namedIn(in.RawBody)
		if err := refuseNull(sent, slices.Sorted(maps.Keys(sent))...); err != nil {
			return nil, err
		}
		return a.changeRule(ctx, c, in.site(c.Vendor), in.rule(), in.Body, in.IfMatch)
	})
	register(a, huma.Operation{
		OperationID: "delete-rule", Method: http.MethodDelete, Path: one, Tags: tags, Security: needs("rules:write"),
		Summary: "Removes a rule; later rules move up by one", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		RulePath
		IfMatch
	},
	) (*empty, error) {
		_, _, err := a.changeRules(ctx, c, in.site(c.Vendor), func(rules []policy.Rule) ([]policy.Rule, error) {
			i, err := findRule(rules, in.rule())
			if err != nil {
				return nil, err
			}
			if err := in.check(wireRule(rules[i])); err != nil {
				return nil, err
			}
			return removeRule(rules, in.rule())
		})
		return &empty{}, in.changed(err)
	})
}

// registerRuleCollection adds the operations on all rules of a site.
func (a *api) registerRuleCollection() {
	tags := []string{"Rules"}
	register(a, huma.Operation{
		OperationID: "list-rules", Method: http.MethodGet, Path: rulesPath, Tags: tags, Security: needs("rules:read"), Summary: "Lists a site's rules by rank",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[RulePage], error) {
		rules, err := a.rules(ctx, c.Vendor, in.site(c.Vendor))
		if err != nil {
			return nil, err
		}
		page, err := in.of(c, rules)
		return &body[RulePage]{Body: page}, err
	})
	register(a, huma.Operation{
		OperationID: "create-rule", Method: http.MethodPost, Path: rulesPath, Tags: tags, Security: needs("rules:write"),
		Summary: "Creates a rule", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		Body RuleBody
	},
	) (*created[Rule], error) {
		rule, err := in.Body.rule()
		if err != nil {
			return nil, err
		}
		rules, set, err := a.changeRules(ctx, c, in.site(c.Vendor), func(rules []policy.Rule) ([]policy.Rule, error) {
			return insertRule(rules, rule, in.Body.Rank)
		})
		if err != nil {
			return nil, err
		}
		answer, etag, err := answerRule(rules, set, rule.Path)
		return &created[Rule]{Location: "rules" + escapePath(rule.Path), ETag: etag, Body: answer}, err
	})
	register(a, huma.Operation{
		OperationID: "move-rules", Method: http.MethodPatch, Path: rulesPath, Tags: tags, Security: needs("rules:write"),
		Summary: "Moves rules atomically",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		Body struct {
			Updates []RuleMove `json:"updates" maxItems:"1000" doc:"The moves, applied in order."`
		}
	},
	) (*body[RulePage], error) {
		return a.changeAll(ctx, c, in.site(c.Vendor), func(rules []policy.Rule) (_ []policy.Rule, err error) {
			for _, move := range in.Body.Updates {
				if rules, err = moveRule(rules, move); err != nil {
					return nil, err
				}
			}
			return rules, nil
		})
	})
	register(a, huma.Operation{
		OperationID: "replace-rules", Method: http.MethodPut, Path: rulesPath, Tags: tags, Security: needs("rules:write"),
		Summary:      "Replaces all rules of a site atomically",
		Description:  "The array lists the rules in order. Either all rules have a rank or none has.",
		MaxBodyBytes: maxRulesBody, BodyReadTimeout: rulesReadTimeout,
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		DryRun    bool       `query:"dry_run" doc:"Validates the rules without storing them."`
		IfVersion string     `query:"if_version" maxLength:"64" doc:"The version returned by a listing. If the rules have changed since, the call is refused and nothing is stored."`
		Body      []RuleBody `nullable:"false"`
	},
	) (*body[RulePage], error) {
		rules, err := allRules(in.Body)
		if err != nil {
			return nil, err
		}
		if in.DryRun {
			return a.tryRules(c, in.site(c.Vendor), rules)
		}
		return a.changeAll(ctx, c, in.site(c.Vendor), func(old []policy.Rule) ([]policy.Rule, error) {
			return rules, sameVersion(old, in.IfVersion)
		})
	})
}
