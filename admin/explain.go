package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// ExplainRequest is a hypothetical request at the gate.
type ExplainRequest struct {
	URL    string `json:"url" minLength:"1" maxLength:"8192" doc:"The URL of the request; it may carry a link token."`
	Method string `json:"method,omitempty" maxLength:"32" default:"GET"`
	// RewrittenPath is part of the request, since only the server's handlers know it.
	RewrittenPath string `json:"rewrittenPath,omitempty" maxLength:"8192" pattern:"^/" doc:"The path as a handler before the gate rewrites it, with percent-escapes. Default: as in the url."`
	Site          string `json:"site,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The site. Default: the vendor's only site, or the site with the vendor's name."`
	// UserID, Email and ReaderToken identify the reader; without them they are
	// anonymous.
	UserID      string `json:"userId,omitempty" maxLength:"255" doc:"The reader's user id, as if identified by it alone."`
	Email       string `json:"email,omitempty" maxLength:"254" doc:"The reader's e-mail address, as if verified. With userId, of the same reader."`
	ReaderToken string `json:"readerToken,omitempty" maxLength:"4096" doc:"A reader token."`
	LinkToken   string `json:"linkToken,omitempty" maxLength:"4096" doc:"A link token, if the url carries none."`
	ClientIP    string `json:"clientIp,omitempty" maxLength:"64" doc:"The client's address, for a link with ipPrefix and for site licences by address." example:"203.0.113.9"`
	UserAgent   string `json:"userAgent,omitempty" maxLength:"1024" doc:"The client's agent, for a rule about crawlers." example:"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"`
	Require     string `json:"require,omitempty" maxLength:"1024" doc:"The Gatefold-Require of the origin's response, for a rule with the operator origin." example:"entitled=(\"premium\")"`
	// SKUs and HoldsLink override stored records, AnyHost the site's hosts, for rule tests.
	SKUs      *[]string `json:"skus,omitempty" maxItems:"100" doc:"Decides as if the reader had exactly these SKUs, without end. Without userId, email and readerToken, decides for an arbitrary identified reader."`
	AnyHost   bool      `json:"anyHost,omitempty" doc:"Decides also if the site does not serve the url's host, as for a table of another environment."`
	HoldsLink bool      `json:"holdsLink,omitempty" doc:"Decides as if the reader held a redeemed link to exactly this page."`
}

// Explanation is the decision of a request, step by step.
type Explanation struct {
	Vendor   string             `json:"vendor"`
	Site     string             `json:"site"`
	Method   string             `json:"method"`
	Path     ExplainedPath      `json:"path"`
	Reader   ExplainedReader    `json:"reader"`
	Readings []ExplainedReading `json:"readings"`
	Link     *ExplainedLink     `json:"link,omitempty"`
	Grants   []ExplainedGrant   `json:"grants" doc:"The reader's grants of the SKUs that the rule accepts."`
	// OtherGrants is the number of the reader's grants of other SKUs.
	OtherGrants int `json:"otherGrants"`
	// Roles and Subscriptions are of a rule of the access model only.
	Roles         []ExplainedRole         `json:"roles,omitempty" doc:"The reader's roles, invitations and requests, for a rule about them; at most 100."`
	Subscriptions []ExplainedSubscription `json:"subscriptions,omitempty" doc:"The subscriptions of the profiles on which the reader has a role, for a rule about them; at most 100."`
	Signature     *ExplainedSignature     `json:"signature,omitempty" doc:"The reader's signature, for a rule about an agreement."`
	Decision      ExplainedDecision       `json:"decision"`
	// Cache is absent of a denial, and on a node without a page cache.
	Cache *ExplainedCache `json:"cache,omitempty" doc:"Whether the page would come from the page cache of this node; absent of a denial, and without a cache."`
	Hint  string          `json:"hint" doc:"What to do about it."`
}

// ExplainedCache is what the page cache of this node would do with an allowed request that
// asks for no encoding.
type ExplainedCache struct {
	Result string `json:"result" enum:"hit,miss,pass" doc:"hit: the page comes from memory. miss: it is fetched without the reader, and stored if it may be. pass: the request itself goes to the origin." example:"hit"`
	Why    string `json:"why" doc:"Why." example:"it is stored, and fresh for another 48s"`
}

// ExplainedPath is the path of the request.
type ExplainedPath struct {
	Received string `json:"received"`
	// Rewritten is empty if it was not given.
	Rewritten string `json:"rewritten,omitempty" doc:"The path as rewritten before the gate."`
	Error     string `json:"error,omitempty" doc:"Why the path is ambiguous."`
}

