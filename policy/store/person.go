package store

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
)

// Person is a reader as records name them: by the user id and by e-mail addresses.
type Person struct {
	ID string `json:"id"`
	// Emails are in lower case. Another user has none of them.
	Emails []string `json:"emails,omitempty"`
	// OtherProfile: the profile whose slug is the user id is not theirs.
	OtherProfile bool `json:"otherProfile,omitempty"`

	needles [][]byte // in JSON, in lower case
}

// hasEmail reports whether an address is one of the person's.
func (p *Person) hasEmail(email string) bool {
	return email != "" && slices.Contains(p.Emails, policy.LowerEmail(email))
}

// is reports whether a record is the person's that names its reader so: by the user id or,
// without one, by the address.
func (p *Person) is(userID, email string) bool {
	return userID == p.ID || userID == "" && p.hasEmail(email)
}

// idMembers are the members whose values, and the values of whose lists, are user ids. A member
// that may also have the id of something else is none: a user id can be as short as `7`.
var idMembers = map[string]bool{"userId": true, "user_id": true, "user": true, "username": true, "owner": true, "sub": true, "actor": true}

// userParts has where the paths of records have a user id, by the names of their kinds.
var userParts = map[string]int{"user": 0, "reader": 0, "role": 1, "signature": 0}

// personMembers are the members of an object that are removed with the person whom the object
// names.
var personMembers = []string{
	"firstName", "lastName", "fullName", "full_name", "nick_name", "nickname", "printable_name", "first_name", "last_name", "phone",
	"mobilePhone", "workPhone", "homePhone", "picture", "street_address", "locality", "region", "postal_code", "address",
	"deliveryAddress", "billingAddress", "notes", "extraFields", "extra", "extraData", "vatNr", "companyName", "gender", "birthday",
	"invoiceEmail", "userData", "ownerData", "vendorData", "providerData", "publisherUserId",
}

// may reports whether JSON may name the person. It costs no decoding.
func (p *Person) may(value []byte) bool {
	if p.needles == nil {
		for _, text := range append([]string{p.ID}, p.Emails...) {
			encoded, _ := json.Marshal(text) // a string has no error
			p.needles = append(p.needles, bytes.ToLower(encoded[1:len(encoded)-1]))
		}
	}
	lower := bytes.ToLower(value)
	return slices.ContainsFunc(p.needles, func(needle []byte) bool { return bytes.Contains(lower, needle) })
}

// named reports whether a value of a member names the person.
func (p *Person) named(member, value string) bool {
	if name := strings.ToLower(member); strings.HasSuffix(name, "email") {
		return p.hasEmail(strings.TrimSpace(value)) // another one may end so
	}
	return idMembers[member] && value == p.ID || p.addressed(value)
}

// addressed reports whether a text has an address of the person: a whole one, not a part of a
// longer one. A hyphen before it is taken for punctuation, as in an id that was made of it.
func (p *Person) addressed(text string) bool {
	if len(p.Emails) == 0 {
		return false
	}
	lower := policy.LowerEmail(text)
	return slices.ContainsFunc(p.Emails, func(email string) bool {
		for rest, before := lower, byte(0); ; {
			at := strings.Index(rest, email)
			if at < 0 {
				return false
			}
			if at > 0 {
				before = rest[at-1]
			}
			end := rest[at+len(email):]
			if !inAddress(before) && (end == "" || !inDomain(end)) {
				return true
			}
			before, rest = rest[at], rest[at+1:]
		}
	})
}

// inAddress reports whether a byte before an address is part of a longer one.
func inAddress(c byte) bool {
	return c >= 0x80 || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '+'
}

// inDomain reports whether a text continues the domain that ends before it.
func inDomain(rest string) bool {
	c := rest[0]
	if c == '.' && len(rest) > 1 {
		c = rest[1]
	}
	return c >= 0x80 || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
}

// inPath returns the part of the path of a record that names the person, or -1.
func (p *Person) inPath(kind string, path []string) int {
	for i, part := range path {
		at, users := userParts[kind]
		if part == p.ID && (users && at == i || i == 0 && profileOwned[kind] && !p.OtherProfile) || p.addressed(part) {
			return i
		}
	}
	return -1
}

// mentioned reports whether JSON names the person.
func (p *Person) mentioned(value []byte) bool {
	_, changed := p.scrub(value)
	return changed
}

// scrub returns JSON without the person: values that name them are empty, and objects with
// such a value have no personMembers.
func (p *Person) scrub(value []byte) (scrubbed []byte, changed bool) {
	if !p.may(value) {
		return value, false
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var decoded any
	if decoder.Decode(&decoded) != nil {
		return value, false
	}
	decoded, changed = p.scrubValue("", decoded)
	if !changed {
		return value, false
	}
	encoded, err := json.Marshal(decoded)
	return encoded, err == nil
}

func (p *Person) scrubValue(member string, value any) (scrubbed any, changed bool) {
	switch value := value.(type) {
	case string:
		if p.named(member, value) {
			return "", true
		}
	case []any:
		for i := range value {
			next, did := p.scrubValue(member, value[i])
			value[i], changed = next, changed || did
		}
		return value, changed
	case map[string]any:
		own := false
		for name, of := range value {
			next, did := p.scrubValue(name, of)
			_, text := of.(string)
			value[name], changed, own = next, changed || did, own || did && text
		}
		// Of users and profiles, the slug names the person: both have a printable name.
		if _, printed := value["printable_name"]; printed && value["slug"] == p.ID && (own || !p.OtherProfile) {
			value["slug"], changed, own = "", true, true
		}
		if own {
			for _, name := range personMembers {
				delete(value, name)
			}
		}
		return value, changed
	}
	return value, false
}
