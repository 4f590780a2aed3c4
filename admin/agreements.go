package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	agreementsPath = "/api/agreements"
	legalPath      = "/api/legal"
)

// AgreementSummary is an agreement in a listing.
type AgreementSummary struct {
	Slug      string    `json:"slug" doc:"The agreement's id in URLs and rules." example:"terms-of-use"`
	Title     string    `json:"title" doc:"The agreement's title." example:"Terms of Use"`
	UpdatedAt time.Time `json:"updated_at" doc:"The version: signatures that are older do not count." example:"2023-08-16T00:00:00Z"`
}

// Agreement is a document that readers sign.
type Agreement struct {
	AgreementSummary
	Text string `json:"text" doc:"The text of the agreement." example:"..."`
}

func wireAgreementSummary(a store.Agreement) AgreementSummary {
	return AgreementSummary{Slug: a.Slug, Title: a.Title, UpdatedAt: a.UpdatedAt}
}

func wireAgreement(a store.Agreement) Agreement {
	return Agreement{AgreementSummary: wireAgreementSummary(a), Text: a.Text}
}

// agreementBody creates an agreement.
type agreementBody struct {
	Slug      string     `json:"slug,omitempty" maxLength:"128" doc:"The agreement's id in URLs and rules. Default: the title in lower case with hyphens." example:"terms-of-use"`
	Title     string     `json:"title" minLength:"1" maxLength:"150" doc:"The agreement's title." example:"Terms of Use"`
	UpdatedAt *time.Time `json:"updated_at,omitempty" doc:"The version, not in the future. Default: now." example:"2023-08-16T00:00:00Z"`
	Text      string     `json:"text,omitempty" maxLength:"262144" doc:"The text of the agreement, at most 256 KiB." example:"..."`
}

// agreementChange changes the named fields of an agreement.
type agreementChange struct {
	Slug      *string    `json:"slug,omitempty" maxLength:"128" doc:"Read-only: must equal the agreement of the path."`
	Title     *string    `json:"title,omitempty" minLength:"1" maxLength:"150" doc:"The agreement's title." example:"Terms of Use"`
	UpdatedAt *time.Time `json:"updated_at,omitempty" doc:"The version, not in the future. A later one than before asks all readers to sign again." example:"2023-08-16T00:00:00Z"`
	Text      *string    `json:"text,omitempty" maxLength:"262144" doc:"The text of the agreement, at most 256 KiB. A new text alone asks nobody to sign again." example:"..."`
}

// signBody signs an agreement.
type signBody struct {
	ReadTerms bool `json:"read_terms" doc:"Must be true: the user has read the agreement and consents to it." example:"true"`
}

// signAnswer is a signature.
type signAnswer struct {
	ReadTerms  bool      `json:"read_terms" doc:"Always true." example:"true"`
	LastSigned time.Time `json:"last_signed" doc:"The time of the signature." example:"2019-01-01T00:00:00Z"`
}

// DocumentPath identifies an agreement in a path.
type DocumentPath struct {
	Document string `path:"document" maxLength:"128" doc:"The agreement's slug." example:"terms-of-use"`
}

// AgreementPath is DocumentPath in the paths for readers.
type AgreementPath struct {
	Agreement string `path:"agreement" maxLength:"128" doc:"The agreement's slug." example:"terms-of-use"`
}

// agreementFinder searches and sorts agreements.
var agreementFinder = &finder[store.Agreement]{
	search: []field[store.Agreement]{
		{"slug", func(a *store.Agreement) string { return a.Slug }},
		{"title", func(a *store.Agreement) string { return a.Title }},
	},
	order: []field[store.Agreement]{
		{"title", func(a *store.Agreement) string { return a.Title }},
		{"updated_at", func(a *store.Agreement) string { return sorted(a.UpdatedAt) }},
	},
}