// ExplainedReader is the reader.
type ExplainedReader struct {
	UserID          string `json:"userId,omitempty"`
	PublisherUserID string `json:"publisherUserId,omitempty"`
	Email           string `json:"email,omitempty" doc:"The e-mail address, if it was given."`
	EmailVerified   bool   `json:"emailVerified,omitempty"`
	Source          string `json:"source" doc:"The source of the identity."`
	Error           string `json:"error,omitempty" doc:"Why the credential was refused."`
	FailedCheck     string `json:"failedCheck,omitempty" enum:"size,form,type,algorithm,key,signature,time,issuer,audience,claims,keys" doc:"The check of the token that failed; keys: the issuer's keys cannot be fetched." example:"audience"`
}

// ExplainedReading is one interpretation of the path and the rule that it matches.
type ExplainedReading struct {
	Path       string          `json:"path"`
	Rewritten  bool            `json:"rewritten,omitempty" doc:"Whether it is the path as rewritten before the gate."`
	AnyCase    bool            `json:"anyCase,omitempty" doc:"Whether names are compared without regard to case."`
	Rule       *ExplainedRule  `json:"rule,omitempty"`
	PassedOver []ExplainedRule `json:"passedOver" doc:"The earlier rules whose path matches but whose methods do not."`
	OtherRules int             `json:"otherRules" doc:"The number of earlier rules whose path does not match."`
	SKUs       []string        `json:"skus,omitempty" doc:"The SKUs of which the reader needs one."`
	ContentID  string          `json:"publisherContentId,omitempty"`
	Space      string          `json:"contentSpace,omitempty"`
	// OnStoreLoss is that of the rule or of the site.
	OnStoreLoss *ExplainedStoreLoss `json:"onStoreLoss,omitempty" doc:"What the rule answers once the store is unreachable for a while; absent for a denial after stale_for."`
	Reason      string              `json:"reason"`
}

// ExplainedStoreLoss is the option on_store_loss.
type ExplainedStoreLoss struct {
	After string `json:"after" doc:"How long records in memory decide." example:"10s"`
	Then  string `json:"then" enum:"deny,teaser,public" doc:"What readers get then."`
}

// ExplainedRule is a rule.
type ExplainedRule struct {
	Rank    int      `json:"rank"`
	Path    string   `json:"path"`
	Methods []string `json:"methods,omitempty"`
	Allow   string   `json:"allow"`
	Then    []string `json:"then,omitempty" doc:"Further steps, tried in order."`
	Origin  string   `json:"origin,omitempty" doc:"The place in the configuration; absent for a stored rule."`
}

// ExplainedLink is a link token with its checks, up to the first failed one.
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

// ExplainedGrant is a grant and whether it is in effect.
type ExplainedGrant struct {
	ID       string     `json:"id"`
	SKU      string     `json:"sku"`
	List     string     `json:"list"`
	StartsAt *time.Time `json:"startsAt,omitempty"`
	EndsAt   *time.Time `json:"endsAt,omitempty"`
	Counts   bool       `json:"counts"`
	Why      string     `json:"why,omitempty" doc:"Why the grant is not in effect."`
}

// ExplainedRole is a role of the reader and whether it counts.
type ExplainedRole struct {
	Profile string     `json:"profile"`
	Role    string     `json:"role,omitempty" doc:"The type of the role; of a request, the type that is asked for. Empty for any."`
	EndsAt  *time.Time `json:"endsAt,omitempty"`
	Counts  bool       `json:"counts"`
	Why     string     `json:"why,omitempty" doc:"Why the role does not count."`
}

// ExplainedSubscription is a subscription of a profile of the reader and whether it
// counts.
type ExplainedSubscription struct {
	Profile  string    `json:"profile"`
	Plan     string    `json:"plan"`
	Provider string    `json:"provider"`
	StartsAt time.Time `json:"startsAt"`
	EndsAt   time.Time `json:"endsAt"`
	Counts   bool      `json:"counts"`
	Why      string    `json:"why,omitempty" doc:"Why the subscription does not count."`
}

// ExplainedSignature is the reader's signature of an agreement.
type ExplainedSignature struct {
	Agreement string     `json:"agreement"`
	UpdatedAt *time.Time `json:"updatedAt,omitempty" doc:"The agreement's current version; absent if it does not exist."`
	SignedAt  *time.Time `json:"signedAt,omitempty" doc:"Absent if the reader has not signed it."`
	Counts    bool       `json:"counts"`
	Why       string     `json:"why,omitempty" doc:"Why the signature does not count."`
}

