package admin

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	readersPath  = "/management/users"
	readerPath   = readersPath + "/{user_id}"
	metadataPath = readerPath + "/user_metadata/{key}"
)

var readerTags = []string{"Readers"}

// ReaderPath identifies a reader in a path.
type ReaderPath struct {
	UserID string `path:"user_id" minLength:"1" maxLength:"255" doc:"The reader's id." example:"user123"`
}

// ReaderTextPath identifies a text about a reader in a path.
type ReaderTextPath struct {
	ReaderPath
	Key string `path:"key" minLength:"1" maxLength:"255" doc:"The name of the text." example:"preferences"`
}

// ErasedReader is the response of an erasure.
type ErasedReader struct {
	Success bool             `json:"success" doc:"Always true." example:"true"`
	Erased  map[string]int64 `json:"erased" doc:"The numbers of records that were removed or changed, by kind."`
}

// success is the response of an operation that has nothing else to say.
type success struct {
	Success bool `json:"success" doc:"Always true." example:"true"`
}

func newSuccess(err error) (*body[success], error) {
	return &body[success]{Body: success{true}}, err
}

// createdReader is the response with a new reader, whose body is that of the published API.
type createdReader struct {
	Location string `header:"Location" doc:"The URL of the new record, relative to the request URL."`
	Body     success
}

// newReaderBody creates a reader.
type newReaderBody struct {
	UserID    string `json:"userId,omitempty" maxLength:"255" doc:"The reader's id: sub of their issuer. Default: the e-mail address in lower case." example:"user123"`
	Email     string `json:"email" minLength:"3" maxLength:"254" doc:"The e-mail address. Another reader must not have it." example:"new.user@example.com"`
	FirstName string `json:"firstName,omitempty" maxLength:"255" doc:"The first name." example:"New"`
	LastName  string `json:"lastName,omitempty" maxLength:"255" doc:"The last name." example:"User"`
}

// readerPatch is what a merge patch of a reader may have.
type readerPatch struct {
	ReaderFields
	GivenName  string `json:"given_name,omitempty" maxLength:"255" doc:"The same as firstName." example:"New"`
	FamilyName string `json:"family_name,omitempty" maxLength:"255" doc:"The same as lastName." example:"User"`
}

