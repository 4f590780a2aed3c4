package webhook_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/webhook"
)

// The published example of Standard Webhooks.
const (
	publishedSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	publishedID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	publishedBody   = `{"test": 2432232314}`
	publishedSigned = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

// What the npm package stripe 23.1.0 returns of generateTestHeaderString.
const (
	stripeSecret = "whsec_test_secret_of_the_gate"
	stripeBody   = `{"id":"evt_1","object":"event","type":"invoice.paid","created":1614265330}`
	stripeHeader = "t=1614265330,v1=c0748061490311c2f414b4c5698b9d1e6030297ee084801ea1f12ffa2adaa9ce"
)

var signedAt = time.Unix(1614265330, 0)

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func standardHeaders(id, at, signatures string) http.Header {
	return headers(webhook.HeaderID, id, webhook.HeaderTimestamp, at, webhook.HeaderSignature, signatures)
}

// The published signatures of both schemes are accepted, also among others, also by the
// second secret, and five minutes before and after their time.
func TestVerifyPublishedSignatures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme, secret, body, id string
		header                   http.Header
	}{
		{hook.Standard, publishedSecret, publishedBody, publishedID, standardHeaders(publishedID, "1614265330", publishedSigned)},
		{hook.Standard, publishedSecret[6:], publishedBody, publishedID, standardHeaders(publishedID, "1614265330", "v1a,xyz v1,AAAA v2,abc "+publishedSigned)},
		// The npm package standardwebhooks 1.1.1 signed this.
		{hook.Standard, publishedSecret, stripeBody, "msg_1", standardHeaders("msg_1", "1614265330", "v1,3ai4dYXC4zf3wrJgP95m3kgRoLGUZjwEGG1bhuAiD28=")},
		{hook.Stripe, stripeSecret, stripeBody, "", headers(webhook.HeaderStripe, stripeHeader)},
		{hook.Stripe, stripeSecret, stripeBody, "", headers(webhook.HeaderStripe, "t=1614265330, v0=1234, v1=00ff,"+stripeHeader[len("t=1614265330,"):])},
	} {
		for _, secrets := range [][]string{{c.secret}, {"whsec_bm90IHRoaXMgc2VjcmV0IQ==", c.secret}} {
			for _, age := range []time.Duration{0, webhook.Tolerance, -webhook.Tolerance} {
				id, err := webhook.Verify(c.scheme, secrets, c.header, []byte(c.body), signedAt.Add(age))
				require.NoError(t, err, c)
				require.Equal(t, c.id, id)
			}
		}
		for _, age := range []time.Duration{webhook.Tolerance + time.Second, -webhook.Tolerance - time.Second} {
			_, err := webhook.Verify(c.scheme, []string{c.secret}, c.header, []byte(c.body), signedAt.Add(age))
			require.ErrorIs(t, err, webhook.ErrSignature)
		}
		for _, secrets := range [][]string{nil, {"whsec_bm90IHRoaXMgc2VjcmV0IQ=="}} {
			_, err := webhook.Verify(c.scheme, secrets, c.header, []byte(c.body), signedAt)
			require.ErrorIs(t, err, webhook.ErrSignature)
		}
		_, err := webhook.Verify(c.scheme, []string{c.secret}, c.header, []byte(c.body+" "), signedAt)
		require.ErrorIs(t, err, webhook.ErrSignature)
	}
}

// Headers that are missing, twice there, or say something that was not signed are refused.
func TestVerifyRefusesOtherHeaders(t *testing.T) {
	t.Parallel()
	double := standardHeaders(publishedID, "1614265330", publishedSigned)
	double.Add(webhook.HeaderID, "msg_2")
	for what, header := range map[string]http.Header{
		"none":                  {},
		"no id":                 headers(webhook.HeaderTimestamp, "1614265330", webhook.HeaderSignature, publishedSigned),
		"two ids":               double,
		"another id":            standardHeaders("msg_2", "1614265330", publishedSigned),
		"another time":          standardHeaders(publishedID, "1614265331", publishedSigned),
		"a sign":                standardHeaders(publishedID, "+1614265330", publishedSigned),
		"no number":             standardHeaders(publishedID, "now", publishedSigned),
		"too large a number":    standardHeaders(publishedID, "16142653300000000000000", publishedSigned),
		"another version":       standardHeaders(publishedID, "1614265330", "v1a,"+publishedSigned[3:]),
		"no version":            standardHeaders(publishedID, "1614265330", publishedSigned[3:]),
		"an empty signature":    standardHeaders(publishedID, "1614265330", "v1,"),
		"the id takes the time": standardHeaders(publishedID+".1614265330", "1614265330", publishedSigned),
	} {
		_, err := webhook.Verify(hook.Standard, []string{publishedSecret}, header, []byte(publishedBody), signedAt)
		require.ErrorIs(t, err, webhook.ErrSignature, what)
	}
	for what, value := range map[string]string{
		"no time":        stripeHeader[len("t=1614265330,"):],
		"two times":      "t=1614265331," + stripeHeader,
		"another time":   "t=1614265331" + stripeHeader[len("t=1614265330"):],
		"another scheme": "t=1614265330,v0=" + stripeHeader[len("t=1614265330,v1="):],
		"no signature":   "t=1614265330",
		"an empty one":   "t=1614265330,v1=",
		"empty":          "",
	} {
		_, err := webhook.Verify(hook.Stripe, []string{stripeSecret}, headers(webhook.HeaderStripe, value), []byte(stripeBody), signedAt)
		require.ErrorIs(t, err, webhook.ErrSignature, what)
	}
}

// What this gate signs for others, it accepts from others that sign so.
func TestVerifyAcceptsWhatSignSigned(t *testing.T) {
	t.Parallel()
	other := "whsec_bm90IHRoaXMgc2VjcmV0IQ=="
	signatures, err := webhook.Sign([]string{other, publishedSecret}, "evt_1", signedAt, []byte("{}"))
	require.NoError(t, err)
	for _, secret := range []string{other, publishedSecret} {
		id, err := webhook.Verify(hook.Standard, []string{secret}, standardHeaders("evt_1", "1614265330", signatures), []byte("{}"), signedAt)
		require.NoError(t, err)
		require.Equal(t, "evt_1", id)
	}
}
