// Package admin is the management API over records and keys: signed links,
// access lists and grants, products, rules, trusted domains, DjaoApp's proxy, and
// what a reader may have. It is an http.Handler that knows nothing of Caddy;
// whoever mounts it says who may call, for other machines an Authority.
//
// In the flow of data it stands above policy/store, which checks and keeps the
// records. A change is acknowledged after it was committed and after everything
// in memory that it made stale was marked so: the next request at the gate is
// decided by it.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Options say over what the API works, and for whom.
type Options struct {
	Store   *store.Store
	Keyring *store.Keyring
	// Policy decides at the gate; it is told of changed rules.
	Policy *policy.Policy
	// KeySets fetches other people's keys. Nil: none can be had.
	KeySets *keys.Sets
	// Authorize says who calls. An error that is a *RefusedError is answered as it
	// says; any other is answered 401.
	Authorize func(*http.Request) (Caller, error)
	// Operator adds what only the operator of the machine may do, and tells in
	// full what went wrong. The query parameter `vendor` is then Authorize's.
	Operator bool
	// Authority makes this the API for other machines: it answers what they ask
	// before they may call (tokens, keys, the description of the API). Its method
	// Authorize is then Authorize's default. Nil: nothing is open to strangers.
	Authority *Authority
	// Origins are those from which pages may call, see CheckOrigin. Default: none.
	Origins []string
	// Explain tells how a request at the gate of a vendor would be decided. An
	// error that is a *RefusedError is answered as it says. Nil: nobody can ask.
	Explain func(ctx context.Context, vendor string, request ExplainRequest) (*Explanation, error)
	// FixedRules returns the rules of a site that the running configuration
	// says, by rank, or none where the store has them. Such rules are read-only
	// here. Nil: there are no such sites.
	FixedRules func(vendor, site string) []policy.Rule
	// StoreState tells how this node stands towards a store that other nodes share.
	// Nil: they do not.
	StoreState func() store.FollowState
	// CheckEntryPoint says what is wrong with an address that a site's requests
	// are to go to, for whoever set it. Nil: the gate looks when it connects.
	CheckEntryPoint func(ctx context.Context, entry *url.URL) error
	// Now is the clock.
	Now func() time.Time
	// Failed is told of errors that are the server's own, for the log. Nil:
	// nobody is.
	Failed func(error)
}

// Caller is who calls the API, and whose records are meant.
type Caller struct {
	// Vendor is empty for callers that belong to none: only operations on vendors
	// are open to them.
	Vendor string
	// Name says who it is, for records of who changed what.
	Name string
	// Scopes are what the caller may do: `<resource>:read`, `:write` or `:*`.
	// Unlimited callers may do everything.
	Scopes    []string
	Unlimited bool
}

// api is the API at work.
type api struct {
	Options
	sessions *store.Sessions
	huma     huma.API
	mux      *http.ServeMux
	public   *http.ServeMux // what is open to strangers
	// inFlight are the calls with an Idempotency-Key that are under way.
	inFlight inFlight
	// rows reads grants of imports, and of patches.
	rows *importRows
	// bodies are the media types of the bodies of operations that stream, by
	// their patterns; streams bounds how many are under way.
	bodies  map[string][]string
	streams streamSlots
}

func init() {
	// Names are exact: `EndsAt` is an unknown field, not another spelling of
	// `endsAt`. The library has this only as a switch of the process.
	huma.ValidateStrictCasing = true
}

// New returns the management API. It is safe for concurrent use.
func New(options Options) (http.Handler, error) {
	if options.Authorize == nil && options.Authority != nil {
		options.Authorize = options.Authority.Authorize
	}
	if options.Store == nil || options.Keyring == nil || options.Policy == nil || options.Authorize == nil || options.Now == nil {
		return nil, errors.New("admin: Store, Keyring, Policy, Authorize and Now are required")
	}
	if options.Failed == nil {
		options.Failed = func(error) {}
	}
	for _, origin := range options.Origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, fmt.Errorf("admin: the origin %q %w", origin, err)
		}
	}
	a := &api{
		Options: options, sessions: store.NewSessions(options.Keyring), mux: http.NewServeMux(), public: http.NewServeMux(),
		bodies: map[string][]string{},
	}
	config := huma.DefaultConfig("Gatefold management API", "1")
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.RejectUnknownQueryParameters = true
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.Transformers = []huma.Transformer{codeErrors}
	a.huma = humago.New(a.mux, config)

	a.rows = newImportRows(a.huma.OpenAPI().Components.Schemas)

	a.registerVendors()
	a.registerProducts()
	a.registerLinks()
	a.registerBulkLinks()
	a.registerLists()
	a.registerGrants()
	a.registerImports()
	a.registerGrantStreams()
	a.registerEntitlements()
	a.registerRules()
	a.registerProxy()
	a.registerAudit()
	a.registerDomains()
	a.registerKeys()
	if a.Operator {
		a.registerReaderTokens()
		a.registerClients()
		a.registerHealth()
		if a.Explain != nil {
			a.registerExplain()
		}
	}
	if a.Authority == nil {
		return a, nil
	}
	a.describe()
	return a, a.servePublic()
}

