package store

import (
	"encoding/binary"
	"time"
)

// The keys of a vendor's partition. Texts that come from outside hold no
// control characters (see checkText), so the NUL that ends each of them makes
// every key readable in one way only.
//
//	L <list>                             access list
//	G <list> NUL <grant>                 grant
//	I <kind> <identifier> NUL <list> NUL <grant>   index: the grants of an identifier
//	S <issuer> NUL <jti>                 signed link
//	X <issuer> NUL <jti>                 its revocation
//	C <issuer> NUL <jti>                 counter of its uses
//	U <issuer> NUL <jti> NUL <id>        one use: the marker that makes it count once
//	R <site> NUL <rank>                  rule, the rank as 4 bytes, most significant first
//	V <site>                             how often the rules of a site were changed
//	F <site>                             how a site's requests go on to its origin
//	T <site>                             the keys that a site shares with its origin
//	E t <site> NUL <tag>                 counter of the readers who had to do with a tag
//	E m <site> NUL <user> NUL <tag>      since when one has: the marker that makes her count once
//	E u <site> NUL <user>                when a reader was last there
//	E r <site> NUL <time> <user>         the same, the last one first: 8 bytes, inverted
//	M <list> NUL <import>                how far an import of grants has come
//	K <kid>                              signing key
//	k                                    the kid that signs
//	A <entry>                            entry of the audit log
//	Q <call>                             note that a call was carried out once
//	l <list>                             mark: the list was removed, its grants are yet to be
//	P <sku>                              product
//	b <sku> NUL <container>              index: the collections that a sku is in
//	b                                    what every change of that index replaces
//	D <domain>                           trusted publisher domain
//	B <kid>                              denied key of a publisher
//
// The system's own partition has keys, and besides:
//
//	O <client>                           client of the management API
//	N <vendor>                           vendor
//	J <source>                           last good key set of a source
const (
	prefixList        = 'L'
	prefixGrant       = 'G'
	prefixIndex       = 'I'
	prefixLink        = 'S'
	prefixRevocation  = 'X'
	prefixUses        = 'C'
	prefixUse         = 'U'
	prefixRule        = 'R'
	prefixRevision    = 'V'
	prefixForwarding  = 'F'
	prefixSessionKey  = 'T'
	prefixEngagement  = 'E'
	prefixImport      = 'M'
	prefixKey         = 'K'
	prefixCurrentKey  = 'k'
	prefixAudit       = 'A'
	prefixClient      = 'O'
	prefixIdempotency = 'Q'
	prefixPurge       = 'l'
	prefixProduct     = 'P'
	prefixContainer   = 'b'
	prefixVendor      = 'N'
	prefixDomain      = 'D'
	prefixDeniedKey   = 'B'
	prefixKeySet      = 'J'
)

// The kinds of identifiers in the index of grants.
const (
	indexUserID          = 'u'
	indexEmail           = 'e'
	indexPublisherUserID = 'p'
)

// The kinds of records about engagement.
const (
	kindTag     = 't'
	kindMarker  = 'm'
	kindVisitor = 'u'
	kindRecent  = 'r'
)

// key joins a prefix and texts, each text but the last ended by NUL.
func key(prefix byte, texts ...string) []byte {
	size := 1 + len(texts)
	for _, text := range texts {
		size += len(text)
	}
	k := append(make([]byte, 0, size), prefix)
	for i, text := range texts {
		if i > 0 {
			k = append(k, 0)
		}
		k = append(k, text...)
	}
	return k
}

// keyPrefix joins a prefix and texts, each text ended by NUL: what every key
// that continues them begins with.
func keyPrefix(prefix byte, texts ...string) []byte {
	if len(texts) == 0 {
		return []byte{prefix}
	}
	return append(key(prefix, texts...), 0)
}

func indexPrefix(kind byte, identifier string) []byte {
	k := append([]byte{prefixIndex, kind}, identifier...)
	return append(k, 0)
}

func indexKey(kind byte, identifier, list, grant string) []byte {
	k := append(indexPrefix(kind, identifier), list...)
	k = append(k, 0)
	return append(k, grant...)
}

func appendRuleKey(k []byte, site string, rank int) []byte {
	k = append(append(k, prefixRule), site...)
	return binary.BigEndian.AppendUint32(append(k, 0), uint32(rank))
}

func engagementPrefix(kind byte, site string) []byte {
	k := append([]byte{prefixEngagement, kind}, site...)
	return append(k, 0)
}

func tagKey(site, tag string) []byte { return append(engagementPrefix(kindTag, site), tag...) }

func visitorKey(site, user string) []byte {
	return append(engagementPrefix(kindVisitor, site), user...)
}

func markerKey(site, user, tag string) []byte {
	k := append(engagementPrefix(kindMarker, site), user...)
	k = append(k, 0)
	return append(k, tag...)
}

func recentKey(site, user string, seen time.Time) []byte {
	k := binary.BigEndian.AppendUint64(engagementPrefix(kindRecent, site), ^uint64(seen.UnixMilli()))
	return append(k, user...)
}
