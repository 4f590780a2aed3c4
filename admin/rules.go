package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
)

const rulesPath = "/api/proxy/rules"

const (
	// maxRulesBody is how large the rules of a site may be as JSON, in bytes:
	// 20,000 rules of 400.
	maxRulesBody = 8 << 20
	// rulesReadTimeout is how long they may take to arrive.
	rulesReadTimeout = time.Minute
)

// RuleBody creates a rule.
type RuleBody struct {
	Rank    *int      `json:"rank,omitempty" minimum:"0" maximum:"1000000" doc:"Rules are tried by rank, lowest first. A rank that is taken moves the rule there, and all later ones, by one. Default: behind all others."`
	Path    string    `json:"path" minLength:"1" maxLength:"1024" doc:"A template: it matches every path that begins with its segments, of which {name} and :name match any and capture it." example:"/articles/{publisherContentId}"`
	Methods []string  `json:"methods,omitempty" maxItems:"32" doc:"The HTTP methods for which the rule counts. Default: all."`
	Allow   RuleAllow `json:"allow"`
	Forward *bool     `json:"is_forward,omitempty" doc:"Whether allowed requests go to the origin. Default: true."`
	Engaged string    `json:"engaged,omitempty" maxLength:"255" doc:"Tags that a visit records, separated by commas."`
}

// RuleReplacement replaces a rule, which the path of the call names.
type RuleReplacement struct {
	Rank    *int      `json:"rank,omitempty" minimum:"0" maximum:"1000000" doc:"Default: the rank that it has. One that another rule has is refused."`
	Path    string    `json:"path,omitempty" maxLength:"1024" doc:"Must be the rule's own, if it is given."`
	Methods []string  `json:"methods,omitempty" maxItems:"32"`
	Allow   RuleAllow `json:"allow"`
	Forward *bool     `json:"is_forward,omitempty"`
	Engaged string    `json:"engaged,omitempty" maxLength:"255"`
}

// RulePatch changes the named fields of a rule.
type RulePatch struct {
	Rank    *int       `json:"rank,omitempty" minimum:"0" maximum:"1000000"`
	Path    string     `json:"path,omitempty" maxLength:"1024" doc:"Must be the rule's own, if it is given."`
	Methods *[]string  `json:"methods,omitempty" maxItems:"32" doc:"An empty list stands for all methods."`
	Allow   *RuleAllow `json:"allow,omitempty"`
	Forward *bool      `json:"is_forward,omitempty"`
	Engaged *string    `json:"engaged,omitempty" maxLength:"255"`
}

// RuleMove moves one rule.
type RuleMove struct {
	Old  int    `json:"oldpos" minimum:"0" doc:"The rank of the rule that is moved."`
	New  int    `json:"newpos" minimum:"0" doc:"The rank that it gets; those between move by one. Behind the last is the end."`
	Path string `json:"path,omitempty" maxLength:"1024" doc:"The path of the rule that is meant: if another one has the rank by now, nothing is moved."`
}

// Rule is a stored rule.
type Rule struct {
	Rank    int       `json:"rank" doc:"Determines the order in which rules are tried, lowest first."`
	Path    string    `json:"path" doc:"The template against which the paths of requests are matched."`
	Methods []string  `json:"methods,omitempty" doc:"The HTTP methods for which the rule counts; absent for all."`
	Allow   RuleAllow `json:"allow"`
	Forward bool      `json:"is_forward" doc:"Whether allowed requests go to the origin."`
	Engaged string    `json:"engaged" doc:"Tags that a visit records, separated by commas."`
	Detail  string    `json:"detail,omitempty" doc:"What to look at: rules that never decide, because an earlier one hides them."`
}

// RuleAllow is the JSON of a rule's operator and arguments. It is not parsed when
// a body is read, so that an error can name the rule.
type RuleAllow struct{ json.RawMessage }

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
		Description: "The operator, by its name or DjaoApp's code: `<operator>`, or `<operator>/<JSON arguments>`. A bare code may be a number.",
		OneOf: []*huma.Schema{
			{Type: huma.TypeInteger},
			{Type: huma.TypeString},
		},
		Examples: []any{`entitled/{"sku":["premium","{publisherContentId}"]}`},
	}
}

// SiteParam names a site of the vendor.
type SiteParam struct {
	Site string `query:"site" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site whose rules are meant. Default: the vendor's own name."`
}

func (p SiteParam) site(vendor string) string {
	if p.Site == "" {
		return vendor
	}
	return p.Site
}

// RulePath names a rule in a path: its path without the slash that it begins
// with, empty for `/`.
type RulePath struct {
	Path string `path:"path" required:"false" maxLength:"1024" doc:"The rule's path without its first slash, empty for /." example:"articles/{publisherContentId}"`
}