// jsonFormat reads JSON in one way only: names are case-sensitive, and none may
// come twice (RFC 8259, section 4, leaves both open).
var jsonFormat = huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: json.Unmarshal}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if a.allowOrigin(w, r) {
		return
	}
	if _, pattern := a.public.Handler(r); pattern != "" && plainPath(r.URL.Path) {
		a.public.ServeHTTP(w, r)
		return
	}
	caller, err := a.Authorize(r)
	if err != nil {
		a.refuse(w, err)
		return
	}
	query := r.URL.Query()
	call := call{caller: caller, query: r.URL.Query(), address: requestAddress(r)}
	ctx := context.WithValue(r.Context(), callKey{}, call)
	r = r.WithContext(ctx)
	if a.Operator && query.Has("vendor") {
		query.Del("vendor")
		address := *r.URL
		address.RawQuery = query.Encode()
		r.URL = &address
	}
	if problem := a.refusedRoute(r, header); problem != nil {
		problem.write(w)
		return
	}
	if problem := a.refusedBody(r); problem != nil {
		problem.write(w)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// refusedRoute answers what no operation serves, in the API's own words.
func (a *api) refusedRoute(r *http.Request, header http.Header) *Problem {
	// The mux would redirect to the cleaned path; no client of an API follows
	// that with its body.
	if !plainPath(r.URL.Path) {
		return newProblem(http.StatusNotFound, "There is no such resource: the path must not contain empty or dot segments or end with a slash.")
	}
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		return nil
	}
	answer := &statusRecorder{header: make(http.Header)}
	handler.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		header["Allow"] = answer.header["Allow"]
		return newProblem(http.StatusMethodNotAllowed, "This resource does not support "+printableMethod(r.Method)+".")
	}
	return newProblem(http.StatusNotFound, "There is no such resource.")
}

// plainPath says whether a path is in its plain form. Rules are named by their
// paths, in which a slash at the end counts.
func plainPath(p string) bool {
	clean := path.Clean(p)
	return clean == p || strings.HasPrefix(p, rulesPath+"/") && clean+"/" == p
}

func printableMethod(method string) string {
	if len(method) > 16 {
		return "this method"
	}
	return method
}

// statusRecorder keeps the status and the header of an answer.
type statusRecorder struct {
	header http.Header
	status int
}

func (s *statusRecorder) Header() http.Header         { return s.header }
func (s *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusRecorder) WriteHeader(status int)      { s.status = status }

type callKey struct{}

// call is one call of the API.
type call struct {
	caller  Caller
	query   url.Values
	address url.URL // without the query
}

// register adds an operation whose handler gets the vendor that is meant, and
// whose errors become problems. The operation's Security says which scope the
// caller must have, see admit.
func register[I, O any](a *api, operation huma.Operation, handle func(ctx context.Context, vendor string, in *I) (*O, error)) {
	operation.Middlewares = append(huma.Middlewares{admit(scopeOf(&operation))}, operation.Middlewares...)
	if operation.Method == http.MethodPost {
		describeOnce(&operation)
		operation.Middlewares = append(operation.Middlewares, a.once(operation))
	}
	huma.Register(a.huma, operation, func(ctx context.Context, in *I) (*O, error) {
		call, ok := ctx.Value(callKey{}).(call)
		if !ok {
			return nil, newProblem(http.StatusUnauthorized, "Authentication required.")
		}
		ctx = store.WithActor(ctx, store.Actor{Name: call.caller.Name, Operation: operation.OperationID})
		out, err := handle(ctx, call.caller.Vendor, in)
		if err != nil {
			return nil, a.problemOf(err)
		}
		return out, nil
	})
}

// body is an answer with nothing but a body.
type body[T any] struct{ Body T }

// created is the answer of an operation that made a record.
type created[T any] struct {
	Location string `header:"Location" doc:"The URL of the new record, relative to the request URL."`
	ETag     string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body     T
}

// newCreated answers with a record that was made, unless there was an error.
func newCreated[T any](collection, id string, value T, err error) (*created[T], error) {
	if err != nil {
		return nil, err
	}
	return &created[T]{Location: below(collection, id), ETag: etagOf(value), Body: value}, nil
}

// empty is an answer without a body.
type empty struct{}

// below returns the Location of a record that a POST to a collection made, as a
// reference relative to the collection.
func below(collection, id string) string {
	return fmt.Sprintf("%s/%s", path.Base(collection), url.PathEscape(id))
}
