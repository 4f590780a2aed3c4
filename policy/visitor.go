package policy

// Visitor is what is recorded of the client that spent a use of a link, or was refused.
// See package visitor.
type Visitor struct {
	// Country is an ISO 3166-1 code of two letters; empty if it is unknown.
	Country string `json:"country,omitempty"`
	// Agent is the class of the program; empty if it is unknown.
	Agent string `json:"agent,omitempty"`
}
