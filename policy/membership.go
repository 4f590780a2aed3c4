package policy

// ReaderRecords are all records of one reader that decide, apart from shared ones.
type ReaderRecords struct {
	Grants []Grant
	// Roles are the reader's roles on active profiles that have not ended, and those that
	// wait for an answer.
	Roles []Role
	// Subscriptions are those of the profiles on which the reader has a role that counts
	// now or later.
	Subscriptions []Subscription
	// Signatures are the reader's, one for each agreement.
	Signatures []Signature
	// Contracts are the ids of those in which the reader has a seat: a change of one changes
	// what Grants has of it.
	Contracts []string
}

// Role is what a user may do on a profile.
type Role struct {
	Profile string
	// Type is the slug of the role's description, such as `manager`. It is empty for a
	// request that names none.
	Type string
	// EndsAt is in Unix milliseconds; zero means no end.
	EndsAt int64
	// Pending reports whether the role is an invitation or a request, which gives nothing.
	Pending bool
	// SecondFactor reports whether the description requires a second factor of its users.
	SecondFactor bool
}

// Subscription is a subscription of a profile, neither invited nor asked for. It may have
// ended.
type Subscription struct {
	Profile, Plan string
	// Provider is the profile that owns the plan.
	Provider string
	// StartsAt and EndsAt bound the half-open interval of the subscription, in Unix
	// milliseconds. Zero means no bound.
	StartsAt, EndsAt int64
	// Locked reports whether the profile owes money for it.
	Locked bool
	// SKUs are what the plan gives, and RoleTypes the roles on the profile of which a
	// reader needs one for that; none means any role.
	SKUs, RoleTypes []string
}

// Signature is a reader's consent to an agreement.
type Signature struct {
	Agreement string
	// SignedAt is the moment of the last signature, in Unix milliseconds.
	SignedAt int64
}

// Profile is what decides about a profile for every reader: whether it exists and is active,
// and its subscriptions.
type Profile struct {
	Exists        bool
	Subscriptions []Subscription
}

// Plan is what decides about a plan.
type Plan struct {
	Exists bool
	// Provider is the profile that owns the plan.
	Provider string
	// NotPriced reports whether the plan's price is given on request only.
	NotPriced bool
}

// Agreement is what decides about an agreement: a signature counts unless it is older
// than UpdatedAt, in Unix milliseconds.
type Agreement struct {
	Exists    bool
	UpdatedAt int64
}

// Demand names the records that a reader needs or has for a page, for explanations and for
// the links in a denial. Texts that have no meaning for the reason are empty.
type Demand struct {
	Profile, Role, Plan, Agreement string
	// ACR and MaxAge are those of the Authentication that the page asks for.
	ACR    string
	MaxAge int64
}

// Authentication returns what the page asks of the reader's login.
func (d *Demand) Authentication() Authentication { return Authentication{d.ACR, d.MaxAge} }

// Slugs of the role descriptions that every vendor has.
const (
	RoleManager     = "manager"
	RoleContributor = "contributor"
)
