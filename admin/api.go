package admin

import (
	"cmp"
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

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Options configure the API.
type Options struct {
	Store   *store.Store
	Keyring *store.Keyring
	// Policy decides requests at the gate. The API refreshes its rules and domains.
	Policy *policy.Policy
	// KeySets fetches remote key sets. Nil disables fetching.
	KeySets *keys.Sets
	// Authorize returns the caller of a request. A *RefusedError defines the
	// response; any other error is a 401. Default: Authority.Authorize.
	Authorize func(*http.Request) (Caller, error)
	// Operator adds the operations of the local operator, and puts the text of
	// internal errors into responses. Authorize then reads the query parameter
	// vendor.
	Operator bool
	// Authority serves remote clients: it adds the operations that need no
	// authentication (tokens, key sets, documentation). Optional.
	Authority *Authority
	// Origins are the origins whose pages may call the API, see CheckOrigin.
	// Default: none.
	Origins []string
	// Explain explains how a vendor's gate would decide a request. A *RefusedError
	// defines the response. Nil disables explain.
	Explain func(ctx context.Context, vendor string, request ExplainRequest) (*Explanation, error)
	// FixedRules returns the rules of a site in the running configuration, by
	// rank, or none if the site's rules are stored. Fixed rules are read-only.
	// Optional.
	FixedRules func(vendor, site string) []policy.Rule
	// ReaderIssuers returns the issuers with which the readers of a vendor's sites log in, as
	// the running configuration has them. Optional.
	ReaderIssuers func(vendor string) []string
	// StoreState returns the state of a store that is shared with other nodes. Nil
	// means that the store is not shared.
	StoreState func() store.FollowState
	// StoreFile returns the state of the file of an embedded database, nil for a store
	// without one. Optional.
	StoreFile func() *StoreFile
	// Pages reads the page caches of this node. Nil: it has none.
	Pages PageCaches
	// AcceptLoss ends all losses of a shared store. Nil means that the store is not
	// shared.
	AcceptLoss func(ctx context.Context) ([]store.PartitionLoss, error)
	// Conditions returns what is wrong with the node, for its health. Optional.
	Conditions func() []condition.Condition
	// CheckEntryPoint returns an error if the gate must not connect to an entry
	// point. Optional: the gate checks again when it connects.
	CheckEntryPoint func(ctx context.Context, entry *url.URL) error
	// CheckWebhook returns an error if events must not be sent to a URL. Optional: it is
	// checked again at each connection.
	CheckWebhook func(ctx context.Context, address *url.URL) error
	// TestWebhook sends a test event to a webhook. Nil: this process delivers none.
	TestWebhook func(ctx context.Context, vendor, id string) (store.Delivery, error)
	// HookReceived is told what became of each event of a billing system, for the log and
	// metrics. It has no personal data. Optional.
	HookReceived func(HookReport)
	// BodyTimeout is the time in which a body must arrive, unless the operation
	// allows more. Default: BodyTimeout.
	BodyTimeout time.Duration
	// Now is the clock.
	Now func() time.Time
	// Failed receives errors of the server itself, for the log. Optional.
	Failed func(error)
}

// Caller is an authorized caller.
type Caller struct {
	// Vendor owns the records of the call. It is empty for callers that belong to
	// no vendor and may only use the operations on vendors.
	Vendor string
	// Name identifies the caller in the audit log.
	Name string
	// Scopes are `<resource>:read`, `<resource>:write` or `<resource>:*`.
	Scopes []string
	// Unlimited callers have all scopes.
	Unlimited bool
	// Reader is the reader who calls for themselves, on a gated site; nil for clients. A
	// reader has no scopes: see mayRead.
	Reader *policy.Reader
	// Site is the site on which the reader calls. EndSession ends the login session by which
	// they call, if they do, and returns the values of Set-Cookie that remove its cookies; nil
	// on a site without a login.
	Site       string
	EndSession func(ctx context.Context) ([]string, error)
}

// api implements the API.
type api struct {
	Options
	sessions *store.Sessions
	huma     huma.API
	mux      *http.ServeMux
	public   *http.ServeMux // needs no authentication
	inFlight inFlight
	rows     *importRows
	// bodies are the media types of request bodies of streaming operations, by
	// pattern.
	bodies  map[string][]string
	streams streamSlots

	readerRules readerRules
	keyGuesses  *failureLimit // of readers
}

func init() {
	// EndsAt is an unknown field, not another spelling of endsAt. Huma has this as
	// a process-wide switch only.
	huma.ValidateStrictCasing = true
}

// New returns the management API, which is safe for concurrent use. It returns an
// error if a required option is missing or an origin is invalid.
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
	if options.HookReceived == nil {
		options.HookReceived = func(HookReport) {}
	}
	options.BodyTimeout = cmp.Or(options.BodyTimeout, BodyTimeout)
	for _, origin := range options.Origins {
		if err := CheckOrigin(origin); err != nil {
			return nil, fmt.Errorf("admin: the origin %q %w", origin, err)
		}
	}
	a := &api{
		Options: options, sessions: store.NewSessions(options.Keyring), mux: http.NewServeMux(), public: http.NewServeMux(),
		bodies: map[string][]string{}, keyGuesses: newFailureLimit(),
	}
	var err error
	if a.readerRules, err = compileReaderRules(a.Policy.Operators()); err != nil {
		return nil, err
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
	a.registerPurchaseOptions()
	a.registerBills()
	a.registerLinks()
	a.registerBulkLinks()
	a.registerLists()
	a.registerGrants()
	a.registerImports()
	a.registerGrantStreams()
	a.registerGrantSearch()
	a.registerEntitlements()
	a.registerPromos()
	a.registerSales()
	a.registerContracts()
	a.registerProfiles()
	a.registerUsers()
	a.registerReaders()
	a.registerAccounts()
	a.registerRoleTypes()
	a.registerRoles()
	a.registerAccessibles()
	a.registerPlans()
	a.registerSubscriptions()
	a.registerAgreements()
	a.registerRecordStreams()
	a.registerRules()
	a.registerProxy()
	a.registerPages()
	a.registerStoredPages()
	a.registerAudit()
	a.registerDomains()
	a.registerKeys()
	a.registerWebhooks()
	a.registerSessions()
	a.registerAPIKeys()
	a.registerAuth()
	a.registerFeeds()
	a.registerHooks()
	a.registerPaywalls()
	a.describePaywalls()
	a.registerContractUsage()
	a.describeSentBacks()
	if a.Operator {
		a.registerReaderTokens()
		a.registerClients()
		a.registerHealth()
		a.registerKeySets()
		a.registerStoreLoss()
		if a.Explain != nil {
			a.registerExplain()
		}
	}
	a.registerDecisions()
	if a.Authority == nil {
		return a, nil
	}
	a.describe()
	return a, a.servePublic()
}

// jsonFormat reads JSON strictly: member names are case-sensitive and unique, which
// RFC 8259, section 4, does not require.
var jsonFormat = huma.Format{Marshal: marshalJSON, Unmarshal: unmarshalJSON}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	LimitBody(w, r, a.BodyTimeout)
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
	c := &call{Caller: caller, query: r.URL.Query(), address: requestAddress(r)}
	if a.Authority != nil {
		c.paywalls = a.Authority.LinkBase(r) + publicPaywallsPath
	}
	defer c.end()
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
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

// refusedRoute returns the problem of a request that no operation serves, or nil.
func (a *api) refusedRoute(r *http.Request, header http.Header) *Problem {
	// The mux would redirect to the clean path, but clients do not resend a body.
	if !plainPath(r.URL.Path) {
		return newProblem(http.StatusNotFound, "There is no such resource: the path must not contain empty or dot segments or end with a slash.")
	}
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		return nil
	}
	if reason := omittedReason(r.Method, r.URL.Path); reason != "" {
		return a.notImplemented(r, header, reason)
	}
	answer := &statusRecorder{header: make(http.Header)}
	handler.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		header["Allow"] = answer.header["Allow"]
		return newProblem(http.StatusMethodNotAllowed, "This resource does not support "+printableMethod(r.Method)+".")
	}
	return newProblem(http.StatusNotFound, "There is no such resource: compare the path with those in the API's document, /openapi.json.")
}

