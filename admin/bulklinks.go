package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/csv"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxBulkLinks bounds the links of a call, and maxBulkBody its body in
	// bytes.
	maxBulkLinks = 10_000
	maxBulkBody  = 8 << 20
	// bulkChunk is the number of links that are stored and sent in one step.
	bulkChunk = 250
)

// BulkLinksBody requests many links. Its own fields are the defaults of every
// recipient's link.
type BulkLinksBody struct {
	LinkBody
	Recipients []LinkBody `json:"recipients" minItems:"1" maxItems:"10000" doc:"The fields of each link that differ from the defaults."`
}

// link returns the link of a recipient.
func (b *BulkLinksBody) link(own *LinkBody) LinkBody {
	meta := own.Meta
	if meta == nil {
		meta = b.Meta
	}
	return LinkBody{
		URL: cmp.Or(own.URL, b.URL), SKU: cmp.Or(own.SKU, b.SKU), PurchaseOption: cmp.Or(own.PurchaseOption, b.PurchaseOption),
		PublisherContentID: cmp.Or(own.PublisherContentID, b.PublisherContentID), ContentSpace: cmp.Or(own.ContentSpace, b.ContentSpace), UserID: cmp.Or(own.UserID, b.UserID),
		MaxUses: cmp.Or(own.MaxUses, b.MaxUses), ExpiresIn: cmp.Or(own.ExpiresIn, b.ExpiresIn), Meta: meta,
	}
}

// BulkLink is one link of the answer to a BulkLinksBody.
type BulkLink struct {
	Row    int    `json:"row" doc:"The index of the recipient, from zero."`
	UserID string `json:"userId,omitempty" doc:"The reader's user id." example:"user-123"`
	CreatedLink
}

var bulkLinkColumns = []string{"row", "userId", "tokenId", "signedUrl", "token", "expiresAt", "sku", "publisherContentId", "contentSpace"}

func (l *BulkLink) record() []string {
	return []string{
		strconv.Itoa(l.Row), escapeCell(l.UserID), l.TokenID, l.SignedURL, l.Token, l.ExpiresAt.Format(time.RFC3339),
		escapeCell(l.SKU), escapeCell(l.PublisherContentID), l.ContentSpace,
	}
}

