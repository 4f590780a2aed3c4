package usage

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// Use is a request that a contract allowed.
type Use struct {
	// UserID identifies the reader. If it is empty, the address does.
	UserID  string
	Address netip.Addr
	// Key is the key of the hashes under which readers are counted. All nodes of a store
	// have the same.
	Key *[sha256.Size]byte
}

// identity appends what tells the reader from others.
func (u *Use) identity(to []byte) []byte {
	if u.UserID != "" {
		return append(append(to, 'u'), u.UserID...)
	}
	address := u.Address.As16() // the same for one that is mapped to IPv6
	return append(append(to, 'a'), address[:]...)
}

// hash returns a keyed hash of the reader, from which neither they nor their address can be
// found. It is another one for each contract and month, so that those cannot be compared.
func (u *Use) hash(of *period) string {
	mac := hmac.New(sha256.New, u.Key[:])
	text := []byte("usage\x00")
	for _, part := range [...]string{of.vendor, of.contract, of.month()} {
		text = append(binary.AppendUvarint(text, uint64(len(part))), part...)
	}
	_, _ = mac.Write(u.identity(text)) // never fails, see hash.Hash
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}
