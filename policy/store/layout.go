package store

import (
	"encoding/binary"
	"strings"
	"time"
)

// The keys of a vendor's partition. Texts have no control characters (see checkText),
// so separating them by NUL makes keys unambiguous.
//
//	L <list>                             access list
//	G <list> NUL <grant>                 grant
//	I <kind> <value> NUL <list> NUL <grant>        index: the grants of an identifier, a sku, or the key of an imported row
//	I t NUL <grant> NUL <list>           index: the grants by creation
//	I S <sku> NUL <grant> NUL <list>     index: the grants of a sku by creation
//	g                                    state of that index
//	g t                                  state of its part by creation
//	g expiry                             state of giving ended grants their expiry
//	S <issuer> NUL <jti>                 signed link
//	~ <kind> <value> NUL <jti>           index: the vendor's own links of a user (u), a content (c) or the hash of a url (a), by creation
//	~                                    state of that index
//	X <issuer> NUL <jti>                 its revocation
//	C <issuer> NUL <jti>                 counter of its uses
//	U <issuer> NUL <jti> NUL <id>        one use: the idempotency key of the counter
//	Z <issuer> NUL <jti>                 counter of its devices
//	z <issuer> NUL <jti> NUL <id>        one device: the idempotency key of that counter
//	H <issuer> NUL <jti>                 history of a link besides its uses
//	h <issuer> NUL <jti>                 networks from which a link was opened in the last hour, for the leak detector
//	u <issuer> NUL <jti> NUL <id>        marker: a use that is not taken back any more
//	- <user> NUL <site> NUL <meter>      what a reader opened by a meter in its period
//	R <site> NUL <rank>                  rule, the rank as 4 bytes, most significant first
//	V <site>                             revision of the rules of a site
//	F <site>                             forwarding settings of a site
//	T <site>                             session keys of a site
//	! <site>                             last purge of the stored pages of a site
//	E t <site> NUL <tag>                 counter of the readers of a tag
//	E m <site> NUL <user> NUL <tag>      first visit of a reader with a tag: the idempotency key of the counter
//	E u <site> NUL <user>                last visit of a reader
//	E r <site> NUL <time> <user>         index: readers by last visit, the time as 8 bytes, inverted
//	M <list> NUL <import>                progress of an import of grants
//	m <list> NUL <tag>                   marker: an import is not finished
//	m <list> NUL <tag> NUL <grant>       marker: an import found the grant as its file has it
//	n <list>                             number of the batches of all imports of a list
//	Y <list> NUL <tag> NUL <step>        what an import changed, for undoing it; the step as 8 bytes
//	K <kid>                              signing key
//	k                                    id of the signing key that is current
//	A <entry>                            entry of the audit log
//	Q <call>                             idempotency record
//	l <list>                             marker: a removed list whose grants are to be removed
//	P <sku>                              product
//	+ <paywall>                          paywall
//	= <paywall> NUL <version>            earlier version of a paywall; the version as 8 digits
//	: <code>                             refused request, by its support code
//	; <user> NUL <code>                  index: the refused requests of a reader
//	; NUL <hour>                         number of refused requests that are kept of an hour
//	b <sku> NUL <container>              index: the collections that a sku is in
//	b                                    revision of that index
//	w                                    content space that the vendor declared as default
//	D <domain>                           trusted publisher domain
//	B <kid>                              denied key of a publisher
//	W                                    written to find out whether writes work again
//
// The records of the access model. The profile of a role type is empty for one of the
// whole site.
//
//	o <profile>                          profile
//	p <user>                             user
//	t <profile> NUL <type>               role type
//	r <profile> NUL <user>               role
//	y <plan>                             plan
//	s <profile> NUL <plan> NUL <id>      subscription
//	a <agreement>                        agreement
//	x <user> NUL <agreement>             signature
//	@ <user>                             what decisions do not need of a user
//	d <kind> <slug>                      marker: a removed profile or user, until its other records are removed, and while its slug is not free
//	i u <user> NUL <profile>             index: the roles of a user; the value is the state of the role
//	i t <type> NUL <profile> NUL <user>  index: the roles of a type, with their state
//	i o <provider> NUL <plan>            index: the plans of a provider
//	i p <plan> NUL <profile> NUL <id>    index: the subscriptions to a plan, with their state
//	i k <provider> NUL <hash>            index: the path of the subscription that the key of a request accepts
//	i e <email> NUL <user>               index: the users with an address
//	i f <email> NUL <profile>            index: the profiles with an address
//	i s <agreement> NUL <user>           index: the signatures of an agreement
//	i n <text> NUL <user>                index: the users by id, address and names, in lower case
//	i c <time> <user>                    index: the users by the time of their creation, as 8 bytes
//	i v                                  state of these two
//	i h <profile> NUL <plan>             written with a new subscription, so that there are not two at once
//	d e <user>                           erasure of a person that is not finished
//	d r <user> NUL <digest>              marker: a record that the erasure removed, for the audit log
//	j <kind> NUL <import>                progress of an import of records
//
// Contracts and what belongs to them:
//
//	0 <promo>                            promo: what a code sells
//	# <promo>                            counter of the contracts of a promo
//	c <contract>                         contract
//	1 <contract> NUL <seat>              seat of a reader in a contract
//	2 <seller> NUL <order>               the contract of a seller's order
//	3 <kind> <value> NUL …               index of contracts, seats, bills, transactions and fulfilments
//	3 u <user> NUL <contract>            index: the contracts of an owner; the value is what they give, if they give it by this
//	3 e <email> NUL <contract>           index: those of an owner or payer with an address, in the same way
//	3 s <sku> NUL <contract>             index: the contracts that give a sku
//	3 p <promo> NUL <contract>           index: the contracts of a promo
//	3 o <order> NUL <contract>           index: the contracts of the orders with an id
//	3 U <user> NUL <contract> NUL <seat> index: the seats of a user; the value is not empty if they read by this
//	3 E <email> NUL <contract> NUL <seat>  index: those of an address, in the same way
//	3 x NUL <time> <contract>            index: contracts with seats by when they are removed; the time as 8 bytes
//	3 B<of> <value> NUL <time> <bill>    index: all bills, those of a contract (c), a user (u) or a status (s), the newest first; the time as 8 bytes, inverted
//	3 T<of> <value> NUL <time> <transaction>       index: all transactions, those of a contract (c), a user (u) or a bill (b)
//	3 F<of> <value> NUL <time> <sku> NUL <fulfilment>  index: the fulfilments of a sku (s) or a user (u)
//	4 <bill>                             bill
//	5 <transaction>                      transaction
//	6 <sku> NUL <fulfilment>             fulfilment
//	7 <sku> NUL <option>                 purchase option
//	8 <hook>                             where a provider sends its events
//	% <hook> NUL e NUL <event>           what became of an event of a provider, so that it is applied once
//	% <hook> NUL r NUL <time> <event>    the same, by when it arrived; the time as 8 bytes, inverted
//	9 <contract> NUL <month> NUL …       usage of a licence
//
// Login sessions:
//
//	$ <session>                          login session of a reader
//	& u <user> NUL <session>             index: the sessions of a user; the value is when they began, as 8 bytes
//	& s <issuer> NUL <client> NUL <sid> NUL <session>  index: those of a session at the issuer
//	& b <issuer> NUL <client> NUL <sub> NUL <session>  index: those of a subject of the issuer
//	& t <user>                           written with a new session, so that there are not more than are allowed
//	& S <issuer> NUL <client> NUL <sid>  written with a new session and a logout of the issuer's; the time of the logout as 8 bytes
//	& B <issuer> NUL <client> NUL <sub>  the same of a subject of the issuer
//	& j <issuer> NUL <client> NUL <jti>  marker: a logout token was used
//
// Keys that speak for readers:
//
//	( <key>                              API key or feed of a reader
//	) u <user> NUL <key>                 index: those of a user
//	) e <email> NUL <key>                index: those that name an address
//
// Webhooks:
//
//	e <endpoint>                         endpoint of a webhook
//	f                                    which endpoints want which events
//	v <endpoint>                         which node delivers to an endpoint, and how that goes
//	q <endpoint> NUL w <event>           event that waits to be delivered
//	q <endpoint> NUL r <time> <event>    event that is delivered again; the time as 8 bytes
//	q <endpoint> NUL d <event>           dead letter
//	q <endpoint> NUL k <time> <event>    delivered event, without its body; the time as 8 bytes, inverted
//
// The system's partition has signing keys, audit entries, idempotency records, and:
//
//	O <client>                           client of the management API
//	N <vendor>                           vendor
//	J <source>                           last valid key set of a source
//	e <vendor>                           vendor that had a webhook
//	8 <hook>                             vendor of a hook
const (
	prefixList         = 'L'
	prefixGrant        = 'G'
	prefixIndex        = 'I'
	prefixLink         = 'S'
	prefixLinkIndex    = '~'
	prefixRevocation   = 'X'
	prefixUses         = 'C'
	prefixUse          = 'U'
	prefixDevices      = 'Z'
	prefixDevice       = 'z'
	prefixHistory      = 'H'
	prefixNetworks     = 'h'
	prefixKept         = 'u'
	prefixMeter        = '-'
	prefixRule         = 'R'
	prefixRevision     = 'V'
	prefixForwarding   = 'F'
	prefixSessionKey   = 'T'
	prefixEngagement   = 'E'
	prefixGrantIndex   = 'g'
	prefixImport       = 'M'
	prefixImportMark   = 'm'
	prefixImportTurn   = 'n'
	prefixImportLog    = 'Y'
	prefixKey          = 'K'
	prefixCurrentKey   = 'k'
	prefixAudit        = 'A'
	prefixClient       = 'O'
	prefixIdempotency  = 'Q'
	prefixPurge        = 'l'
	prefixProduct      = 'P'
	prefixPaywall      = '+'
	prefixPaywallWas   = '='
	prefixRefusal      = ':'
	prefixRefusalIndex = ';'
	prefixContainer    = 'b'
	prefixVendor       = 'N'
	prefixDomain       = 'D'
	prefixDeniedKey    = 'B'
	prefixProbe        = 'W'
	prefixKeySet       = 'J'
	prefixSpace        = 'w'
	prefixPagePurge    = '!'

	prefixProfile      = 'o'
	prefixUser         = 'p'
	prefixRoleType     = 't'
	prefixRole         = 'r'
	prefixPlan         = 'y'
	prefixSubscription = 's'
	prefixAgreement    = 'a'
	prefixSignature    = 'x'
	prefixReader       = '@'
	prefixRemoved      = 'd'
	prefixMember       = 'i'
	prefixRecordImport = 'j'

	prefixPromo          = '0'
	prefixPromoUses      = '#'
	prefixContract       = 'c'
	prefixSeat           = '1'
	prefixOrder          = '2'
	prefixContractIndex  = '3'
	prefixBill           = '4'
	prefixTransaction    = '5'
	prefixFulfilment     = '6'
	prefixPurchaseOption = '7'
	prefixHook           = '8'
	prefixHookEvent      = '%'
	prefixUsage          = '9'

	prefixLogin      = '$'
	prefixLoginIndex = '&'

	prefixReaderKey      = '('
	prefixReaderKeyIndex = ')'

	prefixWebhook      = 'e'
	prefixRoute        = 'f'
	prefixWebhookState = 'v'
	prefixDelivery     = 'q'
)