// registerReaders adds the operations on readers' records.
func (a *api) registerReaders() {
	register(a, huma.Operation{
		OperationID: "list-readers", Method: http.MethodGet, Path: readersPath, Tags: readerTags, Security: needs("users:read"),
		Summary:     "Lists readers, or finds them by the beginning of an id, an e-mail address or a name",
		Description: "Without q, the oldest record is first, so that new ones do not move a page.",
	}, func(ctx context.Context, c *call, in *struct {
		Q     string `query:"q" maxLength:"255" doc:"Only readers whose id, e-mail address, first, last or full name begins with this text, in any case." example:"john"`
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The maximum number of records to return." example:"10"`
		From  int    `query:"from" minimum:"0" maximum:"10000000" default:"0" doc:"How many records to leave out." example:"0"`
	},
	) (*listing[ReaderRecord], error) {
		found, err := c.store.FindReaders(ctx, c.Vendor, in.Q, in.From, in.Limit)
		return newListing(c, in.Limit, found, err, wireReader, func(ReaderRecord) string { return strconv.Itoa(in.From + in.Limit) })
	})
	register(a, huma.Operation{
		OperationID: "create-reader", Method: http.MethodPost, Path: readersPath, Tags: readerTags, Security: needs("users:write"),
		Summary: "Creates a reader's record", Description: "It gives no access and no login: readers log in with their issuer.",
		Metadata: map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *body[newReaderBody]) (*createdReader, error) {
		made := store.Reader{User: store.User{Slug: cmp.Or(in.Body.UserID, policy.LowerEmail(in.Body.Email))}}
		made.Email, made.FullName = in.Body.Email, fullNameOf(in.Body.FirstName, in.Body.LastName)
		made.ReaderDetails = store.ReaderDetails{FirstName: in.Body.FirstName, LastName: in.Body.LastName}
		_, err := c.store.CreateReader(ctx, c.Vendor, made)
		return &createdReader{Location: below(readersPath, made.Slug), Body: success{true}}, err
	})
	register(a, huma.Operation{
		OperationID: "get-reader", Method: http.MethodGet, Path: readerPath, Tags: readerTags, Security: needs("users:read"),
		Summary: "Returns a reader's record",
	}, func(ctx context.Context, c *call, in *ReaderPath) (*record[ReaderRecord], error) {
		found, err := c.store.ReaderRecord(ctx, c.Vendor, in.UserID)
		return newRecord(wireReader(found), err)
	})
	register(a, huma.Operation{
		OperationID: "erase-reader", Method: http.MethodDelete, Path: readerPath, Tags: readerTags, Security: needs("users:write"),
		Summary: "Erases a reader: irreversibly, from all records",
		Description: "Records of the reader only are removed: the user, their roles, signatures, grants, seats, visits and personal profile. Others stay without them: contracts, bills, " +
			"links, the audit log. Counts stay. A reader without a record is erased, too. Repeat the call if it was cut: it continues.",
	}, func(ctx context.Context, c *call, in *struct {
		ReaderPath
		Email []string `query:"email" maxItems:"16" doc:"Further e-mail addresses of the reader, besides that of the record." example:"[\"old.user@example.com\"]"`
	},
	) (*body[ErasedReader], error) {
		counts, err := c.store.Erase(ctx, c.Vendor, in.UserID, in.Email...)
		return &body[ErasedReader]{Body: ErasedReader{true, counts}}, err
	})
	a.registerReaderChanges()
	a.registerReaderExport()
	a.registerManagedElsewhere()
}

// registerReaderChanges adds the operations that change a reader's record.
func (a *api) registerReaderChanges() {
	schemas := a.huma.OpenAPI().Components.Schemas
	schema := schemas.Schema(reflect.TypeFor[readerPatch](), true, "ReaderPatch")
	content := map[string]*huma.MediaType{}
	register(a, huma.Operation{
		OperationID: "change-reader", Method: http.MethodPatch, Path: readerPath, Tags: readerTags, Security: needs("users:write"),
		Summary:          "Changes the named fields of a reader's record",
		Description:      "The body is a JSON merge patch (RFC 7396): null removes a field. The e-mail address is that of the login: see change-login-identifier.",
		RequestBody:      &huma.RequestBody{Required: true, Content: content},
		SkipValidateBody: true,
	}, func(ctx context.Context, c *call, in *struct {
		ReaderPath
		IfMatch
		RawBody []byte `contentType:"application/json"`
	},
	) (*record[ReaderRecord], error) {
		changed, err := c.store.UpdateReader(ctx, c.Vendor, in.UserID, func(r *store.Reader) error {
			if err := in.check(wireReader(*r)); err != nil {
				return err
			}
			names, err := patchedNames(schemas, schema, r, in.RawBody)
			if err == nil {
				names.apply(r)
			}
			return err
		})
		return newRecord(wireReader(changed), in.changed(err))
	})
	clear(content)
	content["application/json"] = &huma.MediaType{Schema: schema}
	content[mergePatchType] = &huma.MediaType{Schema: schema}

	register(a, huma.Operation{
		OperationID: "set-reader-metadata", Method: http.MethodPut, Path: metadataPath, Tags: readerTags, Security: needs("users:write"),
		Summary: "Sets a text about a reader", Description: "The body is the text itself, at most 4 KiB.",
	}, func(ctx context.Context, c *call, in *struct {
		ReaderTextPath
		RawBody []byte `contentType:"text/plain"`
	},
	) (*body[success], error) {
		_, err := c.store.UpdateReader(ctx, c.Vendor, in.UserID, func(r *store.Reader) error {
			metadata := map[string]string{}
			maps.Copy(metadata, r.ReaderDetails.Metadata)
			metadata[in.Key] = string(in.RawBody)
			r.ReaderDetails.Metadata = metadata
			return nil
		})
		return newSuccess(err)
	})
	a.bodies[http.MethodPut+" "+metadataPath] = []string{"text/plain"}
	register(a, huma.Operation{
		OperationID: "remove-reader-metadata", Method: http.MethodDelete, Path: metadataPath, Tags: readerTags, Security: needs("users:write"),
		Summary: "Removes a text about a reader",
	}, func(ctx context.Context, c *call, in *ReaderTextPath) (*body[success], error) {
		_, err := c.store.UpdateReader(ctx, c.Vendor, in.UserID, func(r *store.Reader) error {
			metadata := map[string]string{}
			for name, value := range r.ReaderDetails.Metadata {
				if name != in.Key {
					metadata[name] = value
				}
			}
			r.ReaderDetails.Metadata = metadata
			return nil
		})
		return newSuccess(err)
	})
}

