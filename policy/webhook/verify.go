package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/hook"
)

// HeaderStripe has the time and the signatures of an event of Stripe.
const HeaderStripe = "Stripe-Signature"

const (
	// Tolerance is how far the time of a signature may be from now, in both directions.
	Tolerance = 5 * time.Minute
	// maxSignatureHeader bounds a header with signatures, in bytes.
	maxSignatureHeader = 4 << 10
	// maxSignatures bounds the signatures that are compared with each secret.
	maxSignatures = 16
)

// ErrSignature is returned for a request that none of the secrets signed, or that was
// signed at another time. It does not say which, as that would help an attacker.
var ErrSignature = errors.New("the signature is missing, wrong or too old")

// signed is what a request says of its signature.
type signed struct {
	id         string // empty for a scheme that has it in the body
	prefix     string // signed before the body
	at         int64  // Unix seconds
	signatures []string
	encode     func(mac []byte) string
}

// readers read the signature of a request by scheme.
var readers = map[string]func(http.Header) (signed, bool){hook.Standard: readStandard, hook.Stripe: readStripe}

// Verify checks the signature of a request that arrived, by the scheme of its sender
// (hook.Standard or hook.Stripe). Each signature is compared with those of all
// secrets in constant time. Verify returns the id of the event if the scheme has it in a
// header, and ErrSignature.
func Verify(scheme string, secrets []string, header http.Header, body []byte, now time.Time) (id string, err error) {
	request, ok := readers[scheme](header)
	age := now.Unix() - request.at
	ok = ok && age <= int64(Tolerance.Seconds()) && -age <= int64(Tolerance.Seconds())
	matches := false
	for _, secret := range secrets {
		key, err := hook.Key(scheme, secret)
		if err != nil {
			return "", err
		}
		want := ""
		if sum := macOf(key, request.prefix, body); request.encode != nil {
			want = request.encode(sum)
		}
		for _, signature := range request.signatures {
			if hmac.Equal([]byte(signature), []byte(want)) {
				matches = true
			}
		}
	}
	if !ok || !matches {
		return "", ErrSignature
	}
	return request.id, nil
}

// macOf returns HMAC-SHA256 over a prefix and a body.
func macOf(key []byte, prefix string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(prefix)) // never fails, see hash.Hash
	_, _ = mac.Write(body)
	return mac.Sum(nil)
}

// single returns the value of a header that a request has exactly once.
func single(header http.Header, name string) (string, bool) {
	values := header.Values(name)
	if len(values) != 1 || values[0] == "" || len(values[0]) > maxSignatureHeader {
		return "", false
	}
	return values[0], true
}

// unixSeconds reads digits only: a sign or a space has no meaning here.
func unixSeconds(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	at, err := strconv.ParseInt(text, 10, 64)
	return at, err == nil
}

// readStandard reads the headers of Standard Webhooks 1.0. Signatures of other versions
// than v1 are ignored.
func readStandard(header http.Header) (signed, bool) {
	id, hasID := single(header, HeaderID)
	stamp, hasStamp := single(header, HeaderTimestamp)
	all, hasSignatures := single(header, HeaderSignature)
	at, isTime := unixSeconds(stamp)
	request := signed{id: id, prefix: standardPrefix(id, at), at: at, encode: encodeStandard}
	for part := range strings.FieldsSeq(all) {
		if strings.HasPrefix(part, standardVersion) && len(request.signatures) < maxSignatures {
			request.signatures = append(request.signatures, part)
		}
	}
	// A full stop in the id would make another id and time of the same signed text.
	return request, hasID && hasStamp && hasSignatures && isTime && !strings.Contains(id, ".")
}

// readStripe reads `t=<Unix seconds>,v1=<hexadecimal>[,v1=…]`. Signatures of other schemes
// than v1, such as those of test clocks, are ignored.
func readStripe(header http.Header) (signed, bool) {
	all, present := single(header, HeaderStripe)
	request := signed{encode: hex.EncodeToString}
	isTime := false
	for part := range strings.SplitSeq(all, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case name == "t" && isTime: // which of two is signed cannot be told
			return signed{encode: hex.EncodeToString}, false
		case name == "t":
			request.at, isTime = unixSeconds(value)
			request.prefix = value + "."
		case name == "v1" && len(request.signatures) < maxSignatures:
			request.signatures = append(request.signatures, value)
		}
	}
	return request, present && isTime
}
