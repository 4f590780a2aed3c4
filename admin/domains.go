package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const domainsPath = "/management/domains"

// Domain is a trusted publisher domain.
type Domain struct {
	Domain             string    `json:"domain" doc:"The host, in lower case." example:"news.example.com"`
	SigningKeyPEM      string    `json:"signingKeyPem" doc:"The pinned keys; empty if jwksUri is set." example:"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0B8acoitoEYyIt85mEBOARtYR1VM\nduIBWqonYoMMxsEY688kUqbjiMG553leOUdoS71jYQBEkTrvHCSzTnOhVg==\n-----END PUBLIC KEY-----\n"`
	JWKSURI            string    `json:"jwksUri" doc:"The URL of the key set; empty if keys are pinned."`
	AllowedResourceIDs []string  `json:"allowedResourceIds" doc:"The resources that the domain's links may open: exact ids, or prefix:…* for a prefix. Empty: all."`
	CreatedAt          time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt          time.Time `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	UpdatedBy          string    `json:"updatedBy" doc:"The client that made the last change." example:"client_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

func wireDomain(d store.Domain) Domain {
	wire := Domain{
		Domain: d.Domain, SigningKeyPEM: d.SigningKeyPEM, JWKSURI: d.JWKSURI, AllowedResourceIDs: d.AllowedResourceIDs,
		CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, UpdatedBy: d.UpdatedBy,
	}
	if wire.AllowedResourceIDs == nil {
		wire.AllowedResourceIDs = []string{}
	}
	return wire
}

// Probe is the result of the last check of a domain's keys.
type Probe struct {
	OK         bool       `json:"ok" doc:"Whether any key can verify signatures." example:"true"`
	ActiveKeys int        `json:"activeKeys" doc:"The number of keys that can verify the domain's signatures."`
	Error      string     `json:"error" doc:"Why no keys are available."`
	CheckedAt  *time.Time `json:"checkedAt,omitempty" doc:"The time of the probe." example:"2027-01-01T09:30:00Z"`
}

func wireProbe(p store.Probe) Probe {
	wire := Probe{OK: p.OK, ActiveKeys: p.ActiveKeys, Error: p.Error}
	if !p.At.IsZero() {
		wire.CheckedAt = &p.At
	}
	return wire
}

// ProbedDomain is a domain and the last probe of its keys.
type ProbedDomain struct {
	Domain
	Probe Probe `json:"probe" doc:"The result of the last check of the domain's keys."`
}

// DomainStatus is a domain and the keys that verify its signatures now.
type DomainStatus struct {
	ProbedDomain
	KeyIDs     []string `json:"keyIds" doc:"The kids of the keys in use; RFC 7638 thumbprints for pinned keys."`
	AgeSeconds *int64   `json:"ageSeconds,omitempty" doc:"The seconds since the key set was fetched or found unchanged."`
	Stale      bool     `json:"stale,omitempty" doc:"The key set is overdue for a refresh that failed."`
	Dropped    []string `json:"dropped,omitempty" doc:"Why keys of the set are ignored."`
}

// DomainBody creates or replaces a domain.
type DomainBody struct {
	SigningKeyPEM      string   `json:"signingKeyPem,omitempty" maxLength:"16384" doc:"The P-256 public keys that the domain signs with: PEM blocks, SubjectPublicKeyInfo or certificates, at most 8." example:"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0B8acoitoEYyIt85mEBOARtYR1VM\nduIBWqonYoMMxsEY688kUqbjiMG553leOUdoS71jYQBEkTrvHCSzTnOhVg==\n-----END PUBLIC KEY-----\n"`
	JWKSURI            string   `json:"jwksUri,omitempty" maxLength:"2048" doc:"The https URL of the domain's JWK Set, on the domain's own host."`
	AllowedResourceIDs []string `json:"allowedResourceIds,omitempty" maxItems:"1000" doc:"The resources that the domain's links may open: exact ids, or prefix:…* for a prefix. Empty: all."`
}

// DomainPath identifies a domain in a path.
type DomainPath struct {
	Domain string `path:"domain" maxLength:"1024" doc:"Publisher domain (lowercase, no scheme, no trailing dot)" example:"publisher.example.com"`
}

// name returns the normalized domain, or a problem.
func (p DomainPath) name() (string, error) {
	name, err := keys.NormalDomain(p.Domain)
	if err != nil {
		return "", invalidAt("path.domain", err.Error())
	}
	return name, nil
}

// domainPage are the query parameters of the listing. The published contract has
// no pages, so the default is all.
type domainPage struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" doc:"The maximum number of domains to return. Default: all."`
	From  string `query:"from" maxLength:"253" doc:"Continue after the domain with this name."`
}

