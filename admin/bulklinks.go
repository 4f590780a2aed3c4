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
	"iter"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxBulkLinks bounds the links of a call whose body is one document, and maxBulkBody
	// its body in bytes.
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
		LinkLimits: LinkLimits{
			MaxUses: cmp.Or(own.MaxUses, b.MaxUses), MaxDevices: cmp.Or(own.MaxDevices, b.MaxDevices), MaxNetworks: cmp.Or(own.MaxNetworks, b.MaxNetworks), StartsAt: cmp.Or(own.StartsAt, b.StartsAt),
			IPPrefix: cmp.Or(own.IPPrefix, b.IPPrefix), PerReader: cmp.Or(own.PerReader, b.PerReader),
		},
		ExpiresIn: cmp.Or(own.ExpiresIn, b.ExpiresIn), Meta: meta,
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
	row := schemas.Schema(reflect.TypeFor[LinkBody](), true, "LinkBody")
	text := func() *huma.MediaType { return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}} }
	operation := huma.Operation{
		OperationID: "create-signed-links", Method: http.MethodPost, Path: linksPath + "/batch", Tags: []string{"Links"}, Security: needs("links:write"),
		Summary: "Creates up to 100,000 signed links and streams them",
		Description: "A JSON document has up to 10,000 recipients and the defaults of their links. A stream of rows has up to 100,000 links of up to 32 MiB: a JSON object per line, " +
			"with the fields of create-signed-link, or a record of a CSV file whose header names the fields (`meta.campaign` for those of meta).\n\n" +
			"The Accept header selects JSON (one object per line) or CSV for the response. All links are validated before the first one is created; errors name the line of a row. " +
			"Links are stored in chunks, each before its links are sent; if the caller disconnects, no further links are created. " +
			"Repeated with the same Idempotency-Key, the call completes and returns the same links under the same ids, with newly signed tokens. " +
			"A response that is cut short is incomplete.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}, typeNDJSON: {Schema: row}, typeCSV: text()}},
		Responses: map[string]*huma.Response{"200": {
			Description: "The links, in the order of the recipients",
			Content: map[string]*huma.MediaType{
				typeNDJSON: {Schema: schemas.Schema(reflect.TypeFor[BulkLink](), true, "BulkLink")},
				typeCSV:    text(),
			},
		}},
	}
	describeOnce(&operation)
	a.stream(operation, []string{"application/json", typeNDJSON, "application/ndjson", "application/jsonl", typeCSV}, func(ctx context.Context, b *bulk) error {
		return a.createLinks(ctx, b, schema, row)
	})
}

func (a *api) createLinks(ctx context.Context, b *bulk, document, row *huma.Schema) error {
	format, err := b.answerFormat()
	if err != nil {
		return err
	}
	key, problem := idempotencyKey(b.r.Header)
	if problem != nil {
		return problem
	}
	mint := &linkMint{api: a, vendor: b.Vendor, seed: rand.Text(), at: a.Now()}
	if mint.space, err = b.store.DefaultSpace(ctx, b.Vendor); err != nil {
		return err
	}
	var links iter.Seq2[LinkBody, error]
	var digest []byte
	if rows := b.bodyFormat(); rows != "" {
		links, digest, err = mint.readRows(b, rows, row)
	} else {
		links, digest, err = mint.readDocument(b, document)
	}
	if err != nil {
		return err
	}
	if key != "" {
		done, err := mint.once(ctx, b, key, digest)
		defer done()
		if err != nil {
			return err
		}
	}
	b.begin(format, "links")
	return mint.send(ctx, b, format, links)
}

