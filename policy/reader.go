package policy

// Reader is the person or program that makes a request. The zero value is an anonymous
// reader.
//
// The texts of a Reader from Policy.Reader share memory with those of other readers.
// Clone a text before keeping it for longer than the request.
type Reader struct {
	// UserID is the stable id of an identified reader.
	UserID string
	// PublisherUserID is the publisher's own id, if the credential has one.
	PublisherUserID string
	// Email is a verified address, with ASCII letters in lower case; empty if the
	// credential has none or it is not verified.
	Email string
	// ACR is the authentication context class of the credential, and AMR its methods
	// (RFC 8176) separated by spaces. Both are empty if the credential states none.
	ACR, AMR string
	// AuthTime is when the reader logged in at the issuer (`auth_time`), in Unix seconds; zero
	// if the credential does not state it, as it need not.
	AuthTime int64
	// ContentSpace is the only content space in which the reader is identified, and then for
	// GET and HEAD alone: the credential is a feed's. Empty for every other credential.
	ContentSpace string
	// Rejected reports whether the request's credential failed. The reader is then
	// anonymous.
	Rejected bool
	// Limited reports whether the credential is valid and was used too often. The reader is
	// then anonymous.
	Limited bool
	// Unknown reports whether the credential could not be verified, because its keys
	// could not be read.
	Unknown bool
	// NoKeys reports whether those keys belong to another party and could not be
	// fetched.
	NoKeys bool
	// Failure is the error behind Rejected or Unknown, for the log. It holds no part of
	// the credential.
	Failure error

	record readerRecord // caches the reader's stored records
}

// Anonymous reports whether the reader is not identified.
func (r *Reader) Anonymous() bool { return r.UserID == "" }

// LowerEmail returns an e-mail address with its ASCII letters in lower case. It does
// not fold other letters: addresses that differ in them may be different mailboxes.
func LowerEmail(address string) string {
	lower := []byte(address)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}