// domainListing is the response with a page of domains.
type domainListing struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if there is one."`
	Body DomainList
}

// DomainList is the answer of the listing of domains.
type DomainList struct {
	Domains []Domain `json:"domains" doc:"The domains."`
}

func (a *api) registerDomains() {
	tags := []string{"Domains"}
	register(a, huma.Operation{
		OperationID: "list-domains", Method: http.MethodGet, Path: domainsPath, Tags: tags, Security: needs("domains:read"),
		Summary: "Lists the trusted publisher domains",
	}, func(ctx context.Context, c *call, in *domainPage) (*domainListing, error) {
		if in.From != "" {
			if _, err := keys.NormalDomain(in.From); err != nil {
				return nil, notAPosition()
			}
		}
		page, err := newWholeListing(ctx, a, c, WholeParams(*in), byID(func(ctx context.Context, page store.Page) ([]store.Domain, error) {
			return c.store.TrustedDomains(ctx, c.Vendor, page)
		}, func(d *store.Domain) string { return d.Domain }), wireDomain)
		if err != nil {
			return nil, err
		}
		// There are at most MaxDomains, so that they are read at once.
		all := page.Body.first
		if page.Body.rest != nil {
			err = page.Body.rest(func(part []Domain) error { all = append(all, part...); return nil })
		}
		return &domainListing{Link: page.Link, Body: DomainList{Domains: all}}, err
	})
	register(a, huma.Operation{
		OperationID: "get-domain", Method: http.MethodGet, Path: domainsPath + "/{domain}", Tags: tags, Security: needs("domains:read"),
		Summary: "Returns a trusted publisher domain and its keys in use",
	}, func(ctx context.Context, c *call, in *DomainPath) (*record[DomainStatus], error) {
		domain, err := a.domain(ctx, c.Vendor, in)
		if err != nil {
			return nil, err
		}
		return &record[DomainStatus]{ETag: etagOf(wireDomain(domain)), Body: a.showDomain(ctx, domain)}, nil
	})
	register(a, huma.Operation{
		OperationID: "put-domain", Method: http.MethodPut, Path: domainsPath + "/{domain}", Tags: tags, Security: needs("domains:write"),
		Summary: "Creates or replaces a trusted publisher domain",
		Description: "Exactly one of signingKeyPem and jwksUri is required. A key set is fetched at once; if that fails, the domain is " +
			"trusted nevertheless and the response reports the error: the gate fetches the set as soon as it can. " +
			"Without allowedResourceIds, a domain that was restricted stays so.",
		Metadata: map[string]any{computedKey: []string{"probe", "keyIds", "ageSeconds", "stale", "dropped"}},
	}, func(ctx context.Context, c *call, in *struct {
		DomainPath
		IfMatch
		RawBody []byte
		Body    DomainBody
	},
	) (*record[ProbedDomain], error) {
		name, err := in.name()
		if err != nil {
			return nil, err
		}
		return a.putDomain(ctx, c, store.Domain{
			Domain: name, SigningKeyPEM: in.Body.SigningKeyPEM, JWKSURI: in.Body.JWKSURI, AllowedResourceIDs: in.Body.AllowedResourceIDs,
		}, in.IfMatch, namedIn(in.RawBody))
	})
	register(a, huma.Operation{
		OperationID: "remove-domain", Method: http.MethodDelete, Path: domainsPath + "/{domain}", Tags: tags, Security: needs("domains:write"),
		Summary: "Removes a trusted publisher domain: its signatures are refused from the next request on", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		DomainPath
		IfMatch
	},
	) (*empty, error) {
		name, err := in.name()
		if err != nil {
			return nil, err
		}
		if err := c.store.RemoveDomain(ctx, c.Vendor, name, in.domain); err != nil {
			return nil, in.changed(err)
		}
		return &empty{}, a.refreshDomains(ctx, c.Vendor)
	})
	register(a, huma.Operation{
		OperationID: "probe-domain", Method: http.MethodPost, Path: domainsPath + "/{domain}/probe", Tags: tags, Security: needs("domains:write"),
		Summary:  "Fetches a domain's keys now and returns the result",
		Metadata: map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *DomainPath) (*body[DomainStatus], error) {
		domain, err := a.domain(ctx, c.Vendor, in)
		if err != nil {
			return nil, err
		}
		domain.Probe = a.probe(ctx, &domain)
		return &body[DomainStatus]{Body: a.showDomain(ctx, domain)}, nil
	})
	a.registerPublished(tags)
	a.registerDeniedKeys(tags)
}

