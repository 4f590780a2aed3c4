package policy

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// ClockSkew is how far the clock of an issuer of reader tokens is ahead of this node's.
type ClockSkew struct {
	Issuer string
	Ahead  time.Duration
}

// issuerClocks collects verified reader tokens that were issued in the future. Such a
// token is a sign of a wrong clock, here or at the issuer, but one reader can have an odd
// one. So tokens of several readers are needed.
type issuerClocks struct {
	mu      sync.Mutex
	issuers map[string][]earlyToken
}

// earlyToken is the newest token of one reader that was issued in the future.
type earlyToken struct {
	reader uint64 // hash of the user id
	ahead  int64  // seconds
	at     time.Time
}

const (
	// skewFrom is by how much a token must be issued in the future to be a sign, in
	// seconds.
	skewFrom = 30
	// skewReaders is the number of readers whose tokens must show it, and skewFor the time
	// for which a token counts.
	skewReaders = 3
	skewFor     = 10 * time.Minute
	// maxEarly bounds the tokens of an issuer that are kept, maxSkewIssuers the issuers:
	// configured ones, also of earlier configurations.
	maxEarly       = 16
	maxSkewIssuers = 256
)

var skewSeed = maphash.MakeSeed()

// issued records when a token of a reader was issued, in Unix seconds, if that is in the
// future. The token's signature must be verified.
func (c *issuerClocks) issued(issuer, reader string, issuedAt int64, now time.Time) {
	ahead := issuedAt - now.Unix()
	if ahead <= skewFrom {
		return
	}
	token := earlyToken{maphash.String(skewSeed, reader), ahead, now}
	c.mu.Lock()
	defer c.mu.Unlock()
	tokens, known := c.issuers[issuer]
	if !known && len(c.issuers) >= maxSkewIssuers {
		return
	}
	tokens = slices.DeleteFunc(tokens, func(t earlyToken) bool { return t.reader == token.reader })
	if len(tokens) == maxEarly {
		tokens = slices.Delete(tokens, 0, 1)
	}
	if c.issuers == nil {
		c.issuers = make(map[string][]earlyToken)
	}
	c.issuers[issuer] = append(tokens, token)
}

// ClockSkews returns the issuers whose clock is ahead of this node's by more than 30 s,
// ordered by name: those of which at least three readers presented verified tokens
// within ten minutes that were issued so far in the future. Ahead is the median.
func (p *Policy) ClockSkews(now time.Time) (skews []ClockSkew) {
	c := &p.clocks
	c.mu.Lock()
	defer c.mu.Unlock()
	for issuer, tokens := range c.issuers {
		tokens = slices.DeleteFunc(tokens, func(t earlyToken) bool { return now.Sub(t.at).Abs() > skewFor })
		if c.issuers[issuer] = tokens; len(tokens) == 0 {
			delete(c.issuers, issuer)
		}
		if len(tokens) < skewReaders {
			continue
		}
		byAhead := slices.SortedFunc(slices.Values(tokens), func(a, b earlyToken) int { return cmp.Compare(a.ahead, b.ahead) })
		skews = append(skews, ClockSkew{issuer, time.Duration(byAhead[len(byAhead)/2].ahead) * time.Second})
	}
	slices.SortFunc(skews, func(a, b ClockSkew) int { return cmp.Compare(a.Issuer, b.Issuer) })
	return skews
}
