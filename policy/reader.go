package policy

// Reader is who asks. The zero value is the anonymous reader, who is a reader
// like any other.
//
// The texts of one that Policy.Reader gives share memory with other readers'. Whoever
// keeps one of them for long keeps a copy.
type Reader struct {
	// UserID is the stable key of an identified reader.
	UserID string
	// PublisherUserID is the publisher's own key, if the credential has one.
	PublisherUserID string
	// Email is a verified address, its ASCII letters in lower case; empty
	// when the credential has none or it is not verified.
	Email string
	// Rejected says that the request carried a credential that failed: it
	// identifies nobody.
	Rejected bool
	// Unknown says that the request carried a credential that could not be
	// judged, because the keys that would cannot be read.
	Unknown bool
	// NoKeys says that those keys are somebody else's, and cannot be had.
	NoKeys bool

	// known is where she was found, for what was granted to her.
	record readerRecord
}

// Anonymous says whether the reader is not identified.
func (r *Reader) Anonymous() bool { return r.UserID == "" }

// LowerEmail lowers the ASCII letters of an e-mail address. Unicode is not
// folded: two addresses that differ only there may be two mailboxes.
func LowerEmail(address string) string {
	for i := range len(address) {
		if c := address[i]; 'A' <= c && c <= 'Z' {
			lowered := []byte(address)
			for ; i < len(lowered); i++ {
				if c := lowered[i]; 'A' <= c && c <= 'Z' {
					lowered[i] = c + 'a' - 'A'
				}
			}
			return string(lowered)
		}
	}
	return address
}