func (a *api) domain(ctx context.Context, vendor string, in *DomainPath) (store.Domain, error) {
	name, err := in.name()
	if err != nil {
		return store.Domain{}, err
	}
	return a.Store.Domain(ctx, vendor, name)
}

func (a *api) putDomain(ctx context.Context, c *call, domain store.Domain, match IfMatch, sent named) (*record[ProbedDomain], error) {
	if err := domain.Normalize(); err != nil {
		return nil, err
	}
	remote, release := a.remoteOf(&domain)
	defer release() // the policy watches the set by then
	domain.Probe = a.probeOf(ctx, &domain, remote)
	stored, err := c.store.PutDomain(ctx, c.Vendor, domain, func(before, next *store.Domain) error {
		if err := match.domain(before); err != nil || before == nil {
			return err
		}
		return keepClosed(sent, stateMember{
			name: "allowedResourceIds", widens: len(before.AllowedResourceIDs) > 0 && len(next.AllowedResourceIDs) == 0,
			keep: func() { next.AllowedResourceIDs = before.AllowedResourceIDs },
		})
	})
	if err != nil {
		return nil, match.changed(err)
	}
	// The ETag does not cover the probe.
	shown := wireDomain(stored)
	answer := &record[ProbedDomain]{ETag: etagOf(shown), Body: ProbedDomain{shown, wireProbe(stored.Probe)}}
	return answer, a.refreshDomains(ctx, c.Vendor)
}

// domain checks the precondition of a change. Before is nil for a new domain.
func (m IfMatch) domain(before *store.Domain) error {
	if before == nil {
		return m.absent()
	}
	return m.check(wireDomain(*before))
}

// refreshDomains updates the gate. Invalid records of other domains do not fail
// the call.
func (a *api) refreshDomains(ctx context.Context, vendor string) error {
	err := a.Policy.RefreshDomains(ctx, vendor)
	if isUnavailable(err) {
		return err
	}
	if err != nil {
		a.Failed(err)
	}
	return nil
}

// remoteOf returns the watched key set of a domain, or nil if there is none;
// release ends the watch.
func (a *api) remoteOf(domain *store.Domain) (remote *keys.Remote, release func()) {
	if domain.JWKSURI == "" || a.KeySets == nil {
		return nil, func() {}
	}
	remote, err := a.KeySets.Watch(keys.KeySetLocation{URL: domain.JWKSURI})
	if err != nil {
		return nil, func() {}
	}
	return remote, remote.Release
}

// probe checks a domain's keys: it parses pinned keys and fetches a key set.
func (a *api) probe(ctx context.Context, domain *store.Domain) store.Probe {
	remote, release := a.remoteOf(domain)
	defer release()
	return a.probeOf(ctx, domain, remote)
}

