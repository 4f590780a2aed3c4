package meter

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// CookiePrefix begins the names of the cookies of meters, which the name of the meter follows.
const CookiePrefix = "gatefold-meter-"

// maxValue bounds the value of a cookie, in bytes: more than that of policy.MaxMeterViews.
const maxValue = 2048

// purpose is that of the key by which cookies are sealed.
const purpose = "gatefold meter cookie v1"

// Sealer seals the cookies of one site. A value is base64url of AES-256-GCM over a format and
// the views, and bound to the vendor, the site and the meter: it says nothing to the reader, and
// is of no use elsewhere. It identifies no reader: a copy of one in another browser is that
// number of views less, or more.
type Sealer struct {
	sealer       *keys.Sealer
	vendor, site string
}

// NewSealer returns a sealer with a key that is derived from the store's secret.
func NewSealer(root *keys.Sealer, vendor, site string) (*Sealer, error) {
	sealer, err := root.For(purpose)
	return &Sealer{sealer, vendor, site}, err
}

const (
	format   = 1
	viewSize = 12 // the content, and the time in Unix seconds as 4 bytes
)

// errCookie is returned for a value that the site did not seal for the meter.
var errCookie = errors.New("not a cookie of this meter")

// strictBase64 accepts one spelling of every value.
var strictBase64 = base64.RawURLEncoding.Strict()

func (s *Sealer) additional(meter string) []byte {
	return []byte(strings.Join([]string{s.vendor, s.site, meter}, "\x00")) // no name contains NUL
}

// Seal returns the value of the cookie of a meter.
func (s *Sealer) Seal(meter string, views []policy.MeterView) string {
	payload := []byte{format}
	for _, view := range views {
		payload = binary.BigEndian.AppendUint64(payload, view.Content)
		payload = binary.BigEndian.AppendUint32(payload, uint32(view.At)) //nolint:gosec // until 2106
	}
	return base64.RawURLEncoding.EncodeToString(s.sealer.Seal(payload, s.additional(meter)))
}

// Open returns the views in the value of a meter's cookie, at most policy.MaxMeterViews. It
// returns an error if this site did not seal the value for the meter.
func (s *Sealer) Open(meter, value string) ([]policy.MeterView, error) {
	if len(value) > maxValue {
		return nil, errCookie
	}
	sealed, err := strictBase64.DecodeString(value)
	if err != nil {
		return nil, errCookie
	}
	payload, err := s.sealer.Open(sealed, s.additional(meter))
	if err != nil || len(payload) == 0 || payload[0] != format || (len(payload)-1)%viewSize != 0 {
		return nil, errCookie
	}
	var views []policy.MeterView
	for b := payload[1:]; len(b) > 0 && len(views) < policy.MaxMeterViews; b = b[viewSize:] {
		views = append(views, policy.MeterView{Content: binary.BigEndian.Uint64(b), At: int64(binary.BigEndian.Uint32(b[8:]))})
	}
	return views, nil
}
