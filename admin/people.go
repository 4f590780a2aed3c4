package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	profilesPath    = "/api/profile"
	usersPath       = "/api/users"
	userPath        = usersPath + "/{user}"
	rolesPath       = profilePath + "/roles"
	roleTypesPath   = rolesPath + "/describe"
	accessiblesPath = userPath + "/accessibles"
)

// maxReaderRoles bounds the roles, invitations and requests that a reader may have before
// they can ask for more or make a profile for themselves.
const maxReaderRoles = 200

// UserPath identifies a user in a path.
type UserPath struct {
	User string `path:"user" minLength:"1" maxLength:"255" doc:"The user's id: that of a reader, as their issuer gives it." example:"xia"`
}

// RolePath identifies a role type in a path.
type RolePath struct {
	Role string `path:"role" maxLength:"128" doc:"The slug of the role type. Capitals and an s at the end do not matter: Managers is manager." example:"manager"`
}

// ContactData is how to reach a profile or user.
type ContactData struct {
	Email         string `json:"email" doc:"The e-mail address; may be empty, as all fields of the address." example:"xia@example.com"`
	Phone         string `json:"phone" doc:"The phone number." example:"555-555-5555"`
	StreetAddress string `json:"street_address" doc:"Street and number." example:"185 Berry St #550"`
	Locality      string `json:"locality" doc:"City." example:"San Francisco"`
	Region        string `json:"region" doc:"State or region." example:"CA"`
	PostalCode    string `json:"postal_code" doc:"Postal code." example:"94107"`
	Country       string `json:"country" doc:"Country." example:"US"`
	Language      string `json:"lang" doc:"The preferred language." example:"en"`
}

// ContactFields are the fields of ContactData that callers set. A field that is left out keeps
// its value.
type ContactFields struct {
	Email         *string `json:"email,omitempty" maxLength:"254" doc:"The e-mail address." example:"xia@example.com"`
	Phone         *string `json:"phone,omitempty" maxLength:"64" doc:"The phone number." example:"555-555-5555"`
	StreetAddress *string `json:"street_address,omitempty" maxLength:"255" doc:"Street and number." example:"185 Berry St #550"`
	Locality      *string `json:"locality,omitempty" maxLength:"255" doc:"City." example:"San Francisco"`
	Region        *string `json:"region,omitempty" maxLength:"255" doc:"State or region." example:"CA"`
	PostalCode    *string `json:"postal_code,omitempty" maxLength:"64" doc:"Postal code." example:"94107"`
	Country       *string `json:"country,omitempty" maxLength:"64" doc:"Country." example:"US"`
	Language      *string `json:"lang,omitempty" maxLength:"64" doc:"The preferred language." example:"en"`
	Picture       *string `json:"picture,omitempty" nullable:"true" maxLength:"0" doc:"Null or empty: pictures are not stored."`
}

func (f *ContactFields) apply(c *store.Contact) {
	set(&c.Email, f.Email)
	set(&c.Phone, f.Phone)
	set(&c.StreetAddress, f.StreetAddress)
	set(&c.Locality, f.Locality)
	set(&c.Region, f.Region)
	set(&c.PostalCode, f.PostalCode)
	set(&c.Country, f.Country)
	set(&c.Language, f.Language)
}

// UserSummary names a user in another record.
type UserSummary struct {
	Slug          string  `json:"slug" doc:"The user's id: that of a reader, as their issuer gives it." example:"xia"`
	Username      string  `json:"username" doc:"The same as slug." example:"xia"`
	PrintableName string  `json:"printable_name" doc:"The name by which the user is addressed." example:"Xia"`
	Picture       *string `json:"picture" doc:"Always null: pictures are not stored."`
}

