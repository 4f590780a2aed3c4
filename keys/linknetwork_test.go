package keys

import "testing"

// The private claims of a link's limits are as strict as the others: a spelling that another
// verifier could read as another limit is refused.
func TestClaimsOfLinkLimits(t *testing.T) {
	for _, c := range []struct {
		name, claim, value string
		want               error
	}{
		{"devices", "maxDevices", `3`, nil},
		{"no devices", "maxDevices", `0`, ErrClaims},
		{"negative devices", "maxDevices", `-1`, ErrClaims},
		{"devices as text", "maxDevices", `"3"`, ErrClaims},
		{"devices beyond the maximum", "maxDevices", `2147483648`, ErrClaims},
		{"devices in another case", "maxdevices", `3`, ErrMalformed},
		{"for readers", "perReader", `true`, nil},
		{"not for readers", "perReader", `false`, nil},
		{"for readers as text", "perReader", `"true"`, ErrClaims},
		{"for readers null", "perReader", `null`, ErrClaims},
		{"for readers in another case", "PerReader", `true`, ErrMalformed},
		{"a network", "ipPrefix", `"203.0.113.0/24"`, nil},
		{"a network of IPv6", "ipPrefix", `"2001:db8::/32"`, nil},
		{"a network that is longer than it need be", "ipPrefix", `"2001:0db8::/32"`, ErrClaims},
		{"an address without a prefix", "ipPrefix", `"203.0.113.7"`, ErrClaims},
		{"host bits", "ipPrefix", `"203.0.113.7/24"`, ErrClaims},
		{"every address", "ipPrefix", `"0.0.0.0/0"`, ErrClaims},
		{"a mapped network", "ipPrefix", `"::ffff:203.0.113.0/120"`, ErrClaims},
		{"a network in a list", "ipPrefix", `["203.0.113.0/24"]`, ErrClaims},
		{"a network in another case", "ipprefix", `"203.0.113.0/24"`, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := forgeLink(linkPayload().with(c.claim, c.value))
			claims, err := verifyAcme(raw)
			wantError(t, err, c.want)
			if err == nil && claims.IPPrefix != "" && claims.Network().String() != claims.IPPrefix {
				t.Errorf("the network is %s", claims.Network())
			}
		})
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.0/24":         "203.0.113.0/24",
		"203.0.113.7":            "203.0.113.7/32",
		"2001:DB8:0:0::/32":      "2001:db8::/32",
		"2001:db8::7":            "2001:db8::7/128",
		"::ffff:203.0.113.7":     "203.0.113.7/32",
		"::ffff:203.0.113.0/120": "203.0.113.0/24",
		"128.0.0.0/1":            "128.0.0.0/1",
		"::ffff:0.0.0.0/96":      "",
		"::ffff:203.0.113.0/95":  "",
		"0.0.0.0/0":              "",
		"::/0":                   "",
		"203.0.113.7/24":         "",
		"203.0.113.0/024":        "",
		"203.0.113.0/-1":         "",
		"203.0.113.0/33":         "",
		"203.0.0113.0/24":        "",
		"203.0.113.0/24,::1/128": "",
		" 203.0.113.0/24":        "",
		"fe80::1%eth0":           "",
		"fe80::%eth0/64":         "",
		"":                       "",
		"/":                      "",
	} {
		network, err := ParseNetwork(text)
		if (err == nil) != (want != "") || err == nil && network.String() != want {
			t.Errorf("%q is %s, %v; want %q", text, network, err, want)
		}
	}
}
