package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ReaderDetails is what a user's record has besides, of which no decision depends: it has a
// key of its own, so that decisions do not read it.
type ReaderDetails struct {
	Slug          string            `json:"userId"`
	FirstName     string            `json:"firstName,omitempty"`
	LastName      string            `json:"lastName,omitempty"`
	EmailVerified bool              `json:"emailVerified,omitempty"`
	Picture       string            `json:"picture,omitempty"`
	MobilePhone   string            `json:"mobilePhone,omitempty"`
	WorkPhone     string            `json:"workPhone,omitempty"`
	HomePhone     string            `json:"homePhone,omitempty"`
	Tags          []string          `json:"tags,omitempty"`
	Metadata      map[string]string `json:"user_metadata,omitempty"`
	Billing       *PartyAddress     `json:"billingAddress,omitempty"`
	Delivery      *PartyAddress     `json:"deliveryAddress,omitempty"`
	CompanyName   string            `json:"companyName,omitempty"`
	VATNumber     string            `json:"vatNr,omitempty"`
	InvoiceEmail  string            `json:"invoiceEmail,omitempty"`
	UpdatedAt     time.Time         `json:"updatedAt,omitzero"`
}

// Reader is a user with the details.
type Reader struct {
	User
	ReaderDetails ReaderDetails
}

// Bounds of a reader's details.
const (
	maxReaderTags = 64
	// maxMetadata bounds the members of a reader's metadata, maxMetadataValue each of them
	// in bytes, and maxMetadataBytes all of them.
	maxMetadata      = 64
	maxMetadataValue = 4 << 10
	maxMetadataBytes = 32 << 10
)

var readerKind = &kind[ReaderDetails]{
	prefix:    prefixReader,
	path:      func(r *ReaderDetails) []string { return []string{r.Slug} },
	normalize: (*ReaderDetails).normalize,
	index: func(r *ReaderDetails, add func(k, value []byte)) {
		// The last part keeps them apart from equal ones of the user.
		addTexts(r.Slug+"\x00d", add, r.FirstName, r.LastName)
	},
}

// addTexts adds the entries of texts by which a user is found.
func addTexts(slug string, add func(k, value []byte), texts ...string) {
	for _, text := range texts {
		if text = searchText(text); text != "" {
			add(memberKey(memberText, text, slug), nil)
		}
	}
}

// searchText returns how a text is compared by a search.
func searchText(text string) string {
	return norm.NFC.String(strings.ToLower(strings.TrimSpace(norm.NFC.String(text))))
}

func createdKey(at time.Time, slug string) []byte {
	k := binary.BigEndian.AppendUint64(memberKey(memberCreated, ""), uint64(max(at.UnixMicro(), 0))) //nolint:gosec // G115: not negative
	return append(k, slug...)
}

// indexUser adds the entries by which a user is listed and found.
func indexUser(u *User, add func(k, value []byte)) {
	addTexts(u.Slug, add, u.Slug, u.Email, u.FullName)
	add(createdKey(u.CreatedAt, u.Slug), nil)
}

// normalize checks the details.
func (r *ReaderDetails) normalize() error {
	size := 0
	for name, value := range r.Metadata {
		size += len(name) + len(value)
		if err := cmp.Or(required("user_metadata", name), checkText("user_metadata", name, 255), checkLines("user_metadata."+name, value, maxMetadataValue)); err != nil {
			return err
		}
	}
	switch {
	case len(r.Tags) > maxReaderTags:
		return &FieldError{"tags", fmt.Sprintf("are more than %d", maxReaderTags)}
	case len(r.Metadata) > maxMetadata, size > maxMetadataBytes:
		return &FieldError{"user_metadata", fmt.Sprintf("has more than %d members or %d bytes", maxMetadata, maxMetadataBytes)}
	}
	for _, tag := range r.Tags {
		if err := cmp.Or(required("tags", tag), checkText("tags", tag, 64)); err != nil {
			return err
		}
	}
	slices.Sort(r.Tags)
	r.Tags = slices.Compact(r.Tags)
	return cmp.Or(
		checkText("firstName", r.FirstName, 255), checkText("lastName", r.LastName, 255), checkText("picture", r.Picture, 2048),
		checkText("mobilePhone", r.MobilePhone, 64), checkText("workPhone", r.WorkPhone, 64), checkText("homePhone", r.HomePhone, 64),
		checkText("companyInfo.companyName", r.CompanyName, 255), checkText("companyInfo.vatNr", r.VATNumber, 64),
		fieldNamed("companyInfo.invoiceEmail", checkEmail(r.InvoiceEmail)),
		r.Billing.checkNamed("billingAddress"), r.Delivery.checkNamed("deliveryAddress"),
	)
}

func (a *PartyAddress) checkNamed(field string) error {
	if a == nil {
		return nil
	}
	return cmp.Or(a.Address.check(field), checkText(field, a.FirstName+a.LastName, 510))
}

// fieldNamed returns a field error under another name.
func fieldNamed(field string, err error) error {
	if failed, ok := errors.AsType[*FieldError](err); ok {
		return &FieldError{field, failed.Problem}
	}
	return err
}

func lowerEmail(email string) string { return policy.LowerEmail(email) }

// ReaderRecord returns a reader, or ErrNotFound.
func (s *Store) ReaderRecord(ctx context.Context, vendor, slug string) (reader Reader, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		reader, err = readerIn(snapshot, slug)
		return err
	})
	return reader, err
}

func readerIn(snapshot engine.Snapshot, slug string) (reader Reader, err error) {
	if _, err := getIn(snapshot, userKind.key(slug), &reader.User); err != nil {
		return reader, err
	}
	_, err = getIn(snapshot, readerKind.key(slug), &reader.ReaderDetails)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	reader.ReaderDetails.Slug = slug
	return reader, err
}

