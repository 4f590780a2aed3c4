package admin

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const productsPath = "/management/products"

// product is a stored product.
type product struct {
	SKU                string            `json:"sku" doc:"The id by which grants and rules refer to the product." example:"premium"`
	ProductType        string            `json:"productType" doc:"The product's type." example:"ARTICLE"`
	Title              string            `json:"title" doc:"The product's title." example:"Hello, reader"`
	URL                string            `json:"url" doc:"The URL at which the content is read." example:"https://news.example.com/articles/hello"`
	PresentationURL    string            `json:"presentationUrl" doc:"The URL at which the product is presented and sold." example:"https://news.example.com/articles/hello"`
	Cover              string            `json:"cover" doc:"The URL of an image." example:"https://news.example.com/covers/hello.jpg"`
	Language           string            `json:"language" doc:"The content's language (BCP 47)." example:"en"`
	PublisherContentID string            `json:"publisherContentId" doc:"The publisher's id of the content, as captured by the rule of its page." example:"hello"`
	ExternalIDs        map[string]string `json:"externalIds" doc:"The product's ids in other systems, by system name."`
	Members            []string          `json:"members" doc:"The SKUs that this product includes."`
	CreatedAt          time.Time         `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt          time.Time         `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
}

func wireProduct(p store.Product) product {
	wire := product{
		SKU: p.SKU, ProductType: p.Type, Title: p.Title, URL: p.URL, PresentationURL: p.PresentationURL, Cover: p.Cover,
		Language: p.Language, PublisherContentID: p.PublisherContentID, ExternalIDs: p.ExternalIDs, Members: p.Members,
		CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
	if wire.ExternalIDs == nil {
		wire.ExternalIDs = map[string]string{}
	}
	if wire.Members == nil {
		wire.Members = []string{}
	}
	return wire
}

// ProductFields are the optional fields of productBody and productPatch.
type ProductFields struct {
	Title              *string            `json:"title,omitempty" maxLength:"255" doc:"The product's title. Default: the last segment of the url's path." example:"Hello, reader"`
	URL                *string            `json:"url,omitempty" maxLength:"2048" doc:"The URL of the page." example:"https://news.example.com/articles/hello"`
	PresentationURL    *string            `json:"presentationUrl,omitempty" maxLength:"2048" doc:"The URL at which the content is presented." example:"https://news.example.com/articles/hello"`
	Cover              *string            `json:"cover,omitempty" maxLength:"2048" doc:"The URL of an image." example:"https://news.example.com/covers/hello.jpg"`
	Language           *string            `json:"language,omitempty" maxLength:"64" doc:"The content's language (BCP 47)." example:"en"`
	PublisherContentID *string            `json:"publisherContentId,omitempty" maxLength:"255" doc:"The publisher's id of the content, as captured by the rule of its page." example:"hello"`
	ExternalIDs        map[string]*string `json:"externalIds,omitempty" maxProperties:"32" doc:"The product's ids in other systems. Null removes an id."`
	Members            *[]string          `json:"members,omitempty" maxItems:"1000" doc:"The SKUs that this product includes, for types bundle, pass and publication. Members may be collections themselves."`
}

// productBody creates a product.
type productBody struct {
	Type string `json:"type" enum:"article,audiobook,ebook,bundle,podcast,pass,publication,physical_issue" doc:"The product's type." example:"article"`
	SKU  string `json:"sku,omitempty" maxLength:"255" doc:"The SKU. Default: a new id." example:"premium"`
	ProductFields
	SpotifyID string `json:"spotifyId,omitempty" maxLength:"255" doc:"The same as externalIds.spotifyId."`
}

// productPatch changes the named fields of a product.
type productPatch struct {
	Type *string `json:"type,omitempty" enum:"article,audiobook,ebook,bundle,podcast,pass,publication,physical_issue" doc:"The product's type." example:"article"`
	ProductFields
}

func (f *ProductFields) apply(p *store.Product) {
	for to, value := range map[*string]*string{
		&p.Title: f.Title, &p.URL: f.URL, &p.PresentationURL: f.PresentationURL, &p.Cover: f.Cover,
		&p.Language: f.Language, &p.PublisherContentID: f.PublisherContentID,
	} {
		if value != nil {
			*to = *value
		}
	}
	if f.Members != nil {
		p.Members = *f.Members
	}
	ids := make(map[string]string, len(p.ExternalIDs))
	maps.Copy(ids, p.ExternalIDs)
	for name, id := range f.ExternalIDs {
		if id == nil {
			delete(ids, name)
			continue
		}
		ids[name] = *id
	}
	p.ExternalIDs = ids
}

// reset gives members that a body has as null their defaults.
func (f *ProductFields) reset(sent named) {
	for name, field := range map[string]**string{
		"title": &f.Title, "url": &f.URL, "presentationUrl": &f.PresentationURL, "cover": &f.Cover,
		"language": &f.Language, "publisherContentId": &f.PublisherContentID,
	} {
		if sent.null(name) {
			*field = new("")
		}
	}
	if sent.null("members") {
		f.Members = &[]string{}
	}
}

// product returns the product that the body creates.
func (b *productBody) product(newSKU func() string) (store.Product, error) {
	wanted := store.Product{SKU: b.SKU, Type: b.Type}
	b.apply(&wanted)
	if b.SpotifyID != "" {
		if other, given := wanted.ExternalIDs["spotifyId"]; given && other != b.SpotifyID {
			return store.Product{}, invalid("spotifyId", "must equal externalIds.spotifyId")
		}
		wanted.ExternalIDs["spotifyId"] = b.SpotifyID
	}
	if wanted.SKU == "" {
		wanted.SKU = newSKU()
	}
	for field, address := range map[string]string{"url": wanted.URL, "presentationUrl": wanted.PresentationURL, "cover": wanted.Cover} {
		if err := checkAddress(field, address); err != nil {
			return store.Product{}, err
		}
	}
	if wanted.Title == "" {
		if at, err := url.Parse(wanted.URL); err == nil {
			wanted.Title = strings.TrimLeft(path.Base("/"+at.Path), "/")
		}
	}
	return wanted, nil
}

// checkAddress returns a problem unless the URL is empty or safe to link to.
func checkAddress(field, address string) error {
	if address == "" {
		return nil
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return invalid(field, "must be an absolute http or https URL")
	}
	return nil
}

// SKUPath identifies a product in a path.
type SKUPath struct {
	SKU string `path:"sku" maxLength:"255" doc:"The product's sku." example:"premium"`
}

func (a *api) registerProducts() {
	tags := []string{"Products"}
	one := productsPath + "/{sku}"
	register(a, huma.Operation{
		OperationID: "list-products", Method: http.MethodGet, Path: productsPath, Tags: tags, Security: needs("products:read"),
		Summary: "Lists products by sku",
		Description: "Without limit, all of them. With q, only products whose SKU, title or content id contains the text. With limit, a search examines at most 20,000 products: " +
			"a page may have fewer entries than its limit and still have a next page.",
	}, func(ctx context.Context, c *call, in *struct {
		Q string `query:"q" maxLength:"255" doc:"Only products whose SKU, title or content id contains this text." example:"hello"`
		WholeParams
	},
	) (*wholeListing[product], error) {
		// Any sku is a position.
		return newWholeListing(ctx, a, c, in.WholeParams, func(ctx context.Context, page store.Page) ([]store.Product, string, bool, error) {
			return c.store.Products(ctx, c.Vendor, in.Q, page)
		}, wireProduct)
	})
	register(a, huma.Operation{
		OperationID: "create-product", Method: http.MethodPost, Path: productsPath, Tags: tags, Security: needs("products:write"),
		Summary: "Creates a product", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			found, err := a.Store.Product(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: below(productsPath, found.SKU), body: wireProduct(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[productBody]) (*created[product], error) {
		wanted, err := in.Body.product(c.store.NewSKU)
		if err != nil {
			return nil, err
		}
		made, err := c.store.CreateProduct(ctx, c.Vendor, wanted)
		return newCreated(productsPath, made.SKU, wireProduct(made), err)
	})
	register(a, huma.Operation{
		OperationID: "get-product", Method: http.MethodGet, Path: one, Tags: tags, Security: needs("products:read"),
		Summary: "Returns a product",
	}, func(ctx context.Context, c *call, in *SKUPath) (*record[product], error) {
		found, err := c.store.Product(ctx, c.Vendor, in.SKU)
		return newRecord(wireProduct(found), err)
	})
	register(a, huma.Operation{
		OperationID: "change-product", Method: http.MethodPatch, Path: one, Tags: tags, Security: needs("products:write"),
		Summary:     "Changes the named fields of a product",
		Description: "Null resets a field to its default.",
	}, func(ctx context.Context, c *call, in *struct {
		SKUPath
		IfMatch
		RawBody []byte
		Body    productPatch
	},
	) (*record[product], error) {
		sent := namedIn(in.RawBody)
		if err := refuseNull(sent, "type"); err != nil {
			return nil, err
		}
		in.Body.reset(sent)
		for field, address := range map[string]*string{"url": in.Body.URL, "presentationUrl": in.Body.PresentationURL, "cover": in.Body.Cover} {
			if address == nil {
				continue
			}
			if err := checkAddress(field, *address); err != nil {
				return nil, err
			}
		}
		changed, err := c.store.UpdateProduct(ctx, c.Vendor, in.SKU, func(p *store.Product) error {
			if err := in.check(wireProduct(*p)); err != nil {
				return err
			}
			if in.Body.Type != nil {
				p.Type = *in.Body.Type
			}
			if sent.null("externalIds") {
				p.ExternalIDs = nil
			}
			in.Body.apply(p)
			return nil
		})
		return newRecord(wireProduct(changed), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-product", Method: http.MethodDelete, Path: one, Tags: tags, Security: needs("products:write"),
		Summary:       "Removes a product; its grants remain but no longer include its members",
		DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		SKUPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeleteProduct(ctx, c.Vendor, in.SKU, func(p store.Product) error { return in.check(wireProduct(p)) })
		return &empty{}, in.changed(err)
	})
}
