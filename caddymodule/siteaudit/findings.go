package siteaudit

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Finding is a mistake in a configuration.
type Finding struct {
	Site string `json:"site"`
	// Path is the path that it is about.
	Path    string `json:"path,omitempty"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

// String returns the finding as one line.
func (f Finding) String() string {
	return strings.TrimSuffix(f.Site+f.Path, "*") + ": " + f.Problem + ": " + f.Remedy
}

// maxFindings bounds the findings of a report.
const maxFindings = 100

func (r *Report) add(f Finding) {
	if len(r.Findings) < maxFindings && !slices.Contains(r.Findings, f) {
		r.Findings = append(r.Findings, f)
	}
}

// find adds the mistakes that the routes show. A site without any gate is none: it is
// listed, but its operator may well want it open.
func (r *Report) find() {
	for _, site := range r.Sites {
		if !site.Gated {
			continue
		}
		for _, way := range site.Open() {
			r.add(Finding{
				Site: site.Name, Path: way.Path(),
				Problem: way.reach() + " reaches " + way.Handler + " without passing the site's gate",
				Remedy:  "put the gatefold directive before it, outside of any block and once for the site, and open public pages with a rule such as `rule /feed any`",
			})
		}
	}
	for _, site := range r.Sites {
		for _, way := range site.Ways {
			if len(way.gates) > 1 && slices.ContainsFunc(way.gates[1:], func(g *Gate) bool { return g.takesLinks }) {
				r.add(Finding{
					Site: site.Name, Path: way.Path(),
					Problem: "requests pass the gates " + strings.Join(way.Gates, " and ") + ", and the first takes signed links and their cookies, so that none opens a page at the other",
					Remedy:  "keep one gate for each page, with all of its rules",
				})
			}
		}
	}
	r.findNamesakes()
	for _, gate := range r.gates {
		for _, site := range gate.sites {
			if strings.HasPrefix(site, ":") && gate.takesLinks && !gate.namesHosts {
				r.add(Finding{
					Site: site, Problem: "the site is reached under any host, which is then what the client says, so that signed links with a url open none of its pages",
					Remedy: "give the site its host as the address, or list its hosts in the gate, as `hosts news.example.com`",
				})
			}
		}
		for _, site := range gate.sites {
			if gate.httpAuth && !gate.authenticated {
				r.add(Finding{
					Site: site, Problem: "`identify http_auth` identifies no reader: no handler before the gate sets {http.auth.user.id}",
					Remedy: "add an authenticator to the site, such as basic_auth, or leave `identify http_auth` out; behind forward_auth, name the service's header, as `header user_id Remote-User`",
				})
			}
			if gate.forwarded && !gate.asked {
				r.add(Finding{
					Site: site, Problem: "`identify http_auth` with headers identifies no reader: no forward_auth comes before the gate",
					Remedy: "add a forward_auth to the site, or leave `identify http_auth` out",
				})
			}
		}
	}
}

// findNamesakes adds gates of one name that differ: a site is known by its name, so that
// `explain`, `rule list` and the API show the rules of one of them for all.
func (r *Report) findNamesakes() {
	first := map[string]*Gate{}
	for _, gate := range r.gates {
		other := first[gate.name()]
		if other == nil {
			first[gate.name()] = gate
			continue
		}
		if bytes.Equal(other.settings, gate.settings) || len(gate.sites) == 0 || len(other.sites) == 0 {
			continue
		}
		r.add(Finding{
			Site:    gate.sites[0],
			Problem: fmt.Sprintf("its gate has the name %s of another gate with other settings, on %s: what the API, `explain` and `rule list` show of one may be the other's, and links and tokens for one open both", gate.name(), other.sites[0]),
			Remedy:  "give each gate a name of its own, as `site news`, or the same settings",
		})
	}
}

// Serves reports whether the configuration serves a host, on any port, through a gate. A
// site of every host serves all.
func (r *Report) Serves(host string) bool {
	return slices.ContainsFunc(r.Sites, func(site *Site) bool {
		name := site.Name
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		return site.Gated && (name == "" || hostCovers(name, strings.ToLower(host)))
	})
}

// Gated returns the names of the sites that have a gate.
func (r *Report) Gated() (names []string) {
	for _, site := range r.Sites {
		if site.Gated {
			names = append(names, site.Name)
		}
	}
	return names
}

// reach describes which requests go the way.
func (w *Way) reach() string {
	text := "a request"
	if len(w.Conditions) > 0 {
		text += " with " + strings.Join(w.Conditions, ", ")
	}
	if len(w.Except) > 0 {
		text += " except with " + strings.Join(w.Except, ", ")
	}
	return text
}

// Judge returns why a gate denies a GET of a URL to the readers whom an option of deny
// sends there; "" if it allows it, or cannot tell.
type Judge func(gate *Gate, option, address string) (reason string)

// deniedTo are the options of deny with the URLs of pages.
var deniedTo = []string{"login", "verify", "agreement", "subscribe", "pricing", "balance", "role"}

// FindPages adds the pages of deny that the readers who are sent there cannot open: those
// that a gate of the configuration denies for the same reason, and those that their own site
// does not serve. A page on a host that no site of the configuration has is another
// service's, such as an identity provider's.
func (r *Report) FindPages(judge Judge) {
	byName := make(map[string]*Site, len(r.Sites))
	for _, site := range r.Sites {
		byName[site.Name] = site
	}
	for _, gate := range r.gates {
		for _, option := range deniedTo {
			page, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(gate.pages[option]))
			if gate.pages[option] == "" || err != nil {
				continue
			}
			names := gate.sites
			if page.Host != "" {
				names = []string{siteName(page)}
			}
			for _, name := range names {
				if site := byName[name]; site != nil {
					r.checkPage(site, option, page, judge)
				}
			}
		}
	}
}

// siteName returns the name of the site that serves a URL.
func siteName(address *url.URL) string {
	host, port := strings.ToLower(address.Hostname()), address.Port()
	if port == "" || port == "80" || port == "443" {
		return host
	}
	return net.JoinHostPort(host, port)
}

func (r *Report) checkPage(site *Site, option string, page *url.URL, judge Judge) {
	way := site.serving(page.Path)
	if way == nil {
		r.add(Finding{
			Site: site.Name, Path: page.Path, Problem: fmt.Sprintf("`deny { %s }` leads to a page that no handler of its site serves", option),
			Remedy: fmt.Sprintf("add a handler for it, or name the whole URL of the %s page", option),
		})
		return
	}
	who, result := "to the readers whom it sends there", "so that they come back to the denial"
	if option == "login" {
		who, result = "to anonymous readers", "so that they can never log in"
	}
	address := *page
	if address.Host == "" {
		address.Scheme, address.Host = "http", strings.TrimPrefix(site.Name, "*.")
		if strings.HasPrefix(address.Host, ":") {
			address.Host = "localhost" + address.Host
		}
	}
	for _, gate := range way.gates {
		if reason := judge(gate, option, address.String()); reason != "" {
			r.add(Finding{
				Site: site.Name, Path: page.Path,
				Problem: fmt.Sprintf("`deny { %s }` leads to a page that the gate %s denies %s (%s), %s", option, gate.name(), who, reason, result),
				Remedy:  "put `rule " + page.Path + " any` before the rules that match it",
			})
		}
	}
}

// serving returns the first way that a request for a path may go; nil if there is none.
func (s *Site) serving(path string) *Way {
	for _, way := range s.Ways {
		if !way.ErrorRoute && way.Kind != Unknown && matchesPath(way.Paths, path) {
			return way
		}
	}
	for _, way := range s.Ways {
		if way.Kind == Unknown {
			return way
		}
	}
	return nil
}