// CreateReader stores a new reader. It returns ErrExists when there is one of this id, or with
// this e-mail address.
func (w Writer) CreateReader(ctx context.Context, vendor string, reader Reader) (made Reader, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		made = reader
		made.ReaderDetails.Slug = made.Slug
		others, err := t.scan(memberPrefix(memberUserEmail, lowerEmail(made.Email)), 1)
		if err != nil {
			return err
		}
		old, err := userKind.get(t, made.Slug)
		if err != nil || old != nil || made.Email != "" && len(others) > 0 {
			return cmp.Or(err, ErrExists)
		}
		return t.putReader(&made)
	})
	return made, err
}

// putReader stores both records of a reader. Details that are empty have no record.
func (t *transaction) putReader(reader *Reader) error {
	if err := userKind.put(t, &reader.User); err != nil {
		return err
	}
	details := &reader.ReaderDetails
	details.Slug = reader.Slug
	old, err := readerKind.get(t, reader.Slug)
	if err != nil {
		return err
	}
	was := ReaderDetails{Slug: reader.Slug}
	if old != nil {
		was = *old
	}
	details.UpdatedAt = was.UpdatedAt
	before, err := encode(was)
	if err != nil {
		return err
	}
	after, err := encode(details)
	if err != nil || string(before) == string(after) {
		return err
	}
	details.UpdatedAt = t.now
	return readerKind.put(t, details)
}

// UpdateReader changes a reader: change gets the current one.
func (w Writer) UpdateReader(ctx context.Context, vendor, slug string, change func(*Reader) error) (made Reader, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		user, err := userKind.need(t, slug)
		if err != nil {
			return err
		}
		details, err := readerKind.get(t, slug)
		if err != nil {
			return err
		}
		made = Reader{User: *user, ReaderDetails: ReaderDetails{Slug: slug}}
		if details != nil {
			made.ReaderDetails = *details
		}
		if err := change(&made); err != nil {
			return err
		}
		made.Slug = slug
		return t.putReader(&made)
	})
	return made, err
}

// FindReaders returns the readers whose id, e-mail address, first, last or full name begins
// with a text, ignoring case, in the order of what was found; with an empty text all, the
// oldest first, so that new ones do not move a page. Offset is how many are left out.
func (s *Store) FindReaders(ctx context.Context, vendor, text string, offset, limit int) (found []Reader, err error) {
	if err := s.indexReaders(ctx, vendor); err != nil {
		return nil, err
	}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		found = []Reader{}
		prefix := memberKey(memberCreated, "")
		text = searchText(text)
		if text != "" {
			prefix = memberKey(memberText, text)
		}
		seen := map[string]bool{}
		var slugs []string
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return err
			}
			if len(slugs) >= limit {
				break
			}
			slug := string(entry.Key[min(len(prefix)+8, len(entry.Key)):])
			if text != "" {
				_, slug, _ = strings.Cut(string(entry.Key[len(prefix):]), "\x00")
				slug = strings.TrimSuffix(slug, "\x00d")
				if seen[slug] {
					continue
				}
				seen[slug] = true
			}
			if offset--; offset < 0 {
				slugs = append(slugs, slug)
			}
		}
		return readReaders(snapshot, slugs, &found)
	})
	return found, err
}

func readReaders(snapshot engine.Snapshot, slugs []string, found *[]Reader) error {
	keys := make([][]byte, 0, 2*len(slugs))
	for _, slug := range slugs {
		keys = append(keys, userKind.key(slug), readerKind.key(slug))
	}
	if err := engine.Prefetch(snapshot, keys...); err != nil {
		return err
	}
	for _, slug := range slugs {
		reader, err := readerIn(snapshot, slug)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		*found = append(*found, reader)
	}
	return nil
}

// readerIndexState is how far the index of texts was built from users of earlier versions.
type readerIndexState struct {
	After string `json:"after,omitempty"`
	Done  bool   `json:"done"`
}

// readerIndexStep is how many users one step of building the index reads.
const readerIndexStep = 500

// indexReaders builds the index of users that an earlier version wrote, unless it is complete.
// It can be interrupted. Each user is checked, so that none is indexed that is removed
// meanwhile.
func (s *Store) indexReaders(ctx context.Context, vendor string) error {
	for {
		var state readerIndexState
		err := s.erasureTransact(ctx, vendor, func(t *transaction) error {
			k := memberKey(memberTextState, "")
			state = readerIndexState{}
			stored, err := t.snapshot.Get(k)
			if err == nil && stored != nil {
				err = json.Unmarshal(stored, &state)
			}
			if err != nil || state.Done {
				return err
			}
			if _, err := t.load(k); err != nil {
				return err
			}
			return t.indexSomeReaders(k, &state)
		})
		if err != nil || state.Done {
			return err
		}
	}
}

func (t *transaction) indexSomeReaders(k []byte, state *readerIndexState) error {
	var after []byte
	if state.After != "" {
		after = userKind.key(state.After)
	}
	read := 0
	state.Done = true
	for entry, err := range t.snapshot.Scan([]byte{prefixUser}, after) {
		var user User
		if err == nil {
			err = decode(entry.Key, entry.Value, &user)
		}
		if err != nil {
			return err
		}
		t.scanned(engine.Entry{Key: slices.Clone(entry.Key), Value: entry.Value})
		indexUser(&user, func(at, _ []byte) { t.set(at, []byte{}, time.Time{}) })
		state.After = user.Slug
		if read++; read == readerIndexStep {
			state.Done = false
			break
		}
	}
	if state.Done {
		state.After = ""
	}
	value, err := encode(state)
	t.set(k, value, time.Time{})
	return err
}