// patchedNames returns the fields of a reader after a merge patch.
func patchedNames(registry huma.Registry, schema *huma.Schema, r *store.Reader, patch []byte) (*ReaderFields, error) {
	var given map[string]json.RawMessage
	if json.Unmarshal(patch, &given) != nil || given == nil {
		return nil, unreadable()
	}
	for alias, name := range map[string]string{"given_name": "firstName", "family_name": "lastName"} {
		if value, ok := given[alias]; ok {
			if other, both := given[name]; both && string(other) != string(value) {
				return nil, invalid(alias, "must equal "+name+": it is the same field")
			}
			given[name] = value
			delete(given, alias)
		}
	}
	if err := unchangedMembers(wireReader(*r), given, "userId", "email", "emailVerified", "name", "createdAt", "updatedAt", "company", "sub"); err != nil {
		return nil, err
	}
	renamed, err := json.Marshal(given)
	if err != nil {
		return nil, err
	}
	patched, err := mergePatch(wireReaderFields(r), renamed)
	if err != nil {
		return nil, err
	}
	var decoded any
	if err := json.Unmarshal(patched, &decoded); err != nil {
		return nil, err
	}
	result := huma.ValidateResult{}
	path := huma.NewPathBuffer(nil, 0)
	path.Push("body")
	huma.Validate(registry, schema, path, huma.ModeWriteToServer, decoded, &result)
	if len(result.Errors) > 0 {
		p := newProblem(http.StatusUnprocessableEntity, "validation failed")
		for _, failed := range result.Errors {
			if detail, ok := errors.AsType[*huma.ErrorDetail](failed); ok {
				p.Errors = append(p.Errors, FieldError{Message: detail.Message, Location: detail.Location})
			}
		}
		return nil, p
	}
	names := new(ReaderFields)
	return names, json.Unmarshal(patched, names)
}

// unchangedMembers removes read-only members that a patch repeats. It returns a problem for one
// that is changed.
func unchangedMembers(current any, given map[string]json.RawMessage, readOnly ...string) error {
	encoded, err := json.Marshal(current)
	if err != nil {
		return err
	}
	var has map[string]any
	if err := json.Unmarshal(encoded, &has); err != nil {
		return err
	}
	for _, name := range readOnly {
		raw, ok := given[name]
		if !ok {
			continue
		}
		var value any
		if json.Unmarshal(raw, &value) != nil || value != has[name] {
			return invalid(name, "is read-only here, and is another value now")
		}
		delete(given, name)
	}
	return nil
}