func (a *api) registerBulkLinks() {
	schemas := a.huma.OpenAPI().Components.Schemas
	schema := schemas.Schema(reflect.TypeFor[BulkLinksBody](), true, "BulkLinksBody")
	operation := huma.Operation{
		OperationID: "create-signed-links", Method: http.MethodPost, Path: linksPath + "/batch", Tags: []string{"Links"}, Security: needs("links:write"),
		Summary: "Creates up to 10,000 signed links and streams them",
		Description: "The Accept header selects JSON (one object per line) or CSV. All recipients are validated before the first link is created. " +
			"Links are stored in chunks, each before its links are sent; if the caller disconnects, no further links are created. " +
			"Repeated with the same Idempotency-Key, the call completes and returns the same links under the same ids, with newly signed tokens. " +
			"A response that is cut short is incomplete.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}},
		Responses: map[string]*huma.Response{"200": {
			Description: "The links, in the order of the recipients",
			Content: map[string]*huma.MediaType{
				typeNDJSON: {Schema: schemas.Schema(reflect.TypeFor[BulkLink](), true, "BulkLink")},
				typeCSV:    {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}
	describeOnce(&operation)
	a.stream(operation, []string{"application/json"}, func(ctx context.Context, b *bulk) error { return a.createLinks(ctx, b, schema) })
}

func (a *api) createLinks(ctx context.Context, b *bulk, schema *huma.Schema) error {
	format, err := b.answerFormat()
	if err != nil {
		return err
	}
	key, problem := idempotencyKey(b.r.Header)
	if problem != nil {
		return problem
	}
	raw, problem := readAll(b, maxBulkBody)
	if problem != nil {
		return problem
	}
	var asked BulkLinksBody
	if err := a.read(raw, schema, &asked); err != nil {
		return err
	}
	mint := &linkMint{api: a, vendor: b.Vendor, seed: rand.Text(), at: a.Now()}
	if key != "" {
		done, err := mint.once(ctx, b, key, raw)
		defer done()
		if err != nil {
			return err
		}
	}
	if mint.space, err = b.store.DefaultSpace(ctx, b.Vendor); err != nil {
		return err
	}
	claims, err := mint.claims(&asked)
	if err != nil {
		return err
	}
	if mint.note != nil {
		if err := mint.note(); err != nil {
			return err
		}
		// Links have the time of the first call.
		if claims, err = mint.claims(&asked); err != nil {
			return err
		}
	}
	b.begin(format, "links")
	return mint.send(ctx, b, format, claims)
}

// read reads a body as huma does.
func (a *api) read(raw []byte, schema *huma.Schema, to any) error {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return unreadable()
	}
	found := new(huma.ValidateResult)
	huma.Validate(a.huma.OpenAPI().Components.Schemas, schema, huma.NewPathBuffer([]byte("body"), len("body")), huma.ModeWriteToServer, value, found)
	if len(found.Errors) > 0 {
		p := newProblem(http.StatusUnprocessableEntity, "validation failed")
		for _, err := range found.Errors[:min(len(found.Errors), 100)] {
			if detail, ok := errors.AsType[*huma.ErrorDetail](err); ok {
				p.Errors = append(p.Errors, FieldError{Message: detail.Message, Location: detail.Location})
			}
		}
		return p
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return unreadable()
	}
	return nil
}

// linkMint creates many links. Their ids derive from its seed, so that a repeated
// call creates the same links.
type linkMint struct {
	api    *api
	vendor string
	space  string // the vendor's default content space
	seed   string
	at     time.Time
	// again is whether an earlier call may have stored some of the links.
	again bool
	// note stores the idempotency record; nil if there is no key or the record
	// is stored.
	note func() error
}

// once prepares the mint of a call with a key. The returned function ends the
// call.
func (m *linkMint) once(ctx context.Context, b *bulk, key string, raw []byte) (end func(), err error) {
	record := &store.IdempotencyRecord{ID: onceID(b.Name, key), Fingerprint: fingerprint(b.operation.OperationID, b.r.URL.Path, b.call, raw)}
	flight := m.vendor + "\x00" + record.ID
	if !m.api.inFlight.begin(flight) {
		return func() {}, inProgress()
	}
	end = func() { m.api.inFlight.end(flight) }
	m.seed = record.ID
	done, err := m.api.Store.CompletedCall(ctx, m.vendor, record.ID)
	switch {
	case err != nil:
		return end, err
	case done != nil && !bytes.Equal(done.Fingerprint, record.Fingerprint):
		return end, reusedKey()
	case done != nil:
		m.at, m.again = done.At, true
	default:
		m.note = func() error {
			if err := m.api.Store.Complete(ctx, m.vendor, record); err != nil {
				return err
			}
			m.at, m.again = record.Completed().At, true
			return nil
		}
	}
	return end, nil
}

// claims returns the validated claims of all links.
func (m *linkMint) claims(asked *BulkLinksBody) ([]keys.LinkClaims, error) {
	all := make([]keys.LinkClaims, len(asked.Recipients))
	for i := range asked.Recipients {
		link := asked.link(&asked.Recipients[i])
		claims, err := m.api.linkClaims(m.vendor, m.space, &link, m.at)
		if p, ok := errors.AsType[*Problem](err); ok {
			located := *p
			located.Errors = nil
			for _, e := range p.Errors {
				e.Location = fmt.Sprintf("body.recipients[%d]%s", i, e.Location[len("body"):])
				located.Errors = append(located.Errors, e)
			}
			return nil, &located
		}
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256([]byte("link\x00" + m.vendor + "\x00" + m.seed + "\x00" + strconv.Itoa(i)))
		claims.ID = store.DerivedLinkID(m.at, i, digest[:])
		all[i] = claims
	}
	return all, nil
}

// send stores the links chunk by chunk, and sends each chunk once it is stored.
func (m *linkMint) send(ctx context.Context, b *bulk, format string, claims []keys.LinkClaims) error {
	out := bufio.NewWriter(b.w)
	write := newLinkWriter(out, format)
	ring, err := m.api.Keyring.RingFor(ctx, b.store, m.vendor)
	if err != nil {
		return err
	}
	for first := 0; first < len(claims); first += bulkChunk {
		chunk := claims[first:min(first+bulkChunk, len(claims))]
		if err := b.store.CreateLinks(ctx, m.vendor, chunk, m.again); err != nil {
			return err
		}
		for i := range chunk {
			made, err := signLink(ring, chunk[i])
			if err != nil {
				return err
			}
			if err := write(&BulkLink{Row: first + i, UserID: chunk[i].Subject, CreatedLink: made}); err != nil {
				return err
			}
		}
		if err := errors.Join(out.Flush(), b.flush()); err != nil {
			return err
		}
	}
	return nil
}

func newLinkWriter(out io.Writer, format string) func(*BulkLink) error {
	if format == FormatNDJSON {
		encoder := stdjson.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		return func(link *BulkLink) error { return encoder.Encode(link) }
	}
	table := csv.NewWriter(out)
	_ = table.Write(bulkLinkColumns) // Flush returns the error
	return func(link *BulkLink) error {
		_ = table.Write(link.record()) // Flush returns the error
		table.Flush()
		return table.Error()
	}
}
