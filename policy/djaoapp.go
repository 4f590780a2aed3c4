package policy

// unsupported holds the DjaoApp operators that Gatefold does not have, by code, with
// what they ask for. A rule that names one is refused, because an approximation would
// allow or deny the wrong readers.
var unsupported = map[string]string{
	"2":  "asks whether the reader signed an agreement, and Gatefold has no agreements",
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
	"16": "asks whether the reader was ever subscribed, and a grant is deleted 30 days after its end; 15 asks whether they are subscribed now",
	"17": "asks whether the reader has a password and a second factor, which only their issuer knows",
	"18": roles,
}

const (
	roles       = "asks which role the reader has on an account, and Gatefold has no roles or accounts: grant those readers a sku, and use entitled"
	rolesOrSelf = "asks whether the page is the reader's own, or which role they have on an account, and Gatefold has no roles: use self for the one, or entitled for the other"
)
