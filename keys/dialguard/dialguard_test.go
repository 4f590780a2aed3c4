package dialguard_test

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"testing"

	"github.com/gatefold/gatefold/keys/dialguard"
)

// A client of the API names what only this server can reach, in every spelling: nothing is
// dialled there but what the operator listed.
func TestGuardAdmitsPublicAndListedAddresses(t *testing.T) {
	guard, err := dialguard.Allow([]string{"10.1.0.0/16", "127.0.0.1:3000", "[fd00::1]:443", "192.168.7.7"})
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for address, want := range map[string]bool{
		"93.184.216.34:443": true, "[2606:4700::1111]:443": true,
		"10.1.2.3:80": true, "[::ffff:10.1.2.3]:80": true, "192.168.7.7:1": true, "127.0.0.1:3000": true, "[fd00::1]:443": true,
		"10.2.0.1:80": false, "127.0.0.1:2019": false, "127.0.0.2:3000": false, "[::1]:3000": false, "0.0.0.0:3000": false, "[::]:3000": false,
		"[fd00::1]:80": false, "169.254.169.254:80": false, "[fd00:ec2::254]:80": false, "168.63.129.16:80": false, "[fe80::1%eth0]:80": false,
		"[::ffff:127.0.0.1]:80": false, "[64:ff9b::7f00:1]:80": false, "[2002:7f00:1::]:80": false, "224.0.0.1:80": false, "nonsense": false,
	} {
		if err := guard.Control(refused)("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
		if at, err := netip.ParseAddrPort(address); err == nil && guard.Admits(at) != want {
			t.Errorf("%s is admitted: %v", address, !want)
		}
	}
}

func TestMistakesInListedAddresses(t *testing.T) {
	for _, text := range []string{"", "example.com", "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/0", "::/0", "10.1.0.0/33", "127.0.0.1:0", "10.1.2.3:99999", "https://10.1.2.3"} {
		if listed, err := dialguard.Parse(text); err == nil {
			t.Errorf("%q is taken for %v", text, listed)
		}
		if _, err := dialguard.Allow([]string{text}); err == nil {
			t.Errorf("%q is allowed", text)
		}
	}
}

func TestResolve(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1/a": "127.0.0.1:80", "https://127.0.0.1": "127.0.0.1:443", "https://[::1]:8443/": "[::1]:8443",
	} {
		address, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := dialguard.Resolve(t.Context(), net.DefaultResolver, address); err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := dialguard.Resolve(t.Context(), net.DefaultResolver, &url.URL{Scheme: "https", Host: "127.0.0.1:70000"}); err == nil {
		t.Error("an invalid port is resolved")
	}
}