// readDocument reads the links of a document and checks them. It returns what identifies the
// body in an idempotency record as well.
func (m *linkMint) readDocument(b *bulk, schema *huma.Schema) (iter.Seq2[LinkBody, error], []byte, error) {
	raw, problem := readAll(b, maxBulkBody)
	if problem != nil {
		return nil, nil, problem
	}
	var asked BulkLinksBody
	if err := m.api.read(raw, schema, &asked); err != nil {
		return nil, nil, err
	}
	for i := range asked.Recipients {
		link := asked.link(&asked.Recipients[i])
		if err := m.check(&link); err != nil {
			return nil, nil, located(err, fmt.Sprintf("body.recipients[%d]", i))
		}
	}
	return func(yield func(LinkBody, error) bool) {
		for i := range asked.Recipients {
			if !yield(asked.link(&asked.Recipients[i]), nil) {
				return
			}
		}
	}, raw, nil
}

// located returns a problem with another beginning of its errors' locations. Other errors
// are returned as they are.
func located(err error, at string) error {
	p, ok := errors.AsType[*Problem](err)
	if !ok {
		return err
	}
	moved := *p
	moved.Errors = nil
	for _, e := range p.Errors {
		e.Location = at + strings.TrimPrefix(e.Location, "body")
		moved.Errors = append(moved.Errors, e)
	}
	return &moved
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
		p.Errors = fieldErrorsOf(found.Errors)
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
}

// once prepares the mint of a call with a key, and stores the idempotency record of a first
// call. The returned function ends the call.
func (m *linkMint) once(ctx context.Context, b *bulk, key string, digest []byte) (end func(), err error) {
	record := &store.IdempotencyRecord{ID: onceID(b.Name, key), Fingerprint: fingerprint(b.operation.OperationID, b.r.URL.Path, b.call, digest)}
	flight := m.vendor + "\x00" + record.ID
	if !m.api.inFlight.begin(flight) {
		return func() {}, inProgress()
	}
	end = func() { m.api.inFlight.end(flight) }
	m.seed, m.again = record.ID, true
	done, err := m.api.Store.CompletedCall(ctx, m.vendor, record.ID)
	switch {
	case err != nil:
		return end, err
	case done != nil && !bytes.Equal(done.Fingerprint, record.Fingerprint):
		return end, reusedKey()
	case done != nil:
		m.at = done.At
		return end, nil
	}
	if err := m.api.Store.Complete(ctx, m.vendor, record); err != nil {
		return end, err
	}
	m.at = record.Completed().At // links have the time of the first call
	return end, nil
}

// check reports what is wrong with a link.
func (m *linkMint) check(link *LinkBody) error {
	_, err := m.api.linkClaims(m.vendor, m.space, link, m.at)
	return err
}

// claims returns the claims of the link of a row.
func (m *linkMint) claims(row int, link *LinkBody) (keys.LinkClaims, error) {
	claims, err := m.api.linkClaims(m.vendor, m.space, link, m.at)
	digest := sha256.Sum256([]byte("link\x00" + m.vendor + "\x00" + m.seed + "\x00" + strconv.Itoa(row)))
	claims.ID = store.DerivedLinkID(m.at, row, digest[:])
	return claims, err
}

// send stores the links chunk by chunk, and sends each chunk once it is stored.
func (m *linkMint) send(ctx context.Context, b *bulk, format string, links iter.Seq2[LinkBody, error]) error {
	out := bufio.NewWriter(b.w)
	write := newLinkWriter(out, format)
	ring, err := m.api.Keyring.RingFor(ctx, b.store, m.vendor)
	if err != nil {
		return err
	}
	chunk := make([]keys.LinkClaims, 0, bulkChunk)
	row := 0
	flush := func() error {
		if err := b.store.CreateLinks(ctx, m.vendor, chunk, m.again); err != nil {
			return err
		}
		for i := range chunk {
			made, err := signLink(ring, chunk[i])
			if err != nil {
				return err
			}
			if err := write(&BulkLink{Row: row - len(chunk) + i, UserID: chunk[i].Subject, CreatedLink: made}); err != nil {
				return err
			}
		}
		chunk = chunk[:0]
		return errors.Join(out.Flush(), b.flush())
	}
	for link, err := range links {
		if err != nil {
			return err
		}
		claims, err := m.claims(row, &link)
		if err != nil {
			return err
		}
		row++
		if chunk = append(chunk, claims); len(chunk) == bulkChunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
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
