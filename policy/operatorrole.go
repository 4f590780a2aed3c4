package policy

import "net/http"

// roleOperators are DjaoApp's operators about roles on a profile. Its code 10 is documented as
// weak and coded as normal; the stricter is right.
var roleOperators = [...]struct {
	code                       int
	name                       string
	strength                   strength
	direct, provider, readable bool
	brokers                    bool
}{
	{code: 3, name: "direct", strength: normal, direct: true, brokers: true},
	{code: 4, name: "direct_weak", strength: weak, direct: true},
	{code: 5, name: "direct_strong", strength: strong, direct: true},
	{code: 6, name: "provider", strength: normal, direct: true, provider: true, brokers: true},
	{code: 7, name: "provider_weak", strength: weak, direct: true, provider: true},
	{code: 8, name: "provider_strong", strength: strong, direct: true, provider: true},
	{code: 9, name: "provider_only", strength: normal, provider: true, brokers: true},
	{code: 10, name: "provider_only_weak", strength: normal, provider: true},
	{code: 11, name: "provider_only_strong", strength: strong, provider: true},
	{code: 18, name: "provider_readable", strength: normal, direct: true, provider: true, readable: true, brokers: true},
}

func init() {
	for _, o := range roleOperators {
		takes := []string{"profile"}
		operator := Operator{Code: o.code, Name: o.name, Records: true}
		if o.strength != strong {
			takes, operator.Words = append(takes, "roledescription"), words("roledescription")
		}
		if o.brokers {
			takes = append(takes, "brokers")
		}
		operator.Compile = func(arguments Arguments, captures []string) (Test, error) {
			if err := arguments.only(takes...); err != nil {
				return nil, err
			}
			test := &roleTest{direct: o.direct, provider: o.provider, readable: o.readable}
			var err error
			if test.profile, err = arguments.template("profile", captures); err != nil {
				return nil, err
			}
			if err = checkSlugs("profile", test.profile); err != nil {
				return nil, err
			}
			test.access, err = compileAccess(o.strength, o.brokers, arguments, captures)
			return test, err
		}
		RegisterOperator(operator)
	}
}

// roleTest allows a reader with a role on the broker and, as the operator says, on the
// profile or on a provider of it. Without a profile, and with one that does not exist,
// only the broker's users are allowed.
type roleTest struct {
	access
	profile          template
	direct, provider bool
	// readable allows the users of the broker and of providers only to read, unless they
	// are managers of the broker and the profile exists.
	readable bool
}

func (t *roleTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	profile := t.profile.resolve(q.rule, q.segments)
	if t.allows(q, profile) {
		return ReasonRole
	}
	return q.roleDenied(&t.access, profile)
}

func (t *roleTest) allows(q *Question, profile string) bool {
	switch {
	case q.records.roles.n == 0:
		return false
	case t.direct && q.admittedOn(profile, &t.access):
		return true
	case t.readable && q.Method != http.MethodGet && q.Method != http.MethodOptions:
		return q.admittedOn(q.vendor, &t.access) && t.exists(q, profile)
	default:
		return q.admittedByBroker(&t.access) || t.provider && q.admittedByProvider(profile, &t.access)
	}
}

func (t *roleTest) exists(q *Question, slug string) bool {
	profile := q.profile(slug)
	return profile.exists()
}
