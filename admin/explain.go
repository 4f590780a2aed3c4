package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// ExplainRequest is a request at the gate of which somebody asks how it would be
// decided.
type ExplainRequest struct {
	URL    string `json:"url" minLength:"1" maxLength:"8192" doc:"The page, as a reader asks for it; it may carry a link's token."`
	Method string `json:"method,omitempty" maxLength:"16" default:"GET"`
	Site   string `json:"site,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site. Default: the vendor's only one, or the one with its name."`
	// UserID and ReaderToken say who asks; both empty for the anonymous reader.
	UserID      string `json:"userId,omitempty" maxLength:"255" doc:"A reader who is identified by this id, and nothing else."`
	ReaderToken string `json:"readerToken,omitempty" maxLength:"4096" doc:"A reader's token."`
	LinkToken   string `json:"linkToken,omitempty" maxLength:"4096" doc:"A link's token, where the url carries none."`
	// SKUs and HoldsLink suppose what need not be so: for rule tests.
	SKUs      *[]string `json:"skus,omitempty" maxItems:"100" doc:"As if the reader had been granted exactly these, for ever. Without userId and readerToken it is some identified reader."`
	HoldsLink bool      `json:"holdsLink,omitempty" doc:"As if the reader held a redeemed link to exactly this page."`
}

// Explanation is how a request would be decided, step by step.
type Explanation struct {
	Vendor   string             `json:"vendor"`
	Site     string             `json:"site"`
	Method   string             `json:"method"`
	Path     ExplainedPath      `json:"path"`
	Reader   ExplainedReader    `json:"reader"`
	Readings []ExplainedReading `json:"readings"`
	Link     *ExplainedLink     `json:"link,omitempty"`
	Grants   []ExplainedGrant   `json:"grants" doc:"The reader's grants of the skus that the rule asks for."`
	// OtherGrants is how many grants of other skus the reader has.
	OtherGrants int               `json:"otherGrants"`
	Decision    ExplainedDecision `json:"decision"`
	Hint        string            `json:"hint" doc:"What to do."`
}

// ExplainedPath is the path as it was read.
type ExplainedPath struct {
	Received string `json:"received"`
	Error    string `json:"error,omitempty" doc:"Why two servers could read it differently."`
}

// ExplainedReader is who asks.
type ExplainedReader struct {
	UserID          string `json:"userId,omitempty"`
	PublisherUserID string `json:"publisherUserId,omitempty"`
	EmailVerified   bool   `json:"emailVerified,omitempty"`
	Source          string `json:"source" doc:"Where that is known from."`
	Error           string `json:"error,omitempty" doc:"Why the credential failed."`
}

// ExplainedReading is one reading of the path, and the rule that it meets.
type ExplainedReading struct {
	Path       string          `json:"path"`
	Rule       *ExplainedRule  `json:"rule,omitempty"`
	PassedOver []ExplainedRule `json:"passedOver" doc:"Earlier rules whose path matches and whose methods do not fit."`
	OtherRules int             `json:"otherRules" doc:"How many more earlier rules there are: their path does not match."`
	SKUs       []string        `json:"skus,omitempty" doc:"Any of these will do."`
	ContentID  string          `json:"publisherContentId,omitempty"`
	Reason     string          `json:"reason"`
}

// ExplainedRule is a rule.
type ExplainedRule struct {
	Rank    int      `json:"rank"`
	Path    string   `json:"path"`
	Methods []string `json:"methods,omitempty"`
	Allow   string   `json:"allow"`
	Origin  string   `json:"origin,omitempty" doc:"Where it is written; absent for a rule of the store."`
}

// ExplainedLink is a link's token, check by check, up to the first that fails.
type ExplainedLink struct {
	TokenID string           `json:"tokenId,omitempty"`
	Checks  []ExplainedCheck `json:"checks"`
}

// ExplainedCheck is one check of a link.
type ExplainedCheck struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// ExplainedGrant is a grant, and whether it counts now.
type ExplainedGrant struct {
	ID       string     `json:"id"`
	SKU      string     `json:"sku"`
	List     string     `json:"list"`
	StartsAt *time.Time `json:"startsAt,omitempty"`
	EndsAt   *time.Time `json:"endsAt,omitempty"`
	Counts   bool       `json:"counts"`
	Why      string     `json:"why,omitempty" doc:"Why it does not count."`
}

// ExplainedDecision is the decision.
type ExplainedDecision struct {
	Allow  bool       `json:"allow"`
	Reason string     `json:"reason"`
	Status int        `json:"status" doc:"The status of the answer; 200 stands for whatever the origin answers."`
	Spends bool       `json:"spends,omitempty" doc:"The request would spend a use of the link."`
	Grant  string     `json:"grant,omitempty"`
	Until  *time.Time `json:"until,omitempty" doc:"When the decision can change by itself; absent for never."`
	Error  string     `json:"error,omitempty"`
}

type explainQuery struct {
	URL    string `query:"url" required:"true" minLength:"1" maxLength:"8192"`
	Method string `query:"method" maxLength:"16" default:"GET"`
	Site   string `query:"site" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	User   string `query:"user" maxLength:"255"`
}

// holdsToken says whether a URL seems to carry a token in its query.
func holdsToken(address string) bool {
	_, query, _ := strings.Cut(address, "?")
	for part := range strings.SplitSeq(query, "&") {
		_, value, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		// Every JWS header is a JSON object, which begins so in base64.
		if strings.HasPrefix(value, "eyJ") && strings.Count(value, ".") == 2 {
			return true
		}
	}
	return false
}

func (a *api) registerExplain() {
	tags := []string{"Operation"}
	register(a, huma.Operation{
		OperationID: "explain", Method: http.MethodGet, Path: "/management/explain", Tags: tags, Security: needs("explain:read"),
		Summary: "Tells how a request would be decided, and spends nothing",
	}, func(ctx context.Context, vendor string, in *explainQuery) (*body[*Explanation], error) {
		if holdsToken(in.URL) {
			p := newProblem(http.StatusUnprocessableEntity, "validation failed")
			p.Errors = []FieldError{{Message: "carries a token, and the URIs of calls are logged: send it in the body of a POST", Location: "query.url"}}
			return nil, p
		}
		explanation, err := a.Explain(ctx, vendor, ExplainRequest{URL: in.URL, Method: in.Method, Site: in.Site, UserID: in.User})
		return &body[*Explanation]{Body: explanation}, err
	})
	register(a, huma.Operation{
		OperationID: "explain-with-tokens", Method: http.MethodPost, Path: "/management/explain", Tags: tags, Security: needs("explain:read"),
		Metadata: map[string]any{repetitionKey: repeatCall},
		Summary:  "Tells how a request that carries tokens would be decided, and spends nothing",
	}, func(ctx context.Context, vendor string, in *body[ExplainRequest]) (*body[*Explanation], error) {
		explanation, err := a.Explain(ctx, vendor, in.Body)
		return &body[*Explanation]{Body: explanation}, err
	})
}