// The kinds of values in the index of the access model.
const (
	memberUser         = "u"
	memberType         = "t"
	memberProvider     = "o"
	memberPlan         = "p"
	memberRequest      = "k"
	memberUserEmail    = "e"
	memberProfileEmail = "f"
	memberAgreement    = "s"
	memberTurn         = "h"
	memberText         = "n"
	memberCreated      = "c"
	memberTextState    = "v"
)

// The kinds of values in the index of contracts.
const (
	contractUser   = "u"
	contractEmail  = "e"
	contractSKU    = "s"
	contractPromo  = "p"
	contractOrder  = "o"
	contractSwept  = "x"
	contractHolder = "U"
	contractMailed = "E"
	contractSite   = "l"
)

// The kinds of values in the index of login sessions.
const (
	loginUser          = "u"
	loginSID           = "s"
	loginSubject       = "b"
	loginTurn          = "t"
	loginSIDLogout     = "S"
	loginSubjectLogout = "B"
	loginToken         = "j"
	loginTokensEnded   = "T"
)

// The kinds of values in the index of the keys of readers.
const (
	readerKeyUser  = "u"
	readerKeyEmail = "e"
)

// The kinds of values in the index of grants.
const (
	indexUserID          = "u"
	indexEmail           = "e"
	indexPublisherUserID = "p"
	indexSKU             = "s"
	indexRowKey          = "k"
	indexCreated         = "t"
	indexSKUCreated      = "S"
)