func (a *api) registerAgreements() {
	tags := []string{"Agreements"}
	for _, listing := range []struct {
		id, path, summary string
		readers           readerRule
	}{
		{"list-agreements", agreementsPath, "Lists agreements", readersOfBroker},
		{"list-legal-agreements", legalPath, "Lists agreements, for readers", readersAny},
	} {
		operation := huma.Operation{
			OperationID: listing.id, Method: http.MethodGet, Path: listing.path, Tags: tags, Security: needs("agreements:read"),
			Summary: listing.summary, Metadata: readers(listing.readers),
		}
		register(a, operation, func(ctx context.Context, c *call, in *FindParams) (*body[NumberedPage[AgreementSummary]], error) {
			page, err := findPage(c, agreementFinder, *in, PeriodParams{}, readListing(ctx, c.store.ListAgreements(c.Vendor), itself), wireAgreementSummary)
			return &body[NumberedPage[AgreementSummary]]{Body: page}, err
		})
		describeFind(a, operation, agreementFinder)
	}
	register(a, huma.Operation{
		OperationID: "create-agreement", Method: http.MethodPost, Path: agreementsPath, Tags: tags, Security: needs("agreements:write"),
		Summary: "Creates an agreement", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{readersKey: readersOfBroker, repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			found, err := a.Store.AgreementRecord(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: below(agreementsPath, found.Slug), body: wireAgreement(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[agreementBody]) (*created[Agreement], error) {
		wanted := store.Agreement{Slug: in.Body.Slug, Title: in.Body.Title, Text: in.Body.Text}
		set(&wanted.UpdatedAt, in.Body.UpdatedAt)
		made, err := c.store.CreateAgreement(ctx, c.Vendor, wanted)
		return newCreated(agreementsPath, made.Slug, wireAgreement(made), err)
	})
	a.registerAgreement(tags)
	a.registerLegal(tags)
}

// registerAgreement adds the operations on one agreement.
func (a *api) registerAgreement(tags []string) {
	one := agreementsPath + "/{document}"
	register(a, huma.Operation{
		OperationID: "get-agreement", Method: http.MethodGet, Path: one, Tags: tags, Security: needs("agreements:read"),
		Summary: "Returns an agreement with its text", Metadata: readers(readersOfBroker),
	}, func(ctx context.Context, c *call, in *DocumentPath) (*record[Agreement], error) {
		found, err := c.store.AgreementRecord(ctx, c.Vendor, in.Document)
		return newRecord(wireAgreement(found), err)
	})
	register(a, huma.Operation{
		OperationID: "update-agreement", Method: http.MethodPut, Path: one, Tags: tags, Security: needs("agreements:write"),
		Summary:     "Changes the named fields of an agreement",
		Description: "A later `updated_at` asks every reader to sign again, from the next request on.", Metadata: onceFor(readersOfBroker),
	}, func(ctx context.Context, c *call, in *struct {
		DocumentPath
		IfMatch
		Body agreementChange
	},
	) (*record[Agreement], error) {
		if err := sameSlug(in.Body.Slug, in.Document); err != nil {
			return nil, err
		}
		changed, err := c.store.UpdateAgreement(ctx, c.Vendor, in.Document, func(agreement *store.Agreement) error {
			if err := in.check(wireAgreement(*agreement)); err != nil {
				return err
			}
			set(&agreement.Title, in.Body.Title)
			set(&agreement.UpdatedAt, in.Body.UpdatedAt)
			set(&agreement.Text, in.Body.Text)
			return nil
		})
		return newRecord(wireAgreement(changed), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-agreement", Method: http.MethodDelete, Path: one, Tags: tags, Security: needs("agreements:write"),
		Summary:     "Removes an agreement and its signatures",
		Description: "Rules that ask for the agreement then refuse everyone: change them first.", DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfBroker),
	}, func(ctx context.Context, c *call, in *struct {
		DocumentPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeleteAgreement(ctx, c.Vendor, in.Document, func(agreement store.Agreement) error { return in.check(wireAgreement(agreement)) })
		return &empty{}, in.changed(err)
	})
}

// registerLegal adds the operations for readers.
func (a *api) registerLegal(tags []string) {
	register(a, huma.Operation{
		OperationID: "get-legal-agreement", Method: http.MethodGet, Path: legalPath + "/{agreement}", Tags: tags, Security: needs("agreements:read"),
		Summary: "Returns an agreement with its text, for readers", Metadata: readers(readersAny),
	}, func(ctx context.Context, c *call, in *AgreementPath) (*record[Agreement], error) {
		found, err := c.store.AgreementRecord(ctx, c.Vendor, in.Agreement)
		return newRecord(wireAgreement(found), err)
	})
	register(a, huma.Operation{
		OperationID: "sign-agreement", Method: http.MethodPost, Path: legalPath + "/{agreement}/sign", Tags: tags, Security: needs("agreements:write"),
		Summary:     "Signs an agreement",
		Description: "A reader signs for themselves; a client names the `user` who consented. Signing again moves the time of the signature.",
		Metadata:    map[string]any{readersKey: readersKnown, repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *struct {
		AgreementPath
		User string `query:"user" maxLength:"255" doc:"The user who signs: required of clients. A reader signs for themselves only." example:"user-123"`
		Body signBody
	},
	) (*body[signAnswer], error) {
		user, err := c.signer(in.User)
		if err != nil {
			return nil, err
		}
		if !in.Body.ReadTerms {
			return nil, invalid("read_terms", "must be true: you have to agree with the terms")
		}
		signed, err := c.store.Sign(ctx, c.Vendor, in.Agreement, user)
		return &body[signAnswer]{Body: signAnswer{ReadTerms: true, LastSigned: signed.SignedAt}}, err
	})
}

// signer returns the user for whom the caller signs.
func (c *call) signer(named string) (string, error) {
	switch {
	case c.Reader == nil && named == "":
		return "", invalidAt("query.user", "is required: the user who signs")
	case c.Reader == nil:
		return named, nil
	case named != "" && named != c.Reader.UserID:
		return "", newProblem(http.StatusForbidden, "A reader signs for themselves only: leave out user.")
	}
	return c.Reader.UserID, nil
}

// sameSlug returns a problem for a body that would rename the record of a path.
func sameSlug(given *string, slug string) error {
	if given != nil && *given != slug {
		return invalid("slug", "must equal the slug of the path: a slug cannot be changed")
	}
	return nil
}
