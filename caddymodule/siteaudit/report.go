package siteaudit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Report is what the sites of a configuration serve, and through which gates.
type Report struct {
	// Sites are in order of their names.
	Sites []*Site `json:"sites"`
	// Findings are mistakes, each with its remedy.
	Findings []Finding `json:"findings,omitempty"`
	// Truncated reports whether the configuration has more ways than the report.
	Truncated bool `json:"truncated,omitempty"`

	gates []*Gate
}

// Site is a host that the configuration serves.
type Site struct {
	// Name is the host; with the port unless that is Caddy's port for http or https;
	// `:port` for every host.
	Name string `json:"site"`
	// Gated reports whether any request of the site passes a gate.
	Gated bool `json:"gated"`
	// Ways are the ways to content, in the order of the configuration.
	Ways []*Way `json:"ways,omitempty"`
}

// Open returns the ways to content that pass no gate, error routes aside: those are for
// requests that failed.
func (s *Site) Open() (open []*Way) {
	for _, way := range s.Ways {
		if way.Kind == Content && len(way.Gates) == 0 && !way.ErrorRoute {
			open = append(open, way)
		}
	}
	return open
}

// Gates returns the gates of the sites, as vendor/site, sorted.
func (r *Report) Gates() []string {
	var gates []string
	for _, site := range r.Sites {
		for _, way := range site.Ways {
			gates = append(gates, way.Gates...)
		}
	}
	slices.Sort(gates)
	return slices.Compact(gates)
}

// Kind is what a way leads to.
type Kind string

// The kinds of ways.
const (
	// Content is an upstream, files, or a cache of them.
	Content Kind = "content"
	// Fixed is a response that the configuration holds, or one of a Caddy module.
	Fixed Kind = "fixed"
	// Unknown is a handler that the audit does not know: it may respond itself.
	Unknown Kind = "unknown"
)

// Way is a way through the routes to a handler that responds.
type Way struct {
	// Paths are path matchers, any of which matches; none matches every path.
	Paths []string `json:"paths,omitempty"`
	// Except are matchers whose requests go another way or pass a gate.
	Except []string `json:"except,omitempty"`
	// Conditions are further matchers, all of which match.
	Conditions []string `json:"conditions,omitempty"`
	Kind       Kind     `json:"kind"`
	// Handler is the handler that responds, with its upstreams.
	Handler string `json:"handler"`
	// Gates are the gates that every request on the way passes, as vendor/site, in
	// their order. All of them must allow.
	Gates []string `json:"gates"`
	// ErrorRoute reports whether the way is for requests that failed.
	ErrorRoute bool `json:"error_route,omitempty"`

	gates []*Gate
	hosts []string
	// passedBy reports whether other requests of its site pass a gate.
	passedBy bool
}

// Path returns the paths of a way as text.
func (w *Way) Path() string {
	if len(w.Paths) == 0 {
		return "/*"
	}
	return strings.Join(w.Paths, " ")
}

// Gate is a gate at one place of the routes.
type Gate struct {
	// Vendor and Site are as configured, or their defaults.
	Vendor, Site string
	// Config is the gate's JSON.
	Config json.RawMessage

	settings      []byte            // Config without the places in the configuration's file
	pages         map[string]string // the URLs of deny, by option
	httpAuth      bool              // has the source http_auth
	authenticated bool              // an authenticator may come before it
	forwarded     bool              // has the source http_auth with headers of a service
	asked         bool              // a forward_auth may come before it
	takesLinks    bool              // signed links may open its pages
	namesHosts    bool              // lists the hosts of its site
	sites         []string
}

func (g *Gate) name() string { return g.Vendor + "/" + g.Site }

// newGate reads what the audit needs of a gate's configuration.
func newGate(config json.RawMessage) *Gate {
	var fields struct {
		Vendor   string `json:"vendor"`
		Site     string `json:"site"`
		Identify []struct {
			Source  string            `json:"source"`
			Headers map[string]string `json:"headers"`
		} `json:"identify"`
		Deny  map[string]any  `json:"deny"`
		Rules json.RawMessage `json:"rules"`
		Hosts []string        `json:"hosts"`
	}
	_ = json.Unmarshal(config, &fields) // what cannot be read fails the load elsewhere
	gate := &Gate{Vendor: fields.Vendor, Site: fields.Site, Config: config, settings: withoutPlaces(config), pages: map[string]string{}}
	for _, option := range deniedTo {
		if page, ok := fields.Deny[option].(string); ok && page != "" {
			gate.pages[option] = page
		}
	}
	gate.takesLinks = fields.Rules == nil || bytes.Contains(fields.Rules, []byte(`"entitled"`))
	gate.namesHosts = len(fields.Hosts) > 0
	if gate.Vendor == "" {
		gate.Vendor = "default"
	}
	if gate.Site == "" {
		gate.Site = gate.Vendor
	}
	for _, source := range fields.Identify {
		gate.httpAuth = gate.httpAuth || source.Source == "http_auth" && source.Headers == nil
		gate.forwarded = gate.forwarded || source.Source == "http_auth" && source.Headers != nil
	}
	return gate
}

