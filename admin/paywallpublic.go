package admin

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/paywall"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	publicPaywallsPath = "/paywalls/"
	previewSuffix      = "/preview"
)

// paywallPublisher serves paywalls to browsers: the record that the published web component
// reads, and the page as a preview. A paywall has nothing secret.
type paywallPublisher struct{ *api }

// serveRecord serves GET /paywalls/{vendor}/{id}. Any page may read it, without credentials.
func (p *paywallPublisher) serveRecord(w http.ResponseWriter, r *http.Request) {
	found, problem := p.find(w, r, false)
	if problem != nil {
		problem.write(w)
		return
	}
	wire := wirePaywall(r.PathValue("vendor"), found)
	// Relative: a shared cache keeps the record, and the host is what the client says, so that a
	// stranger could have another host kept for all.
	wire.PreviewURL = found.ID + previewSuffix
	encoded, err := stdjson.Marshal(wire)
	if err != nil {
		p.Authority.unavailable(w, err)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "public, max-age=60")
	etag := etagOf(wire)
	header.Set("ETag", etag)
	if matchesNone(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", "application/json")
	_, _ = w.Write(encoded)
}

// matchesNone reports whether If-None-Match has a validator (RFC 9110, section 13.1.2).
func matchesNone(values []string, etag string) bool {
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}

// servePreview serves GET /paywalls/{vendor}/{id}/preview: the page with the texts of the
// reason and the language of the query, and links that lead nowhere.
func (p *paywallPublisher) servePreview(w http.ResponseWriter, r *http.Request) {
	found, problem := p.find(w, r, true)
	if problem != nil {
		problem.write(w)
		return
	}
	query := r.URL.Query()
	reason := query.Get("reason")
	language := paywall.BuiltIn().For(r.Header.Values("Accept-Language"))
	if wanted := query.Get("lang"); wanted != "" {
		language = paywall.BuiltIn().For([]string{wanted})
	}
	if reason == "" {
		reason = "login_required"
	} else if _, _, known := language.Reason(reason); !known {
		invalidAt("query.reason", "is not a reason of a denial, such as not_entitled").write(w)
		return
	}
	name, logo := r.PathValue("vendor"), ""
	if vendor, err := p.Store.Vendor(r.Context(), name); err == nil {
		name, logo = vendor.Name, vendor.Logo
	}
	page, view := paywall.Compile(found, logo), &paywall.View{
		Language: language, Reason: reason, Site: name, Home: "#", Login: "#", Identified: reason == "not_entitled",
		Checkout: func(paywall.Item) string { return "#" }, Code: "0000-0000",
	}
	var rendered bytes.Buffer
	if err := page.Render(&rendered, view); err != nil {
		p.Authority.unavailable(w, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", page.Policy(view))
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Robots-Tag", "noindex")
	_, _ = w.Write(rendered.Bytes())
}

// find returns the paywall of a path: an active one, or any for a preview.
func (p *paywallPublisher) find(w http.ResponseWriter, r *http.Request, any bool) (*paywall.Paywall, *Problem) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	found, err := p.Store.Paywall(r.Context(), r.PathValue("vendor"), r.PathValue("id"))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !any && found.Status != paywall.StatusActive:
		return nil, newProblem(http.StatusNotFound, "There is no such paywall.")
	case err != nil:
		p.Failed(err)
		return nil, newProblem(http.StatusServiceUnavailable, "The server could not complete the request; its log has the cause.")
	}
	return &found, nil
}

// preflight answers the CORS preflight of a page that sends Cache-Timestamp.
func (p *paywallPublisher) preflight(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Methods", "GET")
	header.Set("Access-Control-Allow-Headers", "Cache-Timestamp, Content-Type")
	header.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
}

// servePaywalls adds the operations that need no token.
func (a *api) servePaywalls() {
	p := &paywallPublisher{a}
	one := publicPaywallsPath + "{vendor}/{id}"
	a.public.HandleFunc("GET "+one, p.serveRecord)
	a.public.HandleFunc("OPTIONS "+one, p.preflight)
	a.public.HandleFunc("GET "+one+previewSuffix, p.servePreview)
}

// describePaywalls describes them in the document.
func (a *api) describePaywalls() {
	if a.Authority == nil {
		return
	}
	document := a.huma.OpenAPI()
	parameters := []*huma.Param{
		{Name: "vendor", In: "path", Required: true, Description: "The vendor's id.", Example: "acme", Schema: &huma.Schema{Type: huma.TypeString}},
		{Name: "id", In: "path", Required: true, Description: "The paywall's id.", Example: "pw_01kb2m3q4r5s6t7v8w9x0y1z2a", Schema: &huma.Schema{Type: huma.TypeString}},
	}
	query := func(name, description, example string) *huma.Param {
		return &huma.Param{Name: name, In: "query", Description: description, Example: example, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	tags := []string{"Paywalls"}
	document.AddOperation(&huma.Operation{
		OperationID: "read-paywall", Method: http.MethodGet, Path: publicPaywallsPath + "{vendor}/{id}", Tags: tags, Security: []map[string][]string{},
		Summary: "Returns an active paywall to the web component of a page", Description: "It needs no token, sends no cookie, and may be cached for a minute. Any origin may read it.", Parameters: parameters,
		Responses: map[string]*huma.Response{
			"200":     {Description: "The paywall.", Content: map[string]*huma.MediaType{"application/json": {Schema: document.Components.Schemas.Schema(reflect.TypeFor[Paywall](), true, "Paywall")}}},
			"304":     {Description: "The paywall is as the client has it (If-None-Match)."},
			"404":     {Ref: "#/components/responses/Error"},
			"default": {Ref: "#/components/responses/Error"},
		},
	})
	document.AddOperation(&huma.Operation{
		OperationID: "preview-paywall", Method: http.MethodGet, Path: publicPaywallsPath + "{vendor}/{id}" + previewSuffix, Tags: tags, Security: []map[string][]string{},
		Summary: "Shows the page of a paywall as a reader gets it, with links that lead nowhere",
		Parameters: append(parameters[:2:2], query("reason", "The reason of the denial. Default: login_required.", "not_entitled"),
			query("lang", "The language. Default: that of Accept-Language.", "sv")),
		Responses: map[string]*huma.Response{
			"200":     {Description: "The page.", Content: map[string]*huma.MediaType{"text/html": {Schema: &huma.Schema{Type: huma.TypeString}}}},
			"404":     {Ref: "#/components/responses/Error"},
			"default": {Ref: "#/components/responses/Error"},
		},
	})
}