// plainPath reports whether a path is clean. The path of a rule may end with a
// slash, which is significant.
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

// statusRecorder records the status and the header of a response.
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
	Caller
	query   url.Values
	address url.URL // without the query
	// paywalls is the URL below which paywalls are public; empty on a mount without an Authority.
	paywalls string
	// store reads and writes records on behalf of the caller. Of a call with an
	// Idempotency-Key it writes the idempotency record too.
	store       store.Writer
	idempotency *store.IdempotencyRecord
	secret      bool // the response has a secret and must not be stored
	ends        []func()
}

// atEnd makes the call run a function at its end, whether its response was sent or not.
func (c *call) atEnd(fn func()) { c.ends = append(c.ends, fn) }

func (c *call) end() {
	for _, fn := range c.ends {
		fn()
	}
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// begin makes the call one of an operation.
func (a *api) begin(c *call, operation *huma.Operation) {
	c.store = a.Store.As(store.Actor{Name: c.Name, Operation: operation.OperationID}).Once(c.idempotency)
}

// register adds an operation. Its Security is the scope that the caller must have,
// see admit. Errors of its handler become problems.
func register[I, O any](a *api, operation huma.Operation, handle func(ctx context.Context, c *call, in *I) (*O, error)) {
	operation.Middlewares = append(huma.Middlewares{a.admit(&operation)}, operation.Middlewares...)
	if operation.Method == http.MethodPost || operation.Metadata[repetitionKey] != nil {
		describeOnce(&operation)
		operation.Middlewares = append(operation.Middlewares, a.once(operation))
	}
	if operation.Method == http.MethodPut || operation.Method == http.MethodPatch {
		operation.Middlewares = append(operation.Middlewares, a.sentBack(operation))
	}
	huma.Register(a.huma, operation, func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		a.begin(c, &operation)
		out, err := handle(ctx, c, in)
		if err != nil {
			return nil, a.problemOf(err)
		}
		return out, nil
	})
}

// body is a request or response that has only a body.
type body[T any] struct{ Body T }

// created is the response with a new record.
type created[T any] struct {
	Location string `header:"Location" doc:"The URL of the new record, relative to the request URL."`
	ETag     string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body     T
}

// newCreated returns the response with a new record, or err.
func newCreated[T any](collection, id string, value T, err error) (*created[T], error) {
	if err != nil {
		return nil, err
	}
	return &created[T]{Location: below(collection, id), ETag: etagOf(value), Body: value}, nil
}

// empty is a response without a body.
type empty struct{}

// below returns the Location of a new record, relative to its collection.
func below(collection, id string) string {
	return fmt.Sprintf("%s/%s", path.Base(collection), url.PathEscape(id))
}