// registerReaderExport adds the export of what is kept about a reader.
func (a *api) registerReaderExport() {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[store.PersonalRecord](), true, "PersonalRecord")
	a.stream(huma.Operation{
		OperationID: "export-reader", Method: http.MethodGet, Path: readerPath + "/export", Tags: readerTags, Security: needs("users:read"),
		Summary:     "Streams all that is kept about a reader, one JSON object per record, by kind",
		Description: "These are the records that erase-reader removes or changes. A response that is cut short is incomplete.",
		Parameters: []*huma.Param{
			{Name: "user_id", In: "path", Description: "The reader's id.", Example: "user123", Schema: &huma.Schema{Type: huma.TypeString}},
			{
				Name: "email", In: "query", Description: "Further e-mail addresses of the reader, besides that of the record, as erase-reader takes them.",
				Explode: new(false), Schema: &huma.Schema{Type: huma.TypeArray, MaxItems: new(maxPersonEmails), Items: &huma.Schema{Type: huma.TypeString}, Examples: []any{[]string{"old.user@example.com"}}},
			},
		},
		Responses: map[string]*huma.Response{"200": {
			Description: "The records", Content: map[string]*huma.MediaType{typeNDJSON: {Schema: schema}},
		}},
	}, nil, func(ctx context.Context, b *bulk) error {
		var out *bufio.Writer
		start := func() {
			if out == nil {
				b.begin(FormatNDJSON, "reader")
				out = bufio.NewWriter(b.w)
			}
		}
		emails, err := personEmails(b.r.URL.Query().Get("email"))
		if err != nil {
			return err
		}
		err = a.Store.ExportPerson(ctx, b.Vendor, b.r.PathValue("user_id"), emails, func(r store.PersonalRecord) error {
			start()
			return json.NewEncoder(out).Encode(r)
		})
		if err != nil {
			return err
		}
		start()
		return out.Flush()
	})
}

// maxPersonEmails bounds the addresses of a query about a person.
const maxPersonEmails = 16

// personEmails returns the addresses of a query, which has them with commas between.
func personEmails(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	emails := strings.Split(list, ",")
	if len(emails) > maxPersonEmails {
		return nil, invalidAt("query.email", "has more than 16 addresses")
	}
	return emails, nil
}

// registerManagedElsewhere adds what only the issuer of a reader's logins can do.
func (a *api) registerManagedElsewhere() {
	managedElsewhere[struct {
		Email string `json:"email" maxLength:"254" doc:"The new address." example:"new.email@example.com"`
	}](a, "change-login-identifier", "Refuses to change the e-mail address of a login")
	managedElsewhere[struct {
		PhoneNumber string `json:"phoneNumber" maxLength:"64" doc:"The phone number (E.164)." example:"+46701234567"`
	}](a, "add-phone-identifier", "Refuses to add a phone number to a login")
	managedElsewhere[struct {
		Password string `json:"password" maxLength:"1024" doc:"The password. It is not kept." example:"SecurePassword123!"`
	}](a, "set-password", "Refuses to set a password")
}

// managedElsewhere returns the problem that names the issuers with which a vendor's readers
// log in, as far as the configuration of this server has them.
func (a *api) managedElsewhere(vendor string) *Problem {
	var issuers []string
	if a.ReaderIssuers != nil {
		issuers = a.ReaderIssuers(vendor)
	}
	where := "the issuer with which the site's readers log in"
	if len(issuers) > 0 {
		where = strings.Join(issuers, ", ")
	}
	p := newProblem(http.StatusConflict, "Gatefold keeps no logins. They are managed elsewhere, with their identifiers and passwords: change it at "+where+".")
	p.Code = "managed_elsewhere"
	return p
}

func managedElsewhere[T any](a *api, name, summary string) {
	register(a, huma.Operation{
		OperationID: name, Method: http.MethodPost, Path: readerPath + "/" + name, Tags: readerTags, Security: needs("users:write"),
		Summary: summary, Description: "Gatefold keeps no logins: the answer is 409 `managed_elsewhere`, which names the issuers with which the readers of the vendor's sites log in.",
	}, func(_ context.Context, c *call, _ *struct {
		ReaderPath
		Body T
	},
	) (*body[success], error) {
		return nil, a.managedElsewhere(c.Vendor)
	})
}