// User is a person who may have roles.
type User struct {
	UserSummary
	ContactData
	FullName    string          `json:"full_name" doc:"The user's name." example:"Xia Lee"`
	NickName    string          `json:"nick_name" doc:"A short name of the user." example:"Xia"`
	Credentials bool            `json:"credentials" doc:"Whether the user's login counts: it is that of their issuer, and does unless the user is inactive." example:"true"`
	IsActive    bool            `json:"is_active" doc:"Whether the user's roles count." example:"true"`
	CreatedAt   time.Time       `json:"created_at" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	LastLogin   *time.Time      `json:"last_login" doc:"Always null: users log in with their issuer."`
	Extra       json.RawMessage `json:"extra" doc:"Own data: any JSON value, or null."`
}

func printableName(u *store.User) string { return cmp.Or(u.NickName, u.FullName, u.Slug) }

func wireUserSummary(u store.User) UserSummary {
	return UserSummary{Slug: u.Slug, Username: u.Slug, PrintableName: printableName(&u)}
}

func wireUser(u store.User) User {
	return User{
		UserSummary: wireUserSummary(u), ContactData: ContactData(u.Contact), FullName: u.FullName, NickName: u.NickName,
		Credentials: !u.Inactive, IsActive: !u.Inactive, CreatedAt: u.CreatedAt, Extra: orNull(u.Extra),
	}
}

// RoleDescription describes a kind of role.
type RoleDescription struct {
	CreatedAt            time.Time          `json:"created_at" doc:"The time of creation; the year 1 for a type that every vendor has." example:"2027-01-01T09:30:00Z"`
	Slug                 string             `json:"slug" doc:"The role type's id in URLs and rules." example:"support"`
	Title                string             `json:"title" doc:"The role type's title." example:"Support"`
	Name                 string             `json:"name" doc:"The same as title." example:"Support"`
	SkipOptInOnGrant     bool               `json:"skip_optin_on_grant" doc:"Whether a granted role counts at once, without an acceptance." example:"false"`
	ImplicitCreateOnNone bool               `json:"implicit_create_on_none" doc:"Has no effect: no role follows from an address." example:"false"`
	OTPRequired          bool               `json:"otp_required" doc:"Whether the operator verified requires a second factor of users with such a role." example:"false"`
	IsGlobal             bool               `json:"is_global" doc:"Whether all profiles have the type." example:"false"`
	Profile              *SubscriberProfile `json:"profile" doc:"The profile to which the type is local, or null."`
	Extra                json.RawMessage    `json:"extra" doc:"Own data: any JSON value, or null."`
	Editable             bool               `json:"editable" doc:"Whether the caller may change the type: a local one as manager of its profile, any other as the broker." example:"true"`
}

// describes returns a role type on the wire.
func (j *joiner) describes(kind store.RoleType) RoleDescription {
	described := RoleDescription{
		CreatedAt: kind.CreatedAt, Slug: kind.Slug, Title: cmp.Or(kind.Title, kind.Slug), SkipOptInOnGrant: kind.SkipOptInOnGrant,
		ImplicitCreateOnNone: kind.ImplicitCreateOnNone, OTPRequired: kind.OTPRequired, IsGlobal: kind.Profile == "",
		Extra: orNull(kind.Extra), Editable: j.governs(cmp.Or(kind.Profile, j.call.Vendor)),
	}
	described.Name = described.Title
	if kind.Profile != "" {
		profile := wireSubscriberProfile(j.profile(kind.Profile))
		described.Profile = &profile
	}
	return described
}

// governs reports whether the caller may change a profile and its role types.
func (j *joiner) governs(profile string) bool {
	may, known := j.managed[profile]
	if !known {
		may = j.api.manages(j.ctx, j.call, profile)
		j.managed[profile] = may
	}
	return may
}

// roleDescription returns the type of a role on the wire, nil for none.
func (j *joiner) roleDescription(profile, slug string) *RoleDescription {
	if slug == "" {
		return nil
	}
	described := j.describes(j.roleType(profile, slug))
	return &described
}

// foldedRoles returns the slugs that the name of a role type in a path may mean, the first
// that exists counts.
func foldedRoles(name string) []string {
	lower := strings.ToLower(name)
	return []string{name, lower, strings.TrimSuffix(lower, "s")}
}

// roleTypeNamed returns the role type of a profile that a name in a path means.
func (a *api) roleTypeNamed(ctx context.Context, c *call, profile, name string) (store.RoleType, error) {
	for _, slug := range foldedRoles(name) {
		found, err := c.store.RoleTypeRecord(ctx, c.Vendor, profile, slug)
		if !errors.Is(err, store.ErrNotFound) {
			return found, err
		}
	}
	return store.RoleType{}, newProblem(http.StatusNotFound, "The profile has no such role type.")
}

// invitedBy returns an existing user by their slug or e-mail address.
func (a *api) invitedBy(ctx context.Context, c *call, slug, email string) (store.User, error) {
	if slug != "" {
		found, err := c.store.UserRecord(ctx, c.Vendor, slug)
		if errors.Is(err, store.ErrNotFound) {
			err = newProblem(http.StatusNotFound, "There is no such user.")
		}
		return found, err
	}
	found, count, err := c.store.UsersWithEmail(c.Vendor, email).Page(ctx, 0, 1)
	return theOne(found, count, err, "user")
}

// knownUser returns a 404 problem for a user who does not exist, unless they call for
// themselves and are created by that.
func (a *api) knownUser(ctx context.Context, c *call, user string) error {
	if c.Reader != nil && c.Reader.UserID == user {
		return nil
	}
	_, err := a.invitedBy(ctx, c, user, "")
	return err
}

// profileBy returns an existing profile by its slug or e-mail address.
func (a *api) profileBy(ctx context.Context, c *call, slug, email string) (store.Profile, error) {
	if slug != "" {
		found, err := c.store.ProfileRecord(ctx, c.Vendor, slug)
		if errors.Is(err, store.ErrNotFound) || found.Inactive {
			err = newProblem(http.StatusNotFound, "There is no such profile.")
		}
		return found, err
	}
	active := c.store.ProfilesWithEmail(c.Vendor, email).Where(func(p *store.Profile) bool { return !p.Inactive })
	found, count, err := active.Page(ctx, 0, 1)
	return theOne(found, count, err, "profile")
}

// theOne returns the only record with an e-mail address.
func theOne[T any](found []T, count int, err error, what string) (T, error) {
	var none T
	switch {
	case err != nil:
		return none, err
	case count == 0:
		return none, newProblem(http.StatusNotFound, "There is no "+what+" with this e-mail address.")
	case count > 1:
		return none, newProblem(http.StatusConflict, "More than one "+what+" has this e-mail address: give the slug.")
	}
	return found[0], nil
}

// givenName checks that a body gives a slug or an e-mail address, but not both.
func givenName(slug, email string) error {
	if (slug == "") == (email == "") {
		return invalid("slug", "or email is required, and not both")
	}
	return nil
}

// staffOnly returns a 403 problem for what only clients and the broker's managers may do.
func (a *api) staffOnly(ctx context.Context, c *call, what string) error {
	if a.staffs(ctx, c) {
		return nil
	}
	return newProblem(http.StatusForbidden, "Only a manager of the profile that runs the site may set "+what+".")
}

// mayHaveMore returns a 409 problem for a reader who has too many roles to make another one
// for themselves.
func (a *api) mayHaveMore(ctx context.Context, c *call, user string) error {
	if c.Reader == nil {
		return nil
	}
	count, err := c.store.RolesOf(c.Vendor, user).Count(ctx)
	if err == nil && count >= maxReaderRoles {
		err = newProblem(http.StatusConflict, "You have as many roles and requests as one reader may: leave some of them first.")
	}
	return err
}

// ownUser is the user of a reader who calls for themselves: with the address that their
// issuer verified.
func ownUser(c *call, user string) store.User {
	own := store.User{Slug: user}
	if c.Reader != nil && c.Reader.UserID == user {
		own.Email = c.Reader.Email
	}
	return own
}

// guess calls accept with a key that a caller may have guessed, and bounds wrong ones: per
// caller, and per caller and user or profile.
func (a *api) guess(c *call, subject string, accept func() error) error {
	wait, succeeded := a.keyGuesses.begin(c.Vendor+"\x00"+subject, c.Vendor+"\x00"+c.Name, a.Now())
	if wait > 0 {
		p := newProblem(http.StatusTooManyRequests, "Too many wrong keys: wait as long as Retry-After says, and use the key of the message.")
		p.retryAfter = secondsOf(wait)
		return p
	}
	err := accept()
	if !errors.Is(err, store.ErrNotFound) {
		succeeded()
	}
	return err
}

func profileAddress(profile string, rest ...string) string {
	return addressBelow(profilesPath, append([]string{profile}, rest...))
}

func userAddress(user string, rest ...string) string {
	return addressBelow(usersPath, append([]string{user}, rest...))
}

func addressBelow(path string, segments []string) string {
	for _, segment := range segments {
		path += "/" + url.PathEscape(segment)
	}
	return path
}
