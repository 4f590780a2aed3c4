package webhook

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/hook"
)

// Header fields of a delivery (Standard Webhooks 1.0).
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// standardVersion begins a symmetric signature of Standard Webhooks.
const standardVersion = "v1,"

func encodeStandard(mac []byte) string {
	return standardVersion + base64.StdEncoding.EncodeToString(mac)
}

// standardPrefix returns what is signed before the body.
func standardPrefix(id string, at int64) string { return id + "." + strconv.FormatInt(at, 10) + "." }

// Sign returns the value of HeaderSignature: one `v1` signature for each secret, which is
// HMAC-SHA256 over the id, the time in Unix seconds and the body, joined by full stops. The
// secrets begin with `whsec_`. It returns an error for a secret that is not base64. Verify
// with hook.Standard is its counterpart.
func Sign(secrets []string, id string, at time.Time, body []byte) (string, error) {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := hook.Key(hook.Standard, secret)
		if err != nil {
			return "", fmt.Errorf("secret %d of the webhook is not base64", i+1)
		}
		signatures[i] = encodeStandard(macOf(key, standardPrefix(id, at.Unix()), body))
	}
	return strings.Join(signatures, " "), nil
}