func (p RulePath) rule() string { return "/" + p.Path }

func (a *api) registerRules() {
	a.registerRuleCollection()
	// The mux would send this on to the rule for `/`, which nobody named.
	a.mux.HandleFunc(http.MethodDelete+" "+rulesPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, PATCH, POST, PUT")
		newProblem(http.StatusMethodNotAllowed, "All rules are removed with PUT and an empty array; the rule for / is "+rulesPath+"/.").write(w)
	})
	tags := []string{"Rules"}
	one := rulesPath + "/{path...}"
	register(a, huma.Operation{
		OperationID: "get-rule", Method: http.MethodGet, Path: one, Tags: tags, Security: needs("rules:read"), Summary: "Returns a rule",
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		RulePath
	},
	) (*record[Rule], error) {
		rules, err := a.rules(ctx, vendor, in.site(vendor))
		if err != nil {
			return nil, err
		}
		i, err := findRule(rules, in.rule())
		if err != nil {
			return nil, err
		}
		return newRecord(wireRule(&rules[i]), nil)
	})
	register(a, huma.Operation{
		OperationID: "replace-rule", Method: http.MethodPut, Path: one, Tags: tags, Security: needs("rules:write"), Summary: "Replaces a rule",
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		RulePath
		IfMatch
		Body RuleReplacement
	},
	) (*record[Rule], error) {
		return a.changeRule(ctx, vendor, in.site(vendor), in.rule(), in.Body.patch(), in.IfMatch)
	})
	register(a, huma.Operation{
		OperationID: "change-rule", Method: http.MethodPatch, Path: one, Tags: tags, Security: needs("rules:write"), Summary: "Changes what the body names of a rule",
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		RulePath
		IfMatch
		Body RulePatch
	},
	) (*record[Rule], error) {
		return a.changeRule(ctx, vendor, in.site(vendor), in.rule(), in.Body, in.IfMatch)
	})
	register(a, huma.Operation{
		OperationID: "delete-rule", Method: http.MethodDelete, Path: one, Tags: tags, Security: needs("rules:write"),
		Summary: "Removes a rule; later ones move up by one", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		RulePath
		IfMatch
	},
	) (*empty, error) {
		_, _, err := a.changeRules(ctx, vendor, in.site(vendor), func(rules []policy.Rule) ([]policy.Rule, error) {
			i, err := findRule(rules, in.rule())
			if err != nil {
				return nil, err
			}
			if err := in.check(wireRule(&rules[i])); err != nil {
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
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		PageNumber
	},
	) (*body[RulePage], error) {
		rules, err := a.rules(ctx, vendor, in.site(vendor))
		if err != nil {
			return nil, err
		}
		page, err := in.of(ctx, rules)
		return &body[RulePage]{Body: page}, err
	})
	register(a, huma.Operation{
		OperationID: "create-rule", Method: http.MethodPost, Path: rulesPath, Tags: tags, Security: needs("rules:write"),
		Summary: "Creates a rule", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		Body RuleBody
	},
	) (*created[Rule], error) {
		rule, err := in.Body.rule(new(policy.RuleDecoder))
		if err != nil {
			return nil, err
		}
		rules, set, err := a.changeRules(ctx, vendor, in.site(vendor), func(rules []policy.Rule) ([]policy.Rule, error) {
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
		Summary: "Moves rules, one after the other, all or none",
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		Body struct {
			Updates []RuleMove `json:"updates" maxItems:"1000"`
		}
	},
	) (*body[RulePage], error) {
		return a.changeAll(ctx, vendor, in.site(vendor), func(rules []policy.Rule) (_ []policy.Rule, err error) {
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
		Summary:      "Replaces all rules of a site in one step",
		Description:  "The array holds the rules in the order in which they are tried. Either each of them has a rank or none has.",
		MaxBodyBytes: maxRulesBody, BodyReadTimeout: rulesReadTimeout,
		Middlewares: huma.Middlewares{readPlainRules},
	}, func(ctx context.Context, vendor string, in *struct {
		SiteParam
		DryRun    bool       `query:"dry_run" doc:"Check everything, and store nothing."`
		IfVersion string     `query:"if_version" maxLength:"64" doc:"The version that a listing told: if somebody changed the rules since, nothing is stored."`
		Body      []RuleBody `nullable:"false"`
	},
	) (*body[RulePage], error) {
		rules, err := allRules(rulesOf(ctx, in.Body))
		if err != nil {
			return nil, err
		}
		if in.DryRun {
			return a.tryRules(ctx, vendor, in.site(vendor), rules)
		}
		return a.changeAll(ctx, vendor, in.site(vendor), func(old []policy.Rule) ([]policy.Rule, error) {
			return rules, sameVersion(old, in.IfVersion)
		})
	})
}
