package command

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
)

// foundReader is a reader that `reader find` found.
type foundReader struct {
	UserID    string          `json:"userId,omitempty"`
	Email     string          `json:"email,omitempty"`
	Name      string          `json:"name,omitempty"`
	Tags      json.RawMessage `json:"tags,omitempty"`
	CreatedAt string          `json:"createdAt,omitempty"`
	// FoundIn names the kinds of records that name the reader.
	FoundIn []string `json:"foundIn"`
}

// readerSources are the lists in which a reader may be named without a record, the parameters
// that find them there by user id and by e-mail address, and the member of a row that has both.
var readerSources = []struct {
	kind, path      string
	byUser, byEmail string
	party           string
}{
	{kind: "grants", path: "/management/grants", byUser: "userId", byEmail: "email"},
	{kind: "contracts", path: contractsPath, byUser: "userId", byEmail: "email", party: "ownerData."},
	{kind: "contracts paid", path: contractsPath, byEmail: "payerEmail", party: "userData."},
	{kind: "seats", path: "/management/entitlements", byUser: "userId", byEmail: "email"},
	{kind: "signed links", path: linksPath, byUser: "userId"},
}

// maxReaderRows bounds the rows of one list that are read to find readers.
const maxReaderRows = 1000

// findReaders prints the readers who have a record that matches the beginning of a text, and
// those without one whose user id or e-mail address it is in grants, contracts or links.
func findReaders(c *call) error {
	text := c.args[0]
	limit, _ := c.cmd.Flags().GetInt("limit")
	records, more, err := find[raw](c, readersPath, url.Values{"q": {text}}, limit)
	if err != nil {
		return err
	}
	if more {
		c.warn(fmt.Sprintf("there may be more than %d readers with a record", limit))
	}
	found := []*foundReader{}
	for _, r := range records {
		found = append(found, &foundReader{
			UserID: textOf(r, "userId"), Email: textOf(r, "email"), Name: textOf(r, "name"), Tags: r["tags"], CreatedAt: textOf(r, "createdAt"), FoundIn: []string{"record"},
		})
	}
	for _, source := range readerSources {
		for _, by := range [...]string{source.byUser, source.byEmail} {
			if by == "" || by == source.byEmail && !strings.Contains(text, "@") {
				continue
			}
			query := url.Values{by: {text}}
			rows, more, err := find[raw](c, source.path, query, maxReaderRows)
			if err != nil {
				return fmt.Errorf("finding readers in %s: %w", source.kind, err)
			}
			if more {
				c.warn(fmt.Sprintf("%s names this reader in more than %d %s, of which these were read", text, maxReaderRows, source.kind))
			}
			for _, row := range rows {
				user, email := textOf(row, source.party+"userId"), textOf(row, source.party+"email")
				if source.kind == "seats" {
					// Entitlements name no reader: those of seats are of the reader who was asked for.
					if !strings.HasPrefix(row.text("origin.id"), "seat_") {
						continue
					}
					user, email = query.Get(source.byUser), query.Get(source.byEmail)
				}
				found = noteReader(found, user, email, source.kind)
			}
		}
	}
	return c.print(found, table("USER\tE-MAIL\tNAME\tTAGS\tSINCE\tFOUND IN", found, func(r *foundReader) []string {
		shown := append(make([]string, 0, 6), r.UserID, r.Email, r.Name, string(r.Tags), r.CreatedAt)
		for i := range shown {
			if shown[i] == "" {
				shown[i] = "-"
			}
		}
		return append(shown, strings.Join(r.FoundIn, ", "))
	}))
}

// textOf returns a text member of a record, "" for none.
func textOf(r raw, path string) string {
	if text := r.text(path); text != "-" {
		return text
	}
	return ""
}

// noteReader notes that a kind of record names a reader, who is identified by the user id or,
// without one, by the e-mail address.
func noteReader(found []*foundReader, user, email, kind string) []*foundReader {
	i := slices.IndexFunc(found, func(r *foundReader) bool {
		if user != "" && r.UserID != "" {
			return user == r.UserID
		}
		return email != "" && policy.LowerEmail(email) == policy.LowerEmail(r.Email)
	})
	if i < 0 {
		i, found = len(found), append(found, &foundReader{UserID: user, Email: email})
	}
	if r := found[i]; r.UserID == "" {
		r.UserID = user
	}
	if r := found[i]; !slices.Contains(r.FoundIn, kind) {
		r.FoundIn = append(r.FoundIn, kind)
	}
	return found
}