func (a *api) probeOf(ctx context.Context, domain *store.Domain, remote *keys.Remote) store.Probe {
	probe := store.Probe{At: a.Now().UTC().Truncate(time.Millisecond)}
	switch {
	case domain.SigningKeyPEM != "":
		set, err := keys.ParsePinnedKeys(domain.SigningKeyPEM)
		if err != nil {
			probe.Error = err.Error()
			return probe
		}
		probe.OK, probe.ActiveKeys = true, set.Len()
	case remote == nil:
		probe.Error = "key sets cannot be fetched here"
	default:
		if err := remote.Refresh(ctx); err != nil {
			probe.Error = err.Error()
		}
		status := remote.Status()
		probe.ActiveKeys, probe.OK = status.Active, probe.Error == "" && status.Active > 0
		if probe.Error == "" && !probe.OK {
			probe.Error = "the key set holds no P-256 key that may verify signatures"
		}
	}
	return probe
}

// showDomain returns a domain with the current state of its keys.
func (a *api) showDomain(ctx context.Context, domain store.Domain) DomainStatus {
	shown := DomainStatus{ProbedDomain: ProbedDomain{wireDomain(domain), wireProbe(domain.Probe)}, KeyIDs: []string{}}
	if set, err := keys.ParsePinnedKeys(domain.SigningKeyPEM); err == nil {
		shown.KeyIDs = set.IDs()
	}
	remote, release := a.remoteOf(&domain)
	defer release()
	if remote == nil {
		return shown
	}
	// Loads a key set that was saved before a restart.
	_, _ = remote.KeySet(ctx)
	status := remote.Status()
	shown.KeyIDs, shown.Stale, shown.Dropped = status.KeyIDs, status.Stale, status.Dropped
	if status.OK {
		age := int64(status.Age / time.Second)
		shown.AgeSeconds = &age
	}
	if !status.TriedAt.IsZero() {
		shown.Probe = Probe{OK: status.Err == nil && status.Active > 0, ActiveKeys: status.Active, CheckedAt: &status.TriedAt}
		if status.Err != nil {
			shown.Probe.Error = status.Err.Error()
		}
	}
	return shown
}

// publishedPath identifies a link that a domain signed.
type publishedPath struct {
	DomainPath
	ID string `path:"id" maxLength:"128" doc:"The token's jti, or sha256:… for a token without one." example:"promo-2027-1"`
}

// registerPublished adds the operations on links that publisher domains signed.
func (a *api) registerPublished(tags []string) {
	const path = domainsPath + "/{domain}/links"
	register(a, huma.Operation{
		OperationID: "list-domain-links", Method: http.MethodGet, Path: path, Tags: tags, Security: needs("domains:read"),
		Summary: "Lists the used links of a domain",
	}, func(ctx context.Context, c *call, in *struct {
		DomainPath
		WholeParams
	},
	) (*wholeListing[SignedLink], error) {
		name, err := in.name()
		if err != nil {
			return nil, err
		}
		// Publishers choose the ids of their links.
		if len(in.From) > keys.MaxLinkID || checkLinkText("from", in.From) != nil {
			return nil, notAPosition()
		}
		return newWholeListing(ctx, a, c, in.WholeParams, byID(func(ctx context.Context, page store.Page) ([]store.SignedLink, error) {
			return c.store.SignedLinks(ctx, c.Vendor, name, page)
		}, func(l *store.SignedLink) string { return l.Claims.ID }), a.wireLink)
	})
	register(a, huma.Operation{
		OperationID: "revoke-domain-link", Method: http.MethodDelete, Path: path + "/{id}", Tags: tags, Security: needs("domains:write"),
		Summary: "Revokes a link of a domain, used or unused", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *publishedPath) (*empty, error) {
		name, err := in.name()
		if err != nil {
			return nil, err
		}
		return &empty{}, c.store.RevokePublished(ctx, c.Vendor, name, in.ID)
	})
}