// The kinds of values in the index of links.
const (
	linkOfUser    = "u"
	linkOfContent = "c"
	linkOfURL     = "a"
)

// The kinds of engagement records.
const (
	kindTag     = "t"
	kindMarker  = "m"
	kindVisitor = "u"
	kindRecent  = "r"
)

// key joins a prefix and texts, which are separated by NUL.
func key(prefix byte, texts ...string) []byte {
	return append([]byte{prefix}, strings.Join(texts, "\x00")...)
}

// keyPrefix joins a prefix and texts, each followed by NUL: the common prefix of the
// keys that continue them.
func keyPrefix(prefix byte, texts ...string) []byte { return append(key(prefix, texts...), 0) }

func indexPrefix(kind, identifier string) []byte { return keyPrefix(prefixIndex, kind+identifier) }

func linkPrefix(kind, value string) []byte { return keyPrefix(prefixLinkIndex, kind+value) }

func memberKey(kind, value string, texts ...string) []byte {
	return key(prefixMember, append([]string{kind + value}, texts...)...)
}

func memberPrefix(kind, value string, texts ...string) []byte {
	return append(memberKey(kind, value, texts...), 0)
}

func contractKey(kind, value string, texts ...string) []byte {
	return key(prefixContractIndex, append([]string{kind + value}, texts...)...)
}

func contractPrefix(kind, value string, texts ...string) []byte {
	return append(contractKey(kind, value, texts...), 0)
}

func ruleKey(site string, rank int) []byte {
	return binary.BigEndian.AppendUint32(keyPrefix(prefixRule, site), uint32(rank))
}

func engagementPrefix(kind, site string) []byte { return keyPrefix(prefixEngagement, kind+site) }

func tagKey(site, tag string) []byte { return key(prefixEngagement, kindTag+site, tag) }

func visitorKey(site, user string) []byte { return key(prefixEngagement, kindVisitor+site, user) }

func markerKey(site, user, tag string) []byte {
	return key(prefixEngagement, kindMarker+site, user, tag)
}

func recentKey(site, user string, seen time.Time) []byte {
	k := binary.BigEndian.AppendUint64(engagementPrefix(kindRecent, site), ^uint64(seen.UnixMilli()))
	return append(k, user...)
}