// withoutPlaces returns the configuration of a gate without the places in its file.
func withoutPlaces(config json.RawMessage) []byte {
	var settings map[string]any
	_ = json.Unmarshal(config, &settings) // what cannot be read has no settings
	delete(settings, "places")
	delete(settings, "handler")
	rules, _ := settings["rules"].([]any)
	for _, rule := range rules {
		if rule, ok := rule.(map[string]any); ok {
			delete(rule, "origin")
		}
	}
	text, _ := json.Marshal(settings) // it comes from JSON
	return text
}

// httpApp is the part of an http app that the audit reads.
type httpApp struct {
	HTTPPort  int                `json:"http_port,omitempty"`
	HTTPSPort int                `json:"https_port,omitempty"`
	Servers   map[string]*server `json:"servers"`
}

type server struct {
	Listen []string          `json:"listen"`
	Routes []*route          `json:"routes"`
	Errors *routes           `json:"errors,omitempty"`
	Named  map[string]*route `json:"named_routes,omitempty"`
}

type routes struct {
	Routes []*route `json:"routes"`
}

type route struct {
	Group    string                       `json:"group,omitempty"`
	Match    []map[string]json.RawMessage `json:"match,omitempty"`
	Handle   []json.RawMessage            `json:"handle,omitempty"`
	Terminal bool                         `json:"terminal,omitempty"`
}

// Audit reads a whole Caddy configuration.
func Audit(config []byte) (*Report, error) {
	var parsed struct {
		Apps struct {
			HTTP json.RawMessage `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if parsed.Apps.HTTP == nil {
		return &Report{Sites: []*Site{}}, nil
	}
	return AuditHTTP(parsed.Apps.HTTP)
}

// AuditHTTP reads the configuration of an http app.
func AuditHTTP(config []byte) (*Report, error) {
	var app httpApp
	if err := json.Unmarshal(config, &app); err != nil {
		return nil, fmt.Errorf("reading the configuration's http app: %w", err)
	}
	r := &reporter{report: &Report{Sites: []*Site{}}, byName: map[string]*Site{}, app: &app}
	names := make([]string, 0, len(app.Servers))
	for name := range app.Servers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if server := app.Servers[name]; server != nil {
			r.listen = server.Listen
			newWalker(r, server).walk(server)
		}
	}
	for _, site := range r.byName {
		r.report.Sites = append(r.report.Sites, site)
	}
	slices.SortFunc(r.report.Sites, func(a, b *Site) int { return strings.Compare(a.Name, b.Name) })
	r.report.find()
	return r.report, nil
}

// maxWays bounds the ways of a report.
const maxWays = 100_000

// reporter collects a report, server by server.
type reporter struct {
	report *Report
	byName map[string]*Site
	app    *httpApp
	listen []string // of the server
	ways   int
}

// sites returns the sites of hosts on the server; without hosts, those of every host.
func (r *reporter) sites(hosts []string) (sites []*Site) {
	for _, name := range r.names(hosts) {
		site := r.byName[name]
		if site == nil {
			site = &Site{Name: name}
			r.byName[name] = site
		}
		sites = append(sites, site)
	}
	return sites
}

func (r *reporter) names(hosts []string) (names []string) {
	for _, listen := range r.listen {
		port := listenPort(listen)
		for _, host := range hosts {
			if !r.standard(port) {
				host = net.JoinHostPort(host, port)
			}
			names = append(names, host)
		}
		if len(hosts) == 0 {
			names = append(names, ":"+port)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// standard reports whether a port is that of http or https.
func (r *reporter) standard(port string) bool {
	http, https := 80, 443
	if r.app.HTTPPort != 0 {
		http = r.app.HTTPPort
	}
	if r.app.HTTPSPort != 0 {
		https = r.app.HTTPSPort
	}
	return port == strconv.Itoa(http) || port == strconv.Itoa(https)
}

// listenPort returns the port of a listener's address, or the address if it has none.
func listenPort(listen string) string {
	if _, port, err := net.SplitHostPort(listen); err == nil {
		return port
	}
	return listen
}

func (r *reporter) way(way *Way) {
	for _, site := range r.sites(way.hosts) {
		if r.ways++; r.ways > maxWays {
			r.report.Truncated = true
			return
		}
		site.Ways, site.Gated = append(site.Ways, way), site.Gated || way.passedBy
	}
}

func (r *reporter) gate(gate *Gate, hosts []string) {
	for _, site := range r.sites(hosts) {
		site.Gated = true
		gate.sites = append(gate.sites, site.Name)
	}
	r.report.gates = append(r.report.gates, gate)
}