// ExplainedDemand names the records, or the login, that decided, or of which one is missing.
type ExplainedDemand struct {
	Profile   string `json:"profile,omitempty"`
	Role      string `json:"role,omitempty"`
	Plan      string `json:"plan,omitempty"`
	Agreement string `json:"agreement,omitempty"`
	ACR       string `json:"acr,omitempty" doc:"Classes of authentication, separated by spaces, of which the login must have one."`
	MaxAge    int64  `json:"maxAge,omitempty" doc:"The greatest age of the login, in seconds."`
}

// ExplainedDecision is the decision.
type ExplainedDecision struct {
	Allow  bool   `json:"allow"`
	Reason string `json:"reason"`
	Status int    `json:"status" doc:"The status of the response; 200 means that the origin responds."`
	Spends bool   `json:"spends,omitempty" doc:"Whether the request would spend a use of the link."`
	Grant  string `json:"grant,omitempty" doc:"What gives the reader the page: the id of a grant, contract:<id>, or subscription:<profile>/<plan>."`
	// Licence is set if a site licence decided.
	Licence string           `json:"licence,omitempty" enum:"domain,address" doc:"What of the reader the site licence of the contract covers: the domain of their verified e-mail address, or the client's address."`
	Crawler string           `json:"crawler,omitempty" doc:"The crawler that the rule let in."`
	Meter   *ExplainedMeter  `json:"meter,omitempty" doc:"The meter that decided."`
	Demand  *ExplainedDemand `json:"demand,omitempty" doc:"The records that decided, or of which one is missing."`
	Until   *time.Time       `json:"until,omitempty" doc:"When the decision can change without a change of records; absent for never."`
	Error   string           `json:"error,omitempty"`
	// StoreLoss is set if on_store_loss decided.
	StoreLoss string `json:"storeLoss,omitempty" enum:"deny,teaser,public" doc:"What on_store_loss answers at the moment, because the store is unreachable; absent if the steps of the rule decided."`
}

// ExplainedMeter is the state of a meter for the reader.
type ExplainedMeter struct {
	Name   string    `json:"name" example:"free"`
	Limit  int       `json:"limit" doc:"The pages that it gives in a period."`
	Used   int       `json:"used" doc:"How many the reader has opened. Those of an anonymous reader are in their cookie: explain decides for one who has opened none."`
	Counts bool      `json:"counts,omitempty" doc:"Whether the request would count as one more."`
	Cookie bool      `json:"cookie,omitempty" doc:"Whether the reader is anonymous, so that the pages are counted in a cookie."`
	Resets time.Time `json:"resets" doc:"When the reader gets the next page, if none is left."`
}

type explainQuery struct {
	URL    string `query:"url" required:"true" minLength:"1" maxLength:"8192"`
	Method string `query:"method" maxLength:"32" default:"GET"`
	Site   string `query:"site" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	User   string `query:"user" maxLength:"255"`
	Email  string `query:"email" maxLength:"254"`
}

// holdsToken reports whether the query of a URL seems to contain a token.
func holdsToken(address string) bool {
	_, query, _ := strings.Cut(address, "?")
	for part := range strings.SplitSeq(query, "&") {
		_, value, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		// A JWS header is a JSON object, whose base64 begins with eyJ.
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
		Summary: "Explains how a request would be decided, without side effects",
	}, func(ctx context.Context, c *call, in *explainQuery) (*body[*Explanation], error) {
		if holdsToken(in.URL) {
			return nil, invalidAt("query.url", "contains a token, but request URIs are logged: send it in the body of a POST")
		}
		explanation, err := a.Explain(ctx, c.Vendor, ExplainRequest{URL: in.URL, Method: in.Method, Site: in.Site, UserID: in.User, Email: in.Email})
		return &body[*Explanation]{Body: explanation}, err
	})
	register(a, huma.Operation{
		OperationID: "explain-with-tokens", Method: http.MethodPost, Path: "/management/explain", Tags: tags, Security: needs("explain:read"),
		Metadata: map[string]any{repetitionKey: repeatCall},
		Summary:  "Explains how a request with tokens would be decided, without side effects",
	}, func(ctx context.Context, c *call, in *body[ExplainRequest]) (*body[*Explanation], error) {
		explanation, err := a.Explain(ctx, c.Vendor, in.Body)
		return &body[*Explanation]{Body: explanation}, err
	})
}
