package policy

// unsupported says of DjaoApp's operators that are not served here what they ask
// for. A rule that names one is refused: a guess would let the wrong readers in, or
// keep the right ones out.
var unsupported = map[string]string{
	"2":  "asks whether the reader signed an agreement, and agreements are not kept here",
	"3":  roles,
	"4":  roles,
	"5":  roles,
	"6":  roles,
	"7":  roles,
	"8":  roles,
	"9":  roles,
	"10": roles,
	"11": roles,
	"12": rolesOrSelf,
	"13": rolesOrSelf,
	"14": rolesOrSelf,
	"16": "asks whether the reader was ever subscribed, and a grant that ended is forgotten after 30 days; 15 asks whether they are now",
	"17": "asks whether the reader has a password and a second factor, which only their issuer knows",
	"18": roles,
}

const (
	roles       = "asks which role the reader has on an account, and roles and accounts are not kept here: grant those readers a sku, and use entitled"
	rolesOrSelf = "asks whether the page is the reader's own, or which role they have on an account, and roles are not kept here: use self for the one, or entitled for the other"
)
