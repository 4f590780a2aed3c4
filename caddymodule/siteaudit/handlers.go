package siteaudit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// inert handlers neither respond nor change what matchers see. Of those that only
// respond to their own paths, none serves content of a site.
var inert = []string{"encode", "headers", "tracing", "log_append", "log", "templates", "request_body", "push", "gatefold_keys", "gatefold_cache", "acme_server"}

// changing handlers may change what matchers see, and do not respond.
var changing = []string{"rewrite", "vars", "map", "copy_response_headers"}

// fixed handlers respond with what the configuration or Caddy itself has.
var fixed = []string{"static_response", "error", "gatefold_api", "gatefold_accounts", "metrics"}

// handler follows a request into a handler. It reports whether the request ends there.
func (w *walker) handler(raw json.RawMessage, at scope) bool {
	var h struct {
		Handler  string   `json:"handler"`
		Name     string   `json:"name"`
		Routes   []*route `json:"routes"`
		Errors   *routes  `json:"errors"`
		PassThru bool     `json:"pass_thru"`
	}
	if json.Unmarshal(raw, &h) != nil {
		// A plugin's own use of these names: only the handler's name counts.
		_ = json.Unmarshal(raw, &struct {
			Handler *string `json:"handler"`
		}{&h.Handler})
	}
	switch name := h.Handler; {
	case name == "gatefold":
		w.gate(raw, at)
	case name == "subroute":
		w.errorRoutes(h.Errors, at)
		return w.routes(h.Routes, at)
	case name == "invoke":
		return w.invoke(h.Name, at)
	case name == "authentication":
		w.authenticator(at)
	case name == "reverse_proxy":
		return w.proxy(raw, at)
	case name == "intercept":
		w.responses(raw, at)
	case name == "file_server":
		w.end(Content, name, at)
		return !h.PassThru
	case name == "cache":
		w.end(Content, name, at) // what it has stored, it serves without asking those behind it
	case slices.Contains(fixed, name):
		w.end(Fixed, name, at)
		return true
	case slices.Contains(inert, name):
		if name == "headers" {
			w.epoch++ // a matcher may be for a header
		}
	case slices.Contains(changing, name):
		w.epoch++
		if bytes.Contains(raw, []byte("http.auth.user.id")) {
			w.authenticator(at)
		}
	default:
		w.unknown(name, h.Routes, at)
	}
	return false
}

// authenticator adds a handler that may set {http.auth.user.id}.
func (w *walker) authenticator(at scope) {
	w.facts = append(w.facts, fact{scope: at})
}

// unknown follows a handler of a plugin, which may do anything.
func (w *walker) unknown(name string, list []*route, at scope) {
	w.end(Unknown, name, at)
	w.authenticator(at)
	w.epoch++
	if len(list) > 0 {
		mark := len(w.facts)
		w.routes(list, at)
		w.facts = w.facts[:mark] // it need not execute its routes
	}
}

func (w *walker) invoke(name string, at scope) bool {
	named := w.named[name]
	if named == nil || slices.Contains(w.invoked, name) {
		return true // such a request fails
	}
	w.invoked = append(w.invoked, name)
	ends := w.routes([]*route{named}, at)
	w.invoked = w.invoked[:len(w.invoked)-1]
	return ends
}

// proxy follows a reverse proxy. One whose successful responses are only a signal, as
// those of forward_auth, goes on to the next handler and serves no content.
func (w *walker) proxy(raw json.RawMessage, at scope) bool {
	var proxy struct {
		Upstreams []struct {
			Dial string `json:"dial"`
		} `json:"upstreams"`
		Dynamic struct {
			Source string `json:"source"`
		} `json:"dynamic_upstreams"`
		Responses []responseHandler `json:"handle_response"`
	}
	_ = json.Unmarshal(raw, &proxy) // what cannot be read is content
	if slices.ContainsFunc(proxy.Responses, responseHandler.goesOn) {
		w.responses(raw, at)
		w.facts = append(w.facts, fact{scope: at, asks: true})
		w.epoch++
		return false
	}
	targets := make([]string, 0, len(proxy.Upstreams)+1)
	for _, upstream := range proxy.Upstreams {
		targets = append(targets, upstream.Dial)
	}
	if proxy.Dynamic.Source != "" {
		targets = append(targets, "dynamic "+proxy.Dynamic.Source)
	}
	w.end(Content, strings.TrimSpace("reverse_proxy "+strings.Join(targets, " ")), at)
	w.responses(raw, at)
	return true
}

type responseHandler struct {
	Match *struct {
		StatusCode []int               `json:"status_code"`
		Headers    map[string][]string `json:"headers"`
	} `json:"match"`
	StatusCode json.RawMessage   `json:"status_code"`
	Routes     []json.RawMessage `json:"routes"`
}

// goesOn reports whether successful responses are not delivered: the next handler
// responds.
func (h responseHandler) goesOn() bool {
	if h.StatusCode != nil || h.Match == nil || len(h.Match.Headers) > 0 || !slices.ContainsFunc(h.Match.StatusCode, func(code int) bool { return code == 2 || code == 200 }) {
		return false
	}
	return !slices.ContainsFunc(h.Routes, func(raw json.RawMessage) bool { return bytes.Contains(raw, []byte(`"copy_response"`)) })
}

// responses follows the routes for responses of an upstream, which a request reaches
// with the gates that it passed before.
func (w *walker) responses(raw json.RawMessage, at scope) {
	var h struct {
		Responses []routes `json:"handle_response"`
	}
	if json.Unmarshal(raw, &h) != nil {
		return
	}
	mark := len(w.facts)
	for _, response := range h.Responses {
		w.routes(response.Routes, at)
		w.facts = w.facts[:mark]
	}
}
