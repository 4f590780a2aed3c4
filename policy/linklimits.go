package policy

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// linkLimits are what a link demands of a request besides its page.
type linkLimits struct {
	maxUses, maxDevices int64
	maxNetworks         int64        // zero for that of the site
	network             netip.Prefix // not valid for every network
	perReader           bool
}

func limitsOf(claims *keys.LinkClaims) linkLimits {
	return linkLimits{claims.MaxUses, claims.MaxDevices, claims.MaxNetworks, claims.Network(), claims.PerReader}
}

// counted reports whether opening the link is counted in the store.
func (l *linkLimits) counted() bool { return l.maxUses > 0 || l.maxDevices > 0 }

// admits reports whether the link opens pages to a client. One of an unknown address is denied
// by a link that has a network; for other links the address is not read.
func (l *linkLimits) admits(client AddressSource) bool {
	return !l.network.IsValid() || client != nil && l.network.Contains(client.ClientAddress().Unmap().WithZone(""))
}

// readerUse returns the id of the reader's use of a link: a keyed hash, so that the store
// does not name the reader, and no two links have the same id.
func (r *Request) readerUse(issuer, id string) string {
	var space [512]byte
	text := space[:0]
	for _, part := range [...]string{r.Site.Vendor, issuer, id, r.Reader.UserID} {
		text = append(binary.AppendUvarint(text, uint64(len(part))), part...)
	}
	mac := hmac.New(sha256.New, r.Site.ReaderKey[:])
	mac.Write(text)
	return "reader:" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// cookieSeparator separates the ids of a use and of a device in a cookie.
const cookieSeparator = "/"

// CookieID returns the id that the cookie of the link has: that of its use, which is also
// that of the device, or both if a reader is the use. Fresh is for a browser that has none.
func (l *LinkUse) CookieID(fresh string) string {
	if l.PerReader && l.UseID != "" && l.MaxDevices > 0 {
		return l.UseID + cookieSeparator + cmp.Or(l.Device, fresh)
	}
	return cmp.Or(l.UseID, fresh)
}

// Counted reports whether the link has a number of uses or of devices.
func (l *LinkUse) Counted() bool { return l.MaxUses > 0 || l.MaxDevices > 0 }

// readCookie sets the ids of a use from the cookie of its link. It reports whether the
// cookie is one of the request's reader. A pending one, as that of a reader who logged in
// after opening the link, is of any reader.
func (l *LinkUse) readCookie(r *Request, cookie *RedeemedLink) bool {
	l.UseID, l.Device = cookie.UseID, cookie.UseID
	if !l.PerReader {
		return true
	}
	if r.Reader.Anonymous() {
		return false
	}
	reader, device, _ := strings.Cut(cookie.UseID, cookieSeparator)
	l.UseID, l.Device = r.readerUse(l.Issuer, l.ID), cmp.Or(device, reader)
	l.Known = cookie.Pending && !l.Counted() // the cookie becomes the reader's
	return cookie.Pending || reader == l.UseID
}

// deviceID returns the id of the device that sent a request, for a link that counts them.
// It is empty for a browser without a cookie of the link.
func (r *Request) deviceID(link *LinkUse) string {
	switch {
	case link.MaxDevices == 0:
		return ""
	case link.Device == "" && r.Link.Device != "":
		return "device:" + r.Link.Device
	default:
		return link.Device
	}
}
