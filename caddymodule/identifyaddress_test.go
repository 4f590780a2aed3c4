package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/clientaddress"
	"github.com/gatefold/gatefold/policy/store"
)

// addressRules identify a library and a school by their networks, and others by a token.
const addressRules = `
		identify address library 198.51.100.0/24 2001:db8:7::/48
		identify address school 203.0.113.16/28
		identify jwt {
			issuer self
			cookie reader
		}
		rule /articles/{publisherContentId} entitled premium
		rule /account {
			authenticated
		}
		rule / any
`

func newAddressSite(t *testing.T, global string) *testSite {
	t.Helper()
	s := newTestSite(t, standardRules)
	s.load(s.config(global, addressRules, ""))
	s.grant(store.Grant{UserID: "address:library", SKU: "premium"})
	return s
}

// The clients of a library are its reader, in IPv4, in IPv6 and mapped, and get what it was
// granted; those of a school are another reader. The origin learns who it is.
func TestReadersByAddress(t *testing.T) {
	s := newAddressSite(t, strictProxy)
	for _, address := range []string{"198.51.100.1", "198.51.100.255", "::ffff:198.51.100.7", "2001:db8:7::1", "2001:db8:7:ffff::1"} {
		got := s.get("/articles/hello", "X-Forwarded-For", address).page()
		if control := got.Header.Get("Cache-Control"); !strings.Contains(control, "private") {
			t.Errorf("%s: %q", address, control)
		}
		s.get("/account", "X-Forwarded-For", address).page()
		s.do(http.MethodHead, "/articles/hello", "X-Forwarded-For", address).want(t, http.StatusOK)
	}
	s.get("/articles/hello", "X-Forwarded-For", "203.0.113.17").denied(http.StatusForbidden, "not_entitled")
	for _, address := range []string{"198.51.101.1", "203.0.113.32", "2001:db8:8::1", "::198.51.100.7"} {
		s.get("/articles/hello", "X-Forwarded-For", address).denied(http.StatusUnauthorized, "login_required")
	}
	explained := s.explain(admin.ExplainRequest{URL: s.site + "/articles/hello", ClientIP: "198.51.100.7"})
	if explained.Reader.UserID != "address:library" || explained.Reader.Source != "the address of the client" || explained.Decision.Reason != "entitled" {
		t.Errorf("explain: %+v, %+v", explained.Reader, explained.Decision)
	}
}

// An address is the weakest of all credentials. A reader who logs in is that reader, with their
// own grants only, a token that fails is no reader, and what browsers could be made to send from
// the network by other sites has none.
func TestAddressIsNoOtherReader(t *testing.T) {
	s := newAddressSite(t, strictProxy)
	const library = "198.51.100.7"
	s.get("/articles/hello", s.bearer("ann", "X-Forwarded-For", library)...).denied(http.StatusForbidden, "not_entitled")
	s.get("/articles/hello", "Cookie", "reader="+strings.TrimPrefix(s.bearer("ann")[1], "Bearer "), "X-Forwarded-For", library).denied(http.StatusForbidden, "not_entitled")
	s.get("/articles/hello", "Cookie", "reader=broken", "X-Forwarded-For", library).denied(http.StatusUnauthorized, "bad_credential")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		s.do(method, "/account", "X-Forwarded-For", library).denied(http.StatusUnauthorized, "login_required")
	}
	s.get("/account", "X-Forwarded-For", library, "Connection", "Upgrade", "Upgrade", "websocket").denied(http.StatusUnauthorized, "login_required")
	// A reader whose id is the name of the network is another one.
	s.get("/articles/hello", s.bearer("library")...).denied(http.StatusForbidden, "not_entitled")
}

// A stranger states the address of the library in each header that is known for it, through a
// trusted proxy that appends to the list, and directly. None of them is the library.
func TestStrangerStatesTheAddressOfAReader(t *testing.T) {
	for name, global := range map[string]string{"a strict proxy": strictProxy, "no proxy": "", "a proxy that is not strict": strings.Replace(strictProxy, "trusted_proxies_strict", "", 1)} {
		s := newAddressSite(t, global)
		for _, headers := range [][]string{
			{"X-Real-Ip", "198.51.100.7"},
			{"Forwarded", "for=198.51.100.7"},
			{"Client-Ip", "198.51.100.7"},
			{"Cf-Connecting-Ip", "198.51.100.7"},
			{"X-Forwarded-For", "198.51.100.7, 192.0.2.9"},
			{"X-Forwarded-For", "198.51.100.7", "X-Forwarded-For", "192.0.2.9"},
			{"X-Forwarded-For", "198.51.100.7.example"},
		} {
			if got := s.get("/articles/hello", headers...); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %q gives %d", name, headers, got.StatusCode)
			}
		}
		s.origin.WantNone(t)
	}
}

// An open stream of the library goes on when a configuration with its network is loaded, and ends
// with one in which the network is not its own any more.
func TestStreamOfAnAddress(t *testing.T) {
	s := newAddressSite(t, strictProxy)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: hello\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	_, ended := s.open("/articles/events", "X-Forwarded-For", "198.51.100.7")
	s.load(s.config(strictProxy, addressRules+"\n\t\ttime_zone Europe/Stockholm", ""))
	s.goOn("the library has the network", map[string]chan struct{}{"the library": ended})
	s.load(s.config(strictProxy, strings.Replace(addressRules, "198.51.100.0/24", "192.0.2.0/24", 1), ""))
	s.waitFor("the end of the stream", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
}

func TestMistakesOfReadersByAddress(t *testing.T) {
	s := newTestSite(t, standardRules)
	for line, want := range map[string]string{
		"identify address":                                                         "write `identify address",
		"identify address library":                                                 "write `identify address",
		"identify address Library 198.51.100.0/24":                                 "lower-case letters",
		"identify address library 198.51.100.0/33":                                 "is no range of addresses",
		"identify address library 0.0.0.0/0":                                       "is every address",
		"identify address library 198.51.100.7/24":                                 "has bits of an address behind its length",
		"identify address library 198.51.100.0/24 {\nx\n}":                         "unknown option",
		"identify address a 198.51.100.0/24\nidentify address b 198.51.100.128/25": "a client can be one reader only",
		"identify jwt x {\nissuer self\n}":                                         "wrong argument count",
	} {
		if err := load(s.config("", line+"\nrule / any", "")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if !strings.HasPrefix("address:library", clientaddress.ReaderPrefix) {
		t.Error("docs/caddyfile.md names another prefix")
	}
}
